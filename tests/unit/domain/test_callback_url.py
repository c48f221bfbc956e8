"""Which URLs may be callbacks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.domain.callback_url import Target, is_same_host, parse_callback
from coordinator.errors import InvalidInputError


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://host", Target("host", 80, "http://host")),
        ("https://HOST/a/b/", Target("host", 443, "https://HOST/a/b")),
        ("http://[::1]:9000/", Target("::1", 9000, "http://[::1]:9000")),
        ("HTTP://10.0.0.1:0", Target("10.0.0.1", 0, "HTTP://10.0.0.1:0")),
    ],
)
def test_what_may_be_called(url: str, target: Target) -> None:
    """Host, port and base of an URL, its trailing slash left out."""
    assert parse_callback(url) == target


@pytest.mark.parametrize(
    "url",
    [
        "",
        "host:80",
        "//host/",
        "ftp://host/",
        "file:///etc/passwd",
        "http://",
        "http:///x",
        "http://user@host/",
        "http://user:password@host/",
        "http://@host/",
        "http://host/?a=b",
        "http://host/?",
        "http://host/#x",
        "http://host:port/",
        "http://host:70000/",
        "http://[::1/",
        "http://a b/",
        "http://host/\n",
        "http://host\\@other/",
        "http://ü/",
        "http://a..b/",
        "http://a%2f/",
        "http://[fe80::1%25eth0]/",
        "http://[::x]/",
        "http://" + "x" * 64,
        "http://" + "x." * 127,
        "\x00http://host/",
    ],
)
def test_what_may_not_be_called(url: str) -> None:
    """Other schemes, credentials, queries, fragments, and what is read in two ways are refused under `callback`."""
    with pytest.raises(InvalidInputError) as caught:
        parse_callback(url)
    assert [field for field, _ in caught.value.problems] == ["callback"]


@given(st.text() | st.text("htps:/@?#[]\\.:1a").map("http://".__add__))
def test_any_text_is_taken_or_refused(text: str) -> None:
    """No text ends otherwise, and what is taken has one host and no credentials."""
    try:
        target = parse_callback(text)
    except InvalidInputError:
        return
    assert target.host
    assert "@" not in text.split("/")[2]


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("fe80::1%eth0", "FE80::0001", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("::1", "127.0.0.1", False),
        ("worker", "worker", False),
    ],
)
def test_addresses_are_compared_as_numbers(one: str, other: str, *, is_same: bool) -> None:
    """An IPv4 address written as IPv6 is itself; what is no address is nobody's."""
    assert is_same_host(one, other) is is_same
