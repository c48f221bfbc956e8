"""Bearer tokens: who may do what over HTTP.

A token is 256 random bits, and only its SHA-256 is kept. A slow hash, as passwords need, would gain nothing: nobody
can try 2^256 of them, however fast each try is, while every request would pay for the slowness.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import hmac
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from secrets import token_urlsafe
from typing import Annotated, Final, Literal, Self, get_args

import structlog
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError, model_validator

from coordinator.errors import CoordinatorError
from coordinator.files import replace_file
from coordinator.models import WorkerId
from coordinator.settings import Settings
from coordinator.validation import invalid

log = structlog.get_logger(__name__)

Role = Literal["worker", "manager", "producer", "operator", "administrator"]
Roles = frozenset[Role]
ROLES: Final[tuple[Role, ...]] = get_args(Role)
ADMINISTRATOR: Final[Role] = "administrator"

PREFIX: Final = "bct_"
"""What tokens begin with, so that scanners for leaked secrets can know one when they see it."""
RANDOM_BYTES: Final = 32


class Token(BaseModel):
    """What is kept of a token; `worker` is the only worker that its bearer may be."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:-]{1,100}$")]
    roles: Annotated[tuple[Role, ...], Field(min_length=1)]
    worker: WorkerId | None = None
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    created: str = ""

    @model_validator(mode="after")
    def _binds_a_worker(self) -> Self:
        if self.worker is not None and "worker" not in self.roles:
            raise ValueError("a token that is bound to a worker must have the role worker")
        return self


class _TokenFile(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    tokens: list[Token]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: the name of the token, its roles, and the worker it is bound to."""

    name: str
    roles: Roles
    worker: str | None = None

    def may(self, allowed: Roles) -> bool:
        """Whether one of the caller's roles is among those allowed."""
        return ADMINISTRATOR in self.roles or not self.roles.isdisjoint(allowed)


ANYBODY: Final = Caller("", frozenset({ADMINISTRATOR}))
"""Who calls where there are no tokens."""


def new_secret() -> str:
    """A new token, as its bearer keeps it."""
    return PREFIX + token_urlsafe(RANDOM_BYTES)


def digest(secret: str) -> str:
    """What is kept of a token."""
    return hashlib.sha256(secret.encode(errors="surrogateescape")).hexdigest()


def tokens_path(settings: Settings) -> Path:
    """The file that holds the tokens."""
    return settings.tokens_file or settings.home / "tokens.json"


def read_tokens(path: Path) -> list[Token] | None:
    """The tokens in a file, None where there is none.

    Raises:
        CoordinatorError: it is not readable, or not such a file; the sentence shows nothing of what it holds.
    """
    try:
        return _TokenFile.model_validate_json(path.read_bytes()).tokens
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise CoordinatorError(f"{path}: {error.strerror or error}") from error
    except ValidationError as error:
        raise CoordinatorError(f"{path}: {invalid(error)}") from None


def fixed_tokens(settings: Settings) -> list[Token]:
    """The tokens that the setting `COORDINATOR_TOKENS` names.

    Raises:
        CoordinatorError: it does not validate; nothing of it is shown.
    """
    text = settings.tokens.get_secret_value().strip() if settings.tokens else ""
    try:
        return TypeAdapter(list[Token]).validate_json(text) if text else []
    except ValidationError as error:
        raise CoordinatorError(f"COORDINATOR_TOKENS: {invalid(error)}") from None


def add_token(path: Path, token: Token) -> None:
    """Add a token to a file, which is made if there is none.

    Raises:
        CoordinatorError: there is one of this name, or the file is broken.
        OSError: it could not be written.
    """
    with _locked(path):
        tokens = read_tokens(path) or []
        if any(one.name == token.name for one in tokens):
            raise CoordinatorError(f"there is a token named {token.name} already: revoke it first, or choose another")
        _write(path, [*tokens, token])


def revoke_tokens(path: Path, names: Iterable[str]) -> set[str]:
    """Remove tokens from a file; returns the names that were there.

    Raises:
        CoordinatorError: the file is broken.
        OSError: it could not be written.
    """
    wanted = set(names)
    with _locked(path):
        tokens = read_tokens(path)
        found = {one.name for one in tokens or []} & wanted
        if found:
            _write(path, [one for one in tokens or [] if one.name not in wanted])
    return found


class Tokens:
    """The tokens that are valid now: those of the settings, and those of a file that is read again when it changes.

    Once there were tokens there is no way back to none: a file that is removed or broken while a coordinator runs lets
    nobody in whom it did not let in before.
    """

    def __init__(self, path: Path, fixed: Sequence[Token] = (), local: str | None = None) -> None:
        """Read them.

        Args:
            path: the file; it need not be there.
            fixed: further tokens, which do not change.
            local: a secret that lets its bearer do everything, for programs of the same user on this machine.

        Raises:
            CoordinatorError: the file is broken.
        """
        self._path = path
        self._fixed = {token.sha256: token for token in fixed}
        self._local = None if local is None else digest(local)
        self._stamp = _stamp(path)
        found = read_tokens(path)
        self._has_file = found is not None
        self._of_file = _by_digest(found or [])

    @classmethod
    def of(cls, settings: Settings, local: str | None = None) -> Self:
        """The tokens that the settings name; raises as the constructor does, and where the settings are broken."""
        return cls(tokens_path(settings), fixed_tokens(settings), local)

    @property
    def are_required(self) -> bool:
        """Whether there are tokens at all, so that a caller needs one."""
        self._refresh()
        return bool(self._fixed) or self._has_file

    def caller(self, secret: str) -> Caller | None:
        """Who bears this token; None when it is not valid."""
        self._refresh()
        given = digest(secret)
        if self._local is not None and hmac.compare_digest(self._local, given):
            return Caller("local", frozenset({ADMINISTRATOR}))
        # The time of the look-up tells at most something of a hash, and from that no token can be made.
        token = self._of_file.get(given) or self._fixed.get(given)
        if token is None or not hmac.compare_digest(token.sha256, given):
            return None
        return Caller(token.name, frozenset(token.roles), token.worker)

    def _refresh(self) -> None:
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            found = read_tokens(self._path)
        except CoordinatorError as error:
            log.error("tokens.unreadable", problem=str(error))  # noqa: TRY400 - the sentence says it all
            return
        self._has_file = self._has_file or found is not None
        self._of_file = _by_digest(found or [])
        log.info("tokens.read", tokens=len(self._of_file), file=str(self._path))


def _by_digest(tokens: Iterable[Token]) -> dict[str, Token]:
    return {token.sha256: token for token in tokens}


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What changes when a file is replaced or written."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_mtime_ns, state.st_ino, state.st_size


def _write(path: Path, tokens: list[Token]) -> None:
    replace_file(path, _TokenFile(tokens=tokens).model_dump_json(indent=2, exclude_none=True))


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One writer at a time: two at once would lose one's change."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
