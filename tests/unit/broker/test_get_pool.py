"""Messages are fetched on several channels at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import pytest

from coordinator.broker.channel import Channel
from coordinator.broker.get_pool import CHANNELS, GetChannels, GetPool
from coordinator.broker.types import Delivery
from coordinator.errors import BrokerInternalError


@dataclass(eq=False)
class FakeChannel:
    """Gives out `ready` messages, or raises `error`."""

    ready: int = 0
    error: Exception | None = None
    is_closed: bool = False
    asked: list[int] = field(default_factory=list)

    async def get_many(self, _: str, most: int) -> list[Delivery | None]:
        """Give out some."""
        self.asked.append(most)
        if self.error:
            raise self.error
        given = min(most, self.ready)
        self.ready -= given
        return [cast("Delivery", object())] * given + [None] * (most - given)

    async def close(self) -> None:
        """Close it."""
        self.is_closed = True


def channels_of(*channels: FakeChannel) -> GetChannels:
    """Opens these channels, one after the other."""
    left = list(channels)

    class FakePool:
        async def channel(self, _: Callable[[str], None]) -> Channel:
            return cast("Channel", left.pop(0))

    return GetChannels(cast("GetPool", FakePool()))


async def test_requests_are_spread_over_channels() -> None:
    """No more channels are opened than there are requests or than are allowed."""
    fakes = [FakeChannel(ready=10) for _ in range(CHANNELS)]
    channels = channels_of(*fakes)
    assert len(await channels.get_many("work", 2)) == 2
    assert [len(one.asked) for one in fakes] == [1, 1] + [0] * (CHANNELS - 2)
    got = await channels.get_many("work", 3 * CHANNELS)
    assert all(got)
    assert [one.asked[-1] for one in fakes] == [3] * CHANNELS


async def test_what_came_is_kept_though_a_channel_fails() -> None:
    """The answers of the other channels count, and the missing ones are empty."""
    channels = channels_of(FakeChannel(error=BrokerInternalError("ended")), FakeChannel(ready=1))
    got = await channels.get_many("work", 2)
    assert [one is None for one in got] == [False, True]


async def test_a_failure_is_raised_where_nothing_came() -> None:
    """Otherwise a broken queue would look empty."""
    channels = channels_of(FakeChannel(error=BrokerInternalError("ended")), FakeChannel())
    with pytest.raises(BrokerInternalError):
        await channels.get_many("work", 2)


async def test_a_closed_channel_is_replaced() -> None:
    """The next request opens another one; at the end all are closed."""
    first, second = FakeChannel(ready=1), FakeChannel(ready=1)
    channels = channels_of(first, second)
    await channels.get_many("work", 1)
    first.is_closed = True
    assert all(await channels.get_many("work", 1))
    await channels.close()
    assert (first.asked, second.asked, second.is_closed) == ([1], [1], True)
