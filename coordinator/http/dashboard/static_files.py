"""The page itself: files that hold no data, so anybody may have them, with or without a token."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from coordinator.errors import NotFoundError

FOLDER: Final = "/dashboard/"
TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
HEADERS: Final = {
    # Nothing from elsewhere, nothing inline, no page around this one; and no text becomes markup or script.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Kept, but asked for each time: after an upgrade no page is made of old and new files.
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """A file of the page, and what it is known by as long as it stays the same."""

    body: bytes
    media_type: str
    etag: str


def _load() -> dict[str, Asset]:
    found = {}
    for file in (files(__package__) / "static").iterdir():
        kind = file.name.rpartition(".")[2]
        if kind in TYPES:
            body = file.read_bytes()
            path = "/" if file.name == "index.html" else FOLDER + file.name
            found[path] = Asset(body, TYPES[kind], f'"{hashlib.sha256(body).hexdigest()[:16]}"')
    return found


SHELL: Final = _load()
"""The files by path; read once, since they are part of the program."""


async def serve_shell(request: Request) -> Response:
    """Serve one file.

    Raises:
        NotFoundError: there is no such file.
    """
    asset = SHELL.get(request.scope["path"])
    if asset is None:
        raise NotFoundError("file", request.scope["path"])
    headers = {**HEADERS, "ETag": asset.etag}
    if asset.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(asset.body, media_type=asset.media_type, headers=headers)
