"""The broker users of workers: their names, and what they may do."""

from __future__ import annotations

import re
from urllib.parse import quote

from coordinator import topology


def worker_user(vhost: str, ident: str) -> str:
    """The broker user of a worker: users are the whole broker's, so the virtual host is part of the name."""
    return f"worker:{vhost}:{ident}"


def permissions(ident: str, tags: tuple[str, ...]) -> dict[str, str]:
    """The least that a worker needs, as regular expressions over names of queues and exchanges."""
    own = re.escape(topology.worker_queue_name(ident))
    names = "|".join(re.escape(quote(tag, safe="")) for tag in tags)
    tagged = rf"(\.({names})(\+({names}))*)?" if names else ""
    writable = (topology.RETURNS, topology.ITEMS, topology.RESULTS, topology.PRESENCE)
    return {
        "configure": f"^{own}$",
        "write": f"^({own}|{'|'.join(writable)})$",
        "read": f"^({own}|{topology.CONTROL}|{topology.WORK}{tagged})$",
    }
