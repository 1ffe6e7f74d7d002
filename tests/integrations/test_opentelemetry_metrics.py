"""The exported numbers are those of ``statistics()``, at any moment, whoever collects them."""

from __future__ import annotations

import asyncio
import random
import threading
import weakref
from dataclasses import replace

import pytest
from opentelemetry import metrics
from opentelemetry.metrics import NoOpMeterProvider, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader

from eventpipe import AsyncClient, Event, PermanentSinkError, RetryPolicy, Statistics, TransientSinkError
from eventpipe.integrations import opentelemetry_metrics
from eventpipe.integrations.families import FAMILIES
from eventpipe.integrations.opentelemetry import instrument
from eventpipe.integrations.opentelemetry_measures import MEASURES, NAMES
from eventpipe.sinks import MemorySink
from eventpipe.testing import FlakySink, GatedSink
from tests.integrations.otel import Rig

SINKS = ("slow", "flaky", "full")


def busy_client(seed: int) -> AsyncClient:
    """Three sinks that do everything at once: retries, drops for every attempt used up, drops for a full queue."""
    return AsyncClient(
        FlakySink(seed, failure_rate=0.2, latency=(0.0, 2.0), name="slow"),
        FlakySink(
            seed + 1,
            failure_rate=0.6,
            latency=(0.0, 0.3),
            errors=(TransientSinkError, lambda: PermanentSinkError(scope="event"), PermanentSinkError),
            name="flaky",
        ),
        FlakySink(seed + 2, failure_rate=0.3, latency=(0.5, 5.0), name="full"),
        queue_events=60,
        batch_events=7,
        max_batch_age=0.2,
        workers=2,
        retry=RetryPolicy(max_attempts=2, initial=0.3, max_delay=0.5),
        random=random.Random(seed),
    )


async def produce(client: AsyncClient, choose: random.Random) -> None:
    """Capture at random moments, by turns politely and in bursts, some of it for nothing."""
    for _ in range(60):
        await asyncio.sleep(choose.uniform(0, 0.4))
        for _ in range(choose.choice((1, 3, 20))):
            await client.capture("" if choose.random() < 0.05 else "a", properties={"n": 1})


@pytest.mark.asyncio
@pytest.mark.parametrize("seed", range(5))
async def test_the_numbers_are_those_of_statistics_at_random_moments(seed: int) -> None:
    """The identity holds in what is exported, by sink and over all; nothing is negative; nothing disagrees."""
    rig, choose = Rig(), random.Random(seed)
    client = busy_client(seed)
    with rig.instrument(client):
        async with client:
            work = asyncio.ensure_future(produce(client, choose))
            moments = 0
            while not work.done():
                await asyncio.sleep(choose.uniform(0, 0.3))
                numbers, statistics = rig.collect(), client.statistics()
                assert numbers.adds_up()
                assert all(numbers.adds_up(sink) for sink in SINKS)
                assert min(numbers.all()) >= 0
                numbers.agree_with(statistics)
                moments += 1
            await work
        numbers = rig.collect()
        last = client.statistics()

    assert moments > 50
    numbers.agree_with(last)
    assert min(last.retries, last.by_sink["full"].dropped_by_reason["queue_full"], last.delivered) > 0
    assert {"exhausted", "rejected"} <= set(last.by_sink["flaky"].dropped_by_reason)


@pytest.mark.asyncio
async def test_differences_are_never_negative_and_sum_to_the_totals() -> None:
    """A reader that wants what happened since its last collection gets that, and the accounts add up in the sums."""
    rig, client = Rig(is_delta=True), busy_client(7)
    totals = dict.fromkeys(("eventpipe.captured", "eventpipe.recovered", "eventpipe.events"), 0.0)

    def collect() -> None:
        numbers = rig.collect()
        assert min(numbers.all()) >= 0
        for name in totals:
            totals[name] += numbers.sum(name)
        captured, recovered, left = totals.values()
        assert captured + recovered == left + numbers.sum("eventpipe.spooled") + numbers.sum("eventpipe.pending")

    with rig.instrument(client):
        async with client:
            work = asyncio.ensure_future(produce(client, random.Random(7)))
            while not work.done():
                await asyncio.sleep(0.2)
                collect()
            await work
        collect()

    statistics = client.statistics()
    assert totals["eventpipe.captured"] == statistics.captured
    assert totals["eventpipe.events"] == statistics.delivered + statistics.dropped


@pytest.mark.asyncio
@pytest.mark.wallclock
async def test_a_collection_in_another_thread_is_of_one_moment() -> None:
    """Half a dozen threads collect, as an exporter does, while events come and go; none sees torn numbers."""
    rig = Rig()
    readers = 3
    client = AsyncClient(MemorySink(name="one"), MemorySink(name="two"), batch_events=5, max_batch_age=0.001)
    wrong: list[object] = []
    is_over = threading.Event()
    collected = [0] * readers

    def collect(reader: int) -> None:
        while not is_over.is_set():
            numbers = rig.collect()
            if not (numbers.adds_up() and numbers.adds_up("one") and numbers.adds_up("two")):
                wrong.append(numbers)
            collected[reader] += 1

    with rig.instrument(client):
        async with client:
            threads = [threading.Thread(target=collect, args=(reader,)) for reader in range(readers)]
            for thread in threads:
                thread.start()
            while min(collected) < 10:
                for _ in range(20):
                    await client.capture("a")
                await asyncio.sleep(0)
            is_over.set()
            for thread in threads:
                await asyncio.to_thread(thread.join)

    assert wrong == []


@pytest.mark.asyncio
async def test_one_collection_looks_at_a_client_once() -> None:
    """However many instruments there are; the next collection looks again."""
    rig, client = Rig(), AsyncClient(MemorySink())
    looks = 0
    statistics = client.statistics

    def counted() -> Statistics:
        nonlocal looks
        looks += 1
        return statistics()

    client.statistics = counted  # type: ignore[method-assign]
    with rig.instrument(client):
        rig.collect()
        assert looks == 1
        rig.collect()
        assert looks == 2
    await client.aclose()


@pytest.mark.asyncio
async def test_a_torn_look_is_taken_again() -> None:
    """Where the loop cannot be asked, a client is read in the middle of its work: again, until it adds up."""
    rig, client = Rig(), AsyncClient(MemorySink(name="sink"))
    await client.capture("a")
    await client.aclose()
    whole = client.statistics()
    torn = replace(whole, by_sink={"sink": replace(whole.by_sink["sink"], delivered=0)})
    looks = iter([torn, torn, whole])
    client.statistics = lambda: next(looks)  # type: ignore[method-assign]
    with rig.instrument(client):
        numbers = rig.collect()
        client.statistics = lambda: whole  # type: ignore[method-assign]

    assert numbers.adds_up("sink")
    assert numbers.sum("eventpipe.events", outcome="delivered") == 1


@pytest.mark.asyncio
async def test_a_collection_that_broke_off_does_not_age_the_next() -> None:
    """The instruments that were asked first are asked again, and all of them see the present."""
    client = AsyncClient(MemorySink(name="sink"))
    rig = Rig()
    with rig.instrument(client):
        exports = opentelemetry_metrics.Exports.on(rig.meters)
        assert exports._observe("eventpipe.captured", metrics.CallbackOptions()) == [Observation(0, {"sink": "sink"})]
        await client.capture("a")

        rig.collect().agree_with(client.statistics())
    await client.aclose()


@pytest.mark.asyncio
async def test_the_numbers_of_a_closed_client_can_be_collected() -> None:
    """The last ones are exported by a provider that is shut down after the client; an event too late counts too."""
    rig, client = Rig(), AsyncClient(MemorySink(name="sink"))
    with rig.instrument(client):
        async with client:
            await client.capture("a")
        await client.capture("too late")
        numbers = rig.collect()

    assert numbers.as_statistics("sink")["delivered"] == 1
    assert numbers.as_statistics("sink")["dropped_by_reason"] == {"closed": 1}
    assert (numbers.sum("eventpipe.up"), numbers.sum("eventpipe.ready")) == (0, 0)


def test_a_client_goes_on_counting_on_its_next_loop() -> None:
    """The loop of the first run was closed; what is exported goes on from there."""
    rig, client = Rig(), AsyncClient(MemorySink(name="sink"))

    async def use() -> None:
        await client.capture("a")
        await client.flush()

    with rig.instrument(client):
        for run in (1, 2):
            asyncio.run(use())
            numbers = rig.collect()
            assert numbers.as_statistics("sink")["delivered"] == run
            assert numbers.adds_up()
        asyncio.run(client.aclose())


# -- several clients, and what remains of one -------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_clients_of_one_provider_are_told_apart_by_attributes() -> None:
    """Without attributes their numbers are summed: both are exported, although an SDK asks one callback only."""
    rig = Rig()
    clients = [AsyncClient(MemorySink(name="sink")) for _ in range(3)]
    with rig.instrument(clients[0]), rig.instrument(clients[1]), rig.instrument(clients[2], {"client": "audit"}):
        for client in clients:
            await client.capture("a")
        await clients[0].aclose()
        numbers = rig.collect()
        captured = numbers.values("eventpipe.captured")
        up = numbers.values("eventpipe.up")
        capacity = numbers.sum("eventpipe.queue.capacity")
        for client in clients[1:]:
            await client.aclose()

    assert captured == {
        frozenset({("sink", "sink")}): 2,
        frozenset({("sink", "sink"), ("client", "audit")}): 1,
    }
    assert up == {frozenset(): 0, frozenset({("client", "audit")}): 1}
    assert capacity == 30_000


@pytest.mark.asyncio
@pytest.mark.parametrize("is_delta", [False, True])
async def test_counters_never_go_back_when_clients_come_and_go(is_delta: bool) -> None:
    """A client is taken away with an event unsettled, another one of the same name comes: the numbers add up."""
    rig = Rig(is_delta=is_delta)
    gated = GatedSink(name="sink")
    first = AsyncClient(gated, batch_events=1)
    handle = rig.instrument(first)
    await first.capture("a")
    await gated.reached()
    assert rig.collect().sum("eventpipe.pending") == 1
    handle.close()

    numbers = rig.collect()
    unobserved = numbers.sum("eventpipe.events", outcome="unobserved", sink="sink")
    assert (unobserved, numbers.sum("eventpipe.pending")) == (1, 0)
    gated.release()
    await first.aclose()

    second = AsyncClient(MemorySink(name="sink"))
    with rig.instrument(second):
        async with second:
            await second.capture("b")
        numbers = rig.collect()

    assert min(numbers.all()) >= 0
    assert numbers.sum("eventpipe.captured") == (1 if is_delta else 2)
    assert numbers.sum("eventpipe.events", outcome="delivered") == 1
    assert numbers.adds_up()


@pytest.mark.asyncio
async def test_what_remains_of_many_clients_is_one_number() -> None:
    """A provider that outlives a thousand clients does not hold on to any of them."""
    rig = Rig()
    for _ in range(20):
        client = AsyncClient(MemorySink(name="sink"))
        with rig.instrument(client):
            async with client:
                await client.capture("a")

    assert rig.collect().sum("eventpipe.events", outcome="delivered") == 20
    assert opentelemetry_metrics.Exports.on(rig.meters)._state[0] == ()


@pytest.mark.asyncio
async def test_a_client_that_cannot_be_read_costs_its_own_numbers_only() -> None:
    """They stay as they were last seen, the failure is counted, and the others are exported."""
    rig = Rig()
    broken, well = AsyncClient(MemorySink(name="broken")), AsyncClient(MemorySink(name="well"))
    with rig.instrument(broken) as handle, rig.instrument(well):
        await broken.capture("a")
        assert rig.collect().sum("eventpipe.captured", sink="broken") == 1
        statistics = broken.statistics
        broken.statistics = lambda: 1 / 0  # type: ignore[assignment, method-assign, return-value]
        await well.capture("a")
        numbers = rig.collect()

        assert numbers.sum("eventpipe.captured", sink="broken") == 1
        assert numbers.sum("eventpipe.captured", sink="well") == 1
        assert handle.errors == 1
        broken.statistics = statistics  # type: ignore[method-assign]
        assert rig.collect().sum("eventpipe.instrumentation.errors") == 1
        await broken.aclose()
        await well.aclose()


# -- attempts ---------------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_each_attempt_is_recorded_once_with_its_time() -> None:
    """In both histograms, once a batch, with why it failed; sent messages count the events of each attempt."""
    rig, sink = Rig(), GatedSink(name="sink")
    client = AsyncClient(sink, batch_events=3, retry=RetryPolicy(initial=1, jitter=0))
    with rig.instrument(client, {"client": "web"}):
        async with client:
            for _ in range(3):
                await client.capture("a")
            await sink.reached(1)
            await asyncio.sleep(2)
            sink.release(1, error=TransientSinkError("busy", reason="status_503", status=503))
            await sink.reached(2)
            await asyncio.sleep(4)
            sink.release(1)
        numbers = rig.collect()

    own = {("sink", "sink"), ("client", "web")}
    shared = {
        ("messaging.system", "eventpipe"),
        ("messaging.operation.name", "send"),
        ("messaging.destination.name", "sink"),
        ("client", "web"),
    }
    failed = {("error.type", "status_503")}
    assert numbers.histogram("eventpipe.send.duration") == {frozenset(own): 1, frozenset(own | failed): 1}
    operation = shared | {("messaging.operation.type", "send")}
    assert numbers.histogram("messaging.client.operation.duration") == {
        frozenset(operation): 1,
        frozenset(operation | failed): 1,
    }
    assert numbers.values("messaging.client.sent.messages") == {frozenset(shared): 3, frozenset(shared | failed): 3}
    times = [point.sum for point in numbers.points("eventpipe.send.duration") if isinstance(point, HistogramDataPoint)]
    assert sorted(times) == pytest.approx([2, 4])


@pytest.mark.asyncio
async def test_names_of_events_are_exported_only_when_asked_for() -> None:
    """Who puts ids into names does not find them in the metrics by accident."""
    rig = Rig()
    quiet, open_ = AsyncClient(MemorySink(name="quiet")), AsyncClient(MemorySink(name="open"))
    with rig.instrument(quiet), rig.instrument(open_, event_names=True):
        for client, name in ((quiet, "secret"), (open_, "signed up")):
            async with client:
                await client.capture(Event(name))
        found = rig.collect().values("eventpipe.named_events")

    assert found[frozenset({("event", "signed up"), ("outcome", "delivered")})] == 1
    assert {dict(key)["event"] for key in found} == {"signed up"}


# -- providers --------------------------------------------------------------------------------------------------------


def test_every_number_has_its_name() -> None:
    """What is exported to Prometheus is exported here, under a name of its own."""
    assert sorted(NAMES) == sorted(family.name for family in FAMILIES)
    assert len({measure.name for measure in MEASURES}) == len(MEASURES)


@pytest.mark.asyncio
async def test_a_provider_that_does_nothing_costs_nothing() -> None:
    """With ``NoOpMeterProvider()`` events go their way."""
    client = AsyncClient(MemorySink())
    with instrument(client, meter_provider=NoOpMeterProvider()):
        async with client:
            await client.capture("a")

    assert client.statistics().delivered == 1


@pytest.mark.asyncio
async def test_a_provider_that_is_set_later_gets_everything_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """An app may instrument before its set-up has come to OpenTelemetry, and another client after it."""
    # One of this test's own: that of the process keeps, for good, what others in it have instrumented.
    stand_in = type(metrics.get_meter_provider())()
    reader = InMemoryMetricReader()
    real = MeterProvider([reader], shutdown_on_exit=False)
    current: list[metrics.MeterProvider] = [stand_in]
    monkeypatch.setattr(opentelemetry_metrics, "_exports", weakref.WeakKeyDictionary())
    monkeypatch.setattr(opentelemetry_metrics, "get_meter_provider", lambda: current[0])
    early, late = AsyncClient(MemorySink(name="early")), AsyncClient(MemorySink(name="late"))
    with instrument(early):
        stand_in.on_set_meter_provider(real)  # type: ignore[attr-defined]  # as set_meter_provider() does, for good
        current[0] = real
        with instrument(late), instrument(AsyncClient(MemorySink(name="given")), meter_provider=real):
            data = reader.get_metrics_data()

    assert data is not None
    [scope] = data.resource_metrics[0].scope_metrics
    [captured] = [metric for metric in scope.metrics if metric.name == "eventpipe.captured"]
    assert sorted(str((point.attributes or {})["sink"]) for point in captured.data.data_points) == [
        "early",
        "given",
        "late",
    ]
