"""The demo's broker: the one in the settings, else a private node, else one in a container."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncIterator
from secrets import token_hex
from urllib.parse import urlsplit, urlunsplit

from coordinator.broker.management import Management
from coordinator.demo.crew import DemoFailedError
from coordinator.errors import ManagementError
from coordinator.local_rabbitmq.broker import PrivateBroker
from coordinator.local_rabbitmq.find_server import find_server
from coordinator.local_rabbitmq.node import BrokerUrls
from coordinator.settings import Settings

IMAGE = "rabbitmq:4-management"
USER = "coordinator"
START = 120.0


@contextlib.asynccontextmanager
async def a_broker(given: Settings) -> AsyncIterator[BrokerUrls]:
    """A broker for the demo alone, which ends with it.

    Args:
        given: settings that may name a broker; the demo then uses its own virtual host there.

    Raises:
        PrivateBrokerError: no RabbitMQ was found; the error says what to install.
        DemoFailedError: the container did not start.
    """
    if given.amqp_urls():
        async with _own_vhost(given) as urls:
            yield urls
    elif find_server() is None and (docker := shutil.which("docker")) and await _answers(docker):
        async with _container(docker) as urls:
            yield urls
    else:
        async with PrivateBroker() as private:
            yield private.urls


@contextlib.asynccontextmanager
async def _own_vhost(given: Settings) -> AsyncIterator[BrokerUrls]:
    name = f"coordinator-demo-{token_hex(4)}"
    urls = [urlsplit(url) for url in given.amqp_urls()]
    management = Management(given.management(), name)
    try:
        await management.make_vhost(urls[0].username or "guest")
        try:
            amqp = ",".join(urlunsplit(url._replace(path=f"/{name}", fragment="")) for url in urls)
            yield BrokerUrls(amqp=amqp, management=given.management())
        finally:
            await management.delete_vhost()
    finally:
        await management.close()


@contextlib.asynccontextmanager
async def _container(docker: str) -> AsyncIterator[BrokerUrls]:
    password = token_hex(16)
    ports = ("-p", "127.0.0.1::5672", "-p", "127.0.0.1::15672")
    # Passed by name, because a value in the arguments would show in lists of processes.
    names = ("-e", "RABBITMQ_DEFAULT_USER", "-e", "RABBITMQ_DEFAULT_PASS")
    secrets = {"RABBITMQ_DEFAULT_USER": USER, "RABBITMQ_DEFAULT_PASS": password}
    ident = await _run(docker, "run", "--detach", "--rm", *ports, *names, IMAGE, environment=secrets)
    try:
        amqp, http = [(await _run(docker, "port", ident, port)).splitlines()[0] for port in ("5672", "15672")]
        login = f"{USER}:{password}"
        urls = BrokerUrls(amqp=f"amqp://{login}@{amqp}/%2F", management=f"http://{login}@{http}")
        await _until_up(urls)
        yield urls
    finally:
        await _run(docker, "rm", "--force", ident)


async def _until_up(urls: BrokerUrls) -> None:
    management = Management(urls.management, "/")
    try:
        async with asyncio.timeout(START):
            while True:
                with contextlib.suppress(ManagementError):
                    await management.version()
                    return
                await asyncio.sleep(0.5)
    except TimeoutError:
        raise DemoFailedError(f"the broker in a container did not start within {START:g} s") from None
    finally:
        await management.close()


async def _answers(docker: str) -> bool:
    try:
        await _run(docker, "info")
    except DemoFailedError:
        return False
    return True


async def _run(docker: str, *arguments: str, environment: dict[str, str] | None = None) -> str:
    process = await asyncio.create_subprocess_exec(
        docker,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **(environment or {})},
    )
    out, problem = await process.communicate()
    if process.returncode:
        raise DemoFailedError(f"docker {arguments[0]}: {problem.decode(errors='replace').strip()}")
    return out.decode().strip()
