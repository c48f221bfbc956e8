"""What `status` draws: fits its height, says what is wrong, and what each worker holds."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from coordinator.cli.status_view import Snapshot, render, warnings

AT = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)


def seed(ident: str, available: int = 0, taken: int = 0, **more: object) -> dict[str, Any]:
    """A seed as it is read."""
    counts = {"available": available, "queued": 0, "sent": 0, "taken": taken, "exact": True}
    return {
        "id": ident,
        "state": "running",
        "priority": "medium",
        "policies": [],
        "counts": counts,
        "rate": 0.0,
        **more,
    }


def worker(ident: str, *batches: tuple[str, str, int], **more: object) -> dict[str, Any]:
    """A live worker as it is read; batches are ids, seeds, and seconds for which it has held them."""
    held = [
        {"batch": batch, "seed": of, "count": 100, "since": (AT - dt.timedelta(seconds=age)).isoformat()}
        for batch, of, age in batches
    ]
    row = {"id": ident, "transport": "amqp", "tags": [], "state": "live", "lastSeen": AT.isoformat(), "held": held}
    return {**row, **more}


def snapshot(**parts: Any) -> Snapshot:  # noqa: ANN401 - any part of it
    """A snapshot of nothing, but for these parts."""
    nothing = Snapshot(
        url="http://c:8787",
        at=AT.timestamp(),
        seeds=[],
        workers=[],
        batches=[],
        dead=0,
        queues=[],
        coordinators=[],
        broker={"product": "RabbitMQ", "version": "", "nodes": [], "blocked": False, "known": False},
    )
    return replace(nothing, **parts)


def drawn(what: Snapshot, *, width: int = 120, height: int | None = None, problem: str | None = None) -> str:
    """The view as text."""
    console = Console(width=width, color_system=None, file=None, record=True, quiet=False)
    with console.capture() as capture:
        console.print(render(what, None, height=height, problem=problem))
    return capture.get()


@pytest.mark.parametrize("height", [12, 18, 24, 50])
def test_the_view_fits_the_screen(height: int) -> None:
    """Thousands of seeds and hundreds of workers are cut to the screen, and it says how many are left out."""
    many = snapshot(
        seeds=[seed(f"s{number}", number) for number in range(3000)], workers=[worker(f"w{n}") for n in range(500)]
    )
    text = drawn(many, height=height)
    assert len(text.splitlines()) <= height
    assert "seeds: 3000" in text
    assert "workers: 500" in text
    assert "more" in text
    assert "s2999" in text


def test_a_worker_is_told_with_what_it_holds() -> None:
    """Its batches, of which seed, for how long; its id is whole on a narrow screen, too."""
    text = drawn(snapshot(workers=[worker("crawler-7", ("0f2c81aa99", "photos", 90))]), width=80)
    assert "crawler-7" in text
    assert "0f2c81" in text
    assert "90 s" in text


def test_rates_are_shown_and_added_up() -> None:
    """Each seed's rate as the coordinator says, and their sum."""
    text = drawn(snapshot(seeds=[seed("a", rate=40.0), seed("b", rate=60.25)]))
    assert "40.0" in text
    assert "60.2" in text
    assert "(100/s)" in text


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (snapshot(seeds=[seed("s", 7)]), "7 items wait, and no worker is live"),
        (snapshot(dead=3), "3 dead letters"),
        (snapshot(broker={"blocked": True, "nodes": []}), "accepts no messages"),
        (snapshot(broker={"blocked": False, "nodes": [{"name": "rabbit@b", "running": False}]}), "rabbit@b is down"),
        (snapshot(queues=[{"name": "work.x", "warning": "nobody is eligible"}]), "work.x: nobody is eligible"),
        (
            snapshot(batches=[{"batch": "b", "since": (AT - dt.timedelta(hours=1)).isoformat()}]),
            "1 batches are held for over 10 m",
        ),
    ],
)
def test_what_is_wrong_is_said(what: Snapshot, said: str) -> None:
    """Each thing that an operator should look at is a line, in the view and in the JSON."""
    assert any(said in line for line in warnings(what))
    assert said in drawn(what)
    assert what.document()["warnings"] == warnings(what)


def test_all_is_well() -> None:
    """Where nothing is wrong, nothing is said."""
    assert warnings(snapshot(seeds=[seed("s", 7)], workers=[worker("w")])) == []


def test_an_outage_keeps_what_was_known() -> None:
    """While no coordinator answers, the last figures stay, and a line says so."""
    text = drawn(snapshot(seeds=[seed("s", 7)]), problem="no coordinator answers")
    assert "trying again: no coordinator answers" in text
    assert "seeds: 1" in text


def test_ids_cannot_move_the_cursor() -> None:
    """An id that holds control characters, from whatever source, is shown with escapes."""
    text = drawn(snapshot(seeds=[seed("a\x1b[2Jb", 1)]))
    assert "\x1b[2J" not in text
    assert "a\\x1b[2Jb" in text
