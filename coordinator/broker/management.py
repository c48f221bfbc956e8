"""Call RabbitMQ's management API: users, connections, totals of queues, nodes, and one policy."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import httpx

from coordinator import topology
from coordinator.broker.management_answers import BrokerConnection, BrokerNode, Product, Totals, may_answer, read_totals
from coordinator.errors import ManagementError
from coordinator.tls import close_unfinished, verification

TIMEOUT: Final = 5.0
NOT_FOUND: Final = 404
FAILED: Final = 500
GONE, LOOK = 1.0, 0.02
"""Seconds in which a connection that ends is gone, and between two looks for it."""


class Management:
    """The management API for one virtual host, on any node of the broker that answers.

    When a node does not answer, or has a server error, the same call goes to the next node. Every call here may be
    repeated. Later calls stay with the node that answered, because otherwise each would wait for the first one again.

    Args:
        urls: the URLs of all nodes' APIs, separated by commas, with user and password.
        vhost: the virtual host's name.
        ca_file: a file of certificate authorities to trust instead of the system's.

    Raises:
        CoordinatorError: the file is not a valid file of certificates.
    """

    def __init__(self, urls: str, vhost: str, ca_file: Path | None = None) -> None:
        self._vhost_name = vhost
        self._vhost = quote(vhost, safe="")
        self._nodes = [_client(url.strip(), ca_file) for url in urls.split(",") if url.strip()]
        self._preferred = random.randrange(len(self._nodes))  # noqa: S311 - spreads the load over the nodes

    async def close(self) -> None:
        """Close the connections to the API."""
        for node in self._nodes:
            await node.aclose()

    async def version(self) -> str:
        """Return the broker's version.

        Raises:
            ManagementError: the API refuses, or does not answer. Every method here can raise it.
        """
        answer = (await self._call("GET", "/api/overview")).json()
        return str(answer["rabbitmq_version"])

    async def read(self, path: str) -> tuple[Any, float | None]:
        """Read a path of the API; returns the answer and the broker's clock.

        The clock is Unix time in seconds, or None if the answer has no date. `{vhost}` in the path stands for this
        virtual host.
        """
        answer = await self._call("GET", path.replace("{vhost}", self._vhost))
        try:
            clock = parsedate_to_datetime(answer.headers["date"]).timestamp()
        except (KeyError, ValueError):
            clock = None
        return answer.json(), clock

    async def keep_unrouted_items(self) -> None:
        """Set a policy that sends messages which `items` cannot route to an alternate exchange.

        With an argument of the exchange instead, every producer that declares `items` would have to give it too.
        """
        await self._call(
            "PUT",
            f"/api/policies/{self._vhost}/coordinator-items",
            {
                "pattern": f"^{re.escape(topology.ITEMS)}$",
                "definition": {"alternate-exchange": topology.NEW_SEEDS},
                "apply-to": "exchanges",
            },
        )

    async def make_vhost(self, user: str) -> None:
        """Create this virtual host, and give a user all permissions in it."""
        await self._call("PUT", f"/api/vhosts/{self._vhost}")
        everything = {"configure": ".*", "write": ".*", "read": ".*"}
        await self._call("PUT", f"/api/permissions/{self._vhost}/{quote(user, safe='')}", everything)

    async def delete_vhost(self) -> None:
        """Delete this virtual host with everything in it; harmless when it does not exist."""
        with contextlib.suppress(_MissingError):
            await self._call("DELETE", f"/api/vhosts/{self._vhost}")

    async def make_user(self, user: str, password: str, permissions: Mapping[str, str]) -> None:
        """Create a user or change its password. It has only these permissions (`configure`, `write`, `read`)."""
        await self._call("PUT", f"/api/users/{quote(user, safe='')}", {"password": password, "tags": ""})
        await self._call("PUT", f"/api/permissions/{self._vhost}/{quote(user, safe='')}", dict(permissions))

    async def delete_user(self, user: str) -> bool:
        """Delete a user, which closes its connections; returns False when there is no such user."""
        try:
            await self._call("DELETE", f"/api/users/{quote(user, safe='')}")
        except ManagementError as error:
            if error.status != NOT_FOUND:
                raise
            return False
        return True

    async def connections(self) -> list[BrokerConnection]:
        """List the client connections. A new one appears after the broker's next count, which takes up to 5 s."""
        answer = (await self._call("GET", f"/api/vhosts/{self._vhost}/connections?disable_stats=true")).json()
        return [
            BrokerConnection(
                name=str(one["name"]),
                user=str(one.get("user", "")),
                client_name=str((one.get("client_properties") or {}).get("connection_name", "")),
            )
            for one in answer
        ]

    async def connection_users(self) -> dict[str, str]:
        """List all connections, also new ones: the broker's name of each, and its user."""
        answer = (await self._call("GET", "/api/connections?disable_stats=true")).json()
        return {str(one["name"]): str(one.get("user", "")) for one in answer if one.get("vhost") == self._vhost_name}

    async def close_connection(self, name: str, reason: str) -> None:
        """Close a connection by the broker's name of it; harmless when it does not exist.

        The request disables statistics. With them the broker does not find a connection that it has not counted yet.
        """
        path = f"/api/connections/{quote(name, safe='')}?disable_stats=true"
        try:
            await self._call("DELETE", path, headers={"X-Reason": reason})
        except _MissingError:
            return
        except ManagementError as error:
            # The broker answers so when the connection ends by itself in the same moment, as when its user was deleted.
            if error.status != FAILED or not await self._is_gone(name):
                raise

    async def _is_gone(self, connection: str) -> bool:
        """Whether a connection ends within a moment."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GONE):
                while connection in await self.connection_users():  # noqa: ASYNC110 - the broker sets no event here
                    await asyncio.sleep(LOOK)
                return True
        return False

    async def totals(self) -> dict[str, Totals]:
        """Count the messages of each queue. Queues without a leader or a majority of their members are left out."""
        query = "disable_stats=true&enable_queue_totals=true"
        answer = (await self._call("GET", f"/api/queues/{self._vhost}?{query}")).json()
        return {str(one["name"]): read_totals(one) for one in answer if "messages_ready" in one and may_answer(one)}

    async def running_nodes(self) -> set[str]:
        """List the names of the running nodes, as the node that answers sees them."""
        answer = (await self._call("GET", "/api/nodes?columns=name,running")).json()
        return {str(one["name"]) for one in answer if one["running"]}

    async def product(self) -> Product:
        """Return the broker's product name and version."""
        answer = (await self._call("GET", "/api/overview")).json()
        return Product(str(answer.get("product_name", "RabbitMQ")), str(answer["rabbitmq_version"]))

    async def nodes(self) -> list[BrokerNode]:
        """List the cluster's nodes. The figures of a node that is down are 0."""
        columns = "name,running,mem_alarm,disk_free_alarm,mem_used,disk_free"
        answer = (await self._call("GET", f"/api/nodes?columns={columns}")).json()
        return [
            BrokerNode(
                name=str(one["name"]),
                running=bool(one.get("running")),
                memory_alarm=bool(one.get("mem_alarm")),
                disk_alarm=bool(one.get("disk_free_alarm")),
                memory=_figure(one.get("mem_used")),
                disk_free=_figure(one.get("disk_free")),
            )
            for one in answer
        ]

    async def _call(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        problems = []
        first = self._preferred
        for at in (*range(first, len(self._nodes)), *range(first)):
            self._preferred = at
            try:
                return await self._ask(self._nodes[at], method, path, body, headers)
            except _AwayError as error:
                problems.append(error)
        self._preferred = first
        raise ManagementError("; ".join(map(str, problems)), problems[-1].status)

    async def _ask(
        self, node: httpx.AsyncClient, method: str, path: str, body: object, headers: Mapping[str, str] | None
    ) -> httpx.Response:
        if node.is_closed:  # the session ended while it called
            raise ManagementError("the connection to the management API is closed")
        try:
            async with asyncio.timeout(TIMEOUT):
                answer = await node.request(method, path, json=body, headers=headers)
        except (httpx.HTTPError, TimeoutError) as error:
            where = f"{node.base_url.host}:{node.base_url.port}"
            raise _AwayError(
                f"the management API at {where} does not answer: {str(error) or type(error).__name__}"
            ) from error
        what = f"{method} {path.partition('?')[0]}"
        if answer.status_code == NOT_FOUND:
            raise _MissingError(f"{what}: not found", NOT_FOUND)
        if answer.is_error:
            kind = _AwayError if answer.is_server_error else ManagementError
            raise kind(f"{what}: {answer.status_code} {answer.text[:200]}", answer.status_code)
        return answer


def _client(url: str, ca_file: Path | None) -> httpx.AsyncClient:
    parsed = httpx.URL(url)
    return httpx.AsyncClient(
        base_url=parsed.copy_with(username=None, password=None),
        auth=(parsed.username or "guest", parsed.password or "guest"),
        timeout=TIMEOUT,
        trust_env=False,
        verify=verification(url, ca_file),
        event_hooks={"request": [close_unfinished]},
    )


def _figure(value: object) -> int:
    """Read a figure; 0 when the node sent text instead, because it does not know the figure."""
    return int(value) if isinstance(value, int | float) else 0


class _MissingError(ManagementError):
    """The API has nothing at this path."""


class _AwayError(ManagementError):
    """This node does not answer, or has a server error. Another node may answer."""
