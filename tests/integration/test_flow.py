"""Items become batches, batches reach workers, and what fails comes back."""

from __future__ import annotations

from collections import Counter

import pytest

from coordinator.settings import Settings
from tests.helpers.support import Drain, eventually, items, publish_items

pytestmark = pytest.mark.usefixtures("node")


async def test_every_item_arrives_once(settings: Settings) -> None:
    """A new seed comes into being with its first items, and all of them reach a stock worker, in batches of 100."""
    drain = await Drain.begin(settings)
    await publish_items(settings, "s/1", [items(100, f"p{page}-") for page in range(50)])
    await eventually(lambda: len(drain.items()) >= 5000, "5,000 items")
    assert Counter(drain.items()) == Counter(f"p{page}-{n}" for page in range(50) for n in range(100))
    assert {len(batch["items"]) for batch in drain.seen} == {100}
    assert {(batch["seed"], batch["attempt"], batch["epoch"]) for batch in drain.seen} == {("s/1", 1, 1)}
    await drain.close()
