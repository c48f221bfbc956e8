"""Which requests a browser sent from another site."""

from __future__ import annotations

import pytest

from coordinator.http.auth import is_from_another_site


@pytest.mark.parametrize(
    ("headers", "is_foreign"),
    [
        ({}, False),
        ({"host": "127.0.0.1:8787"}, False),
        ({"sec-fetch-site": "same-origin"}, False),
        ({"sec-fetch-site": "none"}, False),
        ({"sec-fetch-site": "same-site"}, True),
        ({"sec-fetch-site": "cross-site"}, True),
        ({"sec-fetch-site": ""}, True),
        ({"sec-fetch-site": "cross-site", "origin": "http://h", "host": "h"}, True),
        ({"sec-fetch-site": "same-origin", "origin": "https://proxy", "host": "behind:1"}, False),
        ({"origin": "http://h:8787", "host": "h:8787"}, False),
        ({"origin": "https://H:8787", "host": "h:8787"}, False),
        ({"origin": "http://h:8788", "host": "h:8787"}, True),
        ({"origin": "http://evil.example", "host": "h:8787"}, True),
        ({"origin": "http://evil.example"}, True),
        ({"origin": "null", "host": "h"}, True),
        ({"origin": "http://[broken", "host": "h"}, True),
    ],
)
def test_requests_from_other_sites(headers: dict[str, str], *, is_foreign: bool) -> None:
    """`Sec-Fetch-Site` decides where it is sent, else `Origin`; a client that sends neither is no browser."""
    assert is_from_another_site(headers) is is_foreign
