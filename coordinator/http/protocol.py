"""The server's own answer to bytes that are no HTTP: JSON, as every other."""

from __future__ import annotations

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from coordinator.http.answers import Json


class JsonProtocol(H11Protocol):
    """HTTP/1.1, for `uvicorn.Config(http=…)`."""

    def send_400_response(self, msg: str) -> None:
        """Say what is wrong and hang up: where the next request would begin is unknown."""
        answer = Json({"message": msg})
        headers = [*answer.raw_headers, (b"connection", b"close")]
        reason = b"Bad Request"
        for event in (
            h11.Response(status_code=400, headers=headers, reason=reason),
            h11.Data(data=bytes(answer.body)),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
