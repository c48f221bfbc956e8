"""The filesystem handler before all that a file system can hold."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.errors import InvalidInputError
from coordinator.models import Item
from coordinator.validation import parse_items
from worker_stub.filesystem import CHUNK, handle, item_of, list_tree, path_of
from worker_stub.handlers import Context, Result, result_of

if TYPE_CHECKING:
    from collections.abc import Iterator

CONTEXT = Context(worker="w", seed="s", batch="b", attempt=1, redelivered=False)
NOBODY = 65534
ANY_BYTES = st.binary(min_size=1, max_size=60) | st.text("a\n\x7f\x85é%?#", min_size=1).map(str.encode)
NAMES = ANY_BYTES.map(lambda name: name.replace(b"\0", b"_").replace(b"/", b"_"))


def process(path: bytes | str | Path) -> Result:
    """What the handler makes of the path when it is to process it."""
    return handle(item_of(path, "process"), CONTEXT)


def scan(path: bytes | str | Path) -> Result:
    """What the handler makes of the path when it is to scan it."""
    return handle(item_of(path, "scan"), CONTEXT)


def crawl(root: Path) -> list[Item]:
    """Every item of a crawl that begins with a scan of root."""
    todo = [item_of(root, "scan")]
    done = []
    while todo:
        item = todo.pop()
        done.append(item)
        todo += handle(item, CONTEXT).discovered
    return done


def in_order(items: list[Item]) -> list[bytes]:
    """The items as text, sorted, to compare two lists that may differ in order."""
    return sorted(orjson.dumps(item, option=orjson.OPT_SORT_KEYS) for item in items)


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A folder to work in as a user whom permissions bind: for root, who may read anything, another user's id."""
    was = os.geteuid()
    if was == 0:
        os.seteuid(NOBODY)
    folder = Path(tempfile.mkdtemp())
    try:
        yield folder
    finally:
        for entry in folder.iterdir():
            entry.chmod(0o700)
        shutil.rmtree(folder)
        os.seteuid(was)


@pytest.mark.parametrize("size", [0, 1, CHUNK, CHUNK + 1])
def test_file(tmp_path: Path, size: int) -> None:
    """A regular file gives its size, the hash of all its chunks, and the media type of its name."""
    content = bytes(range(256)) * (size // 256 + 1)
    file = tmp_path / "page.html"
    file.write_bytes(content[:size])
    assert process(file) == Result(
        data={
            "type": "file",
            "size": size,
            "sha256": hashlib.sha256(content[:size]).hexdigest(),
            "mediaType": "text/html",
        }
    )


@pytest.mark.parametrize(
    ("name", "media"),
    [
        ("x.json", "application/json"),
        ("x", "application/octet-stream"),
        ("x.no-such-type", "application/octet-stream"),
        ("x.tar.gz", "application/octet-stream"),
        ("data:text,x.json", "application/json"),
    ],
)
def test_media_type(tmp_path: Path, name: str, media: str) -> None:
    """The media type is that of the name; what is compressed or not known is a stream of bytes."""
    (tmp_path / name).touch()
    data = process(tmp_path / name).data
    assert isinstance(data, dict)
    assert data["mediaType"] == media


def test_scan_lists_entries_in_order(tmp_path: Path) -> None:
    """A scan discovers sub-folders to scan and everything else to process, by name, and says how many."""
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "below").touch()
    (tmp_path / "c").touch()
    (tmp_path / "a").symlink_to("b")
    assert scan(tmp_path) == Result(
        data={"type": "folder", "entries": 3},
        discovered=[
            {"id": f"{tmp_path}/a", "action": "process"},
            {"id": f"{tmp_path}/b", "action": "scan"},
            {"id": f"{tmp_path}/c", "action": "process"},
        ],
    )


def test_the_kernels_own_folders_are_not_scanned() -> None:
    """A scan of the root names /proc, /sys and /dev, whose files have no end; asked for by itself, one is scanned."""
    actions = {item["id"]: item.get("action") for item in scan("/").discovered}
    assert {name: actions[name] for name in ("/proc", "/sys", "/dev", "/usr")} == {
        "/proc": "process",
        "/sys": "process",
        "/dev": "process",
        "/usr": "scan",
    }
    assert scan("/dev").discovered


async def test_huge_folder(tmp_path: Path) -> None:
    """A folder of many pages of entries is one scan, run as a worker runs it, with every entry discovered once."""
    names = [f"{number:05}" for number in range(10_000)]
    for name in names:
        (tmp_path / name).touch()
    made = await result_of(handle(item_of(tmp_path, "scan"), CONTEXT))
    assert made.data == {"type": "folder", "entries": 10_000}
    assert [item["id"] for item in made.discovered] == [f"{tmp_path}/{name}" for name in names]


def test_scan_of_what_is_no_folder(tmp_path: Path) -> None:
    """A scan of anything but a folder processes it, and a symlink to a folder is a symlink."""
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path)
    assert scan(tmp_path / "file") == process(tmp_path / "file")
    assert scan(tmp_path / "link") == Result(data={"type": "symlink", "target": str(tmp_path)})


def test_process_of_a_folder(tmp_path: Path) -> None:
    """A folder that is to be processed is named as one, and nothing is discovered."""
    assert process(tmp_path) == Result(data={"type": "folder"})


def test_default_action_is_process(tmp_path: Path) -> None:
    """An item without an action is processed."""
    assert handle({"id": str(tmp_path)}, CONTEXT) == process(tmp_path)


def test_symlinks_are_not_followed(tmp_path: Path) -> None:
    """A symlink gives its target as text, be that nowhere, a file, the link itself, or bytes that are no UTF-8."""
    (tmp_path / "file").touch()
    for target in (b"nowhere", b"file", b"link", b"a\xff"):
        (tmp_path / "link").symlink_to(os.fsdecode(target))
        text = target.decode("utf-8", "backslashreplace")
        assert process(tmp_path / "link") == Result(data={"type": "symlink", "target": text})
        (tmp_path / "link").unlink()


def test_symlink_loop_ends(tmp_path: Path) -> None:
    """A crawl of a folder with symlinks in a ring, and to the folder itself, ends."""
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    (tmp_path / "up").symlink_to(tmp_path)
    assert len(crawl(tmp_path)) == 4


@pytest.mark.timeout(20)
def test_fifo_does_not_hang(tmp_path: Path) -> None:
    """A FIFO that nobody writes to is a result of its own, at once."""
    os.mkfifo(tmp_path / "fifo")
    assert process(tmp_path / "fifo") == Result(data={"type": "fifo"})
    assert scan(tmp_path / "fifo") == Result(data={"type": "fifo"})


@pytest.mark.timeout(20)
def test_file_swapped_for_a_fifo_does_not_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A FIFO put in a file's place after it was looked at is opened without waiting, and recognised."""
    file = tmp_path / "file"
    os.mkfifo(file)
    (tmp_path / "plain").touch()
    regular = os.lstat(tmp_path / "plain")
    monkeypatch.setattr(os, "lstat", lambda _path: regular)
    assert process(file) == Result(data={"type": "fifo"})


def test_file_swapped_for_a_symlink_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A symlink put in a file's place after it was looked at is not followed, and the item fails."""
    (tmp_path / "plain").touch()
    (tmp_path / "link").symlink_to("plain")
    regular = os.lstat(tmp_path / "plain")
    monkeypatch.setattr(os, "lstat", lambda _path: regular)
    made = process(tmp_path / "link")
    assert (made.status, made.data) == ("failed", None)
    assert made.error == f"changed: {tmp_path}/link became something else while it was looked at"


def test_folder_swapped_for_a_symlink_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A symlink put in a folder's place after it was looked at is not followed, and the item fails."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    folder = os.lstat(tmp_path / "folder")
    monkeypatch.setattr(os, "lstat", lambda _path: folder)
    assert scan(tmp_path / "link").status == "failed"


def test_device_is_not_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device is a result of its own; opening one may do something, so it is not opened."""

    def refuse(*_arguments: object) -> int:
        raise AssertionError("opened")

    monkeypatch.setattr(os, "open", refuse)
    assert process("/dev/null") == Result(data={"type": "device"})


def test_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket is a result of its own."""
    monkeypatch.chdir(tmp_path)  # the address of a socket is short, so the name goes without its folder
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        assert process("socket") == Result(data={"type": "socket"})


def test_vanished(tmp_path: Path) -> None:
    """What is no longer there fails its item, whether it, its folder, or its being in a folder is gone."""
    (tmp_path / "file").touch()
    for path in (tmp_path / "gone", tmp_path / "gone" / "file", tmp_path / "file" / "below"):
        for made in (process(path), scan(path)):
            assert made == Result(status="failed", error=f"vanished: {path}")


def test_unreadable(unprivileged: Path) -> None:
    """A file and a folder without the right to read them fail their items, and a crawl goes on."""
    (unprivileged / "file").touch(mode=0o000)
    (unprivileged / "folder").mkdir(mode=0o000)
    for made, name in ((process(unprivileged / "file"), "file"), (scan(unprivileged / "folder"), "folder")):
        assert made == Result(status="failed", error=f"unreadable: {unprivileged / name}")
    assert len(crawl(unprivileged)) == 3
    assert in_order(crawl(unprivileged)) == in_order(list(list_tree(unprivileged)))


def test_other_errors_fail_the_item(tmp_path: Path) -> None:
    """Whatever else the system refuses fails the item, with the system's own words."""
    path = tmp_path / ("x" * 300)
    assert process(path) == Result(status="failed", error=f"unreadable: {path}: File name too long")


@pytest.mark.parametrize("name", [b"\xff\xfe.txt", b"new\nline", b"\x7f", "\x85".encode(), b"%41", "é ü".encode()])
def test_odd_names(tmp_path: Path, name: bytes) -> None:
    """Names that are no UTF-8 or hold control characters are crawled like any other, below folders of such names too.

    Their items validate, and go through JSON unharmed.
    """
    folder = os.path.join(os.fsencode(tmp_path), name)  # noqa: PTH118 - pathlib has no paths of bytes
    os.mkdir(folder)  # noqa: PTH102 - as above
    file = os.path.join(folder, name)  # noqa: PTH118 - as above
    Path(os.fsdecode(file)).write_bytes(b"here")
    [sub] = scan(tmp_path).discovered
    [found] = handle(sub, CONTEXT).discovered
    assert (sub.get("action"), found.get("action")) == ("scan", "process")
    assert path_of(found) == file
    [back] = parse_items(orjson.dumps(found))
    data = handle(back, CONTEXT).data
    assert isinstance(data, dict)
    assert data["sha256"] == hashlib.sha256(b"here").hexdigest()


@given(st.lists(NAMES, min_size=1, max_size=5), st.sampled_from(["process", "scan"]))
def test_path_of_is_the_inverse_of_item_of(names: list[bytes], action: str) -> None:
    """Any path comes back byte by byte from its item, which validates and survives JSON."""
    path = b"/" + b"/".join(names)
    item = item_of(path, "scan" if action == "scan" else "process")
    assert item["id"]
    [back] = parse_items(orjson.dumps(item))
    assert back == item
    assert path_of(back) == path
    assert handle(back, CONTEXT).status in {"ok", "failed"}


@given(NAMES)
def test_the_id_alone_names_the_path(name: bytes) -> None:
    """The escaped form too is whole in the id, so no two paths share one."""
    path = b"/" + name
    assert path_of({"id": item_of(path, "process")["id"]}) == path


def test_relative_paths_are_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path means the current folder's entry, as bytes, text or Path, and symlinks in it stay."""
    (tmp_path / "link").symlink_to(".")
    monkeypatch.chdir(tmp_path)
    for path in (b"link/x", "./link/x", Path("link/x")):
        assert item_of(path, "process") == {"id": f"{tmp_path}/link/x", "action": "process"}


def test_url_comes_first(tmp_path: Path) -> None:
    """An item with a `file://` URL means that file, whatever its id; a null one counts as none."""
    (tmp_path / "a b").touch()
    for url in (f"file://{tmp_path}/a%20b", f"FILE://localhost{tmp_path}/a b"):
        assert handle({"id": "x", "url": url}, CONTEXT) == process(tmp_path / "a b")
    assert handle({"id": f"{tmp_path}/a b", "url": None}, CONTEXT) == process(tmp_path / "a b")


@pytest.mark.parametrize(
    ("item", "field"),
    [
        ({"id": "AAABcID5GBc="}, "id"),
        ({"id": "a/b"}, "id"),
        ({"id": "/nul\0"}, "id"),
        ({"id": "/x", "url": "https://example.org/"}, "url"),
        ({"id": "/x", "url": "/x"}, "url"),
        ({"id": "/x", "url": "file://elsewhere/x"}, "url"),
        ({"id": "/x", "url": "file:///x?y"}, "url"),
        ({"id": "/x", "url": "file:///x#y"}, "url"),
        ({"id": "/x", "url": "file:///x%00"}, "url"),
    ],
)
def test_what_names_no_path_fails(item: Item, field: str) -> None:
    """An item that names no path of this machine fails, and the error names the field."""
    with pytest.raises(InvalidInputError) as caught:
        path_of(item)
    assert [name for name, _ in caught.value.problems] == [field]
    assert handle(item, CONTEXT) == Result(status="failed", error=str(caught.value))


def test_path_with_nul_is_refused() -> None:
    """There is no item for a path that cannot be."""
    with pytest.raises(InvalidInputError, match="path: must not hold a NUL"):
        item_of(b"/a\0b", "scan")


def test_list_tree_is_what_a_crawl_yields(tmp_path: Path) -> None:
    """A full crawl works on exactly the items of list_tree, in a tree with one of everything."""
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    (tmp_path / "a" / "file").touch()
    (tmp_path / "a" / "b" / "up").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "a" / "fifo")
    os.mkdir(os.fsencode(tmp_path) + b"/\xff")  # noqa: PTH102 - pathlib has no paths of bytes
    expected = list(list_tree(tmp_path))
    assert len(expected) == 8
    assert [item.get("action") for item in expected].count("scan") == 5
    assert in_order(crawl(tmp_path)) == in_order(expected)


def test_list_tree_of_a_file(tmp_path: Path) -> None:
    """A root that is no folder, or a symlink to one, is one item to process."""
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(".")
    for name in ("file", "link"):
        assert list(list_tree(tmp_path / name)) == [item_of(tmp_path / name, "process")]


def test_growing_file_is_read_consistently(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The size is that of the bytes hashed, also when the file grows while it is read."""
    file = tmp_path / "log"
    file.write_bytes(b"one")
    read = os.read
    grown = threading.Event()

    def growing(descriptor: int, size: int) -> bytes:
        chunk = read(descriptor, size)
        if not grown.is_set():
            grown.set()
            with file.open("ab") as stream:
                stream.write(b"two")
        return chunk

    monkeypatch.setattr(os, "read", growing)
    data = process(file).data
    assert isinstance(data, dict)
    assert (data["size"], data["sha256"]) == (6, hashlib.sha256(b"onetwo").hexdigest())
