"""``CallbackSink`` calls a function, waits for it where it is async, and believes no odd answer."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Any

import pytest

from eventpipe.errors import PermanentSinkError, TransientSinkError
from eventpipe.events import Batch
from eventpipe.outcomes import DELIVERED, OutcomeKind, Verdict
from eventpipe.sinks import CallbackSink
from eventpipe.sinks.callback import Callback
from eventpipe.testing.events import make_batch

pytestmark = pytest.mark.asyncio


class _Callable:
    """A callable object with an async call."""

    def __init__(self, seen: list[Batch]) -> None:
        self._seen = seen

    async def __call__(self, batch: Batch) -> None:
        self._seen.append(batch)


def _plain(seen: list[Batch]) -> Callback:
    return seen.append


def _async(seen: list[Batch]) -> Callback:
    async def fn(batch: Batch) -> None:
        await asyncio.sleep(0)
        seen.append(batch)

    return fn


def _partial(seen: list[Batch]) -> Callback:
    async def fn(seen: list[Batch], batch: Batch) -> None:
        seen.append(batch)

    return functools.partial(fn, seen)


@pytest.mark.parametrize("make", [_plain, _async, _partial, _Callable])
async def test_calls_plain_and_async_functions(make: Callable[[list[Batch]], Callback]) -> None:
    """The function gets each batch, and ``send`` ends when it has."""
    seen: list[Batch] = []
    sink = CallbackSink(make(seen))
    batch = make_batch(2)

    assert await sink.send(batch) is None
    assert seen == [batch]


@pytest.mark.parametrize("wrap", [tuple, list])
async def test_passes_verdicts_on(wrap: Any) -> None:
    """One verdict per event goes to the caller as it is."""
    verdicts = [DELIVERED, Verdict(OutcomeKind.DROPPED, "rejected"), Verdict(OutcomeKind.RETRY, retry_after=2.0)]
    sink = CallbackSink(lambda batch: wrap(verdicts))

    assert await sink.send(make_batch(3)) == wrap(verdicts)


@pytest.mark.parametrize(
    ("answer", "rule"),
    [
        pytest.param(True, "None or a sequence of verdicts, not bool", id="a bool"),
        pytest.param({DELIVERED}, "None or a sequence of verdicts, not set", id="no order"),
        pytest.param([], "one verdict per event, not 0 for 2 events", id="none"),
        pytest.param([DELIVERED], "one verdict per event, not 1 for 2 events", id="too few"),
        pytest.param([DELIVERED] * 3, "one verdict per event, not 3 for 2 events", id="too many"),
        pytest.param("ok", "verdicts, not str at index 0", id="a string"),
        pytest.param([DELIVERED, True], "verdicts, not bool at index 1", id="a bool among them"),
        pytest.param(
            [DELIVERED, Verdict(OutcomeKind.INTERRUPTED)],
            "verdicts of kind delivered, dropped, retry, not interrupted at index 1",
            id="a kind that is no verdict",
        ),
    ],
)
async def test_refuses_an_odd_answer(answer: Any, rule: str) -> None:
    """An answer that is not one verdict per event is an error with the sink's name, worth another attempt."""
    sink = CallbackSink(lambda batch: answer, name="hook")

    with pytest.raises(TransientSinkError, match=f"^the function of hook must return {rule}$") as caught:
        await sink.send(make_batch(2))

    assert caught.value.reason == "sink_error"


@pytest.mark.parametrize(
    "error", [TransientSinkError(retry_after=3.0), PermanentSinkError(scope="event"), KeyError("x")], ids=repr
)
async def test_lets_errors_through(error: BaseException) -> None:
    """What the function raises reaches the caller untouched."""

    async def fn(batch: Batch) -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        await CallbackSink(fn).send(make_batch())

    assert caught.value is error


async def test_refuses_what_cannot_be_called() -> None:
    """``fn`` is callable, or the constructor says so."""
    with pytest.raises(ValueError, match=r"^fn must be callable, not 5$"):
        CallbackSink(5)  # type: ignore[arg-type]  # what is refused
