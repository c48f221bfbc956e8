"""What the spool keeps through crashes, and what it refuses."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from coordinator.errors import CoordinatorError
from coordinator.models import Batch
from worker_stub.spool import Spool, SpoolBusyError

TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=50)
LOCK_AND_SAY_SO = """
import sys
from pathlib import Path
from worker_stub.spool import Spool
spool = Spool(Path(sys.argv[1]))
spool.lock()
print("locked", flush=True)
sys.stdin.read()
"""


def batch_of(ident: str, items: bytes = b'[{"id":"x","n": 1.50}]', attempt: int = 1) -> Batch:
    """A batch with this id."""
    return Batch(
        id=ident,
        seed="s",
        epoch=3,
        attempt=attempt,
        tags=("a", "b"),
        created="2024-01-02T03:04:05Z",
        count=1,
        items=items,
    )


def files(folder: Path) -> list[Path]:
    """The entries of the spool."""
    return sorted(folder.glob("*.json"))


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """A new spool."""
    return Spool(tmp_path / "spool")


def test_added_batches_come_back_oldest_first(spool: Spool) -> None:
    """What was added is loaded by another Spool on the folder, item bytes and all, in the order of adding."""
    batches = [batch_of(str(number)) for number in range(50)]
    for batch in batches:
        spool.add(batch)
    assert Spool(spool.folder).load() == batches


def test_adding_twice_keeps_one_in_its_place(spool: Spool) -> None:
    """A batch added again is still one batch, and as old as it was."""
    for ident in ("a", "b", "a"):
        spool.add(batch_of(ident))
    assert [batch.id for batch in spool.load()] == ["a", "b"]


def test_what_is_left_takes_the_place_of_the_batch(spool: Spool) -> None:
    """What is left of a batch, added under its id, loads in its place."""
    for ident in ("a", "b"):
        spool.add(batch_of(ident))
    left = batch_of("a", b'[{"id":"left"}]')
    spool.add(left)
    assert spool.load() == [left, batch_of("b")]


def test_remove(spool: Spool) -> None:
    """A removed batch is gone, the others stay, and removing it again does nothing."""
    for ident in ("a", "b"):
        spool.add(batch_of(ident))
    for _ in range(2):
        spool.remove("a")
        assert spool.load() == [batch_of("b")]


@given(TEXT, TEXT)
def test_any_id_is_safe(one: str, other: str) -> None:
    """Whatever an id holds, its batch is one file in the folder, apart from that of any other id."""
    with tempfile.TemporaryDirectory() as folder:
        spool = Spool(Path(folder))
        for ident in {one, other}:
            spool.add(batch_of(ident))
        assert {batch.id for batch in spool.load()} == {one, other}
        assert files(spool.folder) == sorted(path for path in Path(folder).rglob("*") if path.is_file())
        spool.remove(one)
        assert {batch.id for batch in spool.load()} == {other} - {one}


def test_modes(spool: Spool) -> None:
    """Nobody but the owner may look into the folder or its files, whatever the umask."""
    before = os.umask(0)
    try:
        other = Spool(spool.folder / "deep" / "folder")
        other.add(batch_of("a"))
        with other.lock():
            modes = {stat.S_IMODE(path.stat().st_mode) for path in other.folder.iterdir()}
    finally:
        os.umask(before)
    assert modes == {0o600}
    for folder in (other.folder, other.folder.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_everything_is_synced_in_order(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is on the disk before it has its name, and the folder after; a removal syncs the folder."""
    seen: list[str] = []
    sync, rename = os.fsync, Path.replace

    def noting_sync(descriptor: int) -> None:
        seen.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        sync(descriptor)

    def noting_rename(path: Path, target: Path) -> Path:
        seen.append("rename")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", noting_sync)
    monkeypatch.setattr(Path, "replace", noting_rename)
    spool.add(batch_of("a"))
    spool.remove("a")
    assert seen == ["file", "rename", "folder", "folder"]


def test_crash_before_the_rename_leaves_the_old(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that dies between writing and renaming leaves a temporary file, which goes; what was kept is kept."""

    class Died(BaseException):
        pass

    def die(*_arguments: object, **_options: object) -> None:
        raise Died

    spool.add(batch_of("a"))
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", die)
        patch.setattr(Path, "unlink", die)  # the dead do not tidy up
        with pytest.raises(Died):
            spool.add(batch_of("a", attempt=2))
    assert len(list(spool.folder.glob("*.tmp"))) == 1
    assert spool.load() == [batch_of("a")]
    assert list(spool.folder.iterdir()) == files(spool.folder)


def test_failed_write_leaves_nothing(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is the caller's to hear of, and leaves neither a temporary file nor half a batch."""

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            spool.add(batch_of("a"))
    assert list(spool.folder.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"\xff", b"null", b'{"id":"a"}', batch_of("a").encode()[:-3]])
def test_unreadable_entry_is_set_aside(spool: Spool, content: bytes) -> None:
    """An entry that is no batch is moved away whole and logged, the rest is loaded, and a second one has its place."""
    spool.add(batch_of("good"))
    for _ in range(2):
        (spool.folder / "bad.json").write_bytes(content)
        with capture_logs() as logs:
            assert spool.load() == [batch_of("good")]
        [log] = logs
        assert log["event"] == "spool.unreadable"
        assert Path(log["file"]).read_bytes() == content
    assert len(list((spool.folder / "unreadable").iterdir())) == 2
    assert len(files(spool.folder)) == 1


def test_entry_that_is_no_file_is_set_aside(spool: Spool) -> None:
    """A folder by the name of an entry is moved away like any other that cannot be read."""
    (spool.folder / "bad.json").mkdir()
    with capture_logs() as logs:
        assert spool.load() == []
    assert [log["event"] for log in logs] == ["spool.unreadable"]


def test_entry_under_another_name_is_set_aside(spool: Spool) -> None:
    """A copy of an entry is not loaded: no removal would ever find it, and it would be done at every start."""
    spool.add(batch_of("a"))
    (spool.folder / "copy.json").write_bytes(batch_of("a").encode())
    with capture_logs() as logs:
        assert spool.load() == [batch_of("a")]
    assert [log["event"] for log in logs] == ["spool.unreadable"]


def test_foreign_files_are_left_alone(spool: Spool) -> None:
    """What is no entry is neither loaded nor touched."""
    note = spool.folder / "note.txt"
    note.write_text("mine")
    assert spool.load() == []
    assert note.read_text() == "mine"


def test_order_survives_a_coarse_clock(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order is that of the clock at adding, not that of the names or of the file system's own stamps."""
    for moment, ident in ((3, "c"), (1, "a"), (2, "b")):
        monkeypatch.setattr(time, "time_ns", lambda moment=moment: moment)
        spool.add(batch_of(ident))
    assert [batch.id for batch in spool.load()] == ["a", "b", "c"]


def test_second_lock_is_refused(spool: Spool) -> None:
    """A folder locked once is refused to anyone else, with an error that names it, until it is unlocked."""
    with spool.lock():
        for other in (Spool(spool.folder), spool):
            with pytest.raises(SpoolBusyError, match=str(spool.folder)) as caught:
                other.lock()
            assert caught.value.folder == spool.folder
            assert isinstance(caught.value, CoordinatorError)
    spool.lock()
    spool.unlock()
    spool.unlock()
    Spool(spool.folder).lock().close()


def test_lock_ends_with_its_process(spool: Spool) -> None:
    """A worker process that is killed leaves no lock behind."""
    with subprocess.Popen(  # noqa: S603 - our own interpreter and script
        [sys.executable, "-c", LOCK_AND_SAY_SO, str(spool.folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        with pytest.raises(SpoolBusyError):
            spool.lock()
        other.kill()
        other.wait(10)
        spool.lock().close()


def test_attempt_and_items_are_kept(spool: Spool) -> None:
    """A batch comes back as it was, byte by byte: attempt, tags, and items whatever the spacing of their JSON."""
    batch = replace(batch_of("a", b'[ {"id" : "\\u00e9"} ]'), attempt=4, tags=())
    spool.add(batch)
    assert spool.load() == [batch]
