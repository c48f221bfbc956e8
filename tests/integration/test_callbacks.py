"""A seed's release is sent to the callbacks of HTTP workers."""

from __future__ import annotations

import socket
from urllib.parse import quote

import httpx
import pytest
from structlog.testing import capture_logs

from coordinator.local_rabbitmq.node import BrokerUrls
from tests.helpers.listener import Listener
from tests.helpers.steps import served, submit
from tests.helpers.support import DEADLINE, eventually, own_vhost

HOSTILE = "a/b+c= ü"
PROMPT = "coordinator.node.workers.callbacks.PROMPT"


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the reply wait for the first try, however busy the machine is; how long it waits is no promise."""
    monkeypatch.setattr(PROMPT, DEADLINE)


async def register(api: httpx.AsyncClient, url: str, worker: str = "w", transport: str = "http") -> None:
    """Register a worker with a callback."""
    answer = await api.put(f"/worker/{worker}", json={"transport": transport, "callback": url})
    assert answer.status_code == 200, answer.text


async def release(api: httpx.AsyncClient, seed: str = "s") -> list[dict[str, str]]:
    """Release a seed; gives what is said of callbacks."""
    answer = await api.put(f"/release/seed/{quote(seed, safe='')}")
    assert answer.status_code == 200, answer.text
    told: list[dict[str, str]] = answer.json()["results"][0]["callbacks"]
    return told


async def test_every_http_worker_with_a_callback_is_told(api: httpx.AsyncClient) -> None:
    """The notice has the body of the release; workers without callback, on AMQP or removed are left alone."""
    listener = Listener()
    await submit(api, HOSTILE, 5)
    async with listener.serve() as url:
        await register(api, f"{url}/hook/", "w1")
        await register(api, url, "w2")
        await register(api, url, "gone")
        await register(api, url, "amqp", transport="amqp")
        await api.put("/worker/silent", json={"transport": "http"})
        await api.delete("/worker/gone")
        told = await release(api, HOSTILE)
        assert told == [{"worker": "w1", "status": "told"}, {"worker": "w2", "status": "told"}]
        body = {"id": HOSTILE}
        assert sorted(listener.calls) == [("PUT", "/hook/release/seed", body), ("PUT", "/release/seed", body)]
        assert listener.hosts == [url.removeprefix("http://")] * 2


async def test_a_slow_callback_does_not_hold_up_the_reply(
    api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The release is answered while the callback is not; the worker is called later."""
    monkeypatch.setattr(PROMPT, 0.3)
    listener = Listener()
    await submit(api, "s", 5)
    with capture_logs() as logs:
        async with listener.serve() as url:
            await register(api, url)
            listener.hold.clear()
            assert [one["status"] for one in await release(api)] == ["pending"]
            listener.hold.set()
            await eventually(lambda: [one for one in logs if one["event"] == "callback.told"], "the notice")
        assert len(listener.calls) == 1


async def test_a_callback_that_fails_is_tried_again(api: httpx.AsyncClient) -> None:
    """A server's failure, and a request to come back later, may pass."""
    listener = Listener([500, 429])
    await submit(api, "s", 5)
    async with listener.serve() as url:
        await register(api, url)
        assert await release(api) == [{"worker": "w", "status": "pending", "message": "answered 500"}]
        await eventually(lambda: len(listener.calls) == 3, "the third try")


async def test_a_callback_that_nobody_answers_is_tried_again(api: httpx.AsyncClient) -> None:
    """A worker whose server begins a little later still hears of the release."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    await submit(api, "s", 5)
    await register(api, f"http://127.0.0.1:{port}")
    told = await release(api)
    assert told[0]["status"] == "pending"
    assert "does not answer" in told[0]["message"]
    listener = Listener()
    async with listener.serve(port):
        await eventually(lambda: listener.calls, "the notice")


@pytest.mark.parametrize("status", [302, 307, 401, 404])
async def test_what_the_worker_refuses_is_final(api: httpx.AsyncClient, status: int) -> None:
    """Redirects are not followed, and a refusal is not repeated."""
    listener = Listener([status])
    await submit(api, "s", 5)
    async with listener.serve() as url:
        await register(api, url)
        assert await release(api) == [{"worker": "w", "status": "failed", "message": f"answered {status}"}]
        assert [path for _, path, _ in listener.calls] == ["/release/seed"]


async def test_old_news_is_not_told(api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be told before the seed was resumed is told no more."""
    monkeypatch.setattr(PROMPT, 0.3)
    listener = Listener([500])
    await submit(api, "s", 5)
    with capture_logs() as logs:
        async with listener.serve() as url:
            await register(api, url)
            listener.hold.clear()
            assert (await release(api))[0]["status"] == "pending"
            assert (await api.put("/resume/seed/s")).status_code == 200
            listener.hold.set()
            await eventually(lambda: [one for one in logs if one["event"] == "callback.failed"], "the end of the tries")
        assert len(listener.calls) == 1


@pytest.mark.parametrize(
    "url",
    [
        "http://192.0.2.1/",
        "http://127.0.0.2:80/",
        "http://169.254.169.254/latest",
        "http://nobody.invalid/",
        "http://user:secret@127.0.0.1/",
        "file:///etc/passwd",
        "http://127.0.0.1/?x=",
    ],
)
async def test_only_the_host_that_registers_may_be_called(api: httpx.AsyncClient, url: str) -> None:
    """Any other callback is 406 under its field, and the worker is not registered."""
    answer = await api.put("/worker/w", json={"transport": "http", "callback": url})
    assert answer.status_code == 406, answer.text
    assert [fault["field"] for fault in answer.json()["errors"]] == ["callback"]
    assert "secret" not in answer.text
    assert (await api.get("/worker/w")).status_code == 404


async def test_the_operator_may_list_hosts(broker: BrokerUrls) -> None:
    """With a list, its hosts may be called and no others."""
    listener = Listener()
    async with own_vhost(broker, callback_hosts="other, LocalHost") as settings, served(settings) as api:
        await submit(api, "s", 5)
        async with listener.serve() as url:
            assert (await api.put("/worker/w", json={"transport": "http", "callback": url})).status_code == 406
            await register(api, url.replace("127.0.0.1", "localhost"))
            assert await release(api) == [{"worker": "w", "status": "told"}]


async def test_callbacks_outlive_the_coordinator(broker: BrokerUrls) -> None:
    """The next coordinator knows whom to tell, and where from it registered."""
    listener = Listener()
    async with own_vhost(broker) as settings, listener.serve() as url:
        async with served(settings) as api:
            await submit(api, "s", 5)
            await register(api, url)
        async with served(settings) as api:
            assert await release(api) == [{"worker": "w", "status": "told"}]
