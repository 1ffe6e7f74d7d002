"""Putting OpenTelemetry on a client, and taking it away: at any time, once, and at nobody else's cost."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.trace import NoOpTracerProvider

from eventpipe import AsyncClient, Batch
from eventpipe.integrations.opentelemetry import instrument
from eventpipe.sinks import MemorySink
from eventpipe.testing import GatedSink
from tests.client.test_forks import run_forking
from tests.integrations.otel import Rig, links_of

ROOT = Path(__file__).parents[2]


class Watching:
    """An instrument of somebody else's."""

    def origin(self) -> object:
        return None

    async def around(self, sink: str, batch: Batch, send: object) -> None:
        pytest.fail("nothing is sent where this is used")


# -- on and off -------------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_client_can_be_instrumented_while_it_runs() -> None:
    """Its attempts are spans from then on, and its counters are those of its whole life."""
    rig, client = Rig(), AsyncClient(MemorySink(name="sink"))
    async with client:
        await client.capture("before")
        await client.flush()
        with rig.instrument(client):
            await client.capture("after")
            await client.flush()
            numbers = rig.collect()

    assert len(rig.spans()) == 1
    assert numbers.sum("eventpipe.events", outcome="delivered") == 2


@pytest.mark.asyncio
async def test_uninstrumenting_leaves_nothing_behind() -> None:
    """No span, no link and no number of the client any more; it goes on sending."""
    rig, client = Rig(), AsyncClient(MemorySink(name="sink"))
    async with client:
        handle = rig.instrument(client)
        handle.close()
        with rig.tracer.start_as_current_span("handler"):
            await client.capture("a")
        await client.flush()
        numbers = rig.collect()

        assert rig.sends() == []
        assert client.statistics().delivered == 1
        assert numbers.sum("eventpipe.captured") == 0
        assert numbers.values("eventpipe.queue.size") == {}
        assert repr(handle) == "<Instrumentation of <AsyncClient to sink: open, 0 pending>, over, 0 errors>"


@pytest.mark.asyncio
async def test_an_attempt_that_runs_is_seen_to_its_end() -> None:
    """Its span is not lost by uninstrumenting meanwhile."""
    rig, sink = Rig(), GatedSink(name="sink")
    client = AsyncClient(sink)
    async with client:
        with rig.instrument(client):
            await client.capture("a")
            await sink.reached()
        sink.release()

    assert len(rig.sends()) == 1


@pytest.mark.asyncio
async def test_uninstrumenting_twice_is_a_no_op() -> None:
    """The second time takes away nothing that came meanwhile."""
    rig, client = Rig(), AsyncClient(MemorySink(name="sink"))
    first = rig.instrument(client)
    first.close()
    async with client:
        with rig.instrument(client) as second:
            first.close()
            await client.capture("a")
            await client.flush()

            assert repr(second) == "<Instrumentation of <AsyncClient to sink: open, 0 pending>, on, 0 errors>"
            assert rig.collect().sum("eventpipe.captured") == 1
    assert len(rig.sends()) == 1


def test_an_instrument_of_somebody_elses_is_left_alone() -> None:
    """One that took the place of ours stays where it is."""
    client, other = AsyncClient(MemorySink()), Watching()
    handle = Rig().instrument(client)
    client.instrument(None)
    client.instrument(other)

    handle.close()

    assert client._instrument is other


def test_instrumenting_twice_is_an_error() -> None:
    """The message says what to do; the first one stays as it is, and its numbers are not counted twice."""
    rig, client = Rig(), AsyncClient(MemorySink(name="sink"))
    with rig.instrument(client):
        with pytest.raises(ValueError, match="the client has an instrument; take that away first"):
            rig.instrument(client)
        asyncio.run(client.aclose())

        assert rig.collect().sum("eventpipe.queue.capacity") == 10_000


def test_what_is_no_instrument_is_refused_and_leaves_the_place_free() -> None:
    """It is named by its type, and neither captures nor the next instrument meet it."""
    client, well = AsyncClient(MemorySink()), Watching()
    for wrong in (3, object()):
        with pytest.raises(TypeError, match=r"^an instrument has the methods origin\(\) and around\(\), unlike "):
            client.instrument(wrong)  # type: ignore[arg-type]

    client.instrument(well)

    assert client._instrument is well


@pytest.mark.asyncio
async def test_a_client_without_sinks_has_nothing_to_show() -> None:
    """One that is not enabled."""
    rig, client = Rig(), AsyncClient(enabled=False)
    with rig.instrument(client):
        async with client:
            await client.capture("a")
        numbers = rig.collect()

    assert numbers.values("eventpipe.captured") == {}
    assert numbers.adds_up()


# -- bad input --------------------------------------------------------------------------------------------------------


def test_what_is_no_client_is_refused() -> None:
    with pytest.raises(TypeError, match="client must be an AsyncClient, not 'client'"):
        instrument("client")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "name", ["", "sink", "outcome", "place", "error.type", "messaging.system", "eventpipe.attempt", 1]
)
def test_attributes_that_numbers_have_are_refused(name: str) -> None:
    """An attribute of the user's own must not change what a number says."""
    client = AsyncClient(MemorySink())

    with pytest.raises(ValueError, match="attributes must have names that are not empty, and none that numbers have"):
        Rig().instrument(client, {name: "x"})
    assert client._instrument is None


@pytest.mark.parametrize("value", [None, ["a"], float("nan"), float("inf"), object()])
def test_attributes_of_strange_values_are_refused(value: str) -> None:
    """The message names the attribute, and not what it holds."""
    with pytest.raises(ValueError, match=r"^attributes must be texts, booleans or finite numbers, and 'shop' is not$"):
        Rig().instrument(AsyncClient(MemorySink()), {"shop": value})


def test_attributes_that_are_no_mapping_are_refused() -> None:
    with pytest.raises(TypeError, match="attributes must be a mapping"):
        Rig().instrument(AsyncClient(MemorySink()), ["shop"])  # type: ignore[arg-type]


@pytest.mark.asyncio
async def test_names_that_cannot_be_written_are_replaced() -> None:
    """A sink may have any name, and an exporter that cannot encode one would export nothing at all."""
    rig, client = Rig(), AsyncClient(MemorySink(name="\ud800" + "x" * 500))
    with rig.instrument(client):
        async with client:
            await client.capture("a", lane="\udfff")
        [sink] = {dict(key)["sink"] for key in rig.collect().values("eventpipe.captured")}

    assert sink == "\\ud800" + "x" * 500
    [span] = rig.sends()
    assert span.name == f"send {sink}"
    span.to_json().encode()


@pytest.mark.wallclock
def test_without_opentelemetry_the_error_names_the_extra() -> None:
    """Importing the integration is what fails, not ``import eventpipe``."""
    program = """
import sys
sys.modules["opentelemetry"] = None
import eventpipe
try:
    import eventpipe.integrations.opentelemetry
except ImportError as error:
    print(error)
"""
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)

    assert said.stdout == (
        "eventpipe.integrations.opentelemetry needs opentelemetry-api: pip install 'eventpipe[otel]'\n"
    )


@pytest.mark.wallclock
def test_the_api_of_opentelemetry_is_all_that_is_imported() -> None:
    """No SDK, no exporter, no conventions of theirs."""
    program = "import sys, eventpipe.integrations.opentelemetry; print(*sorted(sys.modules))"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)

    loaded = {".".join(name.split(".")[:2]) for name in said.stdout.split() if name.startswith("opentelemetry.")}
    assert loaded <= {
        f"opentelemetry.{part}"
        for part in (
            "_logs",
            "attributes",
            "baggage",
            "context",
            "environment_variables",
            "metrics",
            "propagators",
            "trace",
            "util",
            "version",
        )
    }


# -- process life -----------------------------------------------------------------------------------------------------


@pytest.mark.wallclock
def test_a_forked_child_goes_on_where_the_parent_was() -> None:
    """Its counters never go back, which the SDK in the child would export as less than nothing; they add up.

    What the parent had not settled is the parent's, and counted as unobserved; the child's own attempts are spans.
    """
    run_forking(
        """
        from eventpipe.testing import GatedSink
        from tests.integrations.otel import Rig
        for is_delta in (False, True):
            rig, gate = Rig(is_delta=is_delta), GatedSink(name="gate")
            client = AsyncClient(MemorySink(name="sink"), gate, batch_events=1)
            handle = rig.instrument(client)
            async def parent():
                for _ in range(3):
                    await client.capture("a")
                await gate.reached(3)
                assert rig.collect().sum("eventpipe.captured", sink="sink") == 3
            loop = asyncio.new_event_loop()
            loop.run_until_complete(parent())
            def child():
                numbers = rig.collect()
                assert min(numbers.all()) >= 0, list(numbers.all())
                async def main():
                    await client.capture("b")
                    await client.aclose(1)
                gate.release()
                asyncio.run(main())
                after = rig.collect()
                assert min(after.all()) >= 0, list(after.all())
                at = {"sink": "sink"}
                own = client.statistics().by_sink["sink"].captured
                assert own == 1, own
                before = numbers.sum("eventpipe.captured", **at)
                assert after.sum("eventpipe.captured", **at) == (own if is_delta else before + own)
                if not is_delta:
                    assert before == 3
                    assert numbers.adds_up("sink") and numbers.adds_up("gate")
                    assert after.adds_up("sink") and after.adds_up("gate")
                    assert after.sum("eventpipe.events", outcome="unobserved", sink="gate") == 3
                assert [span.name for span in rig.sends()][-2:] == ["send sink", "send gate"]
                assert handle.errors == 0
            in_child(child)
            gate.release()
            loop.run_until_complete(client.aclose())
            loop.close()
    """
    )


@pytest.mark.asyncio
async def test_events_captured_before_are_linked_by_whoever_comes_after() -> None:
    """An event knows its span from its capture on, whenever its batch leaves."""
    rig, sink = Rig(), GatedSink(name="sink")
    client = AsyncClient(sink, workers=1, batch_events=1)
    sink.release(1)
    first = rig.instrument(client)
    async with client:
        with rig.tracer.start_as_current_span("handler") as span:
            await client.capture("a")
            await client.capture("b")
        await sink.reached(2)
        first.close()
        with instrument(client, meter_provider=rig.meters, tracer_provider=NoOpTracerProvider()):
            sink.release()

    assert [links_of(attempt) for attempt in rig.sends()] == [[span.get_span_context().span_id]] * 2


def test_a_provider_is_let_go_with_its_last_user() -> None:
    """Providers come and go in a test suite; nothing of them stays."""
    provider = MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False)
    with instrument(AsyncClient(MemorySink()), meter_provider=provider):
        pass
    kept = weakref.ref(provider)
    del provider
    gc.collect()

    assert kept() is None
