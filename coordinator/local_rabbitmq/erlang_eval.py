"""Evaluate an Erlang expression on a private node, like `rabbitmqctl eval` but without its slow start."""

from __future__ import annotations

import asyncio
import os
import shutil
from asyncio.subprocess import Process
from secrets import token_hex
from typing import Final

from coordinator.errors import PrivateBrokerError
from coordinator.local_rabbitmq.config import NodeSettings, node_environment

SECONDS: Final = 15.0

# Node and expression are environment variables, so that they need no quoting.
_SCRIPT = """
{ok, Tokens, _} = erl_scan:string(os:getenv("EXPRESSION") ++ "."),
{ok, Expressions} = erl_parse:parse_exprs(Tokens),
Node = list_to_atom(os:getenv("NODE")),
case rpc:call(Node, erl_eval, exprs, [Expressions, []], 10000) of
    {value, Value, _} -> io:format("~0p", [Value]), halt(0);
    Problem -> io:format("~0p", [Problem]), halt(1)
end.
"""


async def evaluate(settings: NodeSettings, expression: str) -> str:
    """Evaluate an expression on a running node.

    Args:
        settings: the node.
        expression: Erlang, without the full stop.

    Returns:
        The value, as Erlang prints it.

    Raises:
        PrivateBrokerError: Erlang is not installed, or the node did not answer, or answered with an error.
    """
    erl = shutil.which("erl")
    if erl is None:
        raise PrivateBrokerError("Erlang's erl was not found on the PATH")
    process = await asyncio.create_subprocess_exec(
        erl,
        *("-noinput", "-hidden", "-sname", f"eval-{token_hex(4)}@localhost", "-eval", _SCRIPT),
        env=node_environment(settings, os.environ) | {"EXPRESSION": expression, "NODE": settings.name},
        cwd=settings.folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    answer = await _answer(process)
    if process.returncode:
        raise PrivateBrokerError(f"{settings.name} did not evaluate {expression}: {answer}")
    return answer


async def _answer(process: Process) -> str:
    try:
        async with asyncio.timeout(SECONDS):
            output, _ = await process.communicate()
    except TimeoutError:
        output = b"no answer in time"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return output.decode(errors="replace").strip()
