"""One valid example of each body, for the OpenAPI document."""

from __future__ import annotations

from typing import Final

NOW: Final = "2026-01-01T12:00:00.000Z"
SEED: Final = "photos"
WORKER: Final = "worker-1"
HANDLE: Final = "1f2e3d4c.5m1yQk0zJv2c8G3dYw4XbA"
BATCH: Final = "5f0c7b1e9f7c4d0c8d6a2b3c4d5e6f70"

ITEM: Final = {"id": "a.jpg", "action": "process", "url": "https://example.org/a.jpg", "metadata": {"depth": 1}}
SPEC: Final[dict[str, object]] = {
    "priority": "high",
    "policies": [
        {"type": "throttle", "period": "second", "value": 500},
        {"type": "route", "routeTo": "web"},
    ],
    "batchSize": 100,
}
ONE_SEED: Final = {
    "id": SEED,
    "state": "running",
    "epoch": 1,
    **SPEC,
    "owner": "1f2e3d4c",
    "counts": {"available": 1200, "queued": 400, "sent": 100, "taken": 300, "exact": True},
    "since": NOW,
    "rate": 12.5,
    "progress": {"drained": False, "inHand": 40},
    "why": "the work queue is full: 1 worker holds 4 batches",
}
HELD: Final = {"batch": BATCH, "seed": SEED, "count": 1, "since": NOW, "begun": True}
ONE_WORKER: Final = {
    "id": WORKER,
    "tags": ["web"],
    "transport": "http",
    "callback": "http://127.0.0.1:9000/notices",
    "registered": True,
    "connected": True,
    "capacity": None,
    "lastSeen": NOW,
    "held": [HELD],
    "state": "live",
}
DEAD: Final = {
    "id": BATCH,
    "kind": "batch",
    "seed": SEED,
    "reason": "failed 6 times",
    "at": NOW,
    "attempt": 6,
    "count": 1,
    "history": ["attempt 1: lost with its worker"],
    "body": None,
}


def _results(**fields: object) -> dict[str, object]:
    return {"message": "1 done", "results": [{"id": SEED, "status": 200, "message": "done", **fields}]}


EXAMPLES: Final[dict[str, object]] = {
    "SeedIds": {"id": [SEED, "AAABcID5GBc="]},
    "WorkerIds": {"id": WORKER},
    "Handles": [{"id": HANDLE}],
    "Items": [ITEM],
    "ItemLines": '{"id": "a.jpg"}\n{"id": "b", "action": "scan"}\n',
    "SeedSpec": SPEC,
    "WorkerSpec": {"tags": ["web"], "transport": "http", "callback": "http://127.0.0.1:9000/notices"},
    "BatchResults": {
        "batch": BATCH,
        "seed": SEED,
        "worker": WORKER,
        "attempt": 1,
        "results": [{"id": "a.jpg", "status": "ok", "data": {"title": "A"}}],
    },
    "Said": {"message": "what was done, or what stood in the way"},
    "Stopped": {"message": "line 252 is over its limit of 1048576 bytes (COORDINATOR_MAX_LINE)", "accepted": 250},
    "Invalid": {
        "message": "batchSize: Input should be less than or equal to 1000",
        "errors": [{"field": "batchSize", "message": "Input should be less than or equal to 1000"}],
    },
    "Accepted": {"message": "1 items accepted", "accepted": 1},
    "SeedAnswer": ONE_SEED,
    "SeedList": {"seeds": [ONE_SEED], "count": {"totalItems": 1}},
    "WorkerAnswer": ONE_WORKER,
    "Registered": {**ONE_WORKER, "held": [], "amqpUrl": None},
    "WorkerList": {"workers": [ONE_WORKER], "count": {"totalItems": 1}},
    "HoldingList": {"batches": [{"worker": WORKER, **HELD}], "count": {"totalItems": 1}},
    "DeadWhole": {**DEAD, "items": [ITEM]},
    "QueueList": {
        "queues": [
            {
                "name": "work.web",
                "tags": ["web"],
                "ready": 4,
                "unacked": 2,
                "consumers": 1,
                "eligible": 1,
                "warning": None,
            }
        ],
        "count": {"totalItems": 1},
    },
    "CoordinatorList": {
        "coordinators": [
            {
                "instance": "1f2e3d4c",
                "version": "0.1.0",
                "host": "crawl-1",
                "since": NOW,
                "seeds": 3,
                "lag": 0.002,
                "you": True,
            }
        ],
        "count": {"totalItems": 1},
    },
    "EventList": {
        "events": [
            {
                "id": "63c8e5d5a1b40-1f2e3d4c-2a",
                "at": NOW,
                "kind": "batch.held",
                "seed": SEED,
                "worker": WORKER,
                "batch": BATCH,
                "items": 1,
                "attempt": 1,
                "coordinator": "1f2e3d4c",
            }
        ],
        "count": {"totalItems": 1},
    },
    "BrokerAnswer": {
        "product": "RabbitMQ",
        "version": "4.1.0",
        "nodes": [
            {
                "name": "rabbit@broker-1",
                "running": True,
                "memoryAlarm": False,
                "diskAlarm": False,
                "memory": 150_000_000,
                "diskFree": 50_000_000_000,
            }
        ],
        "blocked": False,
        "known": True,
    },
    "DeadList": {"dead": [DEAD], "count": {"totalItems": 1}},
    "Fetched": {
        "batches": [
            {
                "id": HANDLE,
                "batch": BATCH,
                "seed": SEED,
                "epoch": 1,
                "attempt": 1,
                "tags": ["web"],
                "created": NOW,
                "items": [ITEM],
            }
        ]
    },
    "Settled": {"message": "1 acked", "results": [{"id": HANDLE, "status": 200, "message": "acked"}]},
    "Resumed": _results(),
    "SeedsReleased": _results(
        epoch=2, returned=1600, held=100, batches=[BATCH], callbacks=[{"worker": WORKER, "status": "told"}]
    ),
    "WorkersReleased": {
        "message": "1 done",
        "results": [{"id": WORKER, "status": 200, "message": "released", "batches": 1}],
    },
    "WorkersDraining": {
        "message": "1 done",
        "results": [{"id": WORKER, "status": 200, "message": "asked to finish what it holds", "batches": 1}],
    },
    "SeedsPurged": _results(purged=1600),
    "DryRun": {
        "id": SEED,
        "effects": [{"what": "Epoch 1 becomes 2:", "then": "no worker gets a batch of an older epoch again."}],
    },
    "Ready": {"message": "ready", "instance": "1f2e3d4c", "seeds": 3},
}
