"""Tokens: what is kept of them, and how a change of their file takes effect."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from coordinator.errors import CoordinatorError
from coordinator.settings import Settings
from coordinator.tokens import (
    Caller,
    Role,
    Token,
    Tokens,
    add_token,
    digest,
    fixed_tokens,
    new_secret,
    read_tokens,
    revoke_tokens,
)


def token(name: str, *roles: Role, secret: str = "", worker: str | None = None) -> Token:
    """A token of these roles."""
    return Token(name=name, roles=roles or ("operator",), worker=worker, sha256=digest(secret or new_secret()))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the tokens lie."""
    return tmp_path / "state" / "tokens.json"


def test_secrets_are_long_and_differ() -> None:
    """A token holds 256 random bits, and begins with what a scanner knows."""
    secrets = {new_secret() for _ in range(100)}
    assert len(secrets) == 100
    assert all(secret.startswith("bct_") and len(secret) == len("bct_") + 43 for secret in secrets)


def test_only_hashes_are_kept(path: Path) -> None:
    """The file holds no token, and only its owner may read it."""
    secret = new_secret()
    add_token(path, token("a", secret=secret))
    assert secret not in path.read_text()
    assert digest(secret) in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_who_bears_a_token(path: Path) -> None:
    """A token names its bearer, the roles and the worker; any other secret, and a hash itself, names nobody."""
    bound, fixed = new_secret(), new_secret()
    add_token(path, token("w1", "worker", "producer", secret=bound, worker="crawler-1"))
    tokens = Tokens(path, [token("ci", secret=fixed)], "this-machine")
    assert tokens.are_required
    assert tokens.caller(bound) == Caller("w1", frozenset({"worker", "producer"}), "crawler-1")
    assert tokens.caller(fixed) == Caller("ci", frozenset({"operator"}))
    assert tokens.caller("this-machine") == Caller("local", frozenset({"administrator"}))
    for wrong in ("", new_secret(), bound[:-1], bound + "x", digest(bound), "\udcff"):
        assert tokens.caller(wrong) is None


def test_roles_add_up() -> None:
    """One of the roles is enough, and an administrator needs no other."""
    caller = Caller("a", frozenset({"operator", "producer"}))
    assert caller.may(frozenset({"producer", "manager"}))
    assert not caller.may(frozenset({"manager"}))
    assert Caller("root", frozenset({"administrator"})).may(frozenset({"worker"}))


def test_changes_take_effect_at_once(path: Path) -> None:
    """What is added is valid at the next look, and what is revoked is not."""
    tokens = Tokens(path)
    assert not tokens.are_required
    secrets = {name: new_secret() for name in ("a", "b", "c")}
    for name, secret in secrets.items():
        add_token(path, token(name, secret=secret))
        assert tokens.caller(secret) is not None
    assert tokens.are_required
    assert revoke_tokens(path, ["b", "c", "nobody"]) == {"b", "c"}
    assert tokens.caller(secrets["b"]) is None
    assert tokens.caller(secrets["a"]) is not None


def test_there_is_no_way_back_to_none(path: Path) -> None:
    """A file that goes away, or whose tokens are all revoked, leaves nobody in; it does not let everybody in."""
    secret = new_secret()
    add_token(path, token("a", secret=secret))
    tokens = Tokens(path)
    revoke_tokens(path, ["a"])
    assert tokens.are_required
    assert tokens.caller(secret) is None
    path.unlink()
    assert tokens.are_required
    assert Tokens(path, [token("ci")]).are_required


def test_a_broken_file_changes_nothing(path: Path) -> None:
    """While it runs, a file that cannot be read leaves valid what was valid; at the start it is an error."""
    secret = new_secret()
    add_token(path, token("a", secret=secret))
    tokens = Tokens(path)
    path.write_text("{broken")
    assert tokens.caller(secret) is not None
    assert tokens.are_required
    for text in ("{broken", "[]", '{"tokens": [{"name": "a"}]}', '{"tokens": [], "more": 1}'):
        path.write_text(text)
        with pytest.raises(CoordinatorError, match=r"tokens\.json"):
            Tokens(path)


def test_names_are_told_once(path: Path) -> None:
    """A second token of one name is refused, and the first stays."""
    add_token(path, token("a", "operator"))
    with pytest.raises(CoordinatorError, match="token named a already"):
        add_token(path, token("a", "manager"))
    assert [one.roles for one in read_tokens(path) or []] == [("operator",)]


def test_writers_at_the_same_time_lose_nothing(path: Path) -> None:
    """Tokens that are made at once are all there."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: add_token(path, token(f"t{number}")), range(40)))
    assert {one.name for one in read_tokens(path) or []} == {f"t{number}" for number in range(40)}


@pytest.mark.parametrize(
    "entry",
    [
        {"name": "a b", "roles": ["worker"]},
        {"name": "", "roles": ["worker"]},
        {"name": "a", "roles": []},
        {"name": "a", "roles": ["root"]},
        {"name": "a", "roles": ["operator"], "worker": "w"},
        {"name": "a", "roles": ["worker"], "worker": "w w"},
        {"name": "a", "roles": ["worker"], "sha256": "abc"},
        {"name": "a", "roles": ["worker"], "token": "secret"},
    ],
)
def test_what_is_no_token(entry: dict[str, object]) -> None:
    """Names, roles and bindings that cannot be are refused."""
    with pytest.raises(ValidationError):
        Token.model_validate({"sha256": "0" * 64} | entry)


def test_tokens_from_the_settings() -> None:
    """The settings may hold tokens; where these are broken the error shows nothing of them."""
    given = token("ci", "producer")
    text = f"[{given.model_dump_json(exclude_none=True)}]"
    assert fixed_tokens(Settings(tokens=SecretStr(text))) == [given]
    assert fixed_tokens(Settings(tokens=SecretStr(""))) == []
    for broken in ("sesame", '[{"name": "sesame", "roles": ["sesame"]}]', '{"sesame": 1}'):
        with pytest.raises(CoordinatorError, match="COORDINATOR_TOKENS") as caught:
            fixed_tokens(Settings(tokens=SecretStr(broken)))
        assert "sesame" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_told(path: Path) -> None:
    """A file of another is an error, not a missing file: everybody would be let in."""
    add_token(path, token("a"))
    path.chmod(0)
    with pytest.raises(CoordinatorError, match="denied"):
        Tokens(path)
