"""How a caller learns what became of its event."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from itertools import permutations
from typing import Any

import pytest

from eventpipe.events import CapturedEvent
from eventpipe.outcomes import DropReason, Durations, Outcome, OutcomeKind, Settlement
from eventpipe.testing.events import make_event
from eventpipe.testing.sweep import Swept, cancellation_sweep
from eventpipe.transport.receipts import FanIn, ForeignReceipt, Receipt, Waiters, wait_for_settlement

pytestmark = pytest.mark.asyncio

DELIVERED = Settlement(OutcomeKind.DELIVERED, "one", 1, durations=Durations(0.5, 0.25))
DROPPED = Settlement(OutcomeKind.DROPPED, "two", 3, DropReason.REJECTED, 400, error="no")
ALSO_DROPPED = Settlement(OutcomeKind.DROPPED, "three", 0, DropReason.QUEUE_FULL)


def captured_by(sinks: int) -> CapturedEvent:
    """An event that so many sinks have to settle."""
    event = make_event()
    event.settlement = FanIn(sinks, None)
    return event


def settle(event: CapturedEvent, settlement: Settlement) -> None:
    """Settle an event as the one door does."""
    waiting = event.settlement
    if waiting is None:
        event.settlement = settlement
    else:
        assert isinstance(waiting, Waiters)
        waiting.settle(event, settlement)


async def blocked(*work: Coroutine[Any, Any, Outcome]) -> list[asyncio.Task[Outcome]]:
    """Start to wait, and let every task come to its wait."""
    tasks = [asyncio.create_task(one) for one in work]
    await asyncio.sleep(0)
    return tasks


@pytest.mark.parametrize("settlement", [DELIVERED, DROPPED], ids=lambda settlement: str(settlement.kind))
async def test_the_outcome_of_a_settled_event_is_there_at_once(settlement: Settlement) -> None:
    """It is returned, also when the event was dropped, and names the event."""
    event = make_event("paid")
    settle(event, settlement)

    outcome = await Receipt(event).outcome(timeout=0)

    assert outcome == Outcome.of(settlement, (event,))
    assert (outcome.uuids, outcome.events) == ((event.uuid,), ("paid",))


async def test_everybody_who_waits_for_one_event_is_told() -> None:
    """Over receipts of the same event, and twice over one; nothing is kept of them afterwards."""
    event = make_event()
    receipt = Receipt(event)
    tasks = await blocked(receipt.outcome(), receipt.outcome(), Receipt(event).outcome(timeout=5))
    assert not any(task.done() for task in tasks)

    settle(event, DELIVERED)

    assert await asyncio.gather(*tasks) == [Outcome.of(DELIVERED, (event,))] * 3
    assert event.settlement is DELIVERED


async def test_the_wait_ends_with_its_timeout() -> None:
    """The event goes on, and can be waited for again."""
    event = make_event()
    receipt = Receipt(event)
    began = asyncio.get_running_loop().time()

    with pytest.raises(TimeoutError):
        await receipt.outcome(timeout=2.5)

    assert asyncio.get_running_loop().time() - began == 2.5
    assert isinstance(event.settlement, Waiters)
    assert event.settlement.futures == []
    (task,) = await blocked(receipt.outcome())
    settle(event, DROPPED)
    assert (await task).reason == DropReason.REJECTED


async def test_a_waiter_cancelled_anywhere_leaves_the_event_and_the_others_alone() -> None:
    """Swept: the other one is told, and no future is left behind."""

    @asynccontextmanager
    async def waiting() -> AsyncIterator[Swept]:
        event = make_event()
        (other,) = await blocked(Receipt(event).outcome())
        asyncio.get_running_loop().call_later(1, settle, event, DELIVERED)

        yield Receipt(event).outcome(timeout=10)

        waiters = event.settlement
        assert (await other).kind is OutcomeKind.DELIVERED
        assert not isinstance(waiters, Waiters) or len(waiters.futures) == 0

    assert await cancellation_sweep(waiting) == 3


async def test_an_event_of_one_sink_has_that_sink_s_settlement() -> None:
    """Nothing else waits for it."""
    event = captured_by(1)

    settle(event, DROPPED)

    assert event.settlement is DROPPED


@pytest.mark.parametrize(
    "order", list(permutations([DELIVERED, DROPPED, DELIVERED])), ids=lambda order: "-".join(s.sink for s in order)
)
async def test_at_several_sinks_the_last_one_settles_with_the_worst(order: tuple[Settlement, ...]) -> None:
    """Whatever the order in which they answer, a drop is worse than a delivery."""
    event = captured_by(3)
    (task,) = await blocked(Receipt(event).outcome())

    for settlement in order[:-1]:
        settle(event, settlement)
        await asyncio.sleep(0)
        assert isinstance(event.settlement, FanIn)
        assert not task.done()
    settle(event, order[-1])

    assert await task == Outcome.of(DROPPED, (event,))


async def test_of_two_drops_the_first_is_told() -> None:
    """It is the older fact; and all delivered is delivered, as the first said."""
    event = captured_by(2)
    settle(event, ALSO_DROPPED)
    settle(event, DROPPED)
    assert event.settlement is ALSO_DROPPED

    other = captured_by(2)
    settle(other, DELIVERED)
    settle(other, Settlement(OutcomeKind.DELIVERED, "two", 2))
    assert isinstance(other.settlement, Settlement)
    assert other.settlement.kind is OutcomeKind.DELIVERED


async def test_whoever_waited_before_the_event_reached_its_sinks_goes_on_waiting() -> None:
    """Another thread's capture is given to several sinks only when it is drained."""
    event = make_event()
    early, cancelled = await blocked(wait_for_settlement(event), wait_for_settlement(event))
    event.settlement = FanIn(2, event.settlement)
    (late,) = await blocked(wait_for_settlement(event))
    cancelled.cancel()
    await asyncio.wait({cancelled})

    settle(event, DELIVERED)
    await asyncio.sleep(0)
    assert not early.done()
    settle(event, DROPPED)

    assert (await early, await late) == (Outcome.of(DROPPED, (event,)),) * 2


async def test_a_waiter_whose_loop_is_gone_is_passed_over() -> None:
    """The others are told."""
    event = make_event()

    def wait_elsewhere() -> None:
        loop = asyncio.new_event_loop()
        task = loop.create_task(wait_for_settlement(event))
        loop.run_until_complete(asyncio.sleep(0))
        task.cancel()
        future = event.settlement.futures[0]  # type: ignore[union-attr]
        loop.run_until_complete(asyncio.wait({task}))
        event.settlement.futures.append(loop.create_future())  # type: ignore[union-attr]
        assert future.cancelled()
        loop.close()

    await asyncio.to_thread(wait_elsewhere)
    (task,) = await blocked(Receipt(event).outcome())

    settle(event, DELIVERED)

    assert (await task).kind is OutcomeKind.DELIVERED


async def test_a_waiter_cancelled_in_the_step_of_the_settlement_is_passed_over() -> None:
    """Its future is done already."""
    event = make_event()
    first, second = await blocked(Receipt(event).outcome(), Receipt(event).outcome())
    first.cancel()

    settle(event, DELIVERED)

    assert (await second).kind is OutcomeKind.DELIVERED
    await asyncio.wait({first})
    assert first.cancelled()


async def test_a_foreign_receipt_waits_at_home() -> None:
    """The loop that settles runs the wait; what it returns is handed back, within the timeout of this side."""
    event = make_event()
    ran: list[str] = []

    class Home:
        has_loop = True

        async def run(self, work: Coroutine[Any, Any, Outcome]) -> Outcome:
            ran.append(getattr(work, "__qualname__", ""))
            return await work

    receipt = ForeignReceipt(event, Home())
    assert receipt.accepted is None
    with pytest.raises(TimeoutError):
        await receipt.outcome(timeout=1)
    (task,) = await blocked(receipt.outcome())
    settle(event, DELIVERED)

    assert (await task).kind is OutcomeKind.DELIVERED
    assert ran == ["wait_for_settlement"] * 2
    assert (await receipt.outcome()).kind is OutcomeKind.DELIVERED
    assert len(ran) == 2


async def test_a_receipt_is_of_an_event_that_was_taken_in_unless_it_says_otherwise() -> None:
    """The usual case is the short one."""
    receipt = Receipt(make_event())

    assert (receipt.accepted, receipt.reason) == (True, None)


@pytest.mark.parametrize(
    ("accepted", "reason", "state"),
    [
        (True, None, "accepted"),
        (None, None, "pending"),
        (False, DropReason.QUEUE_FULL, "refused: queue_full"),
        (False, None, "refused: None"),
    ],
)
async def test_a_receipt_shows_its_event_s_id_and_nothing_of_its_content(
    accepted: bool | None, reason: DropReason | None, state: str
) -> None:
    """In its representation, which ends up in logs."""
    event = make_event("secret", properties={"secret": "secret"})
    receipt = Receipt(event, accepted, reason)

    assert repr(receipt) == f"<Receipt {event.uuid} {state}>"
    assert (receipt.uuid, receipt.accepted, receipt.reason) == (event.uuid, accepted, reason)
