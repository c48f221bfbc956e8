"""`coordinator token`: the tokens for HTTP."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from coordinator.cli.common import NOT_FOUND_CODE, AsJson, examples, load_settings, print_json, print_table, shown
from coordinator.errors import CoordinatorError
from coordinator.times import rfc3339
from coordinator.tokens import (
    Token,
    add_token,
    digest,
    fixed_tokens,
    new_secret,
    read_tokens,
    revoke_tokens,
    tokens_path,
)
from coordinator.validation import invalid

COLUMNS = ("name", "roles", "worker", "created")

_token = typer.Typer(
    no_args_is_help=True,
    help="Create, list and revoke the tokens that a coordinator asks for over HTTP. The file"
    " COORDINATOR_TOKENS_FILE holds their hashes; a running coordinator notices each change of it.",
)

app = typer.Typer()
app.add_typer(_token, name="token")


@_token.command(
    epilog=examples(
        "coordinator token create ops --role operator --role manager",
        "coordinator token create crawler-7 --role worker --worker crawler-7",
    )
)
def create(
    name: Annotated[str, typer.Argument(show_default=False, help="The token's name in lists.")],
    *,
    role: Annotated[
        list[str],
        typer.Option(
            metavar="ROLE",
            show_default=False,
            help="A role of the token: worker, manager, producer, operator or administrator. May be repeated.",
        ),
    ],
    worker: Annotated[
        str | None,
        typer.Option(metavar="ID", show_default=False, help="The only worker id that the token may be used for."),
    ] = None,
    store: Annotated[
        bool, typer.Option("--store/--no-store", help="Store the token's entry in the file, or only print it.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Create a token, store its hash, and print it. It is not stored, so it cannot be printed again."""
    secret, token = _new_token(name, role, worker)
    if store:
        with _errors_of(tokens_path(load_settings())) as path:
            add_token(path, token)
    if as_json or not store:
        print_json({"token": secret, "entry": token.model_dump(exclude_none=True)})
    else:
        typer.echo(secret)


@_token.command("list", epilog=examples("coordinator token list", "coordinator token list --json"))
def list_tokens(*, as_json: AsJson = False) -> None:
    """List the names and roles of the tokens. The tokens themselves are not stored."""
    settings = load_settings()
    tokens = [*fixed_tokens(settings), *(read_tokens(tokens_path(settings)) or [])]
    rows = [token.model_dump(exclude={"sha256"}) for token in tokens]
    if as_json:
        print_json(rows)
        return
    print_table("tokens", COLUMNS, [[row[name] for name in COLUMNS] for row in rows])


@_token.command(epilog=examples("coordinator token revoke crawler-7"))
def revoke(
    names: Annotated[list[str], typer.Argument(metavar="NAME…", show_default=False, help="One or more names.")],
) -> None:
    """Revoke tokens. The next request with one of them is refused."""
    with _errors_of(tokens_path(load_settings())) as path:
        found = revoke_tokens(path, names)
    for name in names:
        typer.echo(f"{shown(name)}: {'revoked' if name in found else 'not found'}")
    if len(found) < len(set(names)):
        raise typer.Exit(NOT_FOUND_CODE)


def _new_token(name: str, roles: list[str], worker: str | None) -> tuple[str, Token]:
    """A new secret, and the entry for it, which holds its hash."""
    secret = new_secret()
    entry = {
        "name": name,
        "roles": list(dict.fromkeys(roles)),
        "worker": worker,
        "sha256": digest(secret),
        "created": rfc3339(time.time()),
    }
    try:
        return secret, Token.model_validate(entry)
    except ValidationError as error:
        raise typer.BadParameter(str(invalid(error))) from None


@contextlib.contextmanager
def _errors_of(path: Path) -> Iterator[Path]:
    """Turn errors of the file system into ours, with the path."""
    try:
        yield path
    except OSError as error:
        raise CoordinatorError(f"{path}: {error.strerror or error}") from error
