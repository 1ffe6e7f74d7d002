"""The way of outcomes to subscriptions, without a client: by the task that reads the channel, and without one."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from random import Random
from typing import Any

import anyio
import pytest

from eventpipe.core.deadline import Deadline
from eventpipe.core.service import ServiceState
from eventpipe.errors import ClosedError
from eventpipe.outcomes import Outcome, OutcomeKind
from eventpipe.subscriptions import Gap, Subscription
from eventpipe.transport.feed import OutcomeFeed, Outlet
from tests.scale import SCALE
from tests.subscriptions.values import DELIVERED, DROPPED, RETRY, accounted, outcome, outcomes, read_all, seen, take_all

MANY = 10**6


@asynccontextmanager
async def a_feed(**options: Any) -> AsyncIterator[tuple[OutcomeFeed, Outlet]]:
    """A feed that is open on this loop, with an outlet into it; finished afterwards."""
    feed = OutcomeFeed(**options)
    outlet = feed.observer("sink")
    feed.open()
    outlet.open()
    try:
        yield feed, outlet
    finally:
        outlet.close()
        feed.finish()
        if feed.state is not ServiceState.IDLE:
            await feed.stopped()
    assert feed.channel.held == 0
    assert feed.is_ended


# -- nobody, or nobody yet --------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_nothing_is_built_while_nobody_subscribes() -> None:
    """No task, and nothing in the channel."""
    async with a_feed() as (feed, outlet):
        outlet(outcomes(5))

        assert (feed.state, feed.channel.held) == (ServiceState.IDLE, 0)
        assert len(asyncio.all_tasks()) == 1


@pytest.mark.asyncio
async def test_nothing_is_built_of_a_kind_that_nobody_wants() -> None:
    """What is told of that kind is looked at once."""
    async with a_feed() as (feed, outlet):
        subscription = feed.subscribe(DROPPED)
        await feed.started()

        outlet([outcome(1), outcome(2, RETRY)])
        assert feed.channel.held == 0
        outlet([outcome(3), outcome(4, DROPPED)])
        assert feed.channel.held == 1

        assert seen([await subscription.receive()]) == [4]


def test_outcomes_before_the_start_are_told_at_once() -> None:
    """Without a loop, in order; also those of captures that were refused."""
    feed = OutcomeFeed()
    outlet = feed.observer("sink")
    subscription = feed.subscribe(DELIVERED)

    outlet(outcomes(3))

    assert take_all(subscription) == [1, 2, 3]


@pytest.mark.asyncio
async def test_subscription_from_before_the_start_has_a_task_afterwards() -> None:
    """It gets what came before and what comes after."""
    feed = OutcomeFeed()
    outlet = feed.observer("sink")
    subscription = feed.subscribe(DELIVERED)
    outlet([outcome(1)])
    feed.open()
    outlet.open()

    outlet([outcome(2)])
    assert feed.channel.held == 1
    outlet.close()
    feed.finish()
    await feed.stopped()

    assert await read_all(subscription) == [1, 2]


# -- by the channel ---------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_outcomes_reach_everybody_by_the_channel() -> None:
    """Lists of several outlets, in the order in which they were told."""
    async with a_feed() as (feed, outlet):
        one, two = feed.subscribe(DELIVERED), feed.subscribe("delivered", "dropped")
        other = feed.observer("other sink")
        other.open()

        outlet(outcomes(2))
        other([outcome(3, DROPPED)])
        outlet([outcome(4)])
        assert (feed.channel.held, one.receive_nowait()) == (4, None)
        await anyio.wait_all_tasks_blocked()

        assert (take_all(one), take_all(two)) == ([1, 2, 4], [1, 2, 3, 4])
        other.close()


@pytest.mark.asyncio
async def test_subscription_has_nothing_from_before_it() -> None:
    """Not what waits in the channel either; those who were there have it."""
    async with a_feed() as (feed, outlet):
        old = feed.subscribe(DELIVERED)
        outlet([outcome(1)])
        assert feed.channel.held == 1

        new = feed.subscribe(DELIVERED)
        outlet([outcome(2)])
        await anyio.wait_all_tasks_blocked()

        assert (take_all(old), take_all(new)) == ([1, 2], [2])


@pytest.mark.asyncio
async def test_feed_ends_when_its_last_producer_has_closed() -> None:
    """What was told before is read first; then each subscription ends, and so does the task."""
    feed = OutcomeFeed()
    outlets = [feed.observer(name) for name in "ab"]
    subscription = feed.subscribe(DELIVERED)
    feed.open()
    for outlet in outlets:
        outlet.open()
    reader = asyncio.create_task(read_all(subscription))

    feed.finish()
    outlets[0]([outcome(1)])
    outlets[0].close()
    outlets[0].close()
    await anyio.wait_all_tasks_blocked()
    assert not reader.done()
    outlets[1]([outcome(2)])
    outlets[1].close()

    assert await reader == [1, 2]
    await feed.stopped()
    assert (feed.state, feed.is_ended, feed.error, feed.left) == (ServiceState.STOPPED, True, None, 0)


@pytest.mark.asyncio
async def test_feed_that_nobody_reads_ends_at_once() -> None:
    """There is nothing to wait for."""
    feed = OutcomeFeed()
    feed.open()
    feed.finish()
    feed.finish()
    feed.open()

    assert (feed.is_ended, feed.state) == (True, ServiceState.IDLE)


@pytest.mark.asyncio
async def test_after_the_end_nobody_can_subscribe() -> None:
    """From the moment when it is about to end; what is told afterwards is nobody's."""
    feed = OutcomeFeed()
    outlet = feed.observer("sink")
    subscription = feed.subscribe(DELIVERED)
    feed.open()
    outlet.open()
    feed.finish()
    with pytest.raises(ClosedError):
        feed.subscribe(DELIVERED)
    outlet.close()
    await feed.stopped()

    with pytest.raises(ClosedError):
        feed.subscribe(DELIVERED)
    outlet.open()
    outlet([outcome(1)])

    assert await read_all(subscription) == []


@pytest.mark.asyncio
async def test_wrong_arguments_are_refused_as_a_subscription_refuses_them() -> None:
    """And leave no subscription behind."""
    async with a_feed() as (feed, _):
        with pytest.raises(
            ValueError, match=r"^buffer must be a whole number of outcomes, at least 1, or None, not 0$"
        ):
            feed.subscribe(DELIVERED, buffer=0)
        with pytest.raises(ValueError, match="unknown kind 'lost'"):
            feed.subscribe("lost")

        assert feed.subscribers.wanted == ()


@pytest.mark.asyncio
@pytest.mark.parametrize(("largest_list", "buffer"), [(500, 1000), (501, 1002), (1, 1000)])
async def test_default_buffer_holds_two_of_the_largest_lists(largest_list: int, buffer: int) -> None:
    """Whatever size the client's batches have."""
    feed = OutcomeFeed(largest_list=largest_list)
    subscription = feed.subscribe(DELIVERED)

    feed.observer("sink")(outcomes(buffer + 1))

    assert accounted(iter(subscription.receive_nowait, None)) == (buffer, 1)


@pytest.mark.asyncio
@pytest.mark.parametrize("size", [1, 100, 300, 500])
async def test_reader_that_reads_whenever_it_is_woken_misses_nothing(size: int) -> None:
    """However full the channel is: readers run before another two lists could fill their buffers."""
    async with a_feed() as (feed, outlet):
        subscription = feed.subscribe(DELIVERED)
        slow = feed.subscribe(DELIVERED)
        reader = asyncio.create_task(read_all(subscription))
        await anyio.wait_all_tasks_blocked()
        for _ in range(5):
            for first in range(0, 2000, size):
                outlet(outcomes(min(size, 2000 - first), first=first))
            assert feed.channel.held == 2000
            await anyio.wait_all_tasks_blocked()
    numbers = await reader

    assert numbers == [*range(2000)] * 5
    assert slow.missed == 9000


@pytest.mark.asyncio
async def test_many_short_lists_take_few_turns_of_the_loop() -> None:
    """Readers have their turn behind so many outcomes, and not behind each list."""
    async with a_feed() as (feed, outlet):
        feed.subscribe(DELIVERED)
        await feed.started()
        for number in range(2000):
            outlet([outcome(number)])
        began = asyncio.get_running_loop().steps  # type: ignore[attr-defined]
        await anyio.wait_all_tasks_blocked()

        assert feed.channel.held == 0
        assert asyncio.get_running_loop().steps - began < 20  # type: ignore[attr-defined]


# -- past the channel -------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_full_channel_delays_and_loses_nothing() -> None:
    """A flood within one step of the loop: what has no room is published by whoever tells it, behind what waits."""
    async with a_feed() as (feed, outlet):
        subscription = feed.subscribe(DELIVERED, buffer=MANY, buffer_bytes=10**9)
        for number in range(3500):
            outlet([outcome(number)])
        outlet(outcomes(2000, first=3500))

    assert await read_all(subscription) == list(range(5500))


@pytest.mark.asyncio
@pytest.mark.parametrize("timeout", [0, -1])
async def test_feed_that_is_cut_off_by_a_deadline_loses_nothing(timeout: float) -> None:
    """What the channel holds is published when its task ends, and what is told later directly."""
    async with a_feed() as (feed, outlet):
        subscription = feed.subscribe(DELIVERED)
        await feed.started()
        outlet(outcomes(2))

        feed.request_stop(Deadline.after(timeout))
        outlet([outcome(3)])
        await feed.stopped()
        outlet([outcome(4)])

        assert take_all(subscription) == [1, 2, 3, 4]


@pytest.mark.asyncio
async def test_feed_whose_task_somebody_cancelled_goes_on_without_it() -> None:
    """Until somebody subscribes, or it is opened again: then there is a task again."""
    async with a_feed() as (feed, outlet):
        one = feed.subscribe(DELIVERED)
        await feed.started()
        outlet([outcome(1)])
        [task] = asyncio.all_tasks() - {asyncio.current_task()}
        task.cancel()
        outlet([outcome(2)])
        await feed.stopped()
        assert feed.state is ServiceState.FAILED
        outlet([outcome(3)])
        assert feed.channel.held == 0

        two = feed.subscribe(DELIVERED)
        outlet([outcome(4)])
        assert (feed.channel.held, feed.state) == (1, ServiceState.STARTING)
        await anyio.wait_all_tasks_blocked()

        assert (take_all(one), take_all(two)) == ([1, 2, 3, 4], [4])


@pytest.mark.asyncio
async def test_filter_that_captures_does_not_keep_the_loop() -> None:
    """Each of its outcomes would lead to another one without end; others get them in order."""
    asked = []

    def capture(one: Outcome) -> bool:
        asked.append(one.attempt)
        outlet([outcome(one.attempt + 100)])
        return True

    async with a_feed() as (feed, outlet):
        capturing, witness = feed.subscribe(DELIVERED, filter=capture), feed.subscribe(DELIVERED)
        outlet(outcomes(2))
        outlet([outcome(3)])
        await anyio.wait_all_tasks_blocked()

        assert asked == [1, 2, 3]
        assert take_all(witness) == [1, 2, 3, 101, 102, 103]
        assert take_all(capturing) == [1, 2, 3, "-3/3"]


@pytest.mark.asyncio
@pytest.mark.parametrize("error", [ValueError, SystemExit, asyncio.CancelledError])
async def test_filter_that_raises_does_not_end_the_task(error: type[BaseException]) -> None:
    """Whatever it raises; others get everything."""

    def fail(one: Outcome) -> bool:
        raise error

    async with a_feed() as (feed, outlet):
        failing, witness = feed.subscribe(DELIVERED, filter=fail), feed.subscribe(DELIVERED)
        await feed.started()
        outlet(outcomes(2))
        await anyio.wait_all_tasks_blocked()

        assert feed.state is ServiceState.RUNNING
        assert (take_all(failing), take_all(witness)) == (["-2/2"], [1, 2])
        assert failing.filter_errors == 2


@pytest.mark.asyncio
async def test_subscription_made_and_closed_again_and_again_leaves_nothing() -> None:
    """Neither a task for each nor an entry."""
    async with a_feed() as (feed, outlet):
        for number in range(100):
            async with feed.subscribe(DELIVERED) as subscription:
                outlet([outcome(number)])
                assert seen([await subscription.receive()]) == [number]

        assert feed.subscribers.wanted == ()
        assert len(asyncio.all_tasks()) == 2


@pytest.mark.asyncio
async def test_each_subscriber_gets_its_outcomes_in_order_or_in_gaps() -> None:
    """Random lists, kinds, buffers, filters and pauses: what matched was received or is in a gap, and nothing twice."""
    seed = Random().randrange(10**9)
    print(f"seed {seed}")  # noqa: T201  # for a failure
    for round_ in range(20 * SCALE):
        await random_round(Random(seed + round_))


Judge = Callable[[Outcome], bool]


def divides(number: int, one: Outcome) -> bool:
    return one.attempt % number == 0


async def random_round(random: Random) -> None:
    kinds = list(OutcomeKind)
    told: list[Outcome] = []
    readers: list[tuple[Subscription, Judge, asyncio.Task[list[Outcome | Gap]]]] = []

    async def read(subscription: Subscription, pauses: float) -> list[Outcome | Gap]:
        items = []
        async for item in subscription:
            items.append(item)
            if random.random() < pauses:
                await asyncio.sleep(random.random())
        return items

    async with a_feed(largest_list=4) as (feed, outlet):
        for _ in range(4):
            wanted = random.sample(kinds, random.randint(1, 4))
            rest = random.randint(1, 3)
            judge: Judge = partial(divides, rest)
            subscription = feed.subscribe(
                *wanted,
                buffer=random.choice([1, 2, 5, 1000]),
                overflow=random.choice(["drop_newest", "drop_oldest"]),
                filter=judge,
            )
            reader = asyncio.create_task(read(subscription, random.choice([0, 0.1, 0.9])))
            readers.append((subscription, judge, reader))
        for number in range(200):
            told.append(outcome(number, random.choice(kinds)))
            outlet(told[-1:])
            if random.random() < 0.3:
                await asyncio.sleep(random.choice([0, 0, 0.5]))

    for subscription, judge, reader in readers:
        matched = [one for one in told if one.kind in subscription.kinds and judge(one)]
        received, place = 0, 0
        for item in await reader:
            if isinstance(item, Gap):
                place += item.outcomes
            else:
                assert item is matched[place]  # exactly so many are missing where a gap stands
                place, received = place + 1, received + 1
        assert place == len(matched) == received + subscription.missed


# -- other loops, other threads, forks --------------------------------------------------------------------------------


@pytest.mark.wallclock
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a loop closed by hand leaves tasks
@pytest.mark.parametrize("has_task", [True, False])
def test_feed_follows_to_the_next_loop(has_task: bool) -> None:
    """What the channel held when its loop was closed comes first."""
    follow(has_task)
    gc.collect()  # while the test catches what asyncio logs of the closed loop's task


def follow(has_task: bool) -> None:
    feed = OutcomeFeed()
    outlet = feed.observer("sink")
    subscription = feed.subscribe(DELIVERED)

    async def first() -> None:
        feed.open()
        outlet.open()
        if has_task:
            await feed.started()
            await asyncio.sleep(0)
        outlet([outcome(1)])
        assert feed.channel.held == 1

    loop = asyncio.new_event_loop()
    loop.run_until_complete(first())
    loop.close()
    outlet([outcome(2)])

    async def second() -> list[int | str | None]:
        feed.open()
        outlet.open()
        outlet([outcome(3)])
        assert feed.channel.held == 1
        outlet.close()
        feed.finish()
        await feed.stopped()
        return await read_all(subscription)

    assert asyncio.run(second()) == [1, 2, 3]


@pytest.mark.wallclock
@pytest.mark.parametrize("has_task", [True, False])
def test_feed_goes_on_beside_a_loop_that_stands_still(has_task: bool) -> None:
    """Its task is parked where nothing runs any more, and nothing was closed: what comes is published directly."""
    feed = OutcomeFeed()
    outlet = feed.observer("sink")
    subscription = feed.subscribe(DELIVERED) if has_task else None

    async def first() -> None:
        feed.open()
        outlet.open()
        await asyncio.sleep(0)
        outlet([outcome(1)])

    async def second() -> Subscription:
        feed.open()
        outlet.open()
        there = subscription or feed.subscribe(DELIVERED)
        outlet([outcome(2)])
        outlet.close()
        feed.finish()
        await asyncio.sleep(0)
        if not has_task:
            await feed.stopped()
        return there

    with asyncio.Runner() as standing:
        standing.run(first())
        outlet.close()
        there = asyncio.run(second())

        assert take_all(there) == ([1, 2] if has_task else [2])
        assert there.is_closed


@pytest.mark.wallclock
def test_another_thread_may_subscribe() -> None:
    """The task is started on the client's loop; the thread reads on its own."""
    feed = OutcomeFeed()
    outlet = feed.observer("sink")
    got: list[int | str | None] = []

    async def serve() -> None:
        feed.open()
        outlet.open()
        is_there = asyncio.Event()
        loop = asyncio.get_running_loop()

        def subscribe_and_read() -> None:
            subscription = feed.subscribe(DELIVERED)
            loop.call_soon_threadsafe(is_there.set)
            got.extend(asyncio.run(read_all(subscription)))

        thread = threading.Thread(target=subscribe_and_read)
        thread.start()
        await is_there.wait()
        assert feed.state in (ServiceState.STARTING, ServiceState.RUNNING)
        for number in range(1, 501):
            outlet([outcome(number)])
            await asyncio.sleep(0)
        outlet.close()
        feed.finish()
        await feed.stopped()
        thread.join()

    asyncio.run(serve())
    assert got == list(range(1, 501))


@pytest.mark.wallclock
def test_what_another_thread_tells_is_published_there() -> None:
    """The channel is for the thread of its loop alone."""

    async def serve() -> None:
        async with a_feed() as (feed, outlet):
            subscription = feed.subscribe(DELIVERED)
            await feed.started()

            thread = threading.Thread(target=outlet, args=([outcome(1)],))
            thread.start()
            thread.join()

            assert (feed.channel.held, take_all(subscription)) == (0, [1])

    asyncio.run(serve())


@pytest.mark.asyncio
async def test_forked_child_has_no_subscriptions_of_its_parent() -> None:
    """They have ended there, with what they had; nothing more can be subscribed to at that feed."""
    feed = OutcomeFeed()
    outlet = feed.observer("sink")
    subscription = feed.subscribe(DELIVERED)
    outlet([outcome(1)])

    feed.end()
    outlet([outcome(2)])

    assert feed.is_ended
    assert await read_all(subscription) == [1]
    with pytest.raises(ClosedError):
        feed.subscribe(DELIVERED)
