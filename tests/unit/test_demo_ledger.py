"""The demo's ledger: it must see what is wrong, or its verdict is worth nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from coordinator.demo.crew import Results
from coordinator.demo.ledger import Entry, Outcome, balance, hash_anew, list_entries
from coordinator.models import BatchResults, ItemResult
from worker_stub.filesystem import handle
from worker_stub.handlers import Context, Result

CONTEXT = Context(worker="w", seed="s", batch="b", attempt=1, redelivered=False)


@pytest.fixture
def crawled(tmp_path: Path) -> tuple[dict[str, Entry], dict[str, Outcome]]:
    """A small tree as listed, and what a crawl without fault says of it."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.txt").write_text("first")
    (tmp_path / "b.txt").write_text("second")
    (tmp_path / "link").symlink_to("b.txt")
    entries = list_entries(str(tmp_path))
    outcomes = {}
    for ident, entry in entries.items():
        result = handle(entry.item, CONTEXT)
        assert isinstance(result, Result)
        assert isinstance(result.data, dict)
        outcomes[ident] = Outcome(result.status, result.data, result.error)
    return entries, outcomes


def test_clean(crawled: tuple[dict[str, Entry], dict[str, Outcome]]) -> None:
    """A crawl that found all and nothing else balances: files, bytes, media types."""
    entries, outcomes = crawled
    ledger = balance(entries, outcomes)
    assert ledger.is_clean
    assert (ledger.expected, ledger.done, ledger.files_done, ledger.bytes_done) == (5, 5, 2, 11)
    assert (ledger.files_listed, ledger.bytes_listed) == (2, 11)
    assert dict(ledger.media) == {"text/plain": 2}


def test_lost(crawled: tuple[dict[str, Entry], dict[str, Outcome]]) -> None:
    """An entry without a result is lost, and the ledger is not clean."""
    entries, outcomes = crawled
    gone = next(iter(outcomes))
    del outcomes[gone]
    ledger = balance(entries, outcomes)
    assert ledger.lost == [gone]
    assert not ledger.is_clean


def test_strange(crawled: tuple[dict[str, Entry], dict[str, Outcome]]) -> None:
    """A result for what was never listed is told, and the ledger is not clean."""
    entries, outcomes = crawled
    outcomes["/elsewhere"] = Outcome("ok", {}, None)
    ledger = balance(entries, outcomes)
    assert ledger.strange == ["/elsewhere"]
    assert not ledger.is_clean


def test_hashes(crawled: tuple[dict[str, Entry], dict[str, Outcome]]) -> None:
    """Files are hashed anew: an untouched one agrees, and one that holds something else does not."""
    entries, outcomes = crawled
    changed = next(ident for ident in outcomes if ident.endswith("b.txt"))
    Path(changed).write_text("SECOND")
    assert {Path(ident).name: agrees for ident, agrees in hash_anew(entries, outcomes, 10)} == {
        "a.txt": True,
        "b.txt": False,
    }


def test_again() -> None:
    """Results that are told twice count as delivered again; the first ones stand."""
    results = Results()
    for attempt in (1, 2):
        told = BatchResults(
            batch="b", seed="s", worker="w", attempt=attempt, results=(ItemResult(id="a", status="ok"),)
        )
        results.record(told)
    assert results.of("s")["a"].times == 2
    assert [one.attempt for one in results.handled] == [1, 2]
