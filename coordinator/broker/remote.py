"""Have an expression of Erlang evaluated on a private node: what `rabbitmqctl eval` does, without its start-up."""

from __future__ import annotations

import asyncio
import os
import shutil
from secrets import token_hex
from typing import TYPE_CHECKING, Final

from coordinator.broker.node_config import NodeSettings, node_environment
from coordinator.errors import PrivateBrokerError

if TYPE_CHECKING:
    from asyncio.subprocess import Process

SECONDS: Final = 15.0

# Node and expression come by the environment, so that they need no quoting.
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
    """Evaluate an expression on a node that runs.

    Args:
        settings: the node.
        expression: Erlang, without the full stop.

    Returns:
        The value, as Erlang writes it.

    Raises:
        PrivateBrokerError: there is no Erlang, or the node did not answer, or with an error.
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
