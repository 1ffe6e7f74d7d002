"""One span around each attempt, none around a capture, and links to where the events came from."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import weakref
from collections.abc import Callable, Sequence
from types import SimpleNamespace

import pytest
from opentelemetry import context, trace
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import INVALID_SPAN_CONTEXT, NonRecordingSpan, SpanContext, SpanKind, StatusCode, TraceFlags
from opentelemetry.util.types import Attributes

from eventpipe import (
    AsyncClient,
    Batch,
    CapturedEvent,
    DropReason,
    OutcomeKind,
    RetryPolicy,
    TransientSinkError,
    Verdict,
)
from eventpipe.integrations import opentelemetry_spans
from eventpipe.integrations.opentelemetry import instrument
from eventpipe.integrations.opentelemetry_attempts import MAX_NOTES
from eventpipe.integrations.opentelemetry_spans import MAX_LINKS, Origins, context_reader, links
from eventpipe.sinks import CallbackSink, MemorySink
from eventpipe.testing import GatedSink, HangingSink, make_batch, make_event
from tests.integrations.otel import Rig, links_of

ONCE = RetryPolicy(max_attempts=1)


def attributes_of(span: ReadableSpan) -> dict[str, object]:
    return dict(span.attributes or {})


def context_of(number: int, *, sampled: bool = True) -> SpanContext:
    return SpanContext(1, number, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED if sampled else 0))


async def send_one(client: AsyncClient) -> None:
    async with client:
        await client.capture("a")


# -- what a span says -------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_an_attempt_is_a_span_of_its_own() -> None:
    """A root span that calls a far end, named and described as the conventions for messaging have it."""
    rig, sink = Rig(), MemorySink(name="audit")
    client = AsyncClient(sink)
    with rig.instrument(client, {"client": "web"}):
        async with client:
            await client.capture("a", lane="historical")
            await client.capture("b", lane="historical")

    [span] = rig.spans()
    [batch] = sink.batches
    assert (span.name, span.kind, span.parent, span.status.status_code) == (
        "send audit",
        SpanKind.CLIENT,
        None,
        StatusCode.UNSET,
    )
    assert attributes_of(span) == {
        "client": "web",
        "messaging.system": "eventpipe",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": "audit",
        "messaging.batch.message_count": 2,
        "eventpipe.batch.id": batch.id,
        "eventpipe.attempt": 1,
    }


@pytest.mark.asyncio
async def test_nothing_else_is_a_span() -> None:
    """Captures, flushes and the close make none, however many sinks there are: there is one for each attempt."""
    rig = Rig()
    client = AsyncClient(MemorySink(name="one"), MemorySink(name="two"), batch_events=2)
    with rig.instrument(client):
        async with client:
            for _ in range(4):
                await client.capture("a")
            await client.flush()

    assert sorted(span.name for span in rig.spans()) == ["send one"] * 2 + ["send two"] * 2


@pytest.mark.asyncio
async def test_each_attempt_of_a_batch_has_a_span() -> None:
    """One that failed says why, with the far end's status; the one that delivered says nothing."""
    rig, sink = Rig(), GatedSink(name="sink")
    client = AsyncClient(sink)
    sink.release(1, error=TransientSinkError("the far end answered 503", reason="status_503", status=503))
    sink.release()
    with rig.instrument(client):
        await send_one(client)

    first, second = rig.spans()
    assert attributes_of(first)["eventpipe.batch.id"] == attributes_of(second)["eventpipe.batch.id"]
    assert [attributes_of(span)["eventpipe.attempt"] for span in (first, second)] == [1, 2]
    assert first.status.status_code is StatusCode.ERROR
    assert first.status.description == "TransientSinkError: the far end answered 503"
    failed = {"error.type": "status_503", "eventpipe.failed": 1, "eventpipe.status": 503}
    assert failed.items() <= attributes_of(first).items()
    assert second.status.status_code is StatusCode.UNSET
    assert not failed.keys() & attributes_of(second).keys()


@pytest.mark.asyncio
async def test_a_foreign_error_is_named_without_its_text() -> None:
    """It may quote the events that it failed on."""
    rig = Rig()

    def fail(batch: Batch) -> None:
        raise KeyError("secret")

    client = AsyncClient(CallbackSink(fail), retry=ONCE)
    with rig.instrument(client):
        await send_one(client)

    [span] = rig.spans()
    assert attributes_of(span)["error.type"] == "KeyError"
    assert (span.status.description or "").startswith("KeyError at test_opentelemetry_spans.py:")
    assert "secret" not in span.to_json()
    assert span.events == ()


@pytest.mark.asyncio
async def test_a_far_end_that_takes_some_says_which_part_failed() -> None:
    """The span is one of an error when any event was not accepted; the metrics count each by its reason."""
    rig = Rig()

    def answer(batch: Batch) -> Sequence[Verdict]:
        return [
            Verdict(OutcomeKind.DELIVERED),
            Verdict(OutcomeKind.DROPPED, DropReason.TOO_LARGE),
            Verdict(OutcomeKind.RETRY),
            Verdict(OutcomeKind.DROPPED, DropReason.TOO_LARGE),
        ]

    class Picky(MemorySink):
        async def send(self, batch: Batch) -> Sequence[Verdict] | None:
            return answer(batch) if batch.attempt == 1 else None

    client = AsyncClient(Picky(name="sink"))
    with rig.instrument(client):
        async with client:
            for _ in range(4):
                await client.capture("a")
        numbers = rig.collect()

    span = rig.spans()[0]
    assert (span.status.status_code, span.status.description) == (
        StatusCode.ERROR,
        "3 of 4 events were not accepted",
    )
    assert {"error.type": "too_large", "eventpipe.failed": 3}.items() <= attributes_of(span).items()
    sent = {
        dict(key).get("error.type"): value for key, value in numbers.values("messaging.client.sent.messages").items()
    }
    assert sent == {None: 2, "too_large": 2, "retry": 1}


@pytest.mark.asyncio
async def test_an_attempt_that_is_cut_off_ends_its_span() -> None:
    """By a close whose time is up."""
    rig = Rig()
    client = AsyncClient(HangingSink(name="sink"))
    with rig.instrument(client):
        await client.capture("a")
        await client.aclose(1)

    [span] = rig.spans()
    assert attributes_of(span)["error.type"] == "interrupted"
    assert span.status.status_code is StatusCode.ERROR


# -- links ------------------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_an_attempt_links_to_the_spans_that_captured() -> None:
    """Each of several handlers once, in the order of capture; those outside of any span add none."""
    rig = Rig()
    client = AsyncClient(MemorySink())

    async def handler(name: str) -> int:
        with rig.tracer.start_as_current_span(name) as span:
            for _ in range(3):
                await client.capture(name)
            return span.get_span_context().span_id

    with rig.instrument(client):
        async with client:
            await client.capture("outside")
            ids = await asyncio.gather(*(handler(name) for name in "abc"))

    [span] = rig.sends()
    assert links_of(span) == list(ids)


@pytest.mark.asyncio
async def test_every_attempt_and_every_sink_has_the_links() -> None:
    """A retry comes from where its events came from; so does the same event at another sink."""
    rig, sink = Rig(), GatedSink(name="one")
    client = AsyncClient(sink, MemorySink(name="two"))
    sink.release(1, error=TransientSinkError())
    sink.release()
    with rig.instrument(client):
        async with client:
            with rig.tracer.start_as_current_span("handler") as span:
                await client.capture("a")

    assert [links_of(attempt) for attempt in rig.sends()] == [[span.get_span_context().span_id]] * 3


@pytest.mark.asyncio
@pytest.mark.parametrize("given", [{}, {"uuid": "0192f0c0-0000-7000-8000-000000000000"}, {"properties": {"a": object}}])
async def test_every_form_of_an_event_knows_its_span(given: dict[str, object]) -> None:
    """One of plain types, one that its caller describes in full, one that has to be repaired."""
    rig, client = Rig(), AsyncClient(MemorySink())
    with rig.instrument(client):
        async with client:
            with rig.tracer.start_as_current_span("handler") as span:
                await client.capture("a", **given)  # type: ignore[arg-type]  # some of its arguments

    assert links_of(rig.sends()[0]) == [span.get_span_context().span_id]


@pytest.mark.asyncio
async def test_a_capture_on_another_thread_links_to_the_span_there() -> None:
    """A thread has a context of its own."""
    rig, client = Rig(), AsyncClient(MemorySink())

    def work() -> int:
        with rig.tracer.start_as_current_span("thread") as span:
            client.capture_nowait("a")
            return span.get_span_context().span_id

    with rig.instrument(client):
        async with client:
            with rig.tracer.start_as_current_span("loop"):
                there = await asyncio.to_thread(contextvars.Context().run, work)

    assert links_of(rig.sends()[0]) == [there]


@pytest.mark.asyncio
async def test_nothing_of_a_request_is_kept_but_the_name_of_its_span() -> None:
    """From its first attempt on, an event keeps neither the span with its attributes nor its context alive."""
    rig, sink = Rig(), GatedSink()
    client = AsyncClient(sink)
    kept: list[weakref.ref[object]] = []

    async def handler() -> None:
        with rig.tracer.start_as_current_span("handler") as span:
            kept.extend((weakref.ref(span), weakref.ref(context.get_current())))
            await client.capture("a")

    with rig.instrument(client):
        await asyncio.create_task(handler())
        await sink.reached()
        rig.exporter.clear()
        gc.collect()

        assert [reference() for reference in kept] == [None, None]
        sink.release()
        await client.aclose()


def captured(*origins: object) -> list[CapturedEvent]:
    events = []
    for origin in origins:
        event = make_event()
        event.origin = origin
        events.append(event)
    return events


def test_links_are_of_valid_contexts_and_each_is_one() -> None:
    """No link leads nowhere, and two events of one span lead there once, even if each has a context of its own."""
    strange = [INVALID_SPAN_CONTEXT, "nonsense", SpanContext(0, 3, is_remote=False)]
    events = captured(None, context_of(1), *strange, context_of(2), context_of(1))

    assert [link.context.span_id for link in links(Origins().of([*events, make_event()]))] == [1, 2]


def test_links_are_bounded_and_sampled_ones_come_first() -> None:
    """128 of them; one that nobody has recorded gives way to one that somebody has."""
    unsampled = [context_of(number, sampled=False) for number in range(1, 101)]
    sampled = [context_of(number) for number in range(101, 301)]

    assert [link.context for link in links([*unsampled, *sampled])] == sampled[:MAX_LINKS]
    assert [link.context for link in links([*unsampled, *sampled[:100]])] == [*sampled[:100], *unsampled[:28]]
    assert [link.context for link in links(unsampled)] == unsampled


def test_the_quick_way_to_the_context_is_the_way_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inside a context and outside of any; where the API keeps it elsewhere one day, its own function is asked."""
    quick = context_reader()
    assert quick is not context.get_current
    assert quick() is context.get_current()
    token = context.attach(context.set_value("here", True))
    assert quick() is context.get_current()
    context.detach(token)

    monkeypatch.setattr(context, "_RUNTIME_CONTEXT", object())
    assert context_reader() is context.get_current


@pytest.mark.asyncio
async def test_captures_by_turns_in_several_contexts_are_told_apart() -> None:
    """Each event has its own span, and from its first attempt on the name of that alone."""
    rig, sink = Rig(), GatedSink()
    client = AsyncClient(sink)
    first, second = rig.tracer.start_span("first"), rig.tracer.start_span("second")
    spans = (first, second, first, None, second)
    with rig.instrument(client):
        async with client:
            receipts = []
            for span in spans:
                where = context.Context() if span is None else trace.set_span_in_context(span)
                token = context.attach(where)
                receipts.append(await client.capture("a"))
                context.detach(token)
            await sink.reached(1)
            kept = [receipt._event.origin for receipt in receipts]
            sink.release()

    assert kept == [None if span is None else span.get_span_context() for span in spans]


# -- nothing is traced while sending ----------------------------------------------------------------------------------


class FakeInstrumentation:
    """Asks what those of HTTP clients and databases ask before they make a span."""

    def __init__(self, tracer: trace.Tracer) -> None:
        self.tracer = tracer

    def call(self) -> None:
        keys = ("suppress_instrumentation", context._SUPPRESS_INSTRUMENTATION_KEY)
        if not any(context.get_value(key) for key in (*keys, context._SUPPRESS_HTTP_INSTRUMENTATION_KEY)):
            with self.tracer.start_as_current_span("GET /"):
                pass


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "key",
    ["suppress_instrumentation", context._SUPPRESS_INSTRUMENTATION_KEY, context._SUPPRESS_HTTP_INSTRUMENTATION_KEY],
    ids=["plain", "api", "http"],
)
async def test_each_key_that_instrumentations_ask_for_is_set_while_sending(key: str) -> None:
    """And only then: around it everything is as it was."""
    seen: list[object] = []
    client = AsyncClient(CallbackSink(lambda batch: seen.append(context.get_value(key))))
    with Rig().instrument(client):
        await send_one(client)

    assert seen == [True]
    assert context.get_value(key) is None


@pytest.mark.asyncio
async def test_sending_is_not_traced_by_other_instrumentations() -> None:
    """In a thread that the sink uses as well; outside of sending they go on."""
    rig = Rig()
    fake = FakeInstrumentation(rig.tracer)

    async def send(batch: Batch) -> None:
        fake.call()
        await asyncio.to_thread(fake.call)

    client = AsyncClient(CallbackSink(send))
    with rig.instrument(client):
        await send_one(client)
        fake.call()

    assert [span.name for span in rig.spans()] == ["send CallbackSink", "GET /"]


@pytest.mark.asyncio
async def test_a_span_that_a_sink_makes_itself_is_within_that_of_its_attempt() -> None:
    """Who traces by hand knows why, and so it is found where it belongs."""
    rig = Rig()

    def send(batch: Batch) -> None:
        with rig.tracer.start_as_current_span("by hand"):
            pass

    client = AsyncClient(CallbackSink(send))
    with rig.instrument(client):
        await send_one(client)

    inner, outer = rig.spans()
    assert inner.parent == outer.get_span_context()


@pytest.mark.asyncio
async def test_suppression_of_one_attempt_is_not_that_of_another() -> None:
    """Two run at once, one ends first: the other is still suppressed, and knows its own span."""
    rig = Rig()
    first_is_over = asyncio.Event()
    seen: list[tuple[object, object]] = []

    async def send(batch: Batch) -> None:
        span = trace.get_current_span().get_span_context().span_id
        if batch.events[0].event == "slow":
            await first_is_over.wait()
        seen.append(
            (context.get_value("suppress_instrumentation"), trace.get_current_span().get_span_context().span_id)
        )
        assert seen[-1][1] == span
        first_is_over.set()

    client = AsyncClient(CallbackSink(send), batch_events=1)
    with rig.instrument(client):
        async with client:
            await client.capture("slow")
            await client.capture("quick")

    assert [suppressed for suppressed, _ in seen] == [True, True]
    assert seen[0][1] != seen[1][1]
    assert client.statistics().retries == 0


# -- what fails costs itself ------------------------------------------------------------------------------------------


class BrokenTracer(trace.NoOpTracer):
    def start_span(self, *arguments: object, **named: object) -> trace.Span:
        raise self.error

    def __init__(self, error: BaseException) -> None:
        self.error = error


class BrokenSpan(NonRecordingSpan):
    def set_attribute(self, key: str, value: object) -> None:
        raise RuntimeError("broken")

    def end(self, end_time: int | None = None) -> None:
        raise asyncio.CancelledError


class Provider(trace.TracerProvider):
    def __init__(self, tracer: trace.Tracer) -> None:
        self.tracer = tracer

    def get_tracer(
        self,
        instrumenting_module_name: str,
        instrumenting_library_version: str | None = None,
        schema_url: str | None = None,
        attributes: Attributes = None,
    ) -> trace.Tracer:
        return self.tracer


class SpanTracer(trace.NoOpTracer):
    def start_span(self, *arguments: object, **named: object) -> trace.Span:
        return BrokenSpan(context_of(1))


class Exploding(SpanProcessor):
    """What a span's start or its end runs into."""

    def __init__(self, at: str) -> None:
        self.at = at

    def on_start(self, span: Span, parent_context: context.Context | None = None) -> None:
        if self.at == "start":
            raise MemoryError

    def on_end(self, span: ReadableSpan) -> None:
        if self.at == "end":
            raise SystemExit


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("make", "errors"),
    [
        (lambda: Provider(BrokenTracer(RuntimeError())), 2),
        (lambda: Provider(BrokenTracer(asyncio.CancelledError())), 2),
        (lambda: Provider(SpanTracer()), 2),
        (lambda: Rig(processor=Exploding("start")).tracers, 2),
        (lambda: Rig(processor=Exploding("end")).tracers, 2),
    ],
    ids=["tracer", "tracer that cancels", "span", "processor at start", "processor at end"],
)
async def test_a_tracer_that_fails_costs_no_event(
    make: Callable[[], trace.TracerProvider], errors: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Each event is delivered at the attempt that its sink accepts; every failure is counted, the first is logged."""
    rig, sink = Rig(), GatedSink(name="sink")
    client = AsyncClient(sink)
    sink.release(1, error=TransientSinkError())
    sink.release()
    with instrument(client, meter_provider=rig.meters, tracer_provider=make()) as handle:
        await send_one(client)
        numbers = rig.collect()

    assert (client.statistics().delivered, client.statistics().attempts) == (1, 2)
    assert handle.errors == errors
    assert numbers.sum("eventpipe.instrumentation.errors") == errors
    assert sum(numbers.histogram("eventpipe.send.duration").values()) == 2
    assert caplog.text.count("OpenTelemetry, at the") == 1


@pytest.mark.asyncio
async def test_a_tracer_that_fails_leaves_sending_suppressed() -> None:
    """What is not traced by us is not traced by others instead."""
    seen: list[object] = []
    client = AsyncClient(CallbackSink(lambda batch: seen.append(context.get_value("suppress_instrumentation"))))
    broken = Provider(BrokenTracer(RuntimeError()))
    with instrument(client, meter_provider=Rig().meters, tracer_provider=broken):
        await send_one(client)

    assert seen == [True]


@pytest.mark.asyncio
async def test_a_span_of_somebody_elses_that_fails_costs_no_event() -> None:
    """One that cannot say what it is has no link."""

    class Nameless(NonRecordingSpan):
        def get_span_context(self) -> SpanContext:
            raise asyncio.CancelledError

    rig, client = Rig(), AsyncClient(MemorySink())
    with rig.instrument(client) as handle:
        async with client:
            with trace.use_span(Nameless(INVALID_SPAN_CONTEXT)):
                await client.capture("a")

        assert handle.errors == 1
    assert client.statistics().delivered == 1
    assert links_of(rig.sends()[0]) == []


@pytest.mark.asyncio
async def test_histograms_that_fail_cost_no_span_and_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """The failure is counted, and whatever else there is to export is exported."""
    rig, client = Rig(), AsyncClient(MemorySink(name="sink"))
    with rig.instrument(client) as handle:
        monkeypatch.setattr(handle._tracing._attempts._durations, "record", lambda *arguments: 1 / 0)
        await send_one(client)
        numbers = rig.collect()
        monkeypatch.undo()

        assert handle.errors == 1
    assert len(rig.spans()) == 1
    assert numbers.sum("eventpipe.events", outcome="delivered") == 1


@pytest.mark.asyncio
async def test_what_nobody_collects_does_not_grow() -> None:
    """Of attempts that are not shown yet, a thousand are kept at most; none of them is lost."""
    rig, client = Rig(), AsyncClient(MemorySink(name="sink"), batch_events=1)
    with rig.instrument(client) as handle:
        async with client:
            for _ in range(MAX_NOTES + 500):
                await client.capture("a")
            await client.flush()
            assert len(handle._tracing._attempts._notes) <= MAX_NOTES
            numbers = rig.collect()

    assert numbers.histogram("eventpipe.send.duration") == {frozenset({("sink", "sink")}): MAX_NOTES + 500}


@pytest.mark.asyncio
async def test_a_sampler_that_wants_no_span_gets_its_way() -> None:
    """Nothing is exported, and everything is delivered and suppressed as before."""
    rig = Rig()
    tracers = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
    seen: list[object] = []
    client = AsyncClient(CallbackSink(lambda batch: seen.append(context.get_value("suppress_instrumentation"))))
    with instrument(client, meter_provider=rig.meters, tracer_provider=tracers) as handle:
        await send_one(client)

        assert handle.errors == 0
    assert seen == [True]


@pytest.mark.asyncio
async def test_an_attempt_that_is_let_go_elsewhere_is_let_go_in_silence(caplog: pytest.LogCaptureFixture) -> None:
    """The task of a closed loop ends wherever its memory is freed, where what it attached cannot be detached."""
    rig = Rig()
    forever = asyncio.get_running_loop().create_future()

    async def send(batch: Batch) -> None:
        await forever

    with rig.instrument(AsyncClient(MemorySink())) as handle:
        attempt = handle._tracing.around("sink", make_batch([make_event()]), send)
        contextvars.copy_context().run(attempt.send, None)
        attempt.close()

        assert handle.errors == 0
    assert caplog.text == ""
    assert rig.sends() == []


@pytest.mark.asyncio
async def test_a_processor_that_holds_up_the_loop_is_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It cannot be bounded, but the log says at which end of an attempt it was, and for how long."""
    now = 0.0

    class Slow(SpanProcessor):
        def on_start(self, span: Span, parent_context: context.Context | None = None) -> None:
            nonlocal now
            now += 0.2

        def on_end(self, span: ReadableSpan) -> None:
            nonlocal now
            now += 0.3

    monkeypatch.setattr(opentelemetry_spans, "time", SimpleNamespace(perf_counter=lambda: now))
    tracers = TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(Slow())
    client = AsyncClient(MemorySink())
    with instrument(client, meter_provider=NoOpMeterProvider(), tracer_provider=tracers):
        async with client:
            await client.capture("e")

    assert [record.getMessage() for record in caplog.records if "held up" in record.getMessage()] == [
        "OpenTelemetry, at the start of an attempt, held up its caller for 0.200 s",
        "OpenTelemetry, at the end of an attempt, held up its caller for 0.300 s",
    ]
