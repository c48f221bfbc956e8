"""A wait with a deadline for what can be seen: a fault has taken effect, or its end has."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

Seen = TypeVar("Seen")

DEADLINE = 10.0
PAUSE = 0.01


async def proved(
    claim: str,
    look: Callable[[], Seen],
    holds: Callable[[Seen], object],
    deadline: float | None = None,
) -> Seen:
    """Look again and again until what is seen satisfies; return it.

    Args:
        claim: what shall be true, as a sentence; the error begins with it.
        look: returns what there is to see now.
        holds: whether what is seen proves the claim.
        deadline: seconds until the claim counts as false, `DEADLINE` by default.

    Raises:
        AssertionError: the claim is false; the sentence says what was seen last.
    """

    async def now() -> Seen:
        return look()

    return await asked(claim, now, holds, deadline)


async def asked(
    claim: str,
    look: Callable[[], Awaitable[Seen]],
    holds: Callable[[Seen], object],
    deadline: float | None = None,
) -> Seen:
    """Do as `proved()` where to look takes a question to a server.

    Raises:
        AssertionError: the claim is false; the sentence says what was seen last.
    """
    loop = asyncio.get_running_loop()
    seconds = DEADLINE if deadline is None else deadline
    end = loop.time() + seconds
    while not holds(seen := await look()):
        if loop.time() > end:
            raise AssertionError(f"not true within {seconds:g} s: {claim}; seen last: {seen}")
        await asyncio.sleep(PAUSE)
    return seen
