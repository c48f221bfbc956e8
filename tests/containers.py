"""A broker in a container, where a Docker engine runs."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator

from coordinator.broker.private import BrokerUrls

IMAGE = "rabbitmq:4-management"


def has_engine() -> bool:
    """Whether a Docker engine answers."""
    docker = shutil.which("docker")
    if docker is None:
        return False
    answer = subprocess.run([docker, "info"], capture_output=True, timeout=10, check=False)  # noqa: S603 - docker itself
    return answer.returncode == 0


@contextlib.contextmanager
def broker_in_container() -> Iterator[BrokerUrls]:
    """RabbitMQ 4 with its management plugin, gone at the end."""
    from testcontainers.community.rabbitmq import RabbitMqContainer  # noqa: PLC0415 - only where an engine runs

    with RabbitMqContainer(IMAGE).with_exposed_ports(5672, 15672) as container:
        host = container.get_container_host_ip()
        login = f"{container.username}:{container.password}@{host}"
        yield BrokerUrls(
            amqp=f"amqp://{login}:{container.get_exposed_port(5672)}/%2F",
            management=f"http://{login}:{container.get_exposed_port(15672)}",
        )
