"""The spool: batches that a worker has taken (acked) and not yet done, kept where a crash cannot lose them."""

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
    """Another worker uses the folder: two would each do what the other has taken.

    Attributes:
        folder: the spool's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        super().__init__(f"the spool {folder} is in use by another worker")


class Spool:
    """A folder with one file a batch, each the batch's JSON as the contract has it.

    All methods block, and all raise OSError when the disk fails or is full: what `add` did not return from is not
    kept. The folder is made, for its owner alone, where there is none. `lock` it, `load` it, and only then add to it.

    Attributes:
        folder: where the files are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock: int | None = None
        _make(folder)

    def lock(self) -> ExitStack:
        """Keep the folder for this process, until `unlock`, the end of a `with` on what this returns, or its death.

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
        """Let another process have the folder; harmless when it is not locked."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def add(self, batch: Batch) -> None:
        """Keep the batch: when this returns, a crash of the machine does not lose it. Added twice, it is kept once."""
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
        """Forget the batch, for good; one that is not there is forgotten already."""
        self._path(batch_id).unlink(missing_ok=True)
        self._path(batch_id).with_suffix(RESUMED).unlink(missing_ok=True)
        _sync(self.folder)

    def count_resumption(self, batch_id: str) -> int:
        """Note that a batch which an earlier run left is begun again; how often that was by now."""
        with self._path(batch_id).with_suffix(RESUMED).open("ab") as file:  # a crash of the machine may forget it
            file.write(b".")
            return file.tell()

    def load(self) -> list[Batch]:
        """What a crash left behind, oldest first.

        A temporary file is a batch whose `add` never returned, so it was not acked: it is deleted. What cannot be read
        is moved into the folder `unreadable` beside the rest, and logged.
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
        # `remove` would never find this file: the batch would be done anew at every start.
        self._set_aside(path, f"the file of batch {batch.id!r} has another name")
        return None

    def _set_aside(self, path: Path, reason: str) -> None:
        aside = self.folder / "unreadable"
        _make(aside)
        target = aside / f"{path.name}.{time.time_ns()}"  # a name of its own, or one would overwrite another
        path.rename(target)
        _sync(aside)
        _sync(self.folder)
        _log.error("spool.unreadable", file=str(target), reason=reason)

    def _path(self, batch_id: str) -> Path:
        # An id may hold slashes and more than a file name can; its hash is safe and always the same.
        return self.folder / f"{hashlib.sha256(batch_id.encode()).hexdigest()}.json"


def _created(path: Path) -> int:
    """When the batch in this file was first added, in nanoseconds since 1970; now, when there is none."""
    with suppress(FileNotFoundError):
        return path.stat().st_mtime_ns
    return time.time_ns()


def _make(folder: Path) -> None:
    """Make the folder and those above it, each on the disk before anything is put into it."""
    if not folder.is_dir():
        _make(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
        _sync(folder.parent)


def _sync(folder: Path) -> None:
    """Put a folder's names on the disk: a rename or deletion survives a crash of the machine only after this."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
