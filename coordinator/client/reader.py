"""What there is, read over HTTP: seeds, workers, held batches and dead letters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from prometheus_client.parser import text_string_to_metric_families

from coordinator.answers import (
    Answer,
    BrokerAnswer,
    CoordinatorAnswer,
    CoordinatorList,
    DeadAnswer,
    DeadList,
    DeadWhole,
    Holding,
    HoldingList,
    QueueAnswer,
    QueueList,
    SeedAnswer,
    SeedList,
    Total,
    WorkerAnswer,
    WorkerList,
)
from coordinator.client.http import HttpClient, path_of

PAGE: Final = 500

L = TypeVar("L", SeedList, WorkerList, HoldingList, DeadList, QueueList, CoordinatorList)
R = TypeVar("R", bound=Answer)


class Reader(HttpClient):
    """Reads from a coordinator. Arguments and errors are those of `HttpClient`."""

    async def seed(self, ident: str) -> SeedAnswer:
        """A seed."""
        return await self.call("GET", path_of("/seed", ident), SeedAnswer, about=("seed", ident))

    async def seeds(
        self, *, state: str | None = None, q: str | None = None, sort: str | None = None
    ) -> list[SeedAnswer]:
        """All seeds, or those in a state, or with `q` in their id.

        Args:
            state: `running` or `released`.
            q: a part of the id, in whatever case.
            sort: one of `coordinator.domain.lists.SEED_SORTS`; a leading `-` turns it round.
        """
        return await self._all("/seed", SeedList, lambda page: page.seeds, state=state, q=q, sort=sort)

    async def worker(self, ident: str) -> WorkerAnswer:
        """A worker."""
        return await self.call("GET", path_of("/worker", ident), WorkerAnswer, about=("worker", ident))

    async def workers(self, *, q: str | None = None, sort: str | None = None) -> list[WorkerAnswer]:
        """All known workers, or those with `q` in their id; `sort` is one of `WORKER_SORTS`, as for `seeds`."""
        return await self._all("/worker", WorkerList, lambda page: page.workers, q=q, sort=sort)

    async def batches(
        self,
        *,
        worker: str | None = None,
        seed: str | None = None,
        batch: str | None = None,
        sort: str | None = None,
    ) -> list[Holding]:
        """The batches that workers hold unacked, or some of them; `sort` is one of `HELD_SORTS`, as for `seeds`."""
        wanted = {"worker": worker, "seed": seed, "batch": batch, "sort": sort}
        return await self._all("/batch/held", HoldingList, lambda page: page.batches, **wanted)

    async def queues(self) -> list[QueueAnswer]:
        """The work queues, by tags."""
        return await self._all("/queue", QueueList, lambda page: page.queues)

    async def coordinators(self) -> list[CoordinatorAnswer]:
        """The coordinators, the one that answers first."""
        return await self._all("/coordinator", CoordinatorList, lambda page: page.coordinators)

    async def broker(self) -> BrokerAnswer:
        """The broker, as far as it tells."""
        return await self.call("GET", "/broker", BrokerAnswer)

    async def dead_letter(self, ident: str) -> DeadWhole:
        """A dead letter whole."""
        return await self.call("GET", path_of("/dead", ident), DeadWhole, about=("dead", ident))

    async def dead(self) -> list[DeadAnswer]:
        """The dead letters, oldest first."""
        return await self._all("/dead", DeadList, lambda page: page.dead)

    async def own_queues(self) -> dict[str, int]:
        """How many messages wait in the coordinator's own queues, such as `dead`; unlike a list, it costs little."""
        families = text_string_to_metric_families(await self.text("/metrics"))
        depths = [family for family in families if family.name == "coordinator_queue_messages"]
        return {sample.labels["queue"]: int(sample.value) for family in depths for sample in family.samples}

    async def _all(
        self, path: str, model: type[L], entries: Callable[[L], Sequence[R]], **wanted: str | None
    ) -> list[R]:
        """A whole list, page by page; it ends early where entries go away meanwhile."""
        query = {name: one for name, one in wanted.items() if one is not None}
        found: list[R] = []
        while True:
            page = await self.call("GET", path, model, params={**query, "offset": str(len(found)), "limit": str(PAGE)})
            found += entries(page)
            total: Total = page.count
            if not entries(page) or len(found) >= total.total_items:
                return found
