"""Ids in paths: written so that they are read as they were, whatever they hold."""

from __future__ import annotations

import re

import pytest

from coordinator.http.paths import DeadIdConvertor, IdConvertor, SeedIdConvertor


@pytest.mark.parametrize("convertor", [IdConvertor(), SeedIdConvertor(), DeadIdConvertor()])
@pytest.mark.parametrize("ident", ["a", "a/items", "a/retry", "..", "./x", "AAA+b/c=", "ü%41 &?#", "\udcff"])
def test_an_id_is_read_as_it_was_written(convertor: IdConvertor, ident: str) -> None:
    """Each may be any segment, also one that would be a route's own or that clients would drop."""
    written = convertor.to_string(ident)
    assert re.fullmatch(convertor.regex, written)
    assert "/" not in written
    assert convertor.convert(written) == ident
