"""Callbacks: HTTP workers that can be called get a request when a seed is released."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Final, Literal

import httpx
import orjson
import structlog

from coordinator.backoff import pause
from coordinator.domain.callback_url import is_same_host, parse_callback, refused
from coordinator.errors import InvalidInputError
from coordinator.node.registry import Registry
from coordinator.tls import client_context, close_unfinished

log = structlog.get_logger(__name__)

PROMPT: Final = 0.3
"""Seconds that a release waits for the first tries: its reply has to be prompt."""
TRY_TIMEOUT: Final = 5.0
TRIES: Final = 6
CONNECTIONS: Final = 100
PASSING: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
"""Refusals that may pass, beside those of a server that fails."""

Status = Literal["told", "pending", "failed"]


@dataclass(slots=True, eq=False)
class _Notice:
    """The release of a seed, on its way to a worker; `address` is where the worker registered from."""

    worker: str
    url: str
    address: str | None
    seed: str
    epoch: int
    status: Status = "pending"
    message: str = "is not answered yet"
    tried: asyncio.Event = field(default_factory=asyncio.Event)

    def result(self) -> dict[str, object]:
        """Return what the answer of the release says about it."""
        result: dict[str, object] = {"worker": self.worker, "status": self.status}
        return result if self.status == "told" else result | {"message": self.message}


def read_hosts(text: str) -> frozenset[str]:
    """Return the host names in a list with commas."""
    return frozenset(host.strip().lower() for host in text.split(",") if host.strip())


@dataclass(slots=True, kw_only=True)
class Callbacks:
    """Sends workers `PUT <callback>/release/seed`, with the body of the release itself.

    A coordinator that calls URLs which clients name could be used to reach what the clients cannot. So a callback's
    host must be on the operator's list, or be the host that registered it: then the address that registered is called,
    whatever the name resolves to by that time. Redirects are not followed, and an answer's body is not read.

    Attributes:
        registry: knows the workers, and whether a release still stands.
        hosts: the names that may be called; where it is empty, a worker's own address alone.
        ca_file: authorities to trust in place of the system's.
    """

    registry: Registry
    hosts: frozenset[str]
    ca_file: Path | None
    _inbox: asyncio.Queue[_Notice] = field(default_factory=asyncio.Queue, init=False)

    async def run(self) -> None:
        """Send requests until cancelled."""
        # Not earlier: to read all known authorities holds the event loop up for a while.
        notice = await self._inbox.get()
        limits, trusted = httpx.Limits(max_connections=CONNECTIONS), client_context(self.ca_file)
        async with (
            httpx.AsyncClient(
                timeout=TRY_TIMEOUT,
                limits=limits,
                trust_env=False,
                verify=trusted,
                event_hooks={"request": [close_unfinished]},
            ) as http,
            asyncio.TaskGroup() as group,
        ):
            while True:
                group.create_task(self._deliver(http, notice), name=f"callback of {notice.worker}")
                notice = await self._inbox.get()

    async def check(self, url: str, address: str | None) -> None:
        """Refuse a callback that would not be called.

        Raises:
            InvalidInputError: the URL is not valid, or its host is not allowed.
        """
        try:
            async with asyncio.timeout(TRY_TIMEOUT):
                await self._aim(url, address)
        except TimeoutError as error:
            raise refused("its host's name was not resolved in time") from error

    async def released(self, seed: str, epoch: int) -> list[dict[str, object]]:
        """Call every HTTP worker with a callback; what is not answered soon goes on in the background."""
        known = [self.registry.state.worker(ident, time.time()) for ident in sorted(self.registry.state.workers)]
        notices = [
            _Notice(worker.id, worker.spec.callback, worker.address, seed, epoch)
            for worker in known
            if worker is not None and worker.spec.callback and worker.spec.transport == "http"
        ]
        for notice in notices:
            self._inbox.put_nowait(notice)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PROMPT):
                for notice in notices:
                    await notice.tried.wait()
        return [notice.result() for notice in notices]

    async def _deliver(self, http: httpx.AsyncClient, notice: _Notice) -> None:
        """Try until the worker accepts the request or refuses it, or the release no longer stands."""
        for failures in range(1, TRIES + 1):
            notice.status, notice.message = await self._try(http, notice)
            notice.tried.set()
            if notice.status != "pending" or failures == TRIES:
                break
            await asyncio.sleep(pause(failures))
            # A worker that gets it after a resume would give back its new batches.
            if not self._stands(notice):
                notice.message = "the seed was resumed or released again meanwhile"
                break
        if notice.status == "told":
            log.info("callback.told", worker=notice.worker, seed=notice.seed, epoch=notice.epoch)
        else:
            notice.status = "failed"
            log.warning("callback.failed", worker=notice.worker, seed=notice.seed, problem=notice.message)

    async def _try(self, http: httpx.AsyncClient, notice: _Notice) -> tuple[Status, str]:
        try:
            async with asyncio.timeout(TRY_TIMEOUT):
                request = await self._request(http, notice)
                answer = await http.send(request, stream=True)
                await answer.aclose()
        except InvalidInputError as error:
            return "failed", str(error)
        except TimeoutError:
            return "pending", f"gave no answer within {TRY_TIMEOUT:g} s"
        except httpx.HTTPError as error:
            return "pending", f"does not answer: {str(error) or type(error).__name__}"
        if answer.is_success:
            return "told", ""
        is_passing = answer.is_server_error or answer.status_code in PASSING
        return "pending" if is_passing else "failed", f"answered {answer.status_code}"

    async def _request(self, http: httpx.AsyncClient, notice: _Notice) -> httpx.Request:
        """Return the request, to the address that was checked: so a name that resolves otherwise later does no harm."""
        base, address = await self._aim(notice.url, notice.address)
        url = httpx.URL(f"{base}/release/seed")
        headers = {"Host": url.netloc.decode(), "Content-Type": "application/json"}
        content = orjson.dumps({"id": notice.seed})
        extensions = {"sni_hostname": url.host} if address else {}
        aimed = url.copy_with(host=address) if address else url
        return http.build_request("PUT", aimed, headers=headers, content=content, extensions=extensions)

    async def _aim(self, url: str, address: str | None) -> tuple[str, str | None]:
        """Return the URL to call, and the address to use for its host; None for a host that the operator lists."""
        target = parse_callback(url)
        if self.hosts:
            if target.host not in self.hosts:
                raise refused(f"{target.host} is not among the hosts that may be called")
            return target.base, None
        try:
            found = await asyncio.get_running_loop().getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise refused(f"{target.host} is not known: {error.strerror or error}") from error
        if address is None or not any(is_same_host(str(where[0]), address) for *_, where in found):
            raise refused(f"{target.host} is not the host that registered ({address or 'unknown'})")
        return target.base, address

    def _stands(self, notice: _Notice) -> bool:
        seed = self.registry.state.seeds.get(notice.seed)
        return seed is not None and seed.epoch == notice.epoch and seed.state == "released"
