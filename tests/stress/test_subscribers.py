"""Crowds of subscribers, and those that never read: nobody else notices, and every loss is in a gap."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Iterable

import pytest

from eventpipe import AsyncClient, Batch, Gap, Outcome, OutcomeKind, RetryPolicy, Subscription, TransientSinkError
from eventpipe.sinks import CallbackSink
from eventpipe.subscriptions import SubscriptionOverflow
from eventpipe.testing import check_ledger
from tests.scale import SCALE

OUTCOMES = 100_000
KINDS = list(OutcomeKind)

pytestmark = [pytest.mark.stress, pytest.mark.timeout(300), pytest.mark.asyncio]


async def read(subscription: Subscription) -> list[Outcome | Gap]:
    return [item async for item in subscription]


def numbers(items: Iterable[Outcome | Gap]) -> list[str]:
    return [name for item in items if isinstance(item, Outcome) for name in item.events]


# -- those that never read --------------------------------------------------------------------------------------------


async def deliver_all(
    never_read: list[Subscription], *overflows: SubscriptionOverflow
) -> tuple[list[float], list[str]]:
    """Have 100 000 outcomes of one event each, and a subscriber that reads them all.

    Args:
        never_read: Where those subscriptions are put that nobody reads.
        overflows: Theirs.

    Returns:
        The moments at which attempts began and ended, and the events in the order in which they were booked.
    """
    moments: list[float] = []
    booked: list[str] = []
    clock = asyncio.get_running_loop().time
    began = clock()

    async def send(batch: Batch) -> None:
        moments.append(round(clock() - began, 6))
        await asyncio.sleep(0.01)
        moments.append(round(clock() - began, 6))

    client = AsyncClient(CallbackSink(send), batch_events=1, queue_events=OUTCOMES, workers=100, max_batch_age=0)
    client.on_outcome(lambda outcome: booked.extend(outcome.events), *KINDS)
    never_read += [client.subscribe(*KINDS, overflow=overflow) for overflow in overflows]
    reader = asyncio.create_task(read(client.subscribe(*KINDS)))
    for number in range(OUTCOMES):
        await client.capture(str(number))
    report = await client.aclose(3600)

    items = await reader
    assert report.delivered == len(items) == OUTCOMES  # none of them a gap
    assert numbers(items) == booked
    check_ledger(client, drained=True)
    return moments, booked


async def test_subscribers_that_never_read_cost_nobody_else_anything() -> None:
    """100 000 outcomes: each send begins and ends at the same moment as without them, and a reader has them all."""
    moments_alone, _ = await deliver_all([])
    never_read: list[Subscription] = []

    moments, booked = await deliver_all(never_read, "drop_newest", "drop_oldest", "disconnect")

    assert moments == moments_alone
    newest, oldest, disconnected = [await read(subscription) for subscription in never_read]
    gap = Gap(OUTCOMES - 1000, OUTCOMES - 1000)
    assert (newest[-1], oldest[0], disconnected[-1]) == (gap, gap, gap)
    assert numbers(newest) == numbers(disconnected) == booked[:1000]
    assert numbers(oldest) == booked[-1000:]
    assert [subscription.missed for subscription in never_read] == [OUTCOMES - 1000] * 3
    assert [subscription.is_disconnected for subscription in never_read] == [False, False, True]


async def test_subscriber_that_never_reads_holds_no_more_than_its_bytes() -> None:
    """Its outcomes keep events in memory: 1 MiB of them at most, and the gap says what that cost."""
    client = AsyncClient(CallbackSink(lambda batch: None), batch_events=100)
    subscription = client.subscribe("delivered", buffer=10**6, buffer_bytes=2**20)
    for _ in range(10_000):
        await client.capture("e", properties={"text": "x" * 1000})
    await client.aclose()

    *kept, gap = await read(subscription)

    assert isinstance(gap, Gap)
    events = sum(len(outcome.captured) for outcome in kept if isinstance(outcome, Outcome))
    assert events + gap.events == 10_000
    assert (
        2**20 - 2 * 100 * 1200 < sum(len(e.data) for o in kept if isinstance(o, Outcome) for e in o.captured) <= 2**20
    )


# -- crowds -----------------------------------------------------------------------------------------------------------


class Crowd:
    """A client whose outcomes are recorded, and subscribers that come and go."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.told: list[Outcome] = []
        self.client = AsyncClient(
            CallbackSink(self._answer),
            batch_events=5,
            max_batch_age=0.01,
            retry=RetryPolicy(max_attempts=2, initial=0.02, min_delay=0.01),
        )
        self.client.on_outcome(self.told.append, *KINDS)

    async def _answer(self, batch: Batch) -> None:
        await asyncio.sleep(self.chance.choice([0, 0.001, 0.02]))
        if self.chance.random() < 0.3:
            raise TransientSinkError

    async def subscribe_again_and_again(self) -> None:
        while not self.client._entrance.is_closed:
            since = len(self.told)
            kinds = self.chance.sample(KINDS, self.chance.randint(1, 4))
            overflows: list[SubscriptionOverflow] = ["drop_newest", "drop_oldest"]
            overflow = self.chance.choice(overflows)
            subscription = self.client.subscribe(*kinds, buffer=self.chance.choice([1, 3, 1000]), overflow=overflow)
            stays = self.chance.choice([0, 5, 50, 10**9])
            items: list[Outcome | Gap] = []
            while len(items) < stays and (item := await anext(subscription, None)) is not None:
                items.append(item)
                await asyncio.sleep(self.chance.choice([0, 0, 0, 0.05]))
            subscription.close()
            items += await read(subscription)
            self.check(subscription, since, items, is_whole=stays == 10**9)

    def check(self, subscription: Subscription, since: int, items: list[Outcome | Gap], *, is_whole: bool) -> None:
        """Hold what it was handed against what was told since: the same in order, a gap for what is left out."""
        wanted = [outcome for outcome in self.told[since:] if outcome.kind in subscription.kinds]
        place = missed = 0
        for item in items:
            if isinstance(item, Gap):
                left_out = wanted[place : place + item.outcomes]
                assert item.events == sum(len(outcome.captured) for outcome in left_out)
                place += item.outcomes
                missed += item.outcomes
            else:
                assert item is wanted[place]
                place += 1
        assert missed == subscription.missed
        assert place == len(wanted) if is_whole else place <= len(wanted)


async def test_crowd_of_subscribers_that_come_and_go() -> None:
    """Each has all that it wanted while it was there, in order, or a gap for exactly what is missing."""
    seed = random.randrange(10**9)
    print(f"seed {seed}")  # noqa: T201  # for a failure
    for number in range(5 * SCALE):
        crowd = Crowd(random.Random(seed + number))
        coming = [asyncio.create_task(crowd.subscribe_again_and_again()) for _ in range(30)]
        for _ in range(1000):
            await crowd.client.capture("e")
            await asyncio.sleep(crowd.chance.choice([0, 0, 0.001]))
        await crowd.client.aclose()
        await asyncio.gather(*coming)

        assert crowd.client._feed.subscribers.wanted == ()
        assert {outcome.kind for outcome in crowd.told} >= {OutcomeKind.DELIVERED, OutcomeKind.RETRY}


@pytest.mark.wallclock
async def test_subscribers_on_loops_of_other_threads() -> None:
    """Eight of them read in threads of their own while 50 000 events are sent: no outcome is lost without a number."""
    told: list[Outcome] = []
    client = AsyncClient(CallbackSink(lambda batch: None), batch_events=10, queue_events=10_000)
    client.on_outcome(told.append, "delivered")
    subscriptions = [client.subscribe("delivered", buffer=size) for size in (10, 1000) * 4]
    items: list[list[Outcome | Gap]] = [[] for _ in subscriptions]

    def follow(number: int) -> None:
        items[number] += asyncio.run(read(subscriptions[number]))

    threads = [threading.Thread(target=follow, args=(number,)) for number in range(len(subscriptions))]
    for thread in threads:
        thread.start()
    for _ in range(50_000):
        await client.capture("e")
    await client.aclose()
    for thread in threads:
        await asyncio.to_thread(thread.join)

    assert len(told) == 5000
    for subscription, received in zip(subscriptions, items, strict=True):
        place = 0
        for item in received:
            if isinstance(item, Gap):
                place += item.outcomes
            else:
                assert item is told[place]
                place += 1
        assert place == len(told)
        assert subscription.missed == sum(item.outcomes for item in received if isinstance(item, Gap))
