"""Seeds, workers, batches and dead letters as the contract's JSON."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Sequence

from starlette.requests import Request

from coordinator.domain.registry import Seed
from coordinator.http.requests import count_of, settings_of
from coordinator.node.session import Session
from coordinator.node.workers import WorkerView, held_lease

PAGE = 100
FAR = 10**9

View = dict[str, object]


def page_bounds(request: Request) -> tuple[int, int]:
    """Which part of a list is asked for: offset and limit."""
    largest = settings_of(request).max_list
    return count_of(request, "offset", 0, 0, FAR), count_of(request, "limit", min(PAGE, largest), 1, largest)


def page_of(request: Request, name: str, entries: Sequence[View]) -> View:
    """A part of a list, and how many there are."""
    offset, limit = page_bounds(request)
    return {name: entries[offset : offset + limit], "count": {"totalItems": len(entries)}}


async def seed_view(session: Session, seed: Seed, counts: dict[str, tuple[int, int]]) -> View:
    """A seed; `counts` are the ledger's."""
    waiting, is_counted = await session.seeds.waiting(seed.id)
    at_hand, _ = session.dispatcher.buffered(seed.id)
    queued, sent = counts.get(seed.id, (0, 0))
    known = session.roster.held() | {lease.batch.id for lease in session.leases.held()}
    is_exact = is_counted and all(one.batch in known for one in session.work.ledger.sent() if one.seed == seed.id)
    return {
        "id": seed.id,
        "state": seed.state,
        "epoch": seed.epoch,
        "priority": seed.spec.priority,
        "policies": [policy.model_dump(by_alias=True) for policy in seed.spec.policies],
        "batchSize": seed.spec.batch_size,
        "owner": session.instance if seed.id in session.dispatcher.lines else None,
        "counts": {
            "available": waiting + at_hand,
            "queued": queued,
            "sent": sent,
            "taken": session.work.ledger.taken(seed.id),
            "exact": is_exact,
        },
    }


def worker_view(view: WorkerView) -> View:
    """A worker."""
    worker = view.worker
    return {
        "id": worker.id,
        "tags": worker.spec.tags,
        "transport": worker.spec.transport,
        "callback": worker.spec.callback,
        "registered": worker.registered,
        "connected": view.is_connected,
        "capacity": view.capacity,
        "lastSeen": dt.datetime.fromtimestamp(view.last_seen, dt.UTC).isoformat(timespec="milliseconds"),
        "held": [held.model_dump() for held in view.held],
    }


def held_batches(session: Session) -> list[View]:
    """Who holds which batch: `worker` is None for what a client holds that does not say."""
    named: list[View] = []
    for heard in session.roster.present():
        named.extend({"worker": heard.presence.worker, **held.model_dump()} for held in heard.presence.held)
    named.extend({"worker": lease.worker, **held_lease(lease).model_dump()} for lease in session.leases.held())
    known = {str(one["batch"]) for one in named}
    strangers: list[View] = [
        {
            "worker": None,
            "batch": one.batch,
            "seed": one.seed,
            "count": one.count,
            "since": dt.datetime.fromtimestamp(one.at, dt.UTC).isoformat(timespec="milliseconds"),
            "begun": None,
        }
        for one in session.work.ledger.sent()
        if one.batch not in known
    ]
    return sorted([*named, *strangers], key=lambda one: str(one["since"]))


async def dead_views(session: Session, offset: int, limit: int) -> View:
    """A part of the dead letters."""
    found, total = await session.dead.list(offset, limit)
    return {"dead": [dataclasses.asdict(one) for one in found], "count": {"totalItems": total}}
