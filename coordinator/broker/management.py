"""RabbitMQ's management API: worker users, connections, totals of queues, one policy."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

import httpx

from coordinator import topology
from coordinator.errors import ManagementError
from coordinator.tls import verification

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


class Management:
    """One virtual host's management API.

    Args:
        url: where it answers, with user and password.
        vhost: the virtual host.
        ca_file: authorities to trust in place of the system's.

    Raises:
        CoordinatorError: the file is none.
    """

    def __init__(self, url: str, vhost: str, ca_file: Path | None = None) -> None:
        parsed = httpx.URL(url)
        self._vhost_name = vhost
        self._vhost = quote(vhost, safe="")
        self._http = httpx.AsyncClient(
            base_url=parsed.copy_with(username=None, password=None),
            auth=(parsed.username or "guest", parsed.password or "guest"),
            timeout=TIMEOUT,
            trust_env=False,
            verify=verification(url, ca_file),
        )

    async def close(self) -> None:
        """Give the sockets back."""
        await self._http.aclose()

    async def version(self) -> str:
        """The broker's version.

        Raises:
            ManagementError: as every method here, when the API refuses or does not answer.
        """
        answer = (await self._call("GET", "/api/overview")).json()
        return str(answer["rabbitmq_version"])

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
        """Ready and unacked messages by queue."""
        query = "disable_stats=true&enable_queue_totals=true"
        answer = (await self._call("GET", f"/api/queues/{self._vhost}?{query}")).json()
        return {
            str(one["name"]): Totals(int(one.get("messages_ready", 0)), int(one.get("messages_unacknowledged", 0)))
            for one in answer
        }

    async def _call(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        try:
            answer = await self._http.request(method, path, json=body, headers=headers)
        except httpx.HTTPError as error:
            raise ManagementError(
                f"the management API does not answer: {str(error) or type(error).__name__}"
            ) from error
        if answer.status_code == NOT_FOUND:
            raise _MissingError(f"{method} {path.partition('?')[0]}: not found", NOT_FOUND)
        if answer.is_error:
            raise ManagementError(
                f"{method} {path.partition('?')[0]}: {answer.status_code} {answer.text[:200]}", answer.status_code
            )
        return answer


class _MissingError(ManagementError):
    """What was asked for does not exist."""
