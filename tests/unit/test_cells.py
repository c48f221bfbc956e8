"""What the cells of tables say."""

from __future__ import annotations

import datetime as dt

from coordinator.cli.cells import age, duration, in_words, routes, size, throttles


def test_times_are_told_shortly() -> None:
    """A moment that is none has no age, one that is to come is now, and spans have one unit."""
    now = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)
    assert age("2026-01-01T11:59:00.000+00:00", now) == 60
    assert age("2026-01-01T12:00:09Z", now) == 0
    assert age(None, now) is None
    assert age("2026-01-01T11:59:00", now) is None
    spans = (None, 0.31, 59, 119, 120, 7300, 200_000)
    assert [duration(span) for span in spans] == ["", "0.3 s", "59 s", "119 s", "2 m", "2 h", "2 d"]


def test_policies_are_told_in_words() -> None:
    """A seed's routes and throttles."""
    row = {
        "policies": [
            {"type": "route", "routeTo": "web"},
            {"type": "throttle", "period": "second", "value": 5},
            {"type": "throttle", "period": "day", "value": 100},
        ]
    }
    assert routes(row) == ["web"]
    assert throttles(row) == "5/second, 100/day"
    assert (routes({}), throttles({})) == ([], "")


def test_sizes() -> None:
    """In the unit in which they are short, with a digit more where that says something."""
    assert [size(count) for count in (None, 0, 1023, 1024, 1536, 10 * 1024, 82_123_788_288)] == [
        "",
        "0 B",
        "1023 B",
        "1.0 KiB",
        "1.5 KiB",
        "10 KiB",
        "76 GiB",
    ]


def test_moments_in_sentences() -> None:
    """They are told as times of the day here; all else is left as it is."""
    here = dt.datetime(2026, 1, 1, 12, 0, 1, tzinfo=dt.UTC).astimezone()
    assert in_words("throttled until 2026-01-01T12:00:01.500Z") == f"throttled until {here:%H:%M:%S}"
    assert in_words("no worker has the tag gpu") == "no worker has the tag gpu"
    assert in_words(None) is None
