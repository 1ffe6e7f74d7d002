"""Sinks, hooks, threads and loops that do what nobody should: what a client promises holds all the same."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import itertools
import logging
import math
import sys
from collections.abc import Callable, Coroutine, Iterable, Iterator
from typing import Any

import pytest

from eventpipe import (
    AsyncClient,
    Batch,
    ClosedError,
    DropReason,
    Event,
    InvalidEventError,
    OutcomeKind,
    PermanentSinkError,
    RetryPolicy,
    TransientSinkError,
    Verdict,
)
from eventpipe.sinks import CallbackSink, MemorySink
from eventpipe.testing import GatedSink, check_ledger

pytestmark = pytest.mark.asyncio


class OddSink:
    """A sink that is no more than what the contract asks for, around a function that does odd things."""

    def __init__(self, send: Callable[[Batch], Any]) -> None:  # Any: also what the contract does not allow
        self._send = send
        self.attempts = 0

    async def send(self, batch: Batch) -> Any:
        self.attempts += 1
        return self._send(batch)

    async def aclose(self) -> None:
        """Hold nothing."""


# -- what a sink answers ----------------------------------------------------------------------------------------------


async def test_verdicts_without_end_are_not_read_to_their_end() -> None:
    """An iterator that never ends costs its batch an attempt, and neither the loop nor the memory."""
    read = 0

    def verdicts(batch: Batch) -> Iterable[Verdict]:
        nonlocal read
        for read in itertools.count(1):  # noqa: B007  # looked at below
            yield Verdict(OutcomeKind.DELIVERED)

    client = AsyncClient(OddSink(verdicts), retry=RetryPolicy(max_attempts=1))
    await client.capture_many(["a", "b"])

    report = await client.aclose()

    assert report.dropped_by_reason == {DropReason.EXHAUSTED: 2}
    assert read == 3


async def test_drop_reasons_of_errors_stay_within_the_list() -> None:
    """A permanent error with a reason of its own drops its events as rejected, as a verdict with one does."""

    def refuse(batch: Batch) -> None:
        raise PermanentSinkError("pay first", reason="paywall")  # type: ignore[arg-type]  # not a DropReason

    client = AsyncClient(OddSink(refuse))
    await client.capture("a")

    report = await client.aclose()

    assert report.dropped_by_reason == {DropReason.REJECTED: 1}
    check_ledger(client, drained=True)


def cancel_itself(batch: Batch) -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    raise asyncio.CancelledError


class UnreadableError(TransientSinkError):
    """Its reason cannot be read."""

    @property
    def reason(self) -> str:
        raise ValueError("reason")

    @reason.setter
    def reason(self, value: str) -> None: ...


def raise_unreadable(batch: Batch) -> None:
    raise UnreadableError


@pytest.mark.parametrize("send", [cancel_itself, raise_unreadable], ids=["cancels itself", "an unreadable error"])
async def test_attempts_that_come_to_nothing_are_counted_and_have_an_end(send: Callable[[Batch], None]) -> None:
    """A far end whose sink fails in a way of its own is asked as often as any other, with the same pauses."""
    sink = OddSink(send)
    client = AsyncClient(sink, retry=RetryPolicy(max_attempts=3, initial=1, jitter=0))
    receipt = await client.capture("a")

    outcome = await receipt.outcome(60)

    assert (outcome.reason, outcome.attempt, sink.attempts) == (DropReason.EXHAUSTED, 3, 3)
    assert asyncio.get_running_loop().time() == pytest.approx(4, abs=0.1)  # an age of 1 s, pauses of 1 s and 2 s
    await client.aclose()
    check_ledger(client, drained=True)


# -- functions and handlers of the user's -----------------------------------------------------------------------------


async def test_batches_have_ids_where_the_id_maker_fails() -> None:
    """An id maker that raises costs nothing: ids are made as if there were none."""

    def new_id() -> str:
        raise ValueError

    def ask_for_less(batch: Batch) -> None:
        if len(batch.events) > 1:
            raise PermanentSinkError("too much", scope="size")

    client = AsyncClient(OddSink(ask_for_less), new_id=new_id)
    await client.capture_many(["a", "b", "c"])

    report = await client.aclose()

    assert report.delivered == 3


class Shouting(str):
    """A text that raises when anything is asked of it."""

    __slots__ = ()

    def __getitem__(self, key: Any) -> str:
        raise ValueError

    def __len__(self) -> int:
        raise ValueError


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("name", ["\ud800", Shouting("e")], ids=["lone surrogate", "raises"])
async def test_refusals_are_counted_whatever_the_name_is(name: str, strict: bool) -> None:
    """An event that is refused for its properties, or after the close, is a drop even where its name is odd too."""
    client = AsyncClient(MemorySink(), strict=strict)
    refusals: list[type[Exception]] = [InvalidEventError, ClosedError] if strict else []
    async with client:
        with contextlib.suppress(*refusals[:1]):
            await client.capture(name, properties=5)  # type: ignore[arg-type]  # not a mapping
    with contextlib.suppress(*refusals[1:]):
        await client.capture(name)

    statistics = check_ledger(client, drained=True)

    assert statistics.dropped_by_reason == {DropReason.INVALID: 1, DropReason.CLOSED: 1}


class Handler(logging.Handler):
    """A log handler that calls a function."""

    def __init__(self, emit: Callable[[], object]) -> None:
        super().__init__()
        self._emit = emit

    def emit(self, record: logging.LogRecord) -> None:
        self._emit()


@pytest.fixture
def log_to() -> Iterator[Callable[[Callable[[], object]], None]]:
    """Have a function called for each line that the package logs."""
    handlers = []

    def log_to(emit: Callable[[], object]) -> None:
        handlers.append(Handler(emit))
        logging.getLogger("eventpipe").addHandler(handlers[-1])

    yield log_to
    for handler in handlers:
        logging.getLogger("eventpipe").removeHandler(handler)


LogTo = Callable[[Callable[[], object]], None]


@pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError])
async def test_log_handlers_that_raise_cost_nobody_anything(log_to: LogTo, error: type[BaseException]) -> None:
    """Drops are booked, flushes return and the close is clean although no line about them can be written."""

    def emit() -> None:
        raise error

    def refuse(batch: Batch) -> None:
        raise PermanentSinkError

    log_to(emit)
    async with AsyncClient(OddSink(refuse), queue_events=5, workers=1) as client:
        await client.capture_many(["e"] * 20)

        report = await client.flush(5)

        assert (report.delivered, report.pending) == (0, 0)
        check_ledger(client)
    statistics = check_ledger(client, drained=True)
    assert statistics.dropped == 20
    assert statistics.dropped_by_reason.keys() == {DropReason.QUEUE_FULL, DropReason.REJECTED}


async def test_line_about_a_slow_hook_does_not_feed_on_itself(log_to: LogTo, monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler that captures each line meets the slow hook again, which is not named again."""
    now = 0.0

    def before_send(event: Event) -> Event:
        nonlocal now
        now += 1
        return event

    monkeypatch.setattr("eventpipe.core.hook.time.perf_counter", lambda: now)
    client = AsyncClient(MemorySink(), before_send=before_send)
    log_to(lambda: client.capture_nowait("line"))

    await client.capture("a")

    assert client.statistics().captured == 2
    await client.aclose()


async def test_handler_that_captures_each_line_does_not_feed_on_them(log_to: LogTo) -> None:
    """Lines about drops become events, which are dropped as well: that is part of the episode, and there is an end."""

    def refuse(batch: Batch) -> None:
        raise PermanentSinkError

    lines = 0

    def emit() -> None:
        nonlocal lines
        lines += 1
        client.capture_nowait("line")

    client = AsyncClient(OddSink(refuse), queue_events=10)
    log_to(emit)
    await client.capture_many(["e"] * 20)
    await asyncio.sleep(3600)

    assert lines == 3  # the queue is full, the far end refuses, the queue has room again
    assert check_ledger(client).captured == 20 + lines
    report = await client.aclose()
    assert (report.delivered, report.pending) == (0, 0)
    check_ledger(client, drained=True)


# -- the close --------------------------------------------------------------------------------------------------------


def raise_at_once() -> None:
    raise OSError


@pytest.mark.parametrize("end", [lambda: None, raise_at_once], ids=["returns", "raises"])
async def test_sinks_whose_end_cannot_be_awaited_do_not_break_the_close(end: Callable[[], Any]) -> None:
    """``aclose`` of one sink is a plain function; the others are ended, and the report is there."""
    odd, other = OddSink(lambda batch: None), MemorySink()
    odd.aclose = end  # type: ignore[method-assign]
    client = AsyncClient(odd, other)
    await client.capture("a")

    report = await client.aclose()

    assert (report.delivered, report.pending, other.is_closed) == (2, 0, True)


async def test_later_closer_brings_the_end_of_the_sinks_forward() -> None:
    """A close that waits for a sink to end is as much hurried by an earlier deadline as one that still sends."""
    sink = OddSink(lambda batch: None)
    sink.aclose = lambda: asyncio.sleep(3600)  # type: ignore[method-assign]
    client = AsyncClient(sink)
    await client.capture("a")
    first = asyncio.create_task(client.aclose(15))
    await asyncio.sleep(1)
    assert not first.done()
    began = asyncio.get_running_loop().time()

    report = await client.aclose(0.1)

    assert asyncio.get_running_loop().time() - began <= 0.35
    assert await first is report


async def test_plain_captures_after_the_close_are_counted() -> None:
    """``capture_nowait`` on the loop, or in a thread, is a drop with an outcome."""
    client = AsyncClient(MemorySink())
    await client.aclose()

    for receipt in (client.capture_nowait("b"), await asyncio.to_thread(client.capture_nowait, "c")):
        assert (receipt.accepted, receipt.reason) == (False, DropReason.CLOSED)
        assert (await receipt.outcome(1)).reason == DropReason.CLOSED

    assert check_ledger(client, drained=True).dropped_by_reason == {DropReason.CLOSED: 2}


@pytest.mark.parametrize("timeout", [math.nan, math.inf, -1.0])
@pytest.mark.parametrize("call", ["outcome", "deliver", "flush", "aclose"])
async def test_odd_timeouts_are_refused_never_or_at_once(call: str, timeout: float) -> None:
    """No number is ``ValueError``, infinity waits without end, and less than zero is over."""
    sink = GatedSink()
    client = AsyncClient(sink)
    receipt = await client.capture("a")
    calls: dict[str, Callable[[], Coroutine[Any, Any, object]]] = {
        "outcome": lambda: receipt.outcome(timeout),
        "deliver": lambda: client.deliver("b", timeout=timeout),
        "flush": lambda: client.flush(timeout),
        "aclose": lambda: client.aclose(timeout),
    }
    task = asyncio.create_task(calls[call]())
    await asyncio.wait({task}, timeout=3600)

    assert task.done() is (timeout != math.inf)
    if math.isnan(timeout):
        assert isinstance(task.exception(), ValueError)
    sink.release()
    await asyncio.wait({task})
    await client.aclose()
    task.exception()  # seen
    check_ledger(client, drained=True)


# -- time -------------------------------------------------------------------------------------------------------------


async def test_old_event_behind_a_younger_one_expires() -> None:
    """Another thread's event waits in the inbox while the loop is held up, and comes in behind what is younger."""
    sink = MemorySink()
    async with AsyncClient(sink, max_event_age=10, max_batch_age=5) as client:
        await asyncio.sleep(100)
        await client.capture("young")
        with concurrent.futures.ThreadPoolExecutor(1) as executor:
            receipt = executor.submit(client.capture_nowait, "old").result()
        receipt._event.captured_at -= 20

        report = await client.flush()

    assert (report.delivered, report.dropped_by_reason) == (1, {DropReason.EXPIRED: 1})
    assert [event.event for event in sink.events] == ["young"]


# -- loops that start tasks at once -----------------------------------------------------------------------------------


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
async def test_eager_tasks_change_nothing() -> None:
    """A send that is over before its task is there, one that flushes, and one that closes, count as any other."""
    if sys.version_info >= (3, 12):
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
    pending: list[int] = []

    async def send(batch: Batch) -> None:
        if batch.events[0].event == "flushes":
            pending.append((await client.flush(60)).pending)
        elif batch.events[0].event == "closes":
            pending.append((await client.aclose(60)).pending)

    told: list[int] = []
    client: AsyncClient = AsyncClient(
        CallbackSink(send),
        max_batch_age=1.6,
        max_event_age=1.5,
        on_drop=lambda _: told.append(check_ledger(client).dropped),
    )
    began = asyncio.get_running_loop().time()
    async with client:
        await client.capture_many(["too", "old"])
        await asyncio.sleep(1)
        await client.capture("at once")
        await asyncio.sleep(2)
        for event in ("flushes", "closes"):
            await client.capture(event)
            await client.flush(1)

    assert asyncio.get_running_loop().time() - began < 10
    assert (pending, told) == ([1, 1], [2])
    assert check_ledger(client, drained=True).delivered == 3
