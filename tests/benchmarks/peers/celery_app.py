"""Celery: its task gets a batch.

Acks come when the task is through (`task_acks_late`), publications are confirmed (`confirm_publish`), queues are quorum
queues (https://docs.celeryq.dev/en/stable/getting-started/backends-and-brokers/rabbitmq.html#using-quorum-queues).
Results are ignored and the prefetch multiplier is raised, as for short tasks
(https://docs.celeryq.dev/en/stable/userguide/optimizing.html). Settings: the pool `solo`, or `prefork` with one child.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from celery import Celery
from kombu import Queue

from tests.benchmarks.payload import Tally, pages

QUEUE = os.environ["BENCH_QUEUE"]
app = Celery("bench", broker=os.environ["BENCH_URL"])
app.conf.update(
    broker_transport_options={"confirm_publish": True},
    task_acks_late=True,
    task_ignore_result=True,
    task_default_queue=QUEUE,
    task_queues=[Queue(QUEUE, queue_arguments={"x-queue-type": "quorum"})],
    worker_detect_quorum_queues=True,
    worker_prefetch_multiplier=100,
    worker_send_task_events=False,
    worker_enable_remote_control=False,
    broker_connection_retry_on_startup=True,
)
tally = Tally.of_environment()


@app.task(name="take")
def take(items: list[dict[str, Any]]) -> None:
    """Do nothing but count."""
    tally.batch(items)


if __name__ == "__main__":
    made = pages(int(sys.argv[2]), int(sys.argv[3]))
    with app.producer_pool.acquire(block=True) as producer:
        for one in made:
            take.apply_async((one,), producer=producer)
