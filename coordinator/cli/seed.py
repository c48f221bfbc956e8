"""`coordinator seed set`: change a seed's policies. `coordinator drain worker`: drain workers."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import Annotated, Final, Literal

import typer
from pydantic import ValidationError

from coordinator.api_models import SeedAnswer
from coordinator.api_results import WorkerDraining
from coordinator.cli.cells import routes, throttles
from coordinator.cli.common import NOT_FOUND_CODE, AsJson, HttpUrl, examples, known_http, print_json, shown
from coordinator.cli.completion import seed_ids
from coordinator.cli.dry_run import DryRun, print_effects
from coordinator.cli.release import WorkerIds
from coordinator.client.http_manager import HttpManager
from coordinator.errors import NotFoundError
from coordinator.models import Policy, Route, SeedSpec, Throttle
from coordinator.validation import check_seed_id, invalid

NONE: Final = "none"
RATE: Final = re.compile(r"(\d+)/(second|minute|hour|day|s|m|h|d)")
PERIODS: Final = {"s": "second", "m": "minute", "h": "hour", "d": "day"}

Priority = Annotated[
    Literal["low", "medium", "high"] | None,
    typer.Option(show_default=False, help="The seed's share of the workers: 1, 4 or 16."),
]
Throttles = Annotated[
    list[str] | None,
    typer.Option(
        metavar="N/PERIOD",
        show_default=False,
        help="At most N items per second, minute, hour or day. May be repeated; all apply. 'none' removes all.",
    ),
]
Routes = Annotated[
    list[str] | None,
    typer.Option(
        metavar="TAG",
        show_default=False,
        help="Only workers with this tag. May be repeated; a worker needs all. 'none' removes all.",
    ),
]
BatchSize = Annotated[int | None, typer.Option(min=1, max=1000, show_default=False, help="Items per batch.")]

_seed = typer.Typer(no_args_is_help=True, help="Change a seed's policies.")
_drain = typer.Typer(no_args_is_help=True, help="Ask workers to finish their batches and take no more.")


@dataclass(frozen=True, slots=True)
class Change:
    """The changes to a seed's policies; None keeps the current value."""

    priority: Literal["low", "medium", "high"] | None
    throttles: list[Policy] | None
    routes: list[Policy] | None
    batch_size: int | None

    def of(self, spec: SeedSpec) -> SeedSpec:
        """The policies after the change."""
        policies = _replaced(spec.policies, Throttle, self.throttles)
        return SeedSpec(
            priority=self.priority or spec.priority,
            policies=_replaced(policies, Route, self.routes),
            batch_size=self.batch_size or spec.batch_size,
        )


app = typer.Typer()
app.add_typer(_seed, name="seed")
app.add_typer(_drain, name="drain")


@_seed.command(
    "set",
    epilog=examples(
        "coordinator seed set photos --priority high",
        "coordinator seed set photos --throttle 500/second --throttle 1000000/day",
        "coordinator seed set photos --throttle none --route web",
        "coordinator seed set photos --batch-size 50",
    ),
)
def set_seed(
    seed: Annotated[str, typer.Argument(metavar="SEED", show_default=False, autocompletion=seed_ids)],
    *,
    priority: Priority = None,
    throttle: Throttles = None,
    route: Routes = None,
    batch_size: BatchSize = None,
    http_url: HttpUrl = None,
    as_json: AsJson = False,
) -> None:
    """Change a seed's priority, throttles, routes or batch size, and keep the rest. An unknown seed is created.

    The change applies to items that are dispatched from now on.
    """
    if priority is None and throttle is None and route is None and batch_size is None:
        raise typer.BadParameter("nothing to change: give --priority, --throttle, --route or --batch-size")
    check_seed_id(seed)
    change = Change(priority, _throttles(throttle), _routes(route), batch_size)
    row = asyncio.run(_set(seed, change, http_url)).model_dump(mode="json", by_alias=True)
    if as_json:
        print_json(row)
        return
    first = f"priority {row['priority']}, throttle {throttles(row) or NONE}"
    typer.echo(
        f"{shown(seed)}: {first}, route {', '.join(map(shown, routes(row))) or NONE}, batch size {row['batchSize']}"
    )


async def _set(seed: str, change: Change, http_url: str | None) -> SeedAnswer:
    async with known_http(HttpManager, http_url) as manager:
        try:
            known = await manager.seed(seed)
            spec = SeedSpec(priority=known.priority, policies=tuple(known.policies), batch_size=known.batch_size)
        except NotFoundError:
            spec = SeedSpec()
        return await manager.set_seed(seed, change.of(spec))


@_drain.command("worker", epilog=examples("coordinator drain worker crawler-7"))
def drain_worker(
    ids: WorkerIds,
    *,
    dry_run: DryRun = False,
    http_url: HttpUrl = None,
    as_json: AsJson = False,
) -> None:
    """Ask workers to finish their batches and take no more. No item fails or is repeated."""
    if dry_run:
        print_effects("drain/worker", ids, http_url)
        return

    async def drain() -> list[WorkerDraining]:
        async with known_http(HttpManager, http_url) as manager:
            answers = [await manager.drain_worker(ident) for ident in dict.fromkeys(ids)]
        return [result for answer in answers for result in answer.results]

    results = asyncio.run(drain())
    if as_json:
        print_json([result.model_dump(mode="json", by_alias=True) for result in results])
    else:
        for result in results:
            typer.echo(shown(f"{result.id}: {result.message}"))
    if any(result.status == 404 for result in results):  # noqa: PLR2004 - as in HTTP
        raise typer.Exit(NOT_FOUND_CODE)


def _throttles(given: list[str] | None) -> list[Policy] | None:
    """The throttles in these texts; None if the option is not given.

    Raises:
        BadParameter: a text is not valid.
    """
    if given is None or given == [NONE]:
        return None if given is None else []
    found: list[Policy] = []
    for text in given:
        match = RATE.fullmatch(text)
        if match is None:
            raise typer.BadParameter(f"{text!r} is not like 500/second", param_hint="--throttle")
        period = PERIODS.get(match[2], match[2])
        found.append(_checked(Throttle, {"type": "throttle", "period": period, "value": int(match[1])}, "--throttle"))
    return found


def _routes(given: list[str] | None) -> list[Policy] | None:
    if given is None or given == [NONE]:
        return None if given is None else []
    return [_checked(Route, {"type": "route", "routeTo": tag}, "--route") for tag in given]


def _checked(kind: type[Throttle | Route], fields: dict[str, object], option: str) -> Policy:
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        raise typer.BadParameter(str(invalid(error)), param_hint=option) from error


def _replaced(
    policies: tuple[Policy, ...], kind: type[Throttle | Route], wanted: list[Policy] | None
) -> tuple[Policy, ...]:
    """The policies, with those of one kind replaced if others are given."""
    if wanted is None:
        return policies
    return (*(policy for policy in policies if not isinstance(policy, kind)), *wanted)
