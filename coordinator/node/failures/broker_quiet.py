"""Whether nothing is out, according to the broker: then a suspect is alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import structlog

from coordinator.broker.management import Management
from coordinator.broker.management_answers import Totals
from coordinator.errors import ManagementError
from coordinator.node.work_queues.publisher import Publisher

log = structlog.get_logger(__name__)

LEADERLESS: Final = 60.0
"""Seconds without an answer after which a queue counts as one that lost its leader for good."""


async def is_nothing_out(publisher: Publisher, management: Management) -> bool:
    """Return whether no worker holds a batch of any work queue, nor will get one, according to the broker."""
    try:
        totals = await management.totals()
    except ManagementError as error:
        log.warning("management.failed", problem=str(error))
        return False
    for queue in set(publisher.depth.queues).difference(totals):
        await publisher.depth.look(queue)
    return not publisher.in_flight and all(_is_still(publisher, queue, totals) for queue in publisher.depth.queues)


def _is_still(publisher: Publisher, queue: str, totals: Mapping[str, Totals]) -> bool:
    """Return whether no worker holds a batch of a work queue, nor will get one.

    A queue without a leader delivers nothing. What it delivered before cannot be known, so it is waited for, but
    not for ever.
    """
    out = totals.get(queue)
    if out is None:
        return publisher.depth.is_silent(queue, LEADERLESS)
    return out.unacked == 0 and (out.ready == 0 or not publisher.depth.consumers(queue))
