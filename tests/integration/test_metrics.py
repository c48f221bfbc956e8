"""Metrics against a real broker, and what reads them: the Grafana dashboard, the alerts and their runbook."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # its types are a package of their own
from prometheus_client.parser import text_string_to_metric_families

from coordinator.node.coordinator import Coordinator
from tests.helpers.steps import ack, fetch, submit
from tests.helpers.support import PREFIX, client_of, eventually, serving

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "monitoring"
NAME = re.compile(r"\b(?:coordinator|process)_[a-z_]+\b")
SELECTOR = re.compile(r"\b((?:coordinator|process)_[a-z_]+)\{([^}]*)\}")
GROUPING = re.compile(r"\b(?:by|on) \(([^)]*)\)")
OF_PROMETHEUS = {"instance", "job", "le"}
BOUNDED = {"cause", "kind", "place", "queue", "state", "target", "to", "version", "le"}


async def scrape(node: Coordinator) -> dict[str, dict[str, Any]]:
    """The samples of a scrape: for each name its type, its labels and its values."""
    async with serving(node) as url, client_of(url) as client:
        answer = await client.get("/metrics")
    assert answer.status_code == 200
    found: dict[str, dict[str, Any]] = {}
    for family in text_string_to_metric_families(answer.text):
        assert family.documentation, f"{family.name} says nothing of itself"
        for sample in family.samples:
            entry = found.setdefault(sample.name, {"type": family.type, "labels": set(), "values": {}})
            entry["labels"] |= set(sample.labels)
            entry["values"][tuple(sorted(sample.labels.items()))] = sample.value
    return found


def expressions() -> list[str]:
    """What the dashboard and the alerts ask Prometheus for."""
    dashboard = json.loads((MONITORING / "grafana" / "coordinator.json").read_text())
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    assert all(panel["targets"] for panel in panels)
    assert not [panel["title"] for panel in dashboard["panels"] if panel.get("panels")], "a row that hides panels"
    asked = [target["expr"] for panel in panels for target in panel["targets"]]
    variables = [one["query"]["query"] for one in dashboard["templating"]["list"] if one["type"] == "query"]
    return [*asked, *variables, *(rule["expr"] for rule in alerts())]


def alerts() -> list[dict[str, Any]]:
    """All alert rules."""
    groups = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


async def test_what_is_asked_for_is_exported(node: Coordinator) -> None:
    """Every metric and label that the dashboard or an alert names is in a real scrape."""
    found = await scrape(node)
    asked = expressions()
    assert len(asked) > 30
    for expression in asked:
        assert NAME.search(expression) or expression.startswith("up{"), f"{expression!r} asks for nothing of ours"
        for name in NAME.findall(expression):
            assert name in found, f"{name} of {expression!r} is not exported"
        for name, selector in SELECTOR.findall(expression):
            for label, value in re.findall(r'(\w+)=~?"([^"]*)"', selector):
                if label not in OF_PROMETHEUS:
                    values = {dict(labels).get(label) for labels in found[name]["values"]}
                    assert value in values, f"{name} has no {label} {value!r}"
        known = {label for name in NAME.findall(expression) for label in found[name]["labels"]} | OF_PROMETHEUS
        for group in GROUPING.findall(expression):
            assert {label.strip() for label in group.split(",")} <= known, expression


async def test_names_and_labels_keep_the_conventions(node: Coordinator) -> None:
    """Counters end in _total, times are in seconds, and no label could hold the id of a seed or a worker."""
    for name, entry in (await scrape(node)).items():
        if name.startswith("coordinator_"):
            assert entry["labels"] <= BOUNDED, name
            assert (entry["type"] == "counter") == name.endswith("_total"), name
            if entry["type"] == "histogram":
                assert name.rpartition("_")[0].endswith("_seconds"), name


async def test_counters_follow_the_batches(node: Coordinator) -> None:
    """What is sent, fetched, acked and released over HTTP is counted."""
    async with serving(node) as url, client_of(url + PREFIX) as api:
        await submit(api, "s", 250)
        batches = await fetch(api, 3, worker="w1")
        await ack(api, batches[:1])
        assert (await api.put("/release/worker/w1")).status_code == 200

        await eventually(lambda: node.counters.returned.total() == 2, "two batches that come back")
    found = await scrape(node)

    def value(name: str, **labels: str) -> float:
        return float(found[name]["values"][tuple(sorted(labels.items()))])

    assert value("coordinator_batches_sent_total") >= 3
    assert value("coordinator_batches_acked_total") == 1
    assert value("coordinator_items_acked_total") == len(batches[0]["items"])
    assert value("coordinator_batches_returned_total", to="resend", cause="failure") == 2
    assert value("coordinator_release_seconds_count", target="worker") == 1
    assert value("coordinator_broker_sessions_total") == 1
    assert value("coordinator_publish_confirm_seconds_count") >= 1


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: str(rule["alert"]))
def test_every_alert_has_its_page(rule: dict[str, Any]) -> None:
    """An alert says what is wrong, how bad it is, and where the runbook tells what to do."""
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["annotations"]["summary"]
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    heads = re.findall(r"^## (\w+)$", (ROOT / page).read_text(), re.MULTILINE)
    assert rule["alert"] in heads
    assert anchor == rule["alert"].lower()


def test_the_runbook_has_no_page_without_an_alert() -> None:
    """A section whose alert is gone is noticed."""
    heads = re.findall(r"^## (\w+)$", (ROOT / "docs" / "runbook.md").read_text(), re.MULTILINE)
    assert heads == [rule["alert"] for rule in alerts()]


def test_prometheus_is_told_of_the_rules() -> None:
    """The configuration scrapes the job that the alerts name, and reads the file of rules."""
    config = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    assert config["rule_files"] == ["alerts.yml"]
    assert "coordinator" in [job["job_name"] for job in config["scrape_configs"]]
