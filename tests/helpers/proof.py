"""A wait with a deadline for what can be seen: a fault has taken effect, or its end has."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import TypeVar

Seen = TypeVar("Seen")

DEADLINE = 10.0
PAUSE = 0.01


async def proved(
    claim: str,
    look: Callable[[], Seen | Awaitable[Seen]],
    holds: Callable[[Seen], object],
    deadline: float | None = None,
) -> Seen:
    """Look again and again until what is seen satisfies; return it.

    Args:
        claim: what shall be true, as a sentence; the error begins with it.
        look: returns what there is to see now, or an awaitable of it.
        holds: whether what is seen proves the claim.
        deadline: seconds until the claim counts as false, `DEADLINE` by default.

    Raises:
        AssertionError: the claim is false; the sentence says what was seen last.
    """
    loop = asyncio.get_running_loop()
    seconds = DEADLINE if deadline is None else deadline
    end = loop.time() + seconds
    while True:
        found = look()
        seen: Seen = await found if inspect.isawaitable(found) else found
        if holds(seen):
            return seen
        if loop.time() > end:
            raise AssertionError(f"not true within {seconds:g} s: {claim}; seen last: {seen}")
        await asyncio.sleep(PAUSE)
