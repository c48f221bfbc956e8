"""A private cluster that does not run yet."""

from __future__ import annotations

from pathlib import Path

import pytest

from coordinator.errors import PrivateBrokerError
from coordinator.local_rabbitmq.cluster import PrivateCluster


async def test_a_cluster_that_is_not_started(tmp_path: Path) -> None:
    """It has a size, but no nodes; to wait for it or to stop it is harmless."""
    cluster = PrivateCluster(tmp_path / "cluster", nodes=5)
    assert len(cluster) == 5
    with pytest.raises(PrivateBrokerError):
        _ = cluster.urls
    with pytest.raises(PrivateBrokerError):
        await cluster.kill(0)
    with pytest.raises(PrivateBrokerError):
        cluster.suspend(0)
    await cluster.wait()
    await cluster.stop()
