"""RabbitMQ's management API: worker users, connections, totals of queues, one policy."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import httpx

from coordinator import topology
from coordinator.errors import ManagementError
from coordinator.tls import close_unfinished, verification

TIMEOUT: Final = 5.0
NOT_FOUND: Final = 404


@dataclass(frozen=True, slots=True)
class BrokerConnection:
    """A client's connection: the broker's name for it, its user, and the name that the client gave itself."""

    name: str
    user: str
    client_name: str


@dataclass(frozen=True, slots=True)
class Totals:
    """Messages of a queue, as of the broker's last count, which is some seconds old."""

    ready: int
    unacked: int
    leaving: int = 0
    """Those that failed and are not yet known to be where dead letters go."""
    members: int = 1
    """Nodes that the queue lives on."""
    away: int = 0
    """Those of them that do not answer, as far as the broker has noticed."""

    @property
    def is_empty(self) -> bool:
        """Whether it holds nothing."""
        return not self.ready + self.unacked + self.leaving


@dataclass(frozen=True, slots=True)
class Product:
    """What the broker is: its name and version."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class BrokerNode:
    """A node of the broker: `memory` used and `disk_free`, in bytes."""

    name: str
    running: bool
    memory_alarm: bool
    disk_alarm: bool
    memory: int
    disk_free: int


class Management:
    """One virtual host's management API, at whichever node of the broker answers.

    All that is called here may be repeated, so a node that does not answer, or with an error of its own, is left
    for the next one. That one is kept to: else each call would wait for the first node anew.

    Args:
        urls: of the APIs of all nodes, separated by commas, with user and password.
        vhost: the virtual host's name.
        ca_file: authorities to trust in place of the system's.

    Raises:
        CoordinatorError: the file is none.
    """

    def __init__(self, urls: str, vhost: str, ca_file: Path | None = None) -> None:
        self._vhost_name = vhost
        self._vhost = quote(vhost, safe="")
        self._nodes = [_client(url.strip(), ca_file) for url in urls.split(",") if url.strip()]
        self._preferred = random.randrange(len(self._nodes))  # noqa: S311 - so that not all ask the first node

    async def close(self) -> None:
        """Give the sockets back."""
        for node in self._nodes:
            await node.aclose()

    async def version(self) -> str:
        """The broker's version.

        Raises:
            ManagementError: as every method here, when the API refuses or does not answer.
        """
        answer = (await self._call("GET", "/api/overview")).json()
        return str(answer["rabbitmq_version"])

    async def read(self, path: str) -> tuple[Any, float | None]:
        """What the API says at a path, and the broker's clock then: Unix time in seconds, None where it tells none.

        `{vhost}` in the path is this virtual host.
        """
        answer = await self._call("GET", path.replace("{vhost}", self._vhost))
        try:
            clock = parsedate_to_datetime(answer.headers["date"]).timestamp()
        except (KeyError, ValueError):
            clock = None
        return answer.json(), clock

    async def keep_unrouted_items(self) -> None:
        """Let what `items` cannot route go to its alternate exchange.

        By policy: a producer that declares `items` need not know of it, as it would for an argument.
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
        """Make this virtual host, with all permissions for a user."""
        await self._call("PUT", f"/api/vhosts/{self._vhost}")
        everything = {"configure": ".*", "write": ".*", "read": ".*"}
        await self._call("PUT", f"/api/permissions/{self._vhost}/{quote(user, safe='')}", everything)

    async def delete_vhost(self) -> None:
        """Delete this virtual host and all that is in it; harmless when it is gone."""
        with contextlib.suppress(_MissingError):
            await self._call("DELETE", f"/api/vhosts/{self._vhost}")

    async def make_user(self, user: str, password: str, permissions: Mapping[str, str]) -> None:
        """Make a user, or give it a new password, with these permissions (`configure`, `write`, `read`) alone."""
        await self._call("PUT", f"/api/users/{quote(user, safe='')}", {"password": password, "tags": ""})
        await self._call("PUT", f"/api/permissions/{self._vhost}/{quote(user, safe='')}", dict(permissions))

    async def delete_user(self, user: str) -> bool:
        """Bar a user and close its connections; False when there is no such user."""
        try:
            await self._call("DELETE", f"/api/users/{quote(user, safe='')}")
        except ManagementError as error:
            if error.status != NOT_FOUND:
                raise
            return False
        return True

    async def connections(self) -> list[BrokerConnection]:
        """All client connections that the broker has described: a new one only after its next count, some 5 s."""
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
        """All connections of this moment, new ones too: the broker's names for them, and their users."""
        answer = (await self._call("GET", "/api/connections?disable_stats=true")).json()
        return {str(one["name"]): str(one.get("user", "")) for one in answer if one.get("vhost") == self._vhost_name}

    async def close_connection(self, name: str, reason: str) -> None:
        """Close a connection by the broker's name for it; harmless when it is gone.

        With statistics the broker would not find a connection that it has not described yet.
        """
        path = f"/api/connections/{quote(name, safe='')}?disable_stats=true"
        with contextlib.suppress(_MissingError):
            await self._call("DELETE", path, headers={"X-Reason": reason})

    async def totals(self) -> dict[str, Totals]:
        """Ready and unacked messages by queue; of one without a leader, or most of its members, nobody can say."""
        query = "disable_stats=true&enable_queue_totals=true"
        answer = (await self._call("GET", f"/api/queues/{self._vhost}?{query}")).json()
        return {str(one["name"]): _totals_of(one) for one in answer if "messages_ready" in one and _may_answer(one)}

    async def running_nodes(self) -> set[str]:
        """The names of the cluster's nodes that run, as the node that is asked sees it."""
        answer = (await self._call("GET", "/api/nodes?columns=name,running")).json()
        return {str(one["name"]) for one in answer if one["running"]}

    async def product(self) -> Product:
        """What the broker is."""
        answer = (await self._call("GET", "/api/overview")).json()
        return Product(str(answer.get("product_name", "RabbitMQ")), str(answer["rabbitmq_version"]))

    async def nodes(self) -> list[BrokerNode]:
        """The cluster's nodes; one that does not run tells no figures."""
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
        if node.is_closed:  # the session that asks has just ended
            raise ManagementError("the management API is no longer asked")
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


def _totals_of(queue: Mapping[str, Any]) -> Totals:
    ready, unacked = int(queue["messages_ready"]), int(queue.get("messages_unacknowledged", 0))
    leaving = max(0, int(queue.get("messages", 0)) - ready - unacked)
    members, online = (len(queue.get(key) or ()) for key in ("members", "online"))
    return Totals(ready, unacked, leaving, max(1, members), max(0, members - online))


def _may_answer(queue: Mapping[str, Any]) -> bool:
    """Whether a queue has a leader and most of its members, where it has any: else it answers nobody."""
    members = queue.get("members") or ()
    is_led = queue.get("leader", "") is not None
    return not members or (is_led and 2 * len(queue.get("online") or ()) > len(members))


def _figure(value: object) -> int:
    """A figure; a node that cannot tell one says so in words."""
    return int(value) if isinstance(value, int | float) else 0


class _MissingError(ManagementError):
    """What was asked for does not exist."""


class _AwayError(ManagementError):
    """This node does not do it now; another one may."""
