"""Reads seeds, workers, batches, dead letters, queues and events over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final, Literal, TypeVar

from coordinator.api_models import (
    Answer,
    BrokerAnswer,
    CoordinatorAnswer,
    CoordinatorList,
    DeadAnswer,
    DeadList,
    DeadWhole,
    Event,
    EventList,
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
from coordinator.api_results import DryRun
from coordinator.backoff import pause
from coordinator.client.http import HttpClient, path_of
from coordinator.errors import BrokerUnavailableError

PAGE: Final = 500
DATA: Final = "data: "
SILENCE: Final = 45.0
"""Seconds without a byte after which a stream counts as lost. The coordinator sends a comment every 15 s."""

Dry = Literal["release/seed", "release/worker", "drain/worker"]
"""A command that has a dry run."""

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
        """All seeds, or those in a state, or whose id fits `q`.

        Args:
            state: `running` or `released`.
            q: a part of the id, or a pattern with `*`, `?` and `[…]`; the case does not matter.
            sort: one of `coordinator.domain.list_query.SEED_SORTS`; a leading `-` reverses the order.
        """
        return await self._all("/seed", SeedList, lambda page: page.seeds, state=state, q=q, sort=sort)

    async def worker(self, ident: str) -> WorkerAnswer:
        """A worker."""
        return await self.call("GET", path_of("/worker", ident), WorkerAnswer, about=("worker", ident))

    async def workers(self, *, q: str | None = None, sort: str | None = None) -> list[WorkerAnswer]:
        """All known workers, or those whose id fits `q`; `sort` is one of `WORKER_SORTS`, as for `seeds`."""
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
        """The work queues, sorted by tags."""
        return await self._all("/queue", QueueList, lambda page: page.queues)

    async def coordinators(self) -> list[CoordinatorAnswer]:
        """The coordinators; the first is the one that answers."""
        return await self._all("/coordinator", CoordinatorList, lambda page: page.coordinators)

    async def broker(self) -> BrokerAnswer:
        """The broker and its nodes."""
        return await self.call("GET", "/broker", BrokerAnswer)

    async def dead_letter(self, ident: str) -> DeadWhole:
        """A dead letter with its full body."""
        return await self.call("GET", path_of("/dead", ident), DeadWhole, about=("dead", ident))

    async def dry_run(self, command: Dry, ident: str) -> DryRun:
        """What a command would do now. Nothing is done."""
        return await self.call("GET", path_of(f"/dry-run/{command}", ident), DryRun, about=(command, ident))

    async def events(
        self,
        *,
        seed: str | None = None,
        worker: str | None = None,
        batch: str | None = None,
        kind: str | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> list[Event]:
        """Past events, newest last.

        Args:
            seed: only of this seed.
            worker: only of this worker.
            batch: only of this batch.
            kind: only these kinds, separated by commas; `batch` stands for all kinds that begin with it.
            after: the first events after the event with this id. Without it, the last events.
            limit: the largest number of events.
        """
        query = _given(seed=seed, worker=worker, batch=batch, kind=kind, after=after, limit=str(limit))
        return (await self.call("GET", "/event", EventList, params=query)).events

    async def follow(
        self,
        *,
        seed: str | None = None,
        worker: str | None = None,
        batch: str | None = None,
        kind: str | None = None,
        after: str | None = None,
    ) -> AsyncIterator[Event]:
        """Events as they happen, without end. First come the events after the one with the id `after`.

        The first call must reach a coordinator. Later, a coordinator that goes away is waited for; then the events
        that were missed come first, if the coordinators still have them.
        """
        query = _given(seed=seed, worker=worker, batch=batch, kind=kind)
        has_begun, failures = False, 0
        while True:
            headers = {"Last-Event-ID": after} if after else {}
            try:
                async for line in self.stream("/event/stream", query, headers, SILENCE):
                    has_begun, failures = True, 0
                    if line.startswith(DATA):
                        event = Event.model_validate_json(line.removeprefix(DATA))
                        after = event.id
                        yield event
            except BrokerUnavailableError:
                if not has_begun:
                    raise
            await asyncio.sleep(pause(failures))
            failures += 1

    async def dead(self) -> list[DeadAnswer]:
        """The dead letters, oldest first."""
        return await self._all("/dead", DeadList, lambda page: page.dead)

    async def own_queues(self) -> dict[str, int]:
        """The number of messages in each of the coordinator's own queues, such as `dead`. Cheaper than a list."""
        # Imported here: it takes a tenth of the time that a short command takes to start.
        from prometheus_client.parser import text_string_to_metric_families  # noqa: PLC0415

        families = text_string_to_metric_families(await self.text("/metrics"))
        depths = [family for family in families if family.name == "coordinator_queue_messages"]
        return {sample.labels["queue"]: int(sample.value) for family in depths for sample in family.samples}

    async def _all(
        self, path: str, model: type[L], entries: Callable[[L], Sequence[R]], **wanted: str | None
    ) -> list[R]:
        """A whole list, read page by page. It ends early if entries go away in the meantime."""
        query = _given(**wanted)
        found: list[R] = []
        while True:
            page = await self.call("GET", path, model, params={**query, "offset": str(len(found)), "limit": str(PAGE)})
            found += entries(page)
            total: Total = page.count
            if not entries(page) or len(found) >= total.total_items:
                return found


def _given(**query: str | None) -> dict[str, str]:
    """The parts of a query that are given."""
    return {name: one for name, one in query.items() if one is not None}
