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
NAME: Final = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?")
"""A host's name, or an IPv4 address."""
LONGEST_NAME: Final = 253


@dataclass(frozen=True, slots=True)
class Target:
    """A callback's URL, taken apart; `base` is what a route is appended to."""

    host: str
    port: int
    base: str


def parse_callback(url: str) -> Target:
    """Take a callback's URL apart.

    Raises:
        InvalidInputError: it cannot be called: it has another scheme, credentials, a query or a fragment.
    """
    try:
        parts = urlsplit(url if PLAIN.fullmatch(url) and "\\" not in url else "")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise refused(f"is no URL: {error}") from error
    if parts.scheme not in PORTS or not host:
        raise refused("must be an http:// or https:// URL, in ASCII")
    if not _is_host(host):
        raise refused(f"{host[:LONGEST_NAME]!r} is no name or address of a host")
    if "@" in parts.netloc:
        raise refused("must not hold credentials")
    if "?" in url or "#" in url:
        raise refused("must not hold a query or a fragment: the route is appended to it")
    return Target(host, PORTS[parts.scheme] if port is None else port, url.rstrip("/"))


def _is_host(text: str) -> bool:
    if ":" not in text:
        return len(text) <= LONGEST_NAME and NAME.fullmatch(text) is not None
    try:
        return IPv6Address(text).scope_id is None
    except ValueError:
        return False


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
