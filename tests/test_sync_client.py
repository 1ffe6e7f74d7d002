"""The client for code without an ``async def``: what its calls do, wait for, report and refuse."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import pickle
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from eventpipe import (
    AsyncClient,
    ClosedError,
    DeliveryError,
    DropReason,
    Event,
    InvalidEventError,
    OutcomeKind,
    QueueFullError,
    TransientSinkError,
    scope,
)
from eventpipe.sinks import CallbackSink, MemorySink
from eventpipe.sync import SyncClient
from eventpipe.testing import GatedSink, HangingSink, check_ledger

pytestmark = pytest.mark.wallclock

LOGGER = "eventpipe"
# What a busy machine may take beyond a bound that the client keeps on an idle one.
PATIENCE = 2.0


def on_its_thread(client: SyncClient, function: Callable[[], object]) -> None:
    """Call ``function`` on the client's loop, and wait for it there if need be."""

    async def call() -> None:
        result = function()
        if inspect.isawaitable(result):
            await result

    client._home.run(call(), 10)


def its_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "eventpipe"]


def arguments(function: Callable[..., object]) -> list[inspect.Parameter]:
    return list(inspect.signature(function).parameters.values())


# -- a life -----------------------------------------------------------------------------------------------------------


def test_constructor_is_inert_and_close_ends_the_thread() -> None:
    """The thread starts at the first capture, is a daemon, and has ended when ``close()`` returns."""
    sink = MemorySink()
    client = SyncClient(sink)
    assert its_threads() == []

    client.capture("signed_up", distinct_id="u1")
    (thread,) = its_threads()
    report = client.close()

    assert thread.daemon
    assert not thread.is_alive()
    assert (report.delivered, report.dropped, report.pending, bool(report)) == (1, 0, 0, True)
    assert [(event.event, event.distinct_id) for event in sink.events] == [("signed_up", "u1")]


def test_context_manager_starts_and_closes() -> None:
    """Leaving the block sends what is left, also when the block raised."""
    sink = MemorySink()

    with contextlib.suppress(KeyError), SyncClient(sink, max_batch_age=60) as client:
        assert len(its_threads()) == 1
        client.capture("e")
        raise KeyError

    assert its_threads() == []
    assert len(sink.events) == 1


def test_close_without_a_capture_closes_the_sinks() -> None:
    """They may hold files; the report is empty."""
    closed: list[bool] = []

    class Sink(MemorySink):
        async def aclose(self) -> None:
            closed.append(True)

    report = SyncClient(Sink()).close()

    assert (report.delivered, report.dropped, report.pending, closed) == (0, 0, 0, [True])
    assert its_threads() == []


def test_disabled_client_starts_nothing() -> None:
    """Every call does nothing, in no thread."""
    with SyncClient(enabled=False) as client:
        receipts = [client.capture("e"), client.capture("e", overflow="wait"), client.capture_nowait("e")]
        assert [(receipt.accepted, receipt.reason) for receipt in receipts] == [(False, None)] * 3
        assert client.flush().pending == 0
        assert [outcome.kind for outcome in client.deliver("e")] == ["dropped"]
        assert client.statistics().captured == 0
        assert its_threads() == []
    assert client.close().dropped == 0
    with pytest.raises(ClosedError):
        client.flush()


@pytest.mark.parametrize(
    ("method", "model"),
    [("__init__", "__init__"), ("capture", "capture"), ("capture_nowait", "capture_nowait"), ("flush", "flush"),
     ("deliver", "deliver"), ("close", "aclose"), ("on_outcome", "on_outcome"), ("statistics", "statistics"),
     ("health", "health")],
)  # fmt: skip
def test_arguments_are_those_of_the_async_client(method: str, model: str) -> None:
    """Names, kinds, defaults and annotations: what one client takes the other takes."""
    assert arguments(getattr(SyncClient, method)) == arguments(getattr(AsyncClient, model))


def test_wrong_options_are_refused_by_the_constructor() -> None:
    """As by that of ``AsyncClient``."""
    with pytest.raises(ValueError, match="workers"):
        SyncClient(MemorySink(), workers=0)
    with pytest.raises(ValueError, match="at least one sink"):
        SyncClient()


def test_it_is_not_handed_to_another_process() -> None:
    """Pickling it says what to do in its place."""
    with pytest.raises(TypeError, match="a SyncClient cannot be pickled; make one in each process"):
        pickle.dumps(SyncClient(MemorySink()))


def test_repr_says_how_it_does() -> None:
    """The same as that of ``AsyncClient``, under its own name."""
    client = SyncClient(MemorySink())
    assert repr(client).startswith("<SyncClient to MemorySink: ")
    client.close()
    assert repr(client) == "<SyncClient to MemorySink: closed, 0 pending>"


# -- capture ----------------------------------------------------------------------------------------------------------


def test_what_was_captured_is_counted_at_once() -> None:
    """``statistics()`` has all that this thread captured before, whatever the loop has come to."""
    with SyncClient(MemorySink(), max_batch_age=60) as client:
        receipts = [client.capture("e") for _ in range(100)]

        numbers = client.statistics()

        assert (numbers.captured, numbers.pending) == (100, 100)
        assert all(receipt.accepted for receipt in receipts)
        assert client.health().is_open


def test_capture_waits_for_no_sink() -> None:
    """With a far end that hangs and a full queue the newest events are dropped, and counted."""
    with SyncClient(HangingSink(), queue_events=3, close_timeout=0) as client:
        for _ in range(3):
            client.capture("e")
        assert client.statistics().pending == 3

        receipts = [client.capture("e"), client.capture_nowait("e", overflow="wait")]

        assert client.statistics().dropped_by_reason == {"queue_full": 2}
        assert [receipt.reason for receipt in receipts] == [DropReason.QUEUE_FULL] * 2
        check_ledger(client._client)


def test_raise_raises_when_the_queue_is_full() -> None:
    """Also away from the client's thread, and for an ``Event`` that says so itself."""
    with SyncClient(HangingSink(), queue_events=2, overflow="raise", close_timeout=0) as client:
        assert [client.capture("e").accepted for _ in range(2)] == [True, True]
        with pytest.raises(QueueFullError):
            client.capture("e")
    with SyncClient(HangingSink(), queue_events=1, close_timeout=0) as client:
        client.capture("e")
        with pytest.raises(QueueFullError):
            client.capture(Event("e", overflow="raise"))
        with pytest.raises(ValueError, match="overflow must be"):
            client.capture("e", overflow="explode")  # type: ignore[arg-type]


def test_wait_holds_up_its_own_caller_alone() -> None:
    """Another thread captures meanwhile; when there is room, the event that waited is in."""
    sink = GatedSink()
    with SyncClient(sink, queue_events=1, batch_events=1) as client:
        client.capture("first")
        on_its_thread(client, lambda: sink.reached(1))
        waited: list[bool | None] = []
        waiter = threading.Thread(target=lambda: waited.append(client.capture("second", overflow="wait").accepted))
        waiter.start()
        while not client.statistics().waiting_room:
            time.sleep(0.001)

        assert not client.capture_nowait("third").accepted
        assert waited == []
        on_its_thread(client, sink.release)
        waiter.join(10)

        assert waited == [True]
        assert client.flush().pending == 0
    assert [event.event for event in sink.events] == ["first", "second"]


def test_wait_ends_with_overflow_timeout() -> None:
    """The event is dropped as ``queue_full``, and the caller goes on."""
    client = SyncClient(HangingSink(), queue_events=1, overflow="wait", overflow_timeout=0.02)
    assert client.capture("first").accepted
    receipt = client.capture("second")
    assert (receipt.accepted, receipt.reason) == (False, DropReason.QUEUE_FULL)
    assert client.close(0).dropped_by_reason == {"queue_full": 1, "close_deadline": 1}


def test_close_lets_go_of_those_who_wait_for_room() -> None:
    """Their events are dropped as ``close_deadline``."""
    client = SyncClient(HangingSink(), queue_events=1, overflow="wait")
    client.capture("first")
    reasons: list[DropReason | None] = []
    waiters = [threading.Thread(target=lambda: reasons.append(client.capture("e").reason)) for _ in range(5)]
    for waiter in waiters:
        waiter.start()
    while client.statistics().waiting_room < 5:
        time.sleep(0.001)

    report = client.close(0.01)
    for waiter in waiters:
        waiter.join(10)

    assert reasons == [DropReason.CLOSE_DEADLINE] * 5
    assert (report.dropped, report.pending) == (6, 0)
    check_ledger(client._client, drained=True)


def test_scope_of_the_caller_reaches_the_event() -> None:
    """However the event gets to the client's thread."""
    sink = MemorySink()
    with SyncClient(sink) as client, scope(distinct_id="u1"):
        client.capture("left")
        client.capture("handed over", overflow="wait")
        client.deliver("delivered")

    assert {event.event: event.distinct_id for event in sink.events} == {
        "left": "u1",
        "handed over": "u1",
        "delivered": "u1",
    }


def test_strict_client_raises_to_its_caller() -> None:
    """An event that cannot be sent, and a capture after the close."""
    client = SyncClient(MemorySink(), strict=True)
    with pytest.raises(InvalidEventError):
        client.capture("")
    client.close()
    with pytest.raises(ClosedError):
        client.capture("e")


@pytest.mark.parametrize("overflow", ["drop_newest", "drop_oldest", "wait", "raise"])
def test_capture_after_the_close_is_a_drop(overflow: str) -> None:
    """Counted, with its reason, in no thread."""
    client = SyncClient(MemorySink())
    client.close()

    receipt = client.capture("e", overflow=overflow)  # type: ignore[arg-type]  # each of the words

    assert (receipt.accepted, receipt.reason) == (False, DropReason.CLOSED)
    assert client.statistics().dropped_by_reason == {"closed": 1}
    assert its_threads() == []


def test_outcome_of_a_receipt_is_awaited_on_any_loop() -> None:
    """Plain code runs one for it."""
    with SyncClient(MemorySink(), max_batch_age=0) as client:
        receipt = client.capture("e")
        assert asyncio.run(receipt.outcome(5)).kind is OutcomeKind.DELIVERED


# -- flush, deliver, close --------------------------------------------------------------------------------------------


def test_flush_waits_for_what_was_captured_before() -> None:
    """And says what became of it."""
    with SyncClient(MemorySink(), max_batch_age=60) as client:
        assert client.flush().delivered == 0
        for _ in range(10):
            client.capture("e")

        report = client.flush(5)

        assert (report.delivered, report.pending) == (10, 0)
        with pytest.raises(ValueError, match="until must be"):
            client.flush(until="dropped")  # type: ignore[arg-type]


def test_flush_of_what_never_started_starts_nothing() -> None:
    """There is nothing to wait for."""
    client = SyncClient(MemorySink())
    assert client.flush().delivered == 0
    assert its_threads() == []


def test_flush_returns_at_its_timeout() -> None:
    """With what is pending, whatever hangs."""
    with SyncClient(HangingSink(), close_timeout=0) as client:
        client.capture("e")
        began = time.monotonic()
        assert client.flush(0.02).pending == 1
        assert 0.02 <= time.monotonic() - began < 0.02 + PATIENCE


@pytest.mark.parametrize(("timeout", "error"), [(float("nan"), ValueError), ("1", TypeError), (True, TypeError)])
def test_timeout_that_is_no_time_is_refused(timeout: float, error: type[Exception]) -> None:
    """By every call that waits; the client goes on."""
    with SyncClient(MemorySink()) as client:
        client.capture("e")
        for call in (client.flush, client.close, lambda timeout: client.deliver("e", timeout=timeout)):
            with pytest.raises(error, match="a timeout must be a number of seconds"):
                call(timeout)


def test_deliver_says_what_became_of_each() -> None:
    """In order; a generator is read on the thread of its caller."""
    threads = set()

    def events() -> Iterator[Event]:
        for name in "abc":
            threads.add(threading.get_ident())
            yield Event(name)

    with SyncClient(MemorySink(), max_batch_age=60) as client:
        outcomes = client.deliver(events())

        assert [outcome.kind for outcome in outcomes] == ["delivered"] * 3
        assert threads == {threading.get_ident()}


def test_deliver_raises_what_came_of_it() -> None:
    """``DeliveryError`` when an event was dropped, ``TimeoutError`` when it was still pending."""
    with SyncClient(GatedSink(), before_send=lambda event: None) as client, pytest.raises(DeliveryError):
        client.deliver("e")
    with SyncClient(HangingSink(), close_timeout=0) as client, pytest.raises(TimeoutError):
        client.deliver("e", timeout=0.02)


def test_close_keeps_its_deadline_and_its_report() -> None:
    """With a far end that hangs; a second close has the same report, and so has one at once in another thread."""
    client = SyncClient(HangingSink())
    client.capture("e")
    client.statistics()
    began = time.monotonic()
    reports = []
    closers = [threading.Thread(target=lambda: reports.append(client.close(0.05))) for _ in range(5)]
    for closer in closers:
        closer.start()
    for closer in closers:
        closer.join(10)

    assert time.monotonic() - began < 0.05 + 0.25 + PATIENCE
    assert [report.dropped_by_reason for report in reports] == [{"close_deadline": 1}] * 5
    assert all(report is client.close() for report in reports)
    assert its_threads() == []


def test_after_the_close_it_is_closed() -> None:
    """``flush()``, ``deliver()`` and ``with`` raise; the numbers stay."""
    with SyncClient(MemorySink()) as client:
        client.capture("e")
    for call in (client.flush, lambda: client.deliver("e"), client.__enter__):
        with pytest.raises(ClosedError):
            call()
    assert client.statistics().delivered == 1
    assert not client.health().is_open


# -- where nothing may be waited for ----------------------------------------------------------------------------------


def test_waiting_inside_a_callback_is_an_error() -> None:
    """It would wait for itself; capturing there is allowed, and waits for nothing."""
    said: list[str] = []

    def look(outcome: object) -> None:
        for call in (client.flush, client.close, lambda: client.deliver("e")):
            try:
                call()
            except RuntimeError as exc:
                said.append(str(exc).partition(" would")[0])
        accepted = client.capture("inside", overflow="wait").accepted
        said.append(f"{accepted} {client.statistics().captured}")

    with SyncClient(MemorySink()) as client:
        client.on_outcome(look, OutcomeKind.DELIVERED, filter=lambda outcome: "first" in outcome.events)
        client.capture("first")
        client.flush()
    place = "inside a hook or a sink of this client"
    assert said == [f"flush() {place}", f"close() {place}", f"deliver() {place}", "True 2"]


@pytest.mark.parametrize("overflow", ["drop_newest", "wait"], ids=["caller's thread", "client's thread"])
def test_waiting_inside_before_send_is_an_error(overflow: str) -> None:
    """On whichever thread it runs."""
    errors: list[str] = []

    def flush(event: Event) -> Event:
        with pytest.raises(RuntimeError, match="would wait for itself") as caught:
            client.flush()
        errors.append(str(caught.value))
        return event

    with SyncClient(MemorySink(), before_send=flush) as client:
        client.capture("e", overflow=overflow)  # type: ignore[arg-type]  # two of the words
    assert len(errors) == 1
    assert client.statistics().delivered == 1


def test_on_a_running_loop_it_works_and_says_what_it_costs(caplog: pytest.LogCaptureFixture) -> None:
    """A capture waits for nothing; a flush holds that loop up, and the log says so, once."""

    async def main() -> None:
        client.capture("e")
        assert caplog.messages == []
        assert client.flush().delivered == 1
        assert client.flush().delivered == 0

    with SyncClient(MemorySink()) as client, caplog.at_level(logging.WARNING, LOGGER):
        asyncio.run(main())
    assert [message.partition(";")[0] for message in caplog.messages] == [
        "flush() of a SyncClient holds up the event loop that runs on this thread"
    ]


def test_thread_that_is_held_up_holds_up_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """A sink that blocks it: every call returns in its time with what is known, and a later close has the rest."""
    inside, go_on = threading.Event(), threading.Event()

    def send(batch: object) -> None:
        inside.set()
        assert go_on.wait(10)

    client = SyncClient(CallbackSink(send), max_batch_age=0, overflow_timeout=0.02)
    client.capture("e")
    assert inside.wait(10)

    began = time.monotonic()
    receipts = [client.capture("e"), client.capture("e", overflow="raise"), client.capture("e", overflow="wait")]
    assert [receipt.accepted for receipt in receipts] == [None] * 3
    assert client.flush(0.02).pending == 4
    report = client.close(0.02)
    took = time.monotonic() - began
    go_on.set()

    assert took < 0.6 + 0.12 + 0.12 + 0.02 + 0.25 + PATIENCE
    assert (bool(report), report.pending, report.stragglers) == (False, 4, ("thread eventpipe",))
    assert [record.levelname for record in caplog.records if "held up by" in record.message] == ["WARNING"]
    assert client.close().delivered + client.close().dropped == 4
    assert its_threads() == []
    check_ledger(client._client, drained=True)


def test_loop_that_was_stopped_starts_again(caplog: pytest.LogCaptureFixture) -> None:
    """By whatever a callback does to it; what was captured goes on being sent, and the log says what happened."""
    sink = MemorySink()
    with SyncClient(sink, max_batch_age=60) as client:
        client.capture("before")
        client.statistics()
        (thread,) = its_threads()
        client._home.start().loop.call_soon_threadsafe(lambda: asyncio.get_running_loop().stop())
        thread.join(10)

        client.capture("after")
        assert client.flush().delivered == 2

    assert caplog.messages[-1] == "the event loop of thread eventpipe ended by RuntimeError"


def test_without_a_thread_close_does_the_work_itself(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As at the end of an interpreter, where none can be started: events wait, and ``close()`` sends them."""

    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    sink = MemorySink()
    client = SyncClient(sink)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start)
        receipts = [client.capture("e") for _ in range(3)]
        assert [receipt.accepted for receipt in receipts] == [None] * 3
        assert client.close().delivered == 3
    assert len(sink.events) == 3
    assert [message.partition(",")[0] for message in caplog.messages] == ["no thread can be started to send events"]


def test_failing_sink_is_told_to_callbacks() -> None:
    """``on_drop`` and ``on_error`` as with ``AsyncClient``, on the client's thread."""
    names: set[str] = set()

    def fail(batch: object) -> None:
        raise TransientSinkError

    def tell(outcome: object) -> None:
        names.add(threading.current_thread().name)

    with SyncClient(CallbackSink(fail), on_drop=tell, on_error=tell, close_timeout=0.01) as client:
        client.capture("e")
    assert names == {"eventpipe"}
