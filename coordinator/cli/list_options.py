"""The options that all lists share, and the part of a list that they ask for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from coordinator.cli.cells import Row
from coordinator.domain.list_query import ordered

Match = Annotated[
    str | None,
    typer.Option("--match", metavar="TEXT", show_default=False, help="Part of the id, or a pattern such as 'img-*'."),
]
Tag = Annotated[str | None, typer.Option("--tag", show_default=False, help="Only entries with this tag.")]
Sort = Annotated[
    str | None,
    typer.Option(
        "--sort", metavar="NAME", show_default=False, help="Sort by this column; -NAME puts the largest first."
    ),
]
Limit = Annotated[int | None, typer.Option("--limit", min=1, show_default=False, help="Print at most this many.")]
Offset = Annotated[int, typer.Option("--offset", min=0, help="Skip this many first.")]


@dataclass(frozen=True, slots=True)
class Part:
    """The order of rows, and which part of them to print."""

    sort: str | None = None
    limit: int | None = None
    offset: int = 0

    def of(self, rows: Sequence[Row], columns: Sequence[str], cell: Callable[[Row, str], object]) -> list[Row]:
        """This part of the rows; rows without a value come last in either order.

        Raises:
            BadParameter: there is no such column.
        """
        found = list(rows)
        if self.sort is not None:
            name = self.sort.removeprefix("-")
            if name not in columns:
                raise typer.BadParameter(f"{name!r} is not one of {', '.join(columns)}", param_hint="--sort")
            found = ordered(found, self.sort, cell)
        return found[self.offset : None if self.limit is None else self.offset + self.limit]
