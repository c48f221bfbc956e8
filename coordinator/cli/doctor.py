"""`coordinator doctor`: checks the broker and the coordinator, and says how to repair what is wrong."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import time
from typing import Final

import typer
from rich.console import Console
from rich.text import Text

from coordinator.broker.connection import Connection
from coordinator.broker.management import Management
from coordinator.cli.cells import age
from coordinator.cli.common import (
    AmqpUrl,
    AsJson,
    HttpUrl,
    ManagementUrl,
    broker_settings,
    examples,
    known_http,
    print_json,
    shown,
)
from coordinator.client.reader import Reader
from coordinator.domain.broker_checks import CHECKS, Facts, Finding, Level, examine, faults
from coordinator.errors import BrokerRefusedError, BrokerUnavailableError, CoordinatorError, ManagementError
from coordinator.settings import Settings

STYLES: Final[dict[Level, str]] = {"fault": "bold red", "warning": "yellow", "note": "cyan"}

PATHS: Final = (
    "/api/nodes",
    "/api/whoami",
    "/api/vhosts/{vhost}/permissions",
    "/api/queues/{vhost}",
    "/api/bindings/{vhost}",
    "/api/policies/{vhost}",
)

app = typer.Typer()


@app.command(epilog=examples("coordinator doctor", "coordinator doctor --json"))
def doctor(
    *,
    amqp_url: AmqpUrl = None,
    management_url: ManagementUrl = None,
    http_url: HttpUrl = None,
    as_json: AsJson = False,
) -> None:
    """Check the broker (version, plugins, alarms, permissions, queues, bindings, clocks) and say how to repair faults.

    It changes nothing. It exits with 1 if it finds a fault; warnings and notes do not count as faults.
    """
    settings = broker_settings(amqp_url=amqp_url, management_url=management_url, http_url=http_url)
    findings = asyncio.run(_examine(settings, http_url))
    if as_json:
        print_json([dataclasses.asdict(finding) for finding in findings])
    else:
        _print(findings)
    if faults(findings):
        raise typer.Exit(1)


async def _examine(settings: Settings, http_url: str | None) -> list[Finding]:
    found = await _reach(settings)
    if found:
        return found
    management = Management(settings.management(), settings.vhost(), settings.ca_file)
    try:
        seeds, longest, found = await _ask_coordinator(http_url)
        facts = await _gather(management, seeds, longest)
    except ManagementError as error:
        mend = "enable rabbitmq_management, and set COORDINATOR_MANAGEMENT_URL; the user must be an administrator"
        return [*found, Finding("fault", "management", str(error), mend)]
    finally:
        await management.close()
    return [*found, *examine(facts)]


async def _reach(settings: Settings) -> list[Finding]:
    """Whether the broker answers on AMQP."""
    try:
        connection = await Connection.open(settings.amqp_urls(), "coordinator-doctor")
    except (BrokerUnavailableError, BrokerRefusedError) as error:
        return [Finding("fault", "connection", str(error), "start the broker; check its address, user and password")]
    await connection.close()
    return []


async def _ask_coordinator(http_url: str | None) -> tuple[frozenset[str] | None, float, list[Finding]]:
    """The known seeds, the seconds that the oldest batch is held, and what is wrong."""
    try:
        async with known_http(Reader, http_url) as reader:
            seeds = frozenset(seed.id for seed in await reader.seeds())
            batches = await reader.batches()
    except CoordinatorError as error:
        mend = "run `coordinator serve`; set COORDINATOR_HTTP_URL, and COORDINATOR_TOKEN if it asks for tokens"
        return None, 0.0, [Finding("fault", "coordinator", str(error), mend)]
    now = dt.datetime.now(dt.UTC)
    return seeds, max((age(batch.since, now) or 0.0 for batch in batches), default=0.0), []


async def _gather(management: Management, seeds: frozenset[str] | None, longest: float) -> Facts:
    """Ask the management API for everything that the checks need.

    Raises:
        ManagementError: it refuses or does not answer.
    """
    asked = time.time()
    overview, clock = await management.read("/api/overview")
    here = (asked + time.time()) / 2
    answers = [answer for answer, _ in await asyncio.gather(*(management.read(path) for path in PATHS))]
    nodes, user, permissions, queues, bindings, policies = answers
    return Facts(
        overview=overview,
        nodes=nodes,
        user=user,
        permissions=permissions,
        queues=queues,
        bindings=bindings,
        policies=policies,
        # The header holds whole seconds, rounded down: half a second is the average that is missing.
        clocks={} if clock is None else {"the broker": clock + 0.5 - here},
        seeds=seeds,
        longest_held=longest,
    )


def _print(findings: list[Finding]) -> None:
    console = Console(soft_wrap=True, highlight=False)
    for finding in findings:
        head = Text.assemble((f"{finding.level}: ", STYLES[finding.level]), f"{finding.check}: {shown(finding.what)}")
        console.print(head)
        console.print(Text(f"  mend: {shown(finding.mend)}"))
    number = faults(findings)
    total = f"{number} fault{'s' * (number != 1)}, {len(findings) - number} other findings"
    console.print(f"{total}, {len(CHECKS)} checks" if findings else f"all is well: {len(CHECKS)} checks")
