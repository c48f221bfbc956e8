"""Who may get what: a worker may get a batch when it has all of the batch's tags."""

from __future__ import annotations

from collections.abc import Iterable

TagSet = tuple[str, ...]
"""The tags of a batch: sorted, each once."""


def eligible(worker: frozenset[str], sets: Iterable[TagSet]) -> list[TagSet]:
    """The tag sets a worker may serve: those it has all tags of; the most demanding first, then by name.

    The demanding ones come first because fewer workers can serve them.
    """
    return sorted((tags for tags in sets if worker.issuperset(tags)), key=lambda tags: (-len(tags), tags))
