"""Subscriptions that are read in another thread, on another loop, or on one that is gone."""

from __future__ import annotations

import asyncio
import gc
import threading

import pytest

from eventpipe.outcomes import Outcome
from eventpipe.subscriptions import Gap, Subscription, SubscriptionOverflow
from tests.subscriptions.values import DELIVERED, accounted, outcome, outcomes, read_all, seen

pytestmark = pytest.mark.wallclock


def test_another_loop_in_another_thread_may_read() -> None:
    """Nothing is lost between the two, and the order is kept; the close reaches it too."""
    subscription = Subscription(DELIVERED, buffer=100_000)
    read: list[int | str | None] = []
    reader = threading.Thread(target=lambda: read.extend(asyncio.run(read_all(subscription))))
    reader.start()

    for number in range(1, 5001):
        subscription.offer([outcome(number)])
    subscription.close()
    reader.join()

    assert read == list(range(1, 5001))


@pytest.mark.parametrize("overflow", ["drop_newest", "drop_oldest"])
def test_gaps_add_up_when_another_thread_reads_while_outcomes_come(overflow: SubscriptionOverflow) -> None:
    """What it received and what it missed make all that was offered, whatever the two threads did when."""
    subscription = Subscription(DELIVERED, buffer=5, overflow=overflow)
    read: list[Outcome | Gap] = []
    reader = threading.Thread(target=lambda: read.extend(asyncio.run(items(subscription))))
    reader.start()

    for number in range(1, 5001):
        subscription.offer([outcome(number)])
    subscription.close()
    reader.join()

    received, missed = accounted(read)
    assert received + missed == 5000
    assert missed == subscription.missed


async def items(subscription: Subscription) -> list[Outcome | Gap]:
    return [item async for item in subscription]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a loop closed by hand leaves tasks
def test_reader_whose_loop_was_closed_disturbs_nobody() -> None:
    """Others of the same subscription are woken, and what it would have got is theirs."""
    abandon_a_reader()
    gc.collect()  # while the test catches what asyncio logs of the closed loop's task


def abandon_a_reader() -> None:
    subscription = Subscription(DELIVERED)
    gone = asyncio.new_event_loop()
    reader = gone.create_task(subscription.receive())
    gone.run_until_complete(asyncio.sleep(0))
    gone.close()

    async def read() -> Outcome | Gap:
        other = asyncio.create_task(subscription.receive())
        await asyncio.sleep(0)
        subscription.offer(outcomes(1))
        return await other

    assert seen([asyncio.run(read())]) == [1]
    assert not reader.done()
    subscription.close()
