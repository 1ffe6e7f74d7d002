"""Prometheus: what a scrape says is what the client counted, at one moment, under names and labels that hold."""

from __future__ import annotations

import asyncio
import importlib
import sys
import time
from dataclasses import replace
from itertools import accumulate, pairwise
from typing import Any

import anyio
import pytest
from prometheus_client import REGISTRY, CollectorRegistry, Counter, generate_latest
from prometheus_client.core import Metric
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics

from eventpipe import (
    AsyncClient,
    Batch,
    DropReason,
    Event,
    EventCounts,
    PermanentSinkError,
    RetryPolicy,
    Statistics,
    TransientSinkError,
)
from eventpipe.health import Health
from eventpipe.integrations.families import FAMILIES, HIGH_WATER, PLACES
from eventpipe.integrations.prometheus import PrometheusMetrics
from eventpipe.sinks import CallbackSink, MemorySink
from eventpipe.testing import FlakySink, GatedSink, HangingSink, RecordingSink
from tests.integrations.scraping import Scrape, endpoint, scrape

HOSTILE = 'a "quoted"\\name\n# TYPE x counter\n{sink="b"} 1e9 \u2028é'


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def now(registry: CollectorRegistry) -> Scrape:
    return Scrape.read(generate_latest(registry).decode())


def in_openmetrics(registry: CollectorRegistry) -> list[Metric]:
    """The same in the newer format, whose rules are stricter."""
    return list(parse_openmetrics(generate_openmetrics(registry).decode()))  # type: ignore[no-untyped-call]


def adds_up(seen: Scrape) -> bool:
    """The identity of the accounts, in total and by sink, from what was scraped alone."""
    captured, recovered, left, spooled, pending = (
        seen.by("sink", f"eventpipe_{name}")
        for name in ("captured_total", "recovered_total", "events_total", "spooled", "pending")
    )
    by_sink = all(captured[sink] + recovered[sink] == left[sink] + spooled[sink] + pending[sink] for sink in captured)
    whole = seen.sum("eventpipe_captured_total") + seen.sum("eventpipe_recovered_total") == (
        seen.sum("eventpipe_events_total") + seen.sum("eventpipe_spooled") + seen.sum("eventpipe_pending")
    )
    return by_sink and whole and set(captured) == set(pending)


def told(statistics: Statistics) -> dict[str, Any]:
    """What a scrape has to say of these numbers of one sink."""
    return {
        "captured": statistics.captured,
        "delivered": statistics.delivered,
        "dropped": dict(statistics.dropped_by_reason),
        "pending": statistics.pending,
        "attempts": statistics.attempts,
        "retries": statistics.retries,
        "retried": dict(statistics.retried_by_reason),
        "latency": [
            (list(accumulate(one.counts)), one.sum)
            for one in (statistics.latency.queue, statistics.latency.send, statistics.latency.delivery)
        ],
    }


def scraped(seen: Scrape, sink: str) -> dict[str, Any]:
    def reasons(name: str, **labels: str) -> dict[str, float]:
        wanted = {("sink", sink), *labels.items()}
        found = {
            dict(have)["reason"]: value for (one, have), value in seen.samples.items() if one == name and wanted <= have
        }
        return {reason: value for reason, value in found.items() if value}

    def histogram(stage: str) -> tuple[list[float], float]:
        of_stage = {("sink", sink), ("stage", stage)}
        buckets = [
            (float(dict(have)["le"]), value)
            for (one, have), value in seen.samples.items()
            if one == "eventpipe_latency_seconds_bucket" and of_stage <= have
        ]
        return [value for _, value in sorted(buckets)], seen.sum(
            "eventpipe_latency_seconds_sum", sink=sink, stage=stage
        )

    return {
        "captured": seen.sum("eventpipe_captured_total", sink=sink),
        "delivered": seen.sum("eventpipe_events_total", sink=sink, outcome="delivered"),
        "dropped": reasons("eventpipe_events_total", outcome="dropped"),
        "pending": seen.sum("eventpipe_pending", sink=sink),
        "attempts": seen.sum("eventpipe_attempts_total", sink=sink),
        "retries": seen.sum("eventpipe_retries_total", sink=sink),
        "retried": reasons("eventpipe_retried_events_total"),
        "latency": [histogram(stage) for stage in ("queue", "send", "delivery")],
    }


def refuse_each_seventh(event: Event) -> Event | None:
    return None if event.event == "e0" else event


@pytest.mark.wallclock
@pytest.mark.asyncio
async def test_every_scrape_adds_up_while_events_come_and_go(registry: CollectorRegistry) -> None:
    """Deliveries, drops of several reasons and retries run on; no number is negative, and no counter goes back."""
    client = AsyncClient(
        FlakySink(1, latency=(0.0, 0.005), name="flaky"),
        FlakySink(2, errors=(lambda: PermanentSinkError("no", scope="batch"),), name="refusing"),
        HangingSink(),
        queue_events=300,
        batch_events=10,
        max_batch_age=0.001,
        retry=RetryPolicy(max_attempts=3, initial=0.001, max_delay=0.01, min_delay=0.001),
        before_send=refuse_each_seventh,
    )
    seen: list[Scrape] = []
    with PrometheusMetrics(client, registry=registry, event_names=True), endpoint(registry) as address:

        async def watch() -> None:
            while len(seen) < 60:
                seen.append(await scrape(address))

        async with client:
            watching = asyncio.create_task(watch())
            while not watching.done():
                for number in range(70):
                    properties = {"large": "x" * 1000} if number == 50 else None
                    await client.capture(f"e{number % 7}", properties=properties)
                await asyncio.sleep(0.002)
            await client.aclose(0.1)
        seen.append(await scrape(address))

    assert [place for place, one in enumerate(seen) if not adds_up(one)] == []
    assert [key for one in seen for key, value in one.samples.items() if value < 0] == []
    for before, after in pairwise(seen):
        grown = [key for key in before.samples if before.kinds[key[0]] in ("counter", "histogram")]
        assert [key for key in grown if after.samples[key] < before.samples[key]] == []
    pending = {one.sum("eventpipe_pending") for one in seen}
    assert len({one.sum("eventpipe_captured_total") for one in seen}) > 20
    assert len(pending) > 5
    statistics = client.statistics()
    assert statistics.retries > 0
    assert {"queue_full", "before_send", "rejected", "close_deadline"} <= set(statistics.dropped_by_reason)
    for sink, numbers in statistics.by_sink.items():
        assert scraped(seen[-1], sink) == told(numbers)


async def ask_for_a_pause(batch: Batch) -> None:
    raise TransientSinkError("later", reason="status_429", retry_after=60)


@pytest.mark.asyncio
async def test_a_scrape_at_rest_says_what_statistics_says(registry: CollectorRegistry) -> None:
    """Every number, by sink, with events in every place where one can stay for a while."""
    gated, paused = GatedSink(name="gated"), CallbackSink(ask_for_a_pause, name="paused")
    client = AsyncClient(
        gated, paused, batch_events=2, workers=1, queue_events=5, overflow="wait", before_send=refuse_each_seventh
    )
    async with client:
        with PrometheusMetrics(client, registry=registry):
            for name in ("a", "b", "c", "d", "e", "e0"):
                await client.capture(name)
                await asyncio.sleep(0)
            waiting = asyncio.create_task(client.capture("f"))
            await anyio.wait_all_tasks_blocked()

            seen, statistics = now(registry), client.statistics()

            for sink, numbers in statistics.by_sink.items():
                assert scraped(seen, sink) == told(numbers)
                for place in PLACES:
                    assert seen.sum("eventpipe_pending", sink=sink, place=place) == getattr(numbers, place)
                assert seen.sum("eventpipe_inflight", sink=sink) == numbers.in_flight
                assert seen.sum("eventpipe_queue_size", sink=sink) == 5
                assert seen.sum("eventpipe_queue_bytes", sink=sink) == numbers.queue_bytes
                assert seen.sum("eventpipe_high_water_bytes", sink=sink) == numbers.high_water.held_bytes
                assert seen.sum("eventpipe_queue_capacity", sink=sink) == 5
                assert seen.sum("eventpipe_queue_bytes_capacity", sink=sink) == 32 * 2**20
                assert seen.sum("eventpipe_queue_pressure", sink=sink) == 1
                for place in HIGH_WATER:
                    highest = getattr(numbers.high_water, place)
                    assert seen.sum("eventpipe_high_water", sink=sink, place=place) == highest
            assert {place for place in PLACES if getattr(statistics, place)} == set(PLACES) - {"buffered"}
            assert seen.by("sink", "eventpipe_sink_paused") == {"gated": 0, "paused": 1}
            assert seen.by("reason", "eventpipe_retried_events_total") == {"status_429": 2}
            assert seen.sum("eventpipe_hook_errors_total") == 0
            assert seen.sum("eventpipe_slowest_hook_seconds") == statistics.slowest_hook > 0
        gated.release()
        await client.aclose(0)
        await waiting


@pytest.mark.asyncio
async def test_a_scrape_reads_a_client_once(registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that is shown is of one moment; and nothing is read when the client is added."""
    client = AsyncClient(MemorySink())
    read: list[str] = []
    numbers, health = client.statistics(), client.health()

    def statistics() -> Statistics:
        read.append("statistics")
        return numbers

    def look() -> Health:
        read.append("health")
        return health

    monkeypatch.setattr(client, "statistics", statistics)
    monkeypatch.setattr(client, "health", look)
    with PrometheusMetrics(client, registry=registry):
        assert read == []
        now(registry)

    assert sorted(read) == ["health", "statistics"]


def test_every_metric_has_the_labels_that_it_says(registry: CollectorRegistry) -> None:
    """A metric is exported by the name, the kind and the labels that the page on metrics has of it."""
    client = AsyncClient(MemorySink())

    with PrometheusMetrics(client, registry=registry, event_names=True):
        asyncio.run(deliver_one(client))
        seen = now(registry)

    silent = {"eventpipe_retried_events_total"}  # until an attempt fails
    assert {family.exported for family in FAMILIES if family.kind != "histogram"} - seen.names == silent
    for family in FAMILIES:
        for name in seen.names:
            if name.removesuffix("_bucket") == family.exported:
                extra = {"le"} if family.kind == "histogram" else set()
                assert seen.labels_of(name) == {"client", *family.labels} | extra
                assert seen.kinds[name] == family.kind


async def deliver_one(client: AsyncClient) -> None:
    async with client:
        await client.capture("a")


def test_reasons_to_drop_are_there_before_the_first_drop(registry: CollectorRegistry) -> None:
    """Growth from nothing to one is no growth that ``increase()`` sees."""
    with PrometheusMetrics(AsyncClient(MemorySink()), registry=registry):
        seen = now(registry)

    assert seen.values("eventpipe_events_total", "reason") == {"", *DropReason}
    assert seen.sum("eventpipe_events_total") == 0


def test_the_last_success_is_absent_before_the_first(registry: CollectorRegistry) -> None:
    """Zero would be fifty years ago, and an alarm."""
    client = AsyncClient(MemorySink())
    with PrometheusMetrics(client, registry=registry):
        before = now(registry)
        asyncio.run(deliver_one(client))
        after = now(registry)

    assert "eventpipe_last_success_timestamp_seconds" not in before.names
    assert time.time() - 60 < after.sum("eventpipe_last_success_timestamp_seconds") <= time.time()


@pytest.mark.parametrize(
    ("health", "expected"),
    [
        (Health(is_open=True), (1, 1, 0)),
        (Health(is_open=True, pressure=1.0), (1, 0, 0)),
        (Health(is_open=True, crashed=("one", "two")), (1, 0, 2)),
        (Health(is_open=False), (0, 0, 0)),
    ],
    ids=["open", "full", "crashed", "closed"],
)
def test_the_state_is_three_gauges(
    health: Health, expected: tuple[int, ...], registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it takes events in, whether it is ready, and how many of its services crashed."""
    client = AsyncClient(enabled=False)
    monkeypatch.setattr(client, "health", lambda: health)

    with PrometheusMetrics(client, registry=registry):
        seen = now(registry)

    assert tuple(seen.sum(f"eventpipe_{name}") for name in ("up", "ready", "crashed")) == expected


@pytest.mark.parametrize(
    "name", [HOSTILE, "\x00", "_", "x" * 200, "ключ🔑"], ids=["quotes", "nul", "line", "long", "letters"]
)
def test_hostile_names_cost_nobody_else_a_sample(name: str, registry: CollectorRegistry) -> None:
    """A sink's, a client's and an event's name come back as they were, in both formats."""
    client = AsyncClient(RecordingSink(name=name), RecordingSink(name="other"))
    asyncio.run(deliver_named(client, name))

    with PrometheusMetrics(client, name=name, registry=registry, event_names=True):
        seen = now(registry)
        opened = {family.name for family in in_openmetrics(registry)}

    assert seen.values("eventpipe_captured_total", "sink") == {name, "other"}
    assert seen.values("eventpipe_captured_total", "client") == {name}
    assert seen.values("eventpipe_named_events_total", "event") == {name}
    assert seen.sum("eventpipe_captured_total", sink=name) == 1
    assert opened == {family.name for family in FAMILIES}
    assert adds_up(seen)


async def deliver_named(client: AsyncClient, name: str) -> None:
    async with client:
        await client.capture(name)


def test_half_a_character_does_not_cost_the_scrape(
    registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no place in UTF-8, so it is written out; what then looks the same is counted as one."""
    client = AsyncClient(RecordingSink(name="si\ud800nk"))
    asyncio.run(deliver_one(client))
    counts = {"\udfff": EventCounts(1, 2, 3), "\\udfff": EventCounts(10, 20, 30)}
    numbers = replace(client.statistics(), by_event=counts)
    monkeypatch.setattr(client, "statistics", lambda: numbers)

    with PrometheusMetrics(client, name="cli\ud800ent", registry=registry, event_names=True):
        seen = now(registry)

    assert seen.sum("eventpipe_captured_total", sink="si\\ud800nk", client="cli\\ud800ent") == 1
    assert seen.by("event", "eventpipe_named_events_total") == {"\\udfff": 66}
    assert seen.by("outcome", "eventpipe_named_events_total") == {"delivered": 11, "dropped": 22, "retried": 33}


def test_events_are_counted_by_name_for_who_asks(registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """A label for every name costs memory wherever it is stored, and shows what there is."""
    client = AsyncClient(MemorySink())
    asyncio.run(deliver_one(client))

    with PrometheusMetrics(client, registry=registry):
        assert "eventpipe_named_events_total" not in now(registry).names
    with PrometheusMetrics(client, registry=registry, event_names=True):
        assert now(registry).by("event", "eventpipe_named_events_total") == {"a": 1}


@pytest.mark.asyncio
async def test_many_names_are_a_hundred_and_the_others(registry: CollectorRegistry) -> None:
    """Who makes names of ids fills no database."""
    async with AsyncClient(MemorySink()) as client:
        for number in range(500):
            await client.capture(f"order-{number}")
        await client.flush()
        with PrometheusMetrics(client, registry=registry, event_names=True):
            seen = now(registry)

        assert len(seen.values("eventpipe_named_events_total", "event")) == 101
        assert seen.sum("eventpipe_named_events_total", event="(others)", outcome="delivered") == 400


def test_clients_of_one_registry_are_told_apart(registry: CollectorRegistry) -> None:
    """By the label ``client``, with each metric described once; each goes by itself."""
    one, two = AsyncClient(MemorySink()), AsyncClient(MemorySink())
    first = PrometheusMetrics(one, name="one", registry=registry)
    second = PrometheusMetrics(two, name="two", registry=registry, event_names=True)
    asyncio.run(deliver_one(two))

    both = now(registry)
    assert generate_latest(registry).decode().count("# TYPE eventpipe_captured_total counter") == 1
    first.close()
    rest = now(registry)
    second.close()

    assert both.by("client", "eventpipe_captured_total") == {"one": 0, "two": 1}
    assert both.values("eventpipe_named_events_total", "client") == {"two"}
    assert rest.by("client", "eventpipe_captured_total") == {"two": 1}
    assert generate_latest(registry) == b""


def test_a_name_is_taken_until_it_is_closed(registry: CollectorRegistry) -> None:
    """Two clients under one name would be one line that jumps."""
    first = PrometheusMetrics(AsyncClient(MemorySink()), registry=registry)

    with pytest.raises(ValueError, match="name must be another than 'default'"):
        PrometheusMetrics(AsyncClient(MemorySink()), registry=registry)

    first.close()
    with PrometheusMetrics(AsyncClient(MemorySink()), registry=registry) as second:
        first.close()  # again, and too late to take the other out
        assert "eventpipe_up" in now(registry).names
        assert repr(second) == "<PrometheusMetrics 'default' of <AsyncClient to MemorySink: open, 0 pending>>"


def test_metrics_of_somebody_else_are_left_alone(registry: CollectorRegistry) -> None:
    """Where a name is taken, the client is not shown, and what has the name stays."""
    counter = Counter("eventpipe_captured", "Somebody's.", registry=registry)
    counter.inc(7)

    for _ in range(2):
        with pytest.raises(ValueError, match="eventpipe_captured"):
            PrometheusMetrics(AsyncClient(MemorySink()), registry=registry)

    assert now(registry).samples["eventpipe_captured_total", frozenset()] == 7
    registry.unregister(counter)
    with PrometheusMetrics(AsyncClient(MemorySink()), registry=registry):
        assert now(registry).sum("eventpipe_captured_total") == 0


def test_the_registry_of_the_process_is_the_usual_one() -> None:
    """As it is for every metric of prometheus-client."""
    before = generate_latest(REGISTRY).count(b"eventpipe_up{")
    with PrometheusMetrics(AsyncClient(MemorySink())):
        assert generate_latest(REGISTRY).count(b"eventpipe_up{") == before + 1
    assert generate_latest(REGISTRY).count(b"eventpipe_up{") == before


@pytest.mark.wallclock
@pytest.mark.asyncio
async def test_a_scrape_may_ask_for_some_metrics_alone(registry: CollectorRegistry) -> None:
    """``?name[]=`` of a scrape, as Prometheus' own clients have it."""
    async with AsyncClient(MemorySink()) as client:
        with PrometheusMetrics(client, registry=registry), endpoint(registry) as address:
            seen = await scrape(f"{address}?name[]=eventpipe_ready&name[]=eventpipe_latency_seconds_sum")

    assert seen.names == {"eventpipe_ready", "eventpipe_latency_seconds_sum"}


@pytest.mark.wallclock
@pytest.mark.asyncio
async def test_a_scrape_in_a_handler_does_not_wait_for_itself(registry: CollectorRegistry) -> None:
    """Many applications make the text in a handler of the client's own loop."""
    async with AsyncClient(MemorySink()) as client:
        with PrometheusMetrics(client, registry=registry):
            await client.capture("a")
            began = time.monotonic()

            assert now(registry).sum("eventpipe_captured_total") == 1
            assert time.monotonic() - began < 0.3


def test_a_client_that_was_closed_is_still_shown(registry: CollectorRegistry) -> None:
    """The last scrape of a process says how it ended."""
    client = AsyncClient(MemorySink())
    with PrometheusMetrics(client, registry=registry):
        asyncio.run(deliver_one(client))
        seen = now(registry)

    assert (seen.sum("eventpipe_up"), seen.sum("eventpipe_events_total", outcome="delivered")) == (0, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"client": MemorySink()}, "client must be an AsyncClient, not <"),
        ({"name": 1}, "name must be a string, not 1"),
        ({"registry": object()}, "registry must be a CollectorRegistry of prometheus-client, not <object"),
    ],
    ids=["client", "name", "registry"],
)
def test_wrong_arguments_are_named(arguments: dict[str, Any], message: str, registry: CollectorRegistry) -> None:
    """When it is made, and not in the first scrape."""
    given: dict[str, Any] = {"client": AsyncClient(MemorySink()), "registry": registry, **arguments}

    with pytest.raises(TypeError, match=message):
        PrometheusMetrics(given.pop("client"), **given)


def test_without_its_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who imports it is told what to install."""
    monkeypatch.delitem(sys.modules, "eventpipe.integrations.prometheus")
    monkeypatch.setitem(sys.modules, "prometheus_client", None)

    with pytest.raises(ImportError, match=r"pip install 'eventpipe\[prometheus\]'"):
        importlib.import_module("eventpipe.integrations.prometheus")
