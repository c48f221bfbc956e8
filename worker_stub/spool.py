"""The spool: batches that a worker has acked but not finished, on disk, where a crash cannot lose them."""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import structlog

from coordinator.batch_validation import decode_batch
from coordinator.errors import CoordinatorError, InvalidInputError
from coordinator.models import Batch

RESUMED = ".resumed"

_log = structlog.get_logger(__name__)


class SpoolBusyError(CoordinatorError):
    """Another worker uses the folder: two workers would both run the same batches.

    Attributes:
        folder: the spool's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        super().__init__(f"the spool {folder} is in use by another worker")


class Spool:
    """A folder with one file for each batch, which holds the batch's JSON.

    All methods block, and raise OSError if the disk fails or is full. A batch is kept only once `add` has returned.
    A missing folder is created, readable by its owner only. Call `lock`, then `load`, and only then `add`.

    Attributes:
        folder: where the files are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock: int | None = None
        _make(folder)

    def lock(self) -> ExitStack:
        """Lock the folder for this process, until `unlock`, the end of a `with` block on the result, or its death.

        Raises:
            SpoolBusyError: it is locked, by another process or this one.
        """
        lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            if isinstance(error, BlockingIOError):
                raise SpoolBusyError(self.folder) from error
            raise
        self._lock = lock
        held = ExitStack()
        held.callback(self.unlock)
        return held

    def unlock(self) -> None:
        """Unlock the folder. If it is not locked, do nothing."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def add(self, batch: Batch) -> None:
        """Store a batch, so that a crash of the machine does not lose it. A batch with the same id is replaced."""
        target = self._path(batch.id)
        file, name = tempfile.mkstemp(suffix=".tmp", dir=self.folder)
        temporary = Path(name)
        try:
            with os.fdopen(file, "wb") as stream:
                stream.write(batch.encode())
                stream.flush()
                # Set by hand: the clock of the file system ticks too slowly to tell one batch from the next.
                created = _created(target)
                os.utime(stream.fileno(), ns=(created, created))
                os.fsync(stream.fileno())
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync(self.folder)

    def remove(self, batch_id: str) -> None:
        """Delete a batch. If it is not there, do nothing."""
        self._path(batch_id).unlink(missing_ok=True)
        self._path(batch_id).with_suffix(RESUMED).unlink(missing_ok=True)
        _sync(self.folder)

    def count_resumption(self, batch_id: str) -> int:
        """Count that a batch of an earlier run is started again, and return how often it was."""
        with (
            self._path(batch_id).with_suffix(RESUMED).open("ab") as file
        ):  # not synced: a crash of the machine may lose a count
            file.write(b".")
            return file.tell()

    def load(self) -> list[Batch]:
        """The batches of an earlier run, oldest first.

        A temporary file is a batch whose `add` never returned, so it was not acked: it is deleted. A file that cannot
        be read is moved into the subfolder `unreadable`, and logged.
        """
        for temporary in self.folder.glob("*.tmp"):
            temporary.unlink(missing_ok=True)
        entries = [(path.lstat().st_mtime_ns, path.name, path) for path in self.folder.glob("*.json")]
        return [batch for _, _, path in sorted(entries) if (batch := self._read(path)) is not None]

    def _read(self, path: Path) -> Batch | None:
        try:
            batch = decode_batch(path.read_bytes())
        except (InvalidInputError, OSError) as error:
            self._set_aside(path, str(error))
            return None
        if path == self._path(batch.id):
            return batch
        # `remove` would never find this file, so the batch would run again at every start.
        self._set_aside(path, f"the file of batch {batch.id!r} has another name")
        return None

    def _set_aside(self, path: Path, reason: str) -> None:
        aside = self.folder / "unreadable"
        _make(aside)
        target = aside / f"{path.name}.{time.time_ns()}"  # a unique name, so that no file overwrites another
        path.rename(target)
        _sync(aside)
        _sync(self.folder)
        _log.error("spool.unreadable", file=str(target), reason=reason)

    def _path(self, batch_id: str) -> Path:
        # An id may hold slashes and more than a file name can; its hash is safe and always the same.
        return self.folder / f"{hashlib.sha256(batch_id.encode()).hexdigest()}.json"


def _created(path: Path) -> int:
    """The time when the batch in this file was first added, in nanoseconds since 1970; now if there is no file."""
    with suppress(FileNotFoundError):
        return path.stat().st_mtime_ns
    return time.time_ns()


def _make(folder: Path) -> None:
    """Create the folder and its parents, each synced to disk before the next."""
    if not folder.is_dir():
        _make(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
        _sync(folder.parent)


def _sync(folder: Path) -> None:
    """Sync a folder. Only then does a rename or a deletion in it survive a crash of the machine."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
