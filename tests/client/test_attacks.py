"""Sinks, hooks, threads and loops that do what nobody should: what a client promises holds all the same."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from eventpipe import (
    AsyncClient,
    Batch,
    DropReason,
    OutcomeKind,
    PermanentSinkError,
    RetryPolicy,
    TransientSinkError,
    Verdict,
)
from eventpipe.testing import check_ledger

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
