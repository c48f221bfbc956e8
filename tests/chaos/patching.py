"""How a coordinator of the run is changed from outside: its functions are wrapped, by name, before it starts."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any

Make = Callable[[Callable[..., Any]], Callable[..., Any]]


def wrap(owner: object, name: str, make: Make) -> None:
    """Put what `make` makes of a function in its place; `owner` is its class or module.

    Raises:
        AttributeError: there is no such function: the coordinator has changed, and so must what is wrapped.
    """
    setattr(owner, name, make(getattr(owner, name)))


def followed_by(after: Callable[[], None]) -> Make:
    """Have something happen each time right after a coroutine function is through."""

    def make(act: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        @functools.wraps(act)
        async def both(*args: object, **kwargs: object) -> object:
            result = await act(*args, **kwargs)
            after()
            return result

        return both

    return make
