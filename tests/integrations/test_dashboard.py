"""The dashboard and the alerts name metrics and labels that a scrape really has."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from eventpipe import AsyncClient, RetryPolicy
from eventpipe.integrations.families import FAMILIES
from eventpipe.integrations.prometheus import PrometheusMetrics
from eventpipe.testing import FlakySink
from tests.integrations.scraping import Scrape

DOCS = Path(__file__).parents[2] / "docs"
DASHBOARD = json.loads((DOCS / "grafana.json").read_text())
PAGE = (DOCS / "metrics.md").read_text()
OF_PROMETHEUS = {"job", "instance"}  # labels that it gives to every sample

# A metric with what it is narrowed to, and the labels that are kept of a sum.
SELECTOR = re.compile(r"\b(eventpipe_\w+)(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)(=~|!~|!=|=)"([^"]*)"')
GROUPING = re.compile(r"\b(?:by|without|on|ignoring) \(([^)]*)\)")


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = DASHBOARD["panels"]
    return found


def variables() -> dict[str, dict[str, Any]]:
    return {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}


def of_dashboard() -> Iterator[str]:
    for panel in panels():
        for target in panel["targets"]:
            yield target["expr"]
    for variable in variables().values():
        if variable["type"] == "query":
            yield variable["definition"]


def rules() -> str:
    [block] = re.findall(r"^```yaml\n(groups:.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    return str(block)


def of_alerts() -> Iterator[str]:
    for expression in re.findall(r"^ {8}expr: (?:\|\n)?((?:.|\n {10})*)$", rules(), re.MULTILINE):
        yield " ".join(expression.split())


async def run_through(client: AsyncClient) -> None:
    async with client:
        for number in range(200):
            await client.capture("a", properties={"number": number})


@pytest.fixture(scope="module")
def seen() -> Scrape:
    """A scrape after deliveries, drops and retries, so that every metric has a sample."""
    registry = CollectorRegistry()
    client = AsyncClient(
        FlakySink(1),
        batch_events=10,
        queue_events=100,
        retry=RetryPolicy(initial=0.001, min_delay=0.001, max_delay=0.001),
    )
    asyncio.run(run_through(client))
    with PrometheusMetrics(client, registry=registry, event_names=True):
        return Scrape.read(generate_latest(registry).decode())


def test_a_scrape_after_all_that_can_happen_has_every_metric(seen: Scrape) -> None:
    """Else the tests below would hold expressions to less than there is."""
    assert {name.removesuffix("_bucket") for name in seen.names} >= {family.exported for family in FAMILIES}


@pytest.mark.parametrize("expression", [*of_dashboard(), *of_alerts()])
def test_expression_names_what_is_exported(expression: str, seen: Scrape) -> None:
    """Every metric exists, every label is one of it, and what a label is compared with is a value that it can have."""
    selectors = SELECTOR.findall(expression)
    assert selectors != []
    kept: set[str] = set()
    for name, matchers in selectors:
        assert name in seen.names
        has = seen.labels_of(name)
        kept |= has
        for label, how, value in MATCHER.findall(matchers):
            assert label in has, f"{name} has no label {label}"
            if how in ("=", "!="):
                assert value in seen.values(name, label), f"{name} has no {label}={value!r}"
        assert MATCHER.sub("", matchers).strip(", ") == ""
    for labels in GROUPING.findall(expression):
        assert {label.strip() for label in labels.split(",")} <= kept | OF_PROMETHEUS
    assert (expression.count("("), expression.count("[")) == (expression.count(")"), expression.count("]"))


@pytest.mark.parametrize("expression", [*of_dashboard(), *of_alerts()])
def test_expression_takes_the_rate_of_counters_alone(expression: str, seen: Scrape) -> None:
    """The rate of a level means nothing, and a counter by itself only in a balance of accounts."""
    balance = "captured_total" in expression and "recovered_total" in expression
    for call in re.findall(r"(\w+)\(eventpipe_\w+", expression):
        name = re.findall(rf"{call}\((eventpipe_\w+)", expression)[0]
        counts = seen.kinds[name] in ("counter", "histogram")
        assert counts == (call in ("rate", "increase")) or balance or call == "label_values"


def test_dashboard_is_one_that_grafana_can_import() -> None:
    """It has an identity, no number of a database, its own data source, and panels that lie beside each other."""
    assert (DASHBOARD["uid"], DASHBOARD["title"], DASHBOARD["id"]) == ("eventpipe", "eventpipe", None)
    assert DASHBOARD["schemaVersion"] == 39
    assert list(variables()) == ["datasource", "client", "sink"]
    ids = [panel["id"] for panel in panels()]
    assert len(ids) == len(set(ids))
    cells: set[tuple[int, int]] = set()
    for panel in panels():
        assert {"id", "type", "title", "description", "gridPos", "targets", "datasource", "fieldConfig"} <= set(panel)
        assert panel["type"] in ("stat", "timeseries", "heatmap")
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        own = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not own & cells, f"{panel['title']} lies on another"
        cells |= own


def test_every_panel_asks_the_chosen_data_source_for_the_chosen_clients() -> None:
    """No panel shows more than what was chosen above it."""
    for panel in panels():
        references = [target["refId"] for target in panel["targets"]]
        assert len(references) == len(set(references)) >= 1
        for asked in (panel, *panel["targets"]):
            assert asked["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        for target in panel["targets"]:
            for _, matchers in SELECTOR.findall(target["expr"]):
                assert 'client=~"$client"' in matchers
            assert set(re.findall(r"\$(\w+)", target["expr"])) <= {"client", "sink", "__rate_interval", "__range"}


def test_alerts_are_those_worth_having() -> None:
    """Loss, pressure, silence, crashes, unreadiness, and accounts that do not add up."""
    assert re.findall(r"alert: (\w+)", rules()) == [
        "EventsLost",
        "EventQueueFillsUp",
        "NoEventsDelivered",
        "EventServiceCrashed",
        "EventClientNotReady",
        "EventsUnaccounted",
    ]
    assert len(list(of_alerts())) == 6
