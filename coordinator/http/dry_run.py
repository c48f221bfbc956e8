"""Routes that say what a release or a drain would do now. They change nothing."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

from starlette.requests import Request
from starlette.responses import Response

from coordinator.domain import dry_run
from coordinator.http.requests import id_of, session_of
from coordinator.http.responses import Json
from coordinator.validation import check_seed_id, check_worker_id


async def release_seed(request: Request) -> Response:
    """What the release of a seed would do."""
    session = session_of(request)
    ident = check_seed_id(id_of(request))
    [view] = await session.seed_stats.views([session.catalog.get(ident)])
    held = [(one.worker, one.held) for one in await session.held_batches.held() if one.held.seed == ident]
    transports = {worker.id: worker.spec.transport for worker in session.workers.known()} if held else {}
    effects = dry_run.release_seed(
        available=view.counts.available,
        queued=view.counts.queued,
        epoch=view.seed.epoch,
        held=held,
        transports=transports,
        now=dt.datetime.now(dt.UTC),
    )
    return _answer(ident, effects)


async def release_worker(request: Request) -> Response:
    """What the release of a worker would do."""
    view = await session_of(request).workers.get(check_worker_id(id_of(request)))
    return _answer(view.worker.id, dry_run.release_worker(view.held, view.worker.spec.transport))


async def drain_worker(request: Request) -> Response:
    """What the drain of a worker would do."""
    view = await session_of(request).workers.get(check_worker_id(id_of(request)))
    return _answer(view.worker.id, dry_run.drain_worker(view.held))


def _answer(ident: str, effects: Iterable[dry_run.Effect]) -> Response:
    return Json({"id": ident, "effects": [{"what": what, "then": then} for what, then in effects]})
