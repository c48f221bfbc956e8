"""Seeds, workers, batches and dead letters as the contract's JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from starlette.requests import Request

from coordinator.batch_validation import decode_batch
from coordinator.domain.registry import Seed
from coordinator.errors import InvalidInputError
from coordinator.http.requests import count_of, settings_of
from coordinator.models import Item
from coordinator.node.observe.overview import Broker, WorkQueue
from coordinator.node.observe.seed_stats import SeedView
from coordinator.node.wiring import Session
from coordinator.node.workers.workers import WorkerView
from coordinator.times import rfc3339
from coordinator.validation import parse_items

PAGE = 100
FAR = 10**9

View = dict[str, object]


def page_bounds(request: Request) -> tuple[int, int]:
    """Return offset and limit of the requested part of a list."""
    largest = settings_of(request).max_list
    return count_of(request, "offset", 0, 0, FAR), count_of(request, "limit", min(PAGE, largest), 1, largest)


def page_of(request: Request, name: str, entries: Sequence[View]) -> View:
    """Return the requested part of a list, and how many entries there are."""
    offset, limit = page_bounds(request)
    return {name: entries[offset : offset + limit], "count": {"totalItems": len(entries)}}


async def seed_views(session: Session, seeds: Sequence[Seed]) -> list[View]:
    """Return seeds with their counts."""
    return [_seed_view(session, view) for view in await session.seed_stats.views(seeds)]


def _seed_view(session: Session, view: SeedView) -> View:
    seed = view.seed
    return {
        "id": seed.id,
        "state": seed.state,
        "epoch": seed.epoch,
        "priority": seed.spec.priority,
        "policies": [policy.model_dump(by_alias=True) for policy in seed.spec.policies],
        "batchSize": seed.spec.batch_size,
        "owner": session.replicas.owner(seed.id) if seed.state == "running" else None,
        "counts": dataclasses.asdict(view.counts),
        "since": rfc3339(seed.since),
        "rate": round(view.rate, 2),
        "progress": {"drained": view.is_drained, "inHand": view.standing.in_hand},
        "why": view.why,
    }


def worker_view(view: WorkerView) -> View:
    """Return a worker."""
    worker = view.worker
    return {
        "id": worker.id,
        "tags": worker.spec.tags,
        "transport": worker.spec.transport,
        "callback": worker.spec.callback,
        "registered": worker.registered,
        "connected": view.is_connected,
        "capacity": view.capacity,
        "lastSeen": rfc3339(view.last_seen),
        "held": [held.model_dump() for held in view.held],
        "state": view.state,
    }


async def held_batches(session: Session) -> list[View]:
    """Return all held batches; `worker` is None if the client does not identify itself."""
    return [{"worker": one.worker, **one.held.model_dump()} for one in await session.held_batches.held()]


async def dead_view(session: Session, ident: str) -> View:
    """Return a dead letter with its body."""
    letter, body = await session.dead_letters.get(ident)
    items: list[Item] | None = None
    try:
        items = decode_batch(body).load_items() if letter.kind == "batch" else parse_items(body)
    except InvalidInputError:
        items = None
    text = None if letter.kind == "batch" else body.decode(errors="replace")
    return {**dataclasses.asdict(letter), "body": text, "items": items}


def queue_view(queue: WorkQueue) -> View:
    """Return a work queue."""
    return dataclasses.asdict(queue)


def broker_view(broker: Broker) -> View:
    """Return the broker."""
    nodes = [
        {
            "name": node.name,
            "running": node.running,
            "memoryAlarm": node.memory_alarm,
            "diskAlarm": node.disk_alarm,
            "memory": node.memory,
            "diskFree": node.disk_free,
        }
        for node in broker.nodes
    ]
    return {**dataclasses.asdict(broker), "nodes": nodes}


async def dead_views(session: Session, offset: int, limit: int) -> View:
    """Return a part of the dead letters."""
    found, total = await session.dead_letters.list(offset, limit)
    return {"dead": [dataclasses.asdict(one) for one in found], "count": {"totalItems": total}}
