"""The handler `filesystem`: scans folders and hashes files, and follows, opens or waits for nothing else.

A path becomes an item as `{"id": path}`. An id is UTF-8 without control characters and a file name is any bytes, so a
path that cannot be an id is percent-encoded: `{"id": url, "url": url}` with the same `file://` URL.
"""

from __future__ import annotations

import errno
import hashlib
import mimetypes
import os
import re
import stat
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote, unquote_to_bytes

from coordinator.errors import InvalidInputError
from worker_stub.handlers import Context, Result

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from coordinator.models import Item

CHUNK = 1024 * 1024
KERNEL = {b"/proc", b"/sys", b"/dev"}
"""Folders of files that the kernel makes up. Some, such as /proc/self/pagemap, are larger than any disk."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_FILE_URL = re.compile(r"file://(?:localhost)?(/[^?#]*)", re.IGNORECASE)
_KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "folder",
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
}
_VANISHED = {errno.ENOENT, errno.ENOTDIR}
_SWAPPED = {errno.ELOOP, errno.ENXIO}


def handle(item: Item, context: Context) -> Result:  # noqa: ARG001 - a handler's form; files look alike to all
    """Scan the item's folder, or say what its file is.

    Returns:
        For `scan` of a folder, data `{"type": "folder", "entries": n}` and n discovered items, sorted by name in bytes:
        sub-folders to scan, but of `/` not the kernel's own /proc, /sys and /dev, and everything else to process.
        Otherwise what is there, never followed and never waited for:
        `{"type": "file", "size": bytes, "sha256": hex, "mediaType"}`, `{"type": "symlink", "target"}`, or
        `{"type": "folder" | "fifo" | "socket" | "device" | "other"}`. What cannot be read is `failed` with an error
        that begins `vanished:`, `unreadable:` or `changed:`.
    """
    try:
        path = path_of(item)
        kind = _kind(os.lstat(path))
        if kind == "folder" and item.get("action") == "scan":
            return _scan(path)
        return Result(data=_describe(path, kind))
    except InvalidInputError as error:
        return Result(status="failed", error=str(error))
    except OSError as error:
        return Result(status="failed", error=_fault(error, item["id"]))


def item_of(path: bytes | str | Path, action: Literal["process", "scan"]) -> Item:
    """The item for a path, which is made absolute and otherwise kept byte by byte.

    Raises:
        InvalidInputError: the path holds a NUL, which no path can.
    """
    whole = os.fsencode(path)
    if b"\0" in whole:
        raise InvalidInputError([("path", "must not hold a NUL")])
    if not whole.startswith(b"/"):
        whole = os.path.abspath(whole)  # noqa: PTH100 - resolve() would follow symlinks
    try:
        text = whole.decode()
    except UnicodeDecodeError:
        text = ""
    if text and not _CONTROL.search(text):
        return {"id": text, "action": action}
    url = "file://" + quote(whole)
    return {"id": url, "action": action, "url": url}


def path_of(item: Item) -> bytes:
    """The path that an item names, by its `url` or else by its `id`: the inverse of `item_of`.

    Raises:
        InvalidInputError: neither an absolute path nor a `file://` URL of this machine.
    """
    field, text = ("url", item["url"]) if item.get("url") else ("id", item["id"])
    url = _FILE_URL.fullmatch(text or "")
    if url:
        path = unquote_to_bytes(url[1])
    elif field == "id" and item["id"].startswith("/"):
        path = item["id"].encode()
    else:
        raise InvalidInputError([(field, f"must be an absolute path or a file:// URL of this machine, not {text!r}")])
    if b"\0" in path:
        raise InvalidInputError([(field, "must not hold a NUL")])
    return path


def list_tree(root: bytes | str | Path) -> Iterator[Item]:
    """Every item that a full crawl of `root` works on, each once, in no promised order.

    Yields:
        A `scan` item for each folder, root among them, and a `process` item for every other entry. A folder that cannot
        be read is itself yielded, and nothing below it. Where root is no folder: the one item that processes it.
    """
    first = path_of(item_of(root, "scan"))
    if not stat.S_ISDIR(os.lstat(first).st_mode):
        yield item_of(first, "process")
        return
    folders = [first]
    while folders:
        folder = folders.pop()
        yield item_of(folder, "scan")
        try:
            entries = _entries(folder)
        except OSError:  # unreadable or just gone: a crawl has its scan item too, and fails it
            continue
        for name, is_folder in entries:
            if is_folder:
                folders.append(os.path.join(folder, name))  # noqa: PTH118 - pathlib has no paths of bytes
            else:
                yield item_of(os.path.join(folder, name), "process")  # noqa: PTH118 - as above


def _scan(path: bytes) -> Result:
    discovered = [
        item_of(os.path.join(path, name), "scan" if is_folder else "process")  # noqa: PTH118 - as above
        for name, is_folder in _entries(path)
    ]
    return Result(data={"type": "folder", "entries": len(discovered)}, discovered=discovered)


def _entries(path: bytes) -> list[tuple[bytes, bool]]:
    """The folder's entries, sorted: each name, and whether it is a folder to scan (a symlink to one is not)."""
    # Opened first, so that a symlink put in the folder's place is refused and not followed.
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        with os.scandir(folder) as entries:
            named = [(os.fsencode(entry.name), entry.is_dir(follow_symlinks=False)) for entry in entries]
    finally:
        os.close(folder)
    return sorted(
        (name, is_folder and os.path.join(path, name) not in KERNEL)  # noqa: PTH118 - as above
        for name, is_folder in named
    )


def _describe(path: bytes, kind: str) -> dict[str, object]:
    if kind == "symlink":
        # Only for reading: a target is no item, so what is not UTF-8 in it need not be reversible.
        return {"type": kind, "target": os.readlink(path).decode("utf-8", "backslashreplace")}  # noqa: PTH115 - bytes
    return _hash(path) if kind == "file" else {"type": kind}


def _hash(path: bytes) -> dict[str, object]:
    """What the regular file at the path holds; if something else has taken its place, what that is."""
    # A FIFO put here since it was looked at would hold the open until someone writes, were it not O_NONBLOCK.
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        kind = _kind(os.fstat(file))
        if kind != "file":
            return {"type": kind}
        digest = hashlib.sha256()
        size = 0
        # hashlib.file_digest would spin for ever on the kernel's own files that have nothing to say yet.
        while chunk := os.read(file, CHUNK):
            digest.update(chunk)
            size += len(chunk)
    finally:
        os.close(file)
    return {"type": "file", "size": size, "sha256": digest.hexdigest(), "mediaType": _media_type(path)}


def _media_type(path: bytes) -> str:
    # "./", or a name such as `data:,x` would be read as a URL of that scheme.
    media, encoding = mimetypes.guess_type("./" + os.fsdecode(path).rpartition("/")[2])
    return media if media and not encoding else "application/octet-stream"


def _kind(status: os.stat_result) -> str:
    return _KINDS.get(stat.S_IFMT(status.st_mode), "other")


def _fault(error: OSError, ident: str) -> str:
    if error.errno in _VANISHED:
        return f"vanished: {ident}"
    if isinstance(error, PermissionError):
        return f"unreadable: {ident}"
    if error.errno in _SWAPPED:
        return f"changed: {ident} became something else while it was looked at"
    return f"unreadable: {ident}: {error.strerror}"
