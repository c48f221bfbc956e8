"""Which tests run beside each other, and in which order."""

from __future__ import annotations

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

ALONE = ("tests/faults/", "tests/chaos/")
"""Folders whose tests run one after another: they kill brokers, and two at once would wait for each other's CPU."""

LONGEST = (
    "tests/integration/test_replicas.py",
    "tests/integration/test_cli_operators.py",
    "tests/integration/test_cli.py",
    "tests/browser/test_views.py",
    "tests/integration/fuzz/test_http_fuzz.py",
    "tests/integration/test_demo.py",
    "tests/integration/test_worker.py",
    "tests/browser/test_actions.py",
    "tests/browser/test_timelines.py",
    "tests/integration/fuzz/test_amqp_fuzz.py",
    "tests/integration/test_worker_stop.py",
    "tests/integration/test_million.py",
)
"""Files that take longest, longest first: one that began last would keep a single core busy at the end."""

LAST = "tests/unit/"


def group_of(nodeid: str) -> str:
    """Return the group of a test: one process runs a whole group. It is the test's file, or a folder of `ALONE`."""
    return next((folder for folder in ALONE if nodeid.startswith(folder)), nodeid.split("::", 1)[0])


def rank(nodeid: str) -> int:
    """Return when a test begins, lowest first: the folders of `ALONE`, the longest files, others, unit tests."""
    first = (*ALONE, *LONGEST)
    group = group_of(nodeid)
    if group in first:
        return first.index(group)
    return len(first) + group.startswith(LAST)


class GroupScheduling(LoadFileScheduling):  # type: ignore[misc] # xdist has no types
    """Gives each process of pytest-xdist whole groups, in the order of the collection.

    The groups are not marks for `--dist loadgroup`: that appends the group to each test's id, so that an id from the
    report could not be given to pytest again.
    """

    def __init__(self, config: pytest.Config, log: Producer | None = None) -> None:
        config.option.loadscopereorder = False  # else groups of many tests begin first, whatever their length
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)
