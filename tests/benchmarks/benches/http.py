"""http: batches fetched and acked through the coordinator's HTTP side, and items added by it.

Against beanstalkd's reserve and delete from one Python client, whose jobs hold the same items, and against the bare
framework that answers from memory. One process holds all clients. Counted in batches, from the first to the last.
"""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from coordinator import topology
from tests.benchmarks import machine, payload
from tests.benchmarks.bed import PEER_PYTHON, Bed, Site
from tests.benchmarks.harness import Contender, Run, WrongResultError, in_turns
from tests.benchmarks.machine import Program
from tests.benchmarks.report import Goal, Outcome
from tests.helpers.support import PREFIX

SEED = "bench"
BEANSTALKD, BARE = "beanstalkd, reserve and delete", "Starlette alone, 16 clients, tens"
INGEST_LINES = 100_000


async def run(at: Bed, rounds: int, *, quick: bool, say: Callable[[str], None]) -> list[Outcome]:
    """Measure."""
    batches = 1500 if quick else 6000
    contenders: dict[str, Contender] = {
        _name(clients, together): partial(_ours, at, batches if together > 1 else batches // 2, clients, together)
        for clients in (1, 16, 256)
        for together in (1, 10)
    }
    contenders[BARE] = partial(_bare, at, batches)
    has_peer = machine.has("beanstalkd")
    if has_peer:
        contenders[BEANSTALKD] = partial(_beanstalkd, at, batches)
    runs = await in_turns(contenders, rounds, say)
    tens, singles, unit = _name(16, 10), _name(16, 1), "batches/s"
    outcomes = [Outcome.of_pair(runs, "HTTP in tens, 16 clients ÷ the bare framework", tens, BARE, None, unit)]
    if has_peer:
        outcomes += [
            Outcome.of_pair(runs, "HTTP in tens, 16 clients ÷ beanstalkd", tens, BEANSTALKD, Goal(1), unit),
            Outcome.of_pair(runs, "HTTP one by one, 16 clients ÷ beanstalkd", singles, BEANSTALKD, Goal(0.25), unit),
        ]
    speeds = [await _ingest(at) for _ in range(rounds)]
    return [*outcomes, Outcome.figure("HTTP ingest of NDJSON", speeds, sorted(speeds)[rounds // 2], None, "MB/s")]


def _name(clients: int, together: int) -> str:
    return f"coordinator, {clients} clients, {'tens' if together > 1 else 'one by one'}"


async def _ours(at: Bed, batches: int, clients: int, together: int) -> Run:
    async with at.anew() as own, own.site() as site, site.coordinator() as (program, url):
        await site.fill(topology.ITEMS, SEED, [site.checked_page(number) for number in range(batches)])
        before = program.cpu()
        told = await _fetched(site, urlsplit(url).netloc, batches, clients, together, program)
        cpu = (program.cpu() - before) / batches * 1e6
        return Run((batches - 1) / (told["last"] - told["first"]), extra={"cpu us a batch": cpu})


async def _bare(at: Bed, batches: int) -> Run:
    port = machine.free_port()
    async with at.site() as site:
        environment = {payload.EXPECTED: str(batches * payload.ITEMS)}
        server = (sys.executable, "-m", "uvicorn", "--no-access-log", "--port", str(port))
        async with site.running(*server, "tests.benchmarks.peers.bare_http:app", environment=environment) as program:
            await machine.listening(port)
            told = await _fetched(site, f"127.0.0.1:{port}", batches, 16, 10, program)
        return Run((batches - 1) / (told["last"] - told["first"]))


async def _fetched(
    site: Site, address: str, batches: int, clients: int, together: int, program: Program
) -> dict[str, float]:
    out, items = site.out(), batches * payload.ITEMS
    environment = {payload.OUT: str(out), payload.EXPECTED: str(items)}
    module = "tests.benchmarks.peers.http_clients"
    command = (sys.executable, "-m", module, address, str(clients), str(together))
    async with site.running(*command, environment=environment) as client:
        told = await machine.result(out, [client, program], items)
    if told["messages"] != batches:
        raise WrongResultError(f"{batches} pages came as {told['messages']} batches")
    return told


async def _beanstalkd(at: Bed, batches: int) -> Run:
    async with at.site() as site, _beanstalk_server(site) as port:
        out, items = site.out(), batches * payload.ITEMS
        environment = {payload.OUT: str(out), payload.EXPECTED: str(items)}
        module = "tests.benchmarks.peers.beanstalk_client"
        command = (PEER_PYTHON / "python", "-m", module, str(port), str(batches))
        async with site.running(*command, environment=environment) as client:
            told = await machine.result(out, [client], items)
        return Run((batches - 1) / (told["last"] - told["first"]))


@asynccontextmanager
async def _beanstalk_server(site: Site) -> AsyncIterator[int]:
    """Beanstalkd with its log in a folder of its own, on a free port."""
    port, folder = machine.free_port(), site.out().with_name("beanstalkd")
    folder.mkdir(parents=True)
    command = ("beanstalkd", "-l", "127.0.0.1", "-p", str(port), "-b", str(folder), "-z", "65535")
    async with site.running(Path(command[0]), *command[1:]):
        await machine.listening(port)
        yield port


async def _ingest(at: Bed) -> float:
    """MB a second of lines that one client sends as a stream; all of them confirmed."""
    body = b"\n".join(payload.text(payload.item(number)) for number in range(INGEST_LINES))
    async with at.site() as site, site.coordinator() as (_, url):

        async def stream() -> AsyncIterator[bytes]:
            for begin in range(0, len(body), 65_536):
                yield body[begin : begin + 65_536]

        async with httpx.AsyncClient(base_url=url + PREFIX, trust_env=False, timeout=120) as api:
            await api.put(f"/seed/{SEED}", json={})
            await api.put(f"/release/seed/{SEED}")
            begun = time.monotonic()
            answer = await api.post(
                f"/seed/{SEED}/items", content=stream(), headers={"Content-Type": "application/x-ndjson"}
            )
            taken = time.monotonic() - begun
        if answer.json().get("accepted") != INGEST_LINES:
            raise WrongResultError(f"ingest: {answer.text[:300]}")
        return len(body) / taken / 1e6
