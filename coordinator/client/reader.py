"""What there is, read over HTTP: seeds, workers, held batches and dead letters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from prometheus_client.parser import text_string_to_metric_families

from coordinator.answers import (
    Answer,
    DeadAnswer,
    DeadList,
    Holding,
    HoldingList,
    SeedAnswer,
    SeedList,
    Total,
    WorkerAnswer,
    WorkerList,
)
from coordinator.client.cluster import Broker, DeadLetter, Listed
from coordinator.client.http import HttpClient, path_of

PAGE: Final = 500

L = TypeVar("L", SeedList, WorkerList, HoldingList, DeadList)
R = TypeVar("R", bound=Answer)


class Reader(HttpClient):
    """Reads from a coordinator. Arguments and errors are those of `HttpClient`."""

    async def seed(self, ident: str) -> SeedAnswer:
        """A seed."""
        return await self.call("GET", path_of("/seed", ident), SeedAnswer, about=("seed", ident))

    async def seeds(self) -> list[SeedAnswer]:
        """All seeds."""
        return await self._all("/seed", SeedList, lambda page: page.seeds)

    async def worker(self, ident: str) -> WorkerAnswer:
        """A worker."""
        return await self.call("GET", path_of("/worker", ident), WorkerAnswer, about=("worker", ident))

    async def workers(self) -> list[WorkerAnswer]:
        """All known workers."""
        return await self._all("/worker", WorkerList, lambda page: page.workers)

    async def batches(self) -> list[Holding]:
        """The batches that workers hold unacked."""
        return await self._all("/batch/held", HoldingList, lambda page: page.batches)

    async def dead(self) -> list[DeadAnswer]:
        """The dead letters, oldest first."""
        return await self._all("/dead", DeadList, lambda page: page.dead)

    async def own_queues(self) -> dict[str, int]:
        """How many messages wait in the coordinator's own queues, such as `dead`; unlike a list, it costs little."""
        families = text_string_to_metric_families(await self.text("/metrics"))
        depths = [family for family in families if family.name == "coordinator_queue_messages"]
        return {sample.labels["queue"]: int(sample.value) for family in depths for sample in family.samples}

    async def dead_letter(self, ident: str) -> dict[str, Any]:
        """A dead letter whole: its reason, its history, its items."""
        return (await self.call("GET", path_of("/dead", ident), DeadLetter, about=("dead", ident))).row()

    async def queues(self) -> list[dict[str, Any]]:
        """The work queues, and who may take from them."""
        return await self._rows("/queue", "queues")

    async def coordinators(self) -> list[dict[str, Any]]:
        """The coordinators, and what each owns."""
        return await self._rows("/coordinator", "coordinators")

    async def broker(self) -> dict[str, Any]:
        """The broker's nodes and alarms."""
        return (await self.call("GET", "/broker", Broker)).row()

    async def _rows(self, path: str, name: str) -> list[dict[str, Any]]:
        """A whole list whose entries are passed on as they come."""
        found: list[dict[str, Any]] = []
        while True:
            page = await self.call("GET", path, Listed, params={"offset": str(len(found)), "limit": str(PAGE)})
            found += page.entries(name)
            if not page.entries(name) or len(found) >= page.count.total_items:
                return found

    async def _all(self, path: str, model: type[L], entries: Callable[[L], Sequence[R]]) -> list[R]:
        """A whole list, page by page; it ends early where entries go away meanwhile."""
        found: list[R] = []
        while True:
            page = await self.call("GET", path, model, params={"offset": str(len(found)), "limit": str(PAGE)})
            found += entries(page)
            total: Total = page.count
            if not entries(page) or len(found) >= total.total_items:
                return found
