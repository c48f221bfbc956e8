"""Clients that fetch and ack over HTTP, all on one event loop, with nothing but sockets, so that they cost little.

`http_clients HOST:PORT CLIENTS TOGETHER`: each fetches up to so many batches by a call, and acks them by another.
"""

from __future__ import annotations

import asyncio
import sys

import orjson

from tests.benchmarks.payload import Tally

PREFIX = "/aspire_api/manager"


class Client:
    """One connection, kept."""

    def __init__(self, host: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._host = host
        self._reader = reader
        self._writer = writer

    async def call(self, method: str, path: str, body: bytes = b"") -> bytes:
        """Call a route; the answer's body."""
        length = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
        self._writer.write(f"{method} {path} HTTP/1.1\r\nHost: {self._host}\r\n{length}\r\n".encode() + body)
        head = await self._reader.readuntil(b"\r\n\r\n")
        status = int(head[9:12])
        size = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        answer = await self._reader.readexactly(size)
        if status != 200:
            raise RuntimeError(f"{path}: {status} {answer[:300]!r}")
        return answer


async def work(host: str, port: int, name: str, together: int, tally: Tally) -> None:
    """Fetch and ack until killed."""
    client = Client(f"{host}:{port}", *await asyncio.open_connection(host, port, limit=2**26))
    path = f"{PREFIX}/batch?batches={together}&worker={name}&wait=5"
    while True:
        batches = orjson.loads(await client.call("GET", path))["batches"]
        if not batches:
            continue
        body = orjson.dumps({"id": [batch["id"] for batch in batches]})
        await client.call("POST", f"{PREFIX}/batch/ack", body)
        for batch in batches:
            tally.batch(batch["items"])


async def main(address: str, clients: int, together: int) -> None:
    """Run all clients."""
    host, _, port = address.rpartition(":")
    tally = Tally.of_environment()
    await asyncio.gather(*(work(host, int(port), f"w{number}", together, tally) for number in range(clients)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
