"""Callbacks of HTTP workers: which addresses may be called."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Final
from urllib.parse import urlsplit

from coordinator.errors import InvalidInputError

PORTS: Final = {"http": 80, "https": 443}
PLAIN: Final = re.compile(r"[!-~]+")
"""ASCII without spaces and control characters."""


@dataclass(frozen=True, slots=True)
class Target:
    """A callback's URL, taken apart; `base` is what a route is appended to."""

    host: str
    port: int
    base: str


def parse_callback(url: str) -> Target:
    """Take a callback's URL apart.

    Raises:
        InvalidInputError: it is none that may be called: other schemes, credentials, a query or a fragment.
    """
    try:
        parts = urlsplit(url if PLAIN.fullmatch(url) and "\\" not in url else "")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise refused(f"is no URL: {error}") from error
    if parts.scheme not in PORTS or not host:
        raise refused("must be an http:// or https:// URL, in ASCII")
    if "@" in parts.netloc:
        raise refused("must not hold credentials")
    if "?" in url or "#" in url:
        raise refused("must not hold a query or a fragment: the route is appended to it")
    return Target(host, PORTS[parts.scheme] if port is None else port, url.rstrip("/"))


def is_same_host(address: str, other: str) -> bool:
    """Whether two texts are the same IP address, however they write it."""
    try:
        return _plain(address) == _plain(other)
    except ValueError:
        return False


def _plain(text: str) -> object:
    address = ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def refused(what: str) -> InvalidInputError:
    """Why a callback is not taken."""
    return InvalidInputError([("callback", what)])
