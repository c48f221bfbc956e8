"""Seeds under the strangest ids that the contract allows."""

from __future__ import annotations

import pytest

from coordinator.settings import Settings
from tests.helpers.support import Drain, eventually, items, publish_items

pytestmark = pytest.mark.usefixtures("node")

STRANGE = ["AAABcID5GBc=", "a/b+c==", "100 %", "dépôt/日本", "[red]{x}*?!'\"\\<>|&;$(`~^", "#", "*.x", "é" * 100]


@pytest.mark.parametrize("seed", STRANGE)
async def test_any_id_is_a_seed(settings: Settings, seed: str) -> None:
    """A seed's items arrive whatever characters its id holds."""
    drain = await Drain.begin(settings)
    await publish_items(settings, seed, [items(10)])
    await eventually(lambda: len(drain.items(seed)) == 10, "10 items")
    await drain.close()
