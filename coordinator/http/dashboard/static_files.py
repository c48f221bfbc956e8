"""The files of the dashboard and of the API's description. They hold no data, so they need no token."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from coordinator.errors import NotFoundError

TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
PAGES: Final = {"index.html": "/", "docs.html": "/docs"}
"""Pages by their file; every other file is served below its folder's path."""
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
)
"""Nothing from another site, nothing inline, and no page around this one."""
POLICIES: Final = {
    "/dashboard/": POLICY + "img-src 'self'; require-trusted-types-for 'script'",  # no text becomes markup
    "/docs/": POLICY + "img-src 'self' data:",  # Swagger UI has its icons in its style sheet, and writes markup
}
HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # A browser keeps a file, but asks each time if it is still the same: after an upgrade it must not mix old and new.
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """A file with its headers; the `ETag` among them changes with the file."""

    body: bytes
    media_type: str
    headers: dict[str, str]


def _load(package: str, folder: str) -> dict[str, Asset]:
    found = {}
    for file in (files(package) / "static").iterdir():
        kind = file.name.rpartition(".")[2]
        if kind in TYPES:
            body = file.read_bytes()
            etag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
            headers = {**HEADERS, "Content-Security-Policy": POLICIES[folder], "ETag": etag}
            found[PAGES.get(file.name, folder + file.name)] = Asset(body, TYPES[kind], headers)
    return found


FILES: Final = _load("coordinator.http.dashboard", "/dashboard/") | _load("coordinator.http", "/docs/")
"""The files by path; read once, since they are part of the program."""


async def serve_file(request: Request) -> Response:
    """Serve one file.

    Raises:
        NotFoundError: there is no such file.
    """
    asset = FILES.get(request.scope["path"])
    if asset is None:
        raise NotFoundError("file", request.scope["path"])
    if asset.headers["ETag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=asset.headers)
    return Response(asset.body, media_type=asset.media_type, headers=asset.headers)
