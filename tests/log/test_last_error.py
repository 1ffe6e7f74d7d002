"""Why an event failed last is said in words that its owner knows: what was raised and where, and no payload."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

import pytest

from eventpipe.errors import PermanentSinkError, TransientSinkError
from eventpipe.events import Batch
from eventpipe.log.consumer import Consumer
from eventpipe.log.eventlog import EventLog
from eventpipe.log.handling import ConsumedEvent, Handler
from eventpipe.log.letters import MAX_TEXT
from eventpipe.log.reports import ConsumerError
from eventpipe.outcomes import DropReason, OutcomeKind, Verdict
from eventpipe.sinks import CallbackSink

pytestmark = pytest.mark.asyncio


class NoStockError(Exception):
    """An error of the user's."""


class DownError(TransientSinkError):
    """Another, which is one of ours too."""


async def foreign(consumed: ConsumedEvent) -> None:
    raise NoStockError(f"secret {consumed.event.name}")


async def ours(consumed: ConsumedEvent) -> None:
    raise DownError("the shop is closed", reason="closed")


async def refused(consumed: ConsumedEvent) -> None:
    raise PermanentSinkError("no such customer")


async def hangs(consumed: ConsumedEvent) -> None:
    await asyncio.sleep(3600)


LINE = foreign.__code__.co_firstlineno + 1
FOREIGN = f"NoStockError at test_last_error.py:{LINE}"


async def fail(log: EventLog, handler: Handler, max_attempts: int | None = None) -> Consumer:
    await log.append("orders", "paid")
    consumer = Consumer(log, "orders", "billing", handler, max_attempts=max_attempts, timeout=2.0)
    with contextlib.suppress(ConsumerError):
        await consumer.process()
    return consumer


@pytest.mark.parametrize(
    ("handler", "said"),
    [
        (foreign, f"handler_error: {FOREIGN}"),
        (ours, "closed: DownError: the shop is closed"),
        (refused, "rejected: PermanentSinkError: no such customer"),
        (hangs, "timeout: did not end within 2 s"),
    ],
    ids=["foreign", "ours", "refused", "hangs"],
)
async def test_a_consumers_last_error_says_what_was_raised(log: EventLog, handler: Handler, said: str) -> None:
    """In the store, where other processes read it, as in the statistics."""
    consumer = await fail(log, handler)

    assert (await log.consumer("orders", "billing")).last_error == said
    assert consumer.statistics().last_error == said


async def test_a_letter_has_the_reason_and_the_error_apart(log: EventLog) -> None:
    """And the consumer's last error has both."""
    await fail(log, foreign, max_attempts=1)

    [letter] = await log.dead_letters("orders")
    assert (letter.reason, letter.error) == (DropReason.EXHAUSTED, FOREIGN)
    assert (await log.consumer("orders", "billing")).last_error == f"exhausted: {FOREIGN}"


async def test_a_last_error_is_bounded(log: EventLog) -> None:
    """Whatever a far end says."""

    async def answer(batch: Batch) -> Sequence[Verdict]:
        return [Verdict(OutcomeKind.DROPPED, "rejected", detail="x" * 10_000) for _ in batch.events]

    await log.append("orders", "paid")
    await Consumer(log, "orders", "billing", CallbackSink(answer)).process()

    said = "rejected: " + "x" * (MAX_TEXT - len("rejected: "))
    assert (await log.consumer("orders", "billing")).last_error == said
