"""The cache that dashboards poll through: who asks when, and how often is read."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from starlette.requests import Request
from starlette.responses import Response
from structlog.testing import capture_logs

from coordinator.errors import BrokerUnavailableError, BusyError
from coordinator.http.dashboard.polling import Polls
from coordinator.http.responses import Json


class Bed:
    """Polls with a clock and a read of its own, which counts how often it is carried out."""

    def __init__(self, most: int = 10) -> None:
        self.now = 100.0
        self.takes = 0.0
        self.reads = 0
        self.error: Exception | None = None
        self.polls = Polls(most, lambda: self.now)
        self.node = SimpleNamespace(is_ready=True, problem="it is away")

    async def read(self, _: Request) -> Response:
        """Answer the number of this read."""
        self.reads += 1
        await asyncio.sleep(0)
        self.now += self.takes
        if self.error is not None:
            raise self.error
        return Json(self.reads)

    async def ask(self, path: str = "/seed", *, fresh: bool = False, period: float = 1.0) -> Response:
        """Ask as a page does."""
        scope = {
            "type": "http",
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [(b"cache-control", b"no-cache")] if fresh else [],
            "app": SimpleNamespace(state=SimpleNamespace(node=self.node)),
        }
        return await self.polls.answer(Request(scope), self.read, period)

    async def number(self, path: str = "/seed", *, fresh: bool = False, period: float = 1.0) -> int:
        """Which read the answer is of."""
        return int(bytes((await self.ask(path, fresh=fresh, period=period)).body))


async def test_ten_pages_cost_what_one_does() -> None:
    """All that ask within a second share one read, even while it is under way."""
    bed = Bed()
    assert await asyncio.gather(*(bed.number() for _ in range(10))) == [1] * 10
    bed.now += 0.99
    assert await bed.number() == 1
    bed.now += 0.01
    assert await asyncio.gather(*(bed.number(fresh=True) for _ in range(10))) == [2] * 10
    assert await bed.number("/worker") == 3


async def test_a_page_may_ask_for_a_new_answer() -> None:
    """What is kept for longer than a second is read again for a page that has just acted."""
    bed = Bed()
    assert await bed.number(period=5.0) == 1
    bed.now += 1.0
    assert (await bed.number(period=5.0), await bed.number(fresh=True, period=5.0)) == (1, 2)
    bed.now += 0.5
    assert await bed.number(fresh=True, period=5.0) == 2
    bed.now += 4.5
    assert await bed.number(period=5.0) == 3


async def test_a_slow_read_takes_a_tenth_of_the_time() -> None:
    """A read of two seconds is repeated after twenty, however new the answer should be."""
    bed = Bed()
    bed.takes = 2.0
    assert await bed.number() == 1
    bed.now += 19.9
    assert await bed.number(fresh=True) == 1
    bed.now += 0.1
    assert await bed.number() == 2


async def test_a_reader_that_leaves_takes_no_answer_away() -> None:
    """When the page whose request reads goes away, the next one reads."""
    bed = Bed()
    first, second = asyncio.create_task(bed.number()), asyncio.create_task(bed.number())
    await asyncio.sleep(0)
    first.cancel()
    assert await second == 2


async def test_errors_are_kept_and_logged_once() -> None:
    """Ten pages make one line of log, and none while there is no session."""
    bed = Bed()
    bed.error = BrokerUnavailableError("it is away")
    with capture_logs() as logs:
        answers = await asyncio.gather(*(bed.ask() for _ in range(10)))
        assert [answer.status_code for answer in answers] == [503] * 10
        assert [line["event"] for line in logs] == ["http.unavailable"]
        bed.node.is_ready = False
        bed.now += 1.0
        assert (await bed.ask()).status_code == 503
    assert (bed.reads, len(logs)) == (1, 1)


async def test_what_is_not_asked_for_is_forgotten() -> None:
    """So many different reads are kept at once; one that is too old makes room."""
    bed = Bed(most=2)
    await asyncio.gather(bed.ask("/a"), bed.ask("/b"))
    with pytest.raises(BusyError, match="MAX_WATCHES"):
        await bed.ask("/c")
    await bed.ask("/a")
    bed.now += 1.0
    await bed.ask("/c")
