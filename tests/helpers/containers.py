"""A broker in a container, where a Docker engine runs."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from secrets import token_hex

from coordinator.local_rabbitmq.config import advanced_config
from coordinator.local_rabbitmq.node import BrokerUrls

IMAGE = os.environ.get("COORDINATOR_TEST_IMAGE", "rabbitmq:4-management")
USER = "coordinator"
CONF = b"consumer_timeout = 86400000\ncollect_statistics_interval = 1000\ndisk_free_limit.absolute = 50MB\n"
HOME = "/etc/rabbitmq"
START_SECONDS = 120


def has_engine() -> bool:
    """Whether a Docker engine answers."""
    docker = shutil.which("docker")
    if docker is None:
        return False
    try:
        answer = subprocess.run([docker, "info"], capture_output=True, timeout=10, check=False)  # noqa: S603 - docker itself
    except subprocess.TimeoutExpired:
        return False
    return answer.returncode == 0


@contextlib.contextmanager
def broker_in_container() -> Iterator[BrokerUrls]:
    """RabbitMQ with its management plugin, as quick to tell its figures as a private broker; gone at the end."""
    # Only where an engine runs, for importing them asks for one. The library's own RabbitMQ container needs a
    # second AMQP client, to wait with.
    from testcontainers.core.container import DockerContainer  # noqa: PLC0415
    from testcontainers.core.wait_strategies import ExecWaitStrategy  # noqa: PLC0415

    password = token_hex(16)
    # As the server's own user from the start: run by root, the check could make the Erlang cookie first, and the
    # server could not read it.
    answers = ExecWaitStrategy(["rabbitmq-diagnostics", "-q", "check_port_connectivity"])
    container = (
        DockerContainer(IMAGE, user="rabbitmq", hostname="broker")
        .with_envs(RABBITMQ_DEFAULT_USER=USER, RABBITMQ_DEFAULT_PASS=password)
        .with_copy_into_container(CONF, f"{HOME}/conf.d/20-tests.conf")
        .with_copy_into_container(advanced_config().encode(), f"{HOME}/advanced.config")
        .with_exposed_ports(5672, 15672)
        .waiting_for(answers.with_startup_timeout(START_SECONDS))
    )
    with container:
        host = container.get_container_host_ip()
        login = f"{USER}:{password}@{host}"
        yield BrokerUrls(
            amqp=f"amqp://{login}:{container.get_exposed_port(5672)}/%2F",
            management=f"http://{login}:{container.get_exposed_port(15672)}",
        )
