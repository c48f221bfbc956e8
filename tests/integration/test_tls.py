"""TLS: of the HTTP side, of the broker and of its management API, with certificates of an authority of our own."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from pydantic import SecretStr

from coordinator.broker.connection import Connection
from coordinator.broker.queue_health import QueueHealth
from coordinator.client.http_worker import HttpWorker
from coordinator.client.reader import Reader
from coordinator.errors import BrokerUnavailableError, CoordinatorError, ManagementError
from coordinator.http.server import check_certificate
from coordinator.local_rabbitmq.broker import PrivateBroker
from coordinator.local_rabbitmq.find_server import find_server
from coordinator.local_rabbitmq.ports import choose_ports
from coordinator.node.session import connected
from coordinator.settings import Settings
from coordinator.tls import client_context
from tests.helpers.listener import Listener
from tests.helpers.steps import submit
from tests.helpers.support import PREFIX, in_ci, running_coordinator, serving

SCRIPT = Path(__file__).parents[2] / "scripts" / "make-test-certificates"

BROKER = """\
listeners.ssl.1 = 127.0.0.1:{amqp}
ssl_options.cacertfile = {folder}/ca.pem
ssl_options.certfile = {folder}/server.pem
ssl_options.keyfile = {folder}/server.key
management.ssl.ip = 127.0.0.1
management.ssl.port = {management}
management.ssl.cacertfile = {folder}/ca.pem
management.ssl.certfile = {folder}/server.pem
management.ssl.keyfile = {folder}/server.key
"""


@dataclass(frozen=True)
class Secured:
    """A broker that answers over TLS, and files of two authorities: the one of its certificate, and a stranger."""

    amqp_url: str
    management_url: str
    certificates: Path
    stranger: Path

    def settings(self, ca_file: Path | None = None) -> Settings:
        """Settings of a coordinator that speaks TLS on all sides."""
        return Settings(
            amqp_url=SecretStr(self.amqp_url),
            management_url=SecretStr(self.management_url),
            ca_file=ca_file or self.certificates / "ca.pem",
            tls_certificate=self.certificates / "server.pem",
            tls_key=self.certificates / "server.key",
            tokens_file=self.certificates / "none.json",
        )


def make_certificates(folder: Path) -> Path:
    """Run the script that users run."""
    if shutil.which("openssl") is None:
        if in_ci():
            pytest.fail("CI must have openssl")
        pytest.skip("no openssl")
    subprocess.run([SCRIPT, folder], check=True, capture_output=True)  # noqa: S603 - a script of this project
    return folder


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def secured(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Secured]:
    """A private broker that also answers over TLS, by a file of further configuration."""
    if find_server() is None:
        if in_ci():
            pytest.fail("CI must have an installed RabbitMQ")
        pytest.skip("no installed RabbitMQ")
    certificates = make_certificates(tmp_path_factory.mktemp("certificates"))
    stranger = make_certificates(tmp_path_factory.mktemp("stranger"))
    folder = tmp_path_factory.mktemp("broker")
    (folder / "lock").touch()
    (folder / "conf.d").mkdir()
    ports = choose_ports({"amqp": 0, "management": 0}, required=frozenset())
    (folder / "conf.d" / "tls.conf").write_text(BROKER.format(folder=certificates, **ports))
    async with PrivateBroker(folder) as broker:
        login = broker.urls.amqp.partition("://")[2].partition("@")[0]
        yield Secured(
            amqp_url=f"amqps://{login}@localhost:{ports['amqp']}/%2F",
            management_url=f"https://{login}@localhost:{ports['management']}",
            certificates=certificates,
            stranger=stranger / "ca.pem",
        )
        await broker.kill()  # nothing of it is kept, and a clean stop would take its time


@pytest.mark.asyncio(loop_scope="module")
async def test_all_sides_over_tls(secured: Secured) -> None:
    """A coordinator serves HTTPS and reaches its broker over TLS; a worker registers and connects as it is told."""
    settings = secured.settings()
    async with running_coordinator(settings) as node, serving(node) as url:
        assert url.startswith("https://")
        trusted = client_context(settings.ca_file)
        async with httpx.AsyncClient(base_url=url + PREFIX, verify=trusted, trust_env=False) as api:
            await submit(api, "s", 10)
        async with Reader(url, ca_file=settings.ca_file) as reader:
            assert [seed.id for seed in await reader.seeds()] == ["s"]
        async with HttpWorker(url, "w", ca_file=settings.ca_file) as client:
            registered = await client.register("amqp")
        assert registered.amqp_url is not None
        assert registered.amqp_url.startswith("amqps://worker")
        assert "cafile" not in registered.amqp_url
        worker = await Connection.open([settings.trusting(registered.amqp_url)], "worker:w")
        await worker.close()


@pytest.mark.asyncio(loop_scope="module")
async def test_callbacks_over_tls(secured: Secured) -> None:
    """A worker's own server is called over TLS if our authority stands for it, and is not told anything otherwise."""
    settings = secured.settings()
    trusted = client_context(settings.ca_file)
    good, bad = Listener(), Listener()
    async with (
        good.serve(certificates=secured.certificates) as good_url,
        bad.serve(certificates=secured.stranger.parent) as bad_url,
        running_coordinator(settings) as node,
        serving(node) as url,
        httpx.AsyncClient(base_url=url + PREFIX, verify=trusted, trust_env=False) as api,
    ):
        for worker, callback in (("bad", bad_url), ("good", good_url)):
            body = {"transport": "http", "callback": callback}
            assert (await api.put(f"/worker/{worker}", json=body)).status_code == 200
        await submit(api, "s", 1)
        answer = await api.put("/release/seed/s")
        told = {one["worker"]: one for one in answer.json()["results"][0]["callbacks"]}
        assert told["good"]["status"] == "told"
        assert "certificate verify failed" in told["bad"]["message"]
        assert not bad.calls


@pytest.mark.asyncio(loop_scope="module")
async def test_strangers_are_not_trusted(secured: Secured) -> None:
    """A certificate of an authority that is not trusted, or of another name, is refused on every side."""
    wrong = secured.settings(secured.stranger)
    with pytest.raises(BrokerUnavailableError, match="certificate verify failed"):
        await Connection.open(wrong.amqp_urls(), "stranger")
    right = secured.settings()
    mixed = right.model_copy(update={"ca_file": secured.stranger, "amqp_url": SecretStr(right.amqp_urls()[0])})
    with pytest.raises(ManagementError, match="certificate verify failed"):
        async with connected(mixed, "test", QueueHealth()):
            pass
    async with running_coordinator(right) as node, serving(node) as url:
        for reader in (Reader(url, ca_file=secured.stranger), Reader(url)):
            async with reader:
                with pytest.raises(BrokerUnavailableError, match="certificate verify failed"):
                    await reader.seeds()
        async with Reader(url.replace("https:", "http:")) as plain:
            with pytest.raises(CoordinatorError):
                await plain.seeds()


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    """A certificate, key or authority that cannot be used is told at the start, by its setting."""
    folder, other = make_certificates(tmp_path / "a"), make_certificates(tmp_path / "b")
    certificate, key = folder / "server.pem", folder / "server.key"
    check_certificate(Settings(tls_certificate=certificate, tls_key=key))
    for wrong in (
        Settings(tls_key=key),
        Settings(tls_certificate=tmp_path / "none.pem"),
        Settings(tls_certificate=certificate),
        Settings(tls_certificate=certificate, tls_key=other / "server.key"),
    ):
        with pytest.raises(CoordinatorError, match="COORDINATOR_TLS_KEY"):
            check_certificate(wrong)
    for ca_file in (tmp_path / "none.pem", key):
        with pytest.raises(CoordinatorError, match="COORDINATOR_CA_FILE"):
            client_context(ca_file)
