"""Whatever a sink does in one attempt comes back as a value."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from types import NoneType
from typing import Any

import pytest

from eventpipe.errors import EventPipeError, PermanentSinkError, SinkError, TransientSinkError
from eventpipe.events import Batch
from eventpipe.outcomes import DELIVERED, DropReason, OutcomeKind, Verdict
from eventpipe.testing.events import make_batch
from eventpipe.testing.sweep import Swept, cancellation_sweep
from eventpipe.transport.attempt import Answer, attempt, describe

pytestmark = pytest.mark.asyncio

DROPPED, RETRY = Verdict(OutcomeKind.DROPPED), Verdict(OutcomeKind.RETRY)


class Answering:
    """A sink that does what a function of the batch does."""

    def __init__(self, answer: Callable[[Batch], Any]) -> None:  # Any: what it returns may be wrong on purpose
        self._answer = answer

    async def send(self, batch: Batch) -> Any:
        return self._answer(batch)

    async def aclose(self) -> None:
        pass


def raising(error: BaseException) -> Answering:
    def answer(batch: Batch) -> None:
        raise error

    return Answering(answer)


async def judged(*verdicts: object) -> tuple[Batch, Answer]:
    """The answer to a batch of as many events as there are verdicts."""
    batch = make_batch(len(verdicts))
    return batch, await attempt(Answering(lambda _: verdicts), batch)


async def test_no_verdicts_mean_that_all_are_delivered() -> None:
    """In the order of the batch."""
    batch = make_batch(3)

    assert await attempt(Answering(lambda _: None), batch) == Answer(delivered=batch.events)


async def test_the_sink_is_given_the_batch_itself() -> None:
    """Its id, attempt and events are those that were decided on."""
    batch = make_batch(2)
    seen: list[Batch] = []

    await attempt(Answering(seen.append), batch)

    assert seen == [batch]
    assert seen[0] is batch


async def test_verdicts_part_the_events_in_order() -> None:
    """Delivered, dropped by reason and the far end's words, and those to send again."""
    lost = Verdict(OutcomeKind.DROPPED, DropReason.TOO_LARGE, detail="max 9")
    batch, answer = await judged(DELIVERED, lost, RETRY, DELIVERED, DROPPED, lost, RETRY)
    events = batch.events

    assert answer.delivered == (events[0], events[3])
    assert answer.dropped == {
        (DropReason.TOO_LARGE, "max 9"): (events[1], events[5]),
        (DropReason.REJECTED, None): (events[4],),
    }
    assert answer.again == (events[2], events[6])


@pytest.mark.parametrize("kind", [list, tuple, iter], ids=["list", "tuple", "iterator"])
async def test_verdicts_may_come_in_any_sequence(kind: Callable[[Sequence[Verdict]], object]) -> None:
    """What counts is one per event, in order."""
    batch = make_batch(2)

    answer = await attempt(Answering(lambda _: kind([DELIVERED, DROPPED])), batch)

    assert answer == Answer(batch.events[:1], {(DropReason.REJECTED, None): batch.events[1:]})


@pytest.mark.parametrize("reason", [None, "spam", "", 5, *DropReason], ids=repr)
async def test_a_drop_leaves_with_a_reason_of_the_closed_list(reason: Any) -> None:
    """Any other word is ``rejected``; what the far end said stays in the detail."""
    _, answer = await judged(Verdict(OutcomeKind.DROPPED, reason, detail="no"))

    expected = reason if reason in list(DropReason) else DropReason.REJECTED
    assert list(answer.dropped) == [(expected, "no")]


async def test_retry_verdicts_make_one_error() -> None:
    """With the first one's words and reason, and the longest wait that any of them asks for."""
    _, answer = await judged(
        DELIVERED,
        Verdict(OutcomeKind.RETRY, "busy", 2.0, "try later"),
        Verdict(OutcomeKind.RETRY, "down", 5.0, "other"),
        Verdict(OutcomeKind.RETRY, retry_after=3.0),
        RETRY,
    )

    error = answer.error
    assert isinstance(error, TransientSinkError)
    assert (str(error), error.reason, error.retry_after, error.status) == ("try later", "busy", 5.0, None)


async def test_a_wait_below_a_second_stays_as_it_is() -> None:
    """It is no less a wait than a longer one."""
    _, answer = await judged(Verdict(OutcomeKind.RETRY, retry_after=0.25))

    assert isinstance(answer.error, TransientSinkError)
    assert answer.error.retry_after == 0.25


@pytest.mark.parametrize("retry_after", [None, 0, 0.0])
async def test_a_bare_retry_verdict_says_what_can_be_said(retry_after: float | None) -> None:
    """Zero seconds ask for nothing."""
    batch, answer = await judged(Verdict(OutcomeKind.RETRY, retry_after=retry_after))

    error = answer.error
    assert isinstance(error, TransientSinkError)
    assert (str(error), error.reason) == ("the far end asked for these events again", "retry")
    assert error.retry_after is None
    assert answer.again == batch.events


async def test_without_a_retry_verdict_there_is_no_error() -> None:
    """Drops are the events' own fault."""
    _, answer = await judged(DELIVERED, DROPPED)

    assert (answer.again, answer.error) == ((), None)


@pytest.mark.parametrize("kind", ["delivered", "dropped", "retry"])
async def test_a_verdict_s_kind_may_be_its_plain_word(kind: Any) -> None:
    """The kinds are strings, and a sink may have read them from its far end."""
    batch, answer = await judged(Verdict(kind))

    found = {
        "delivered": answer.delivered,
        "dropped": answer.dropped.get((DropReason.REJECTED, None)),
        "retry": answer.again,
    }
    assert found[kind] == batch.events
    assert (answer.error is not None) is (kind == "retry")


@pytest.mark.parametrize("kind", [OutcomeKind.INTERRUPTED, "okay", None], ids=repr)
async def test_an_event_with_an_odd_verdict_is_sent_again(kind: Any) -> None:
    """No event is in nobody's hands: what is neither delivered nor dropped has an error and goes again."""
    batch, answer = await judged(DELIVERED, Verdict(kind))

    assert (answer.delivered, answer.dropped, answer.again) == (batch.events[:1], {}, batch.events[1:])
    assert isinstance(answer.error, TransientSinkError)
    assert answer.error.reason == "retry"


@pytest.mark.parametrize(
    ("verdicts", "text"),
    [
        ([DELIVERED], "send() must return None or 2 verdicts, not 1 values"),
        ([DELIVERED] * 3, "send() must return None or 2 verdicts, not more values"),
        ([], "send() must return None or 2 verdicts, not 0 values"),
        ([DELIVERED, None], "send() must return None or 2 verdicts, not 2 values"),
        ("ok", "send() must return None or 2 verdicts, not 2 values"),
        (True, "send() must return None or 2 verdicts, not 0 values"),
        ([DELIVERED, Verdict(OutcomeKind.DROPPED, [])], None),  # type: ignore[arg-type]
        ([DELIVERED, Verdict(OutcomeKind.RETRY, retry_after="5")], None),  # type: ignore[arg-type]
    ],
    ids=["too few", "too many", "none", "not verdicts", "a string", "no sequence", "odd reason", "odd wait"],
)
async def test_a_wrong_return_value_is_transient(verdicts: object, text: str | None) -> None:
    """Nobody knows what became of the events, so all of them go again."""
    batch = make_batch(2)

    answer = await attempt(Answering(lambda _: verdicts), batch)

    assert (answer.delivered, answer.dropped, answer.again) == ((), {}, batch.events)
    assert isinstance(answer.error, TransientSinkError)
    assert answer.error.reason == "sink_error"
    assert text is None or str(answer.error) == text


@pytest.mark.parametrize(
    "error",
    [
        TransientSinkError("slow down", retry_after=5.0, reason="status_429", status=429),
        PermanentSinkError(scope="size", status=413),
        SinkError("neither", reason="odd"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_a_sink_s_own_error_is_handed_on_as_it_is(error: SinkError) -> None:
    """The decision needs all it says."""
    batch = make_batch(2)

    answer = await attempt(raising(error), batch)

    assert (answer.delivered, answer.dropped, answer.again) == ((), {}, batch.events)
    assert answer.error is error


class CarelessError(TransientSinkError):
    """An error whose constructor forgot its parent's."""

    def __init__(self) -> None:
        Exception.__init__(self, "careless")


class CarelessPermanentError(PermanentSinkError):
    def __init__(self) -> None:
        Exception.__init__(self, "careless")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (CarelessError(), "CarelessError: careless"),
        (CarelessPermanentError(), "CarelessPermanentError: careless"),
        (TransientSinkError("a", retry_after="5"), "TransientSinkError: a"),  # type: ignore[arg-type]
        (TransientSinkError("a", reason=None), "TransientSinkError: a"),  # type: ignore[arg-type]
        (TransientSinkError("a", reason=[]), "TransientSinkError: a"),  # type: ignore[arg-type]
    ],
    ids=["no attributes", "no attributes, permanent", "wait in words", "no reason", "odd reason"],
)
async def test_a_sink_s_own_error_that_is_incomplete_is_transient(error: SinkError, text: str) -> None:
    """What decisions read is there, so that no worker dies of an error's missing attribute."""
    batch = make_batch(2)

    answer = await attempt(raising(error), batch)

    assert answer.again == batch.events
    assert type(answer.error) is TransientSinkError
    assert (str(answer.error), answer.error.reason, answer.error.retry_after) == (text, "sink_error", None)


class Word(str):
    """A word that raises whatever it is asked."""

    __slots__ = ()

    def _raise(self, *_: object) -> Any:
        raise KeyError("secret")

    __str__ = __eq__ = __len__ = __bool__ = __format__ = _raise
    __hash__ = _raise


class Seconds(float):
    def _raise(self, *_: object) -> Any:
        raise KeyError("secret")

    __lt__ = __gt__ = __le__ = __ge__ = __add__ = __radd__ = __bool__ = _raise


class Count(int):
    def __gt__(self, _: object) -> bool:
        raise KeyError("secret")

    __lt__ = __gt__


class FickleError(TransientSinkError):
    """An error that computes how long to wait, and fails at the second look."""

    looks = 0

    @property
    def retry_after(self) -> float | None:
        self.looks += 1
        if self.looks > 1:
            raise KeyError("secret")
        return 5.0

    @retry_after.setter
    def retry_after(self, _: float | None) -> None:
        pass


class FicklePermanentError(PermanentSinkError):
    looks = 0

    def __getattribute__(self, name: str) -> Any:
        if name == "scope":
            self.looks += 1
            if self.looks > 1:
                raise KeyError("secret")
        return super().__getattribute__(name)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: FickleError("a"), (TransientSinkError, "sink_error", 5.0, None, "FickleError: a")),
        (
            lambda: FicklePermanentError("a", scope="size"),
            (PermanentSinkError, "too_large", None, "size", "FicklePermanentError: a"),
        ),
        (
            lambda: TransientSinkError("a", reason=Word("odd"), retry_after=Seconds(2)),
            (TransientSinkError, "odd", 2.0, None, "TransientSinkError: a"),
        ),
        (
            lambda: TransientSinkError("a", retry_after=Count(3)),
            (TransientSinkError, "sink_error", 3.0, None, "TransientSinkError: a"),
        ),
    ],
    ids=["fickle", "fickle, permanent", "odd word and float", "odd integer"],
)
async def test_what_an_error_says_is_read_once(make: Callable[[], SinkError], expected: tuple[object, ...]) -> None:
    """Read again where the answer is booked, it might raise, and the batch would be in nobody's hands."""
    answer = await attempt(raising(make()), make_batch(2))

    made = answer.error
    assert made is not None
    assert (
        type(made),
        made.reason,
        getattr(made, "retry_after", None),
        getattr(made, "scope", None),
        str(made),
    ) == expected
    assert {type(value) for value in vars(made).values()} <= {str, float, NoneType}


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    "error",
    [
        ValueError("odd"),
        EventPipeError("ours"),
        BaseException("base"),
        SystemExit(3),
        GeneratorExit("raised"),
        StopAsyncIteration(),
        BaseExceptionGroup("many", [SystemExit()]),
        UnprintableError(),
        asyncio.CancelledError(),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_any_other_error_is_transient(error: BaseException) -> None:
    """Whatever it is, a cancellation that nobody asked for included; the text names its type."""
    batch = make_batch(2)

    answer = await attempt(raising(error), batch)

    assert (answer.delivered, answer.dropped, answer.again) == ((), {}, batch.events)
    assert type(answer.error) is TransientSinkError
    assert (answer.error.reason, answer.error.retry_after, answer.error.status) == ("sink_error", None, None)
    assert type(error).__name__ in str(answer.error)


async def test_ctrl_c_passes_through() -> None:
    """It is not the sink's."""
    with pytest.raises(KeyboardInterrupt):
        await attempt(raising(KeyboardInterrupt()), make_batch())


async def test_end_of_the_coroutine_passes_through() -> None:
    """As when its loop was closed: there is nobody whom an answer would reach."""

    class Hanging(Answering):
        async def send(self, batch: Batch) -> None:
            await asyncio.sleep(1)

    running: list[Any] = []

    async def run() -> None:
        running.append(attempt(Hanging(lambda _: None), make_batch()))
        await running[0]

    task = asyncio.create_task(run())
    await asyncio.sleep(0)
    running[0].close()  # from another task than its own; raises where an answer comes instead
    task.cancel()
    await asyncio.wait({task})


async def test_a_cancelled_error_of_the_sink_s_own_is_named() -> None:
    """It was no cancellation of ours."""
    answer = await attempt(raising(asyncio.CancelledError("secret")), make_batch())

    assert str(answer.error) == "send() raised CancelledError"


async def test_the_cancellation_of_the_worker_itself_passes_through() -> None:
    """Swept: it is never taken for the sink's error."""

    class Slow(Answering):
        async def send(self, batch: Batch) -> None:
            await asyncio.sleep(1)
            await asyncio.sleep(1)

    @asynccontextmanager
    async def sending() -> AsyncIterator[Swept]:
        yield attempt(Slow(lambda _: None), make_batch())

    assert await cancellation_sweep(sending) == 6


async def test_a_sink_that_takes_its_own_cancellation_for_an_answer_is_heard() -> None:
    """It swallowed the cancellation and returned: what it says of the batch is booked."""

    class Deaf(Answering):
        async def send(self, batch: Batch) -> None:
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError:
                return

    batch = make_batch()
    task = asyncio.create_task(attempt(Deaf(lambda _: None), batch))
    await asyncio.sleep(0)
    task.cancel()

    assert await task == Answer(delivered=batch.events)


class UnprintableSinkError(SinkError):
    def __init__(self) -> None:
        super().__init__("", reason="odd")

    def __str__(self) -> str:
        raise SystemExit


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (TransientSinkError("a" * 300), "TransientSinkError: " + "a" * 300),
        (TransientSinkError("a" * 301), "TransientSinkError: " + "a" * 300),
        (TransientSinkError(""), "TransientSinkError"),
        (UnprintableSinkError(), "UnprintableSinkError"),
    ],
    ids=["as long as allowed", "one longer", "no text", "unprintable"],
)
async def test_the_text_of_a_sink_s_own_error_is_bounded(error: BaseException, text: str) -> None:
    """Some far ends answer with whole pages; without a text the type is enough."""
    assert describe(error) == text


async def test_a_foreign_error_is_described_by_where_it_was_raised() -> None:
    """Its text may quote the events that it failed on."""
    batch = make_batch(2)

    def answer(_: Batch) -> None:
        raise ValueError("secret")

    found = await attempt(Answering(answer), batch)

    line = answer.__code__.co_firstlineno + 1
    assert str(found.error) == f"ValueError at test_attempt.py:{line}"
    assert describe(ValueError("secret")) == "ValueError"
