"""Files that hold secrets: replaced as a whole, and read by their owner alone."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def replace_file(path: Path, text: str) -> None:
    """Write a file as a whole, for its owner only; a reader sees the old one or the new one.

    Raises:
        OSError: it could not be written.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # made with mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text + "\n")
        os.replace(name, path)  # noqa: PTH105 - the temporary name is a string
    except OSError:
        os.unlink(name)  # noqa: PTH108 - as above
        raise
