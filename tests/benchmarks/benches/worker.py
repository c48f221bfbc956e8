"""worker: receive, decode, hand to a handler that does nothing, ack.

Our worker calls its handler for each item; a peer's task is called once with the whole batch. Peers are set up to keep
no results, so ours publishes none either; as it comes it publishes each batch's, confirmed, before it acks. All find
their queue filled; measured from the handler's first call to the last. Processor time is that of the process with the
handler: of Celery's pool `prefork` it is a part.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

from coordinator import topology
from coordinator.broker.batch_codec import batch_message
from coordinator.models import Batch
from tests.benchmarks import machine, payload
from tests.benchmarks.bed import PEER_PYTHON, Bed, Site
from tests.benchmarks.contenders import QUEUE, TASK_QUEUES, Peer, worker_stub
from tests.benchmarks.harness import Run, in_turns
from tests.benchmarks.machine import Program
from tests.benchmarks.report import Goal, Outcome

OURS, OURS_MANY = "worker-stub, no results", "worker-stub, no results, --concurrency 20"
TOLD, TOLD_MANY = "worker-stub, with results", "worker-stub, with results, --concurrency 20"
PLAIN, PLAIN_TOGETHER = "aio-pika, acks one by one", "aio-pika, acks in twenties"
MODELS, MODELS_TOGETHER = "aio-pika with models, acks one by one", "aio-pika with models, acks in twenties"

Start = Callable[[Site, Path, int], contextlib.AbstractAsyncContextManager[Program]]


async def run(at: Bed, rounds: int, *, quick: bool, say: Callable[[str], None]) -> list[Outcome]:
    """Measure."""
    batches = 2000 if quick else 6000
    ours = partial(_on_work_queue, at, batches)
    contenders = {
        OURS: partial(ours, partial(_stub, "--no-results")),
        OURS_MANY: partial(ours, partial(_stub, "--no-results", "--concurrency", "20")),
        TOLD: partial(ours, worker_stub),
        TOLD_MANY: partial(ours, partial(_stub, "--concurrency", "20")),
        PLAIN: partial(ours, partial(_aio_pika, "plain", 1)),
        PLAIN_TOGETHER: partial(ours, partial(_aio_pika, "plain", 20)),
        MODELS: partial(ours, partial(_aio_pika, "models", 1)),
        MODELS_TOGETHER: partial(ours, partial(_aio_pika, "models", 20)),
        **{peer.name: partial(_peer, at, batches, peer) for peer in TASK_QUEUES},
    }
    runs = await in_turns(contenders, rounds, say, [peer.name for peer in TASK_QUEUES])
    ours_best, told_best = runs.best([OURS, OURS_MANY]), runs.best([TOLD, TOLD_MANY])
    peer = runs.best([one.name for one in TASK_QUEUES])
    models = runs.best([MODELS, MODELS_TOGETHER])
    plain = runs.best([PLAIN, PLAIN_TOGETHER])
    return [
        Outcome.of_pair(runs, "worker ÷ bare aio-pika with models", ours_best, models, Goal(1.5), "batches/s"),
        Outcome.of_pair(runs, "worker ÷ best peer", ours_best, peer, Goal(2), "batches/s"),
        Outcome.of_pair(runs, "worker ÷ bare aio-pika without models", ours_best, plain, None, "batches/s"),
        Outcome.of_pair(runs, "worker with results ÷ best peer without", told_best, peer, None, "batches/s"),
    ]


async def _on_work_queue(at: Bed, batches: int, start: Start) -> Run:
    """Batches of the project, in the project's work queue without its limit of length, which is for full queues."""
    async with at.site() as site:
        work = topology.work_queue(())
        arguments = {name: value for name, value in work.arguments.items() if name != "x-max-length"}
        await site.declare(topology.Queue(work.name, arguments))
        await site.fill("", work.name, [batch_message(_batch(number), f"p{number}") for number in range(batches)])
        return await _measured(site, work.name, batches, start)


async def _peer(at: Bed, batches: int, peer: Peer) -> Run:
    async with at.site() as site:
        await peer.declare(site)
        await peer.fill(site, batches, payload.ITEMS)
        return await _measured(site, QUEUE, batches, peer.worker)


async def _measured(site: Site, queue: str, batches: int, start: Start) -> Run:
    items = batches * payload.ITEMS
    out = site.out()
    async with start(site, out, items) as program:
        told = await machine.result(out, [program], items)
        await site.drained(queue)
    terms = await site.terms(queue, batches)
    cpu = {"cpu us a batch": told["cpu"] / batches * 1e6}
    return Run((batches - 1) / (told["last"] - told["first"]), terms, cpu)


def _batch(number: int) -> Batch:
    items = payload.text(payload.page(number))
    return Batch(f"batch-{number}", "bench", 1, 1, (), "2026-01-01T00:00:00.000Z", payload.ITEMS, items)


def _stub(*given: str | Site | Path | int) -> contextlib.AbstractAsyncContextManager[Program]:
    *options, site, out, items = given
    assert isinstance(site, Site)
    assert isinstance(out, Path)
    assert isinstance(items, int)
    return worker_stub(site, out, items, *map(str, options))


def _aio_pika(
    kind: str, together: int, site: Site, out: Path, items: int
) -> contextlib.AbstractAsyncContextManager[Program]:
    environment = {payload.OUT: str(out), payload.EXPECTED: str(items)}
    module = "tests.benchmarks.peers.aio_pika_worker"
    command = (PEER_PYTHON / "python", "-m", module, site.url, topology.WORK, kind, str(together))
    return site.running(*command, environment=environment)
