"""What a short command loads: its start is most of its time."""

from __future__ import annotations

import subprocess
import sys


def test_a_command_over_http_loads_neither_the_amqp_library_nor_metrics() -> None:
    """Both together are a fifth of the time in which `coordinator seeds` starts."""
    program = "import sys, coordinator.cli.lists; print(sorted({'aio_pika', 'prometheus_client'} & {*sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout  # noqa: S603 - our own
    assert loaded == "[]\n", f"coordinator.cli.lists loads {loaded}"
