"""Dramatiq with the RabbitMQ broker: its actor gets a batch.

It acks when the actor is through; publications are confirmed by `confirm_delivery`
(https://dramatiq.io/reference.html#dramatiq.brokers.rabbitmq.RabbitmqBroker). It knows no quorum queues, so its queue's
arguments are overridden. Settings: one thread or four; the prefetch is raised by `dramatiq_queue_prefetch`
(https://dramatiq.io/advanced.html#environment-variables).
"""

from __future__ import annotations

import os
import sys
from typing import Any

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker

from tests.benchmarks.payload import Tally, pages

QUEUE = os.environ["BENCH_QUEUE"]


class QuorumBroker(RabbitmqBroker):
    """The broker with quorum queues."""

    def _build_queue_arguments(self, queue_name: str) -> dict[str, Any]:
        return {**super()._build_queue_arguments(queue_name), "x-queue-type": "quorum"}


broker = QuorumBroker(url=os.environ["BENCH_URL"], confirm_delivery=True, middleware=[])
dramatiq.set_broker(broker)
tally = Tally.of_environment()


@dramatiq.actor(queue_name=QUEUE)
def take(items: list[dict[str, Any]]) -> None:
    """Do nothing but count."""
    tally.batch(items)


if __name__ == "__main__":
    for one in pages(int(sys.argv[2]), int(sys.argv[3])):
        take.send(one)
    broker.close()
