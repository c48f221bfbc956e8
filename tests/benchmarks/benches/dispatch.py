"""dispatch: pages of a seed's queue become batches in the work queue, through one coordinator as shipped.

Against a relay of bare aio-pika and one in C, which do no more than consume, publish confirmed and ack. The queues,
their arguments, the messages and the sink that empties the work queue are the same for all. Measured at the sink, from
the first message to the last.

A run is so long that each has its share of what the broker does whenever its log has grown to 512 MB, which 16,000
batches and their pages do: it writes all queues' messages a second time, for seconds.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import httpx

from coordinator import topology
from coordinator.broker.types import Message
from tests.benchmarks import machine, payload
from tests.benchmarks.bed import CACHE, PEER_PYTHON, Bed, Site
from tests.benchmarks.harness import Run, Runs, in_turns
from tests.benchmarks.machine import Program
from tests.benchmarks.report import Goal, Outcome
from tests.helpers.support import PREFIX

SEED = "bench"
OURS, STRANGERS = "coordinator, checked pages", "coordinator, pages from strangers"
BARE, NARROW, IN_C = "aio-pika relay, 200 at once", "aio-pika relay, 50 at once", "C relay"

Work = Callable[[Site], contextlib.AbstractAsyncContextManager[Program]]


async def run(at: Bed, rounds: int, *, quick: bool, say: Callable[[str], None]) -> list[Outcome]:
    """Measure."""
    pages = 3000 if quick else 40_000
    once = partial(_once, at, pages)
    contenders = {
        OURS: partial(_coordinator, at, pages, trusted=True),
        STRANGERS: partial(_coordinator, at, pages, trusted=False),
        BARE: partial(once, partial(_aio_pika, window=200)),
        NARROW: partial(once, partial(_aio_pika, window=50)),
        IN_C: partial(once, _in_c),
    }
    runs = await in_turns(contenders, rounds, say)
    return [*_outcomes(runs)]


def _outcomes(runs: Runs) -> list[Outcome]:
    bare = runs.best([BARE, NARROW])
    return [
        Outcome.of_pair(runs, "dispatch ÷ bare aio-pika relay", OURS, bare, Goal(1.5), "batches/s"),
        Outcome.of_pair(runs, "dispatch ÷ C relay", OURS, IN_C, Goal(0.6), "batches/s"),
        Outcome.of_pair(runs, "dispatch of strangers' pages ÷ bare aio-pika relay", STRANGERS, bare, None, "batches/s"),
        Outcome.of_pair(runs, "dispatch of strangers' pages ÷ C relay", STRANGERS, IN_C, None, "batches/s"),
    ]


async def _coordinator(at: Bed, pages: int, *, trusted: bool) -> Run:
    """The seed is filled while it is released, so that the coordinator is warm and begins when it is resumed."""
    async with at.site() as site, site.coordinator() as (program, url):
        async with httpx.AsyncClient(base_url=url + PREFIX, trust_env=False, timeout=60) as api:
            (await api.put(f"/seed/{SEED}", json={"batchSize": payload.ITEMS})).raise_for_status()
            (await api.put(f"/release/seed/{SEED}")).raise_for_status()
            await site.fill(topology.ITEMS, SEED, _messages(site, pages, trusted=trusted))
            async with _sink(site, pages) as (sink, out):
                before, broker = program.cpu(), machine.cpu_of(at.pid)
                (await api.put(f"/resume/seed/{SEED}")).raise_for_status()
                told = await machine.result(out, [sink], pages * payload.ITEMS)
                cpu = {
                    "cpu us a batch": (program.cpu() - before) / pages * 1e6,
                    "broker cpu us a batch": (machine.cpu_of(at.pid) - broker) / pages * 1e6,
                    "memory MB": program.memory(),
                }
                terms = await site.terms(topology.WORK, pages)
        return Run((pages - 1) / (told["last"] - told["first"]), terms, cpu)


async def _once(at: Bed, pages: int, work: Work) -> Run:
    async with at.site() as site:
        await site.declare(topology.seed_queue(SEED), topology.work_queue(()))
        await site.fill(topology.ITEMS, SEED, _messages(site, pages, trusted=True))
        async with _sink(site, pages) as (sink, out), work(site) as program:
            before, broker = program.cpu(), machine.cpu_of(at.pid)
            told = await machine.result(out, [sink, program], pages * payload.ITEMS)
            cpu = {
                "cpu us a batch": (program.cpu() - before) / pages * 1e6,
                "broker cpu us a batch": (machine.cpu_of(at.pid) - broker) / pages * 1e6,
                "memory MB": program.memory(),
            }
            terms = await site.terms(topology.WORK, pages)
        return Run((pages - 1) / (told["last"] - told["first"]), terms, cpu)


def _messages(site: Site, pages: int, *, trusted: bool) -> list[Message]:
    if trusted:
        return [site.checked_page(number) for number in range(pages)]
    return [Message(payload.text(payload.page(number)), message_id=f"page-{number}") for number in range(pages)]


def _aio_pika(site: Site, window: int) -> contextlib.AbstractAsyncContextManager[Program]:
    queue = topology.seed_queue_name(SEED)
    module = "tests.benchmarks.peers.aio_pika_relay"
    return site.running(PEER_PYTHON / "python", "-m", module, site.url, queue, topology.WORK, str(window))


def _in_c(site: Site) -> contextlib.AbstractAsyncContextManager[Program]:
    return site.running(CACHE / "bench-relay", site.url, topology.seed_queue_name(SEED), topology.WORK)


@contextlib.asynccontextmanager
async def _sink(site: Site, pages: int) -> AsyncIterator[tuple[Program, Path]]:
    out = site.out("sink")
    command = (CACHE / "bench-sink", site.url, topology.WORK, str(pages * payload.ITEMS), out)
    async with site.running(*command) as program:
        yield program, out
