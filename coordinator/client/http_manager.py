"""A manager over HTTP: release, resume, purge, policies, registrations, dead letters."""

from __future__ import annotations

from collections.abc import Iterable

from coordinator.api_models import Registered, SeedAnswer
from coordinator.api_results import Resumed, Said, SeedsPurged, SeedsReleased, WorkersDraining, WorkersReleased
from coordinator.client.http import path_of
from coordinator.client.reader import Reader
from coordinator.models import SeedSpec, WorkerSpec


class HttpManager(Reader):
    """Reads and acts. Arguments and errors are those of `HttpClient`.

    A call on several ids answers with a result for each. An unknown id has the status 404; no error is raised then.
    """

    async def set_seed(self, ident: str, spec: SeedSpec) -> SeedAnswer:
        """Create a seed or replace its policies."""
        return await self.call("PUT", path_of("/seed", ident), SeedAnswer, content=spec)

    async def release_seeds(self, ids: Iterable[str]) -> SeedsReleased:
        """Stop these seeds. Every item that no worker has begun becomes available again."""
        return await self.call("PUT", "/release/seed", SeedsReleased, content={"id": list(ids)})

    async def resume_seeds(self, ids: Iterable[str]) -> Resumed:
        """Let released seeds run again."""
        return await self.call("PUT", "/resume/seed", Resumed, content={"id": list(ids)})

    async def purge_seed(self, ident: str) -> SeedsPurged:
        """Discard the items of a seed that no worker holds, and forget the seed."""
        return await self.call("DELETE", path_of("/seed", ident), SeedsPurged)

    async def release_workers(self, ids: Iterable[str]) -> WorkersReleased:
        """Give every unacked batch of these workers to other workers."""
        return await self.call("PUT", "/release/worker", WorkersReleased, content={"id": list(ids)})

    async def drain_worker(self, ident: str) -> WorkersDraining:
        """Ask a worker to finish its batches and take no more, until it registers again."""
        return await self.call("POST", path_of("/drain/worker", ident), WorkersDraining)

    async def register_worker(self, ident: str, spec: WorkerSpec) -> Registered:
        """Register a worker, which ends an earlier release. Only this answer holds the AMQP URL of its broker user."""
        return await self.call("PUT", path_of("/worker", ident), Registered, content=spec)

    async def remove_worker(self, ident: str) -> None:
        """Forget a worker; its batches go to other workers."""
        await self.call("DELETE", path_of("/worker", ident), Said, about=("worker", ident))

    async def retry_dead(self, ident: str) -> None:
        """Send a dead letter again."""
        await self.call("POST", path_of("/dead", ident, "/retry"), Said, about=("dead", ident))

    async def drop_dead(self, ident: str) -> None:
        """Discard a dead letter."""
        await self.call("DELETE", path_of("/dead", ident), Said, about=("dead", ident))
