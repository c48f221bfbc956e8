"""Ids in paths: they may hold slashes, so paths are matched before they are decoded."""

from __future__ import annotations

from urllib.parse import quote, unquote

from starlette.convertors import Convertor, register_url_convertor
from starlette.types import ASGIApp, Receive, Scope, Send


class IdConvertor(Convertor[str]):
    """Converts an id in a path. It may hold slashes, encoded or not."""

    regex = ".+"

    def convert(self, value: str) -> str:
        """Decode it; bytes that are not UTF-8 become characters that are not valid in an id."""
        return unquote(value, errors="surrogateescape")

    def to_string(self, value: str) -> str:
        """Encode all of it, so that any id comes back the same."""
        return quote(value, safe="", errors="surrogateescape").replace(".", "%2E")


class SeedIdConvertor(IdConvertor):
    """Converts a seed's id. A last segment `/items` is another route; an id that ends so must be sent encoded."""

    regex = "items|.+(?<!/items)"


class DeadIdConvertor(IdConvertor):
    """Converts a dead letter's id, with the same rule for a last segment `/retry`."""

    regex = "retry|.+(?<!/retry)"


register_url_convertor("ident", IdConvertor())
register_url_convertor("seed", SeedIdConvertor())
register_url_convertor("dead", DeadIdConvertor())


class RawPaths:
    """Routes by the path as it was sent, so that `/` and `%2F` in an id stay different."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http":
            scope["path"] = scope["raw_path"].decode(errors="surrogateescape")
        await self.app(scope, receive, send)
