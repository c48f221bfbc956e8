"""The bare framework: the same answers by Starlette and uvicorn, out of memory. Nothing behind it is durable."""

from __future__ import annotations

import itertools
import os

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.benchmarks.payload import ITEMS, page, text

LEFT = iter([text(page(number)) for number in range(int(os.environ["BENCH_ITEMS"]) // ITEMS)])


async def fetch(request: Request) -> Response:
    """So many batches."""
    wanted = int(request.query_params["batches"])
    batches = [b'{"id":"x","items":%b}' % items for items in itertools.islice(LEFT, wanted)]
    return Response(b'{"batches":[%b]}' % b",".join(batches), media_type="application/json")


async def ack(request: Request) -> Response:
    """Read what is acked."""
    told = orjson.loads(await request.body())
    return Response(orjson.dumps({"acked": len(told["id"])}), media_type="application/json")


PREFIX = "/aspire_api/manager"
app = Starlette(routes=[Route(f"{PREFIX}/batch", fetch), Route(f"{PREFIX}/batch/ack", ack, methods=["POST"])])
