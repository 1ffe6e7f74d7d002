"""Subscriptions without a client: what is offered, what is read, and how it ends."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from eventpipe.errors import ClosedError
from eventpipe.outcomes import Outcome, OutcomeKind
from eventpipe.subscriptions import Gap, Subscription, SubscriptionOverflow
from eventpipe.subscriptions.buffer import OVERFLOWS
from eventpipe.testing.sweep import Swept, cancellation_sweep
from tests.subscriptions.values import (
    DELIVERED,
    DROPPED,
    INTERRUPTED,
    RETRY,
    accounted,
    outcome,
    outcomes,
    read_all,
    seen,
    take_all,
)

pytestmark = pytest.mark.asyncio


# -- what comes in ----------------------------------------------------------------------------------------------------


async def test_outcomes_of_its_kinds_are_read_in_order() -> None:
    """The very objects that were offered, and none of another kind."""
    subscription = Subscription(DELIVERED, "dropped")
    offered = [outcome(1), outcome(2, RETRY), outcome(3, DROPPED), outcome(4, INTERRUPTED), outcome(5)]

    subscription.offer(offered)
    subscription.offer([outcome(6, DROPPED)])
    subscription.close()

    items = [item async for item in subscription]
    assert items[:3] == [offered[0], offered[2], offered[4]]
    assert all(item is one for item, one in zip(items, [offered[0], offered[2], offered[4]], strict=False))
    assert (seen(items), subscription.missed) == ([1, 3, 5, 6], 0)


@pytest.mark.parametrize("way", ["iterate", "receive"])
async def test_reader_that_causes_what_it_reads_lets_others_run(way: str) -> None:
    """Each outcome leads to two more, offered at once: it would never wait, and yet others have their turns."""
    subscription = Subscription(DELIVERED, buffer=10)
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while turns < 100:
            turns += 1
            await asyncio.sleep(0)
        subscription.close()

    subscription.offer(outcomes(1))
    others = asyncio.create_task(take_turns())
    while not subscription.is_closed:
        await (anext(subscription) if way == "iterate" else subscription.receive(timeout=0))
        subscription.offer(outcomes(2))
    await others

    assert turns == 100


async def test_filter_says_what_is_wanted() -> None:
    """What it turns away is no loss."""
    subscription = Subscription(DELIVERED, filter=lambda one: one.attempt % 2)

    subscription.offer(outcomes(5))

    assert (take_all(subscription), subscription.missed, subscription.filter_errors) == ([1, 3, 5], 0, 0)


@pytest.mark.parametrize(
    ("overflow", "expected"),
    [
        ("drop_newest", [1, 2, 3, "-4/4"]),
        ("drop_oldest", ["-4/4", 5, 6, 7]),
        ("disconnect", [1, 2, 3, "-4/4"]),
    ],
)
async def test_what_a_slow_reader_misses_is_shown_where_it_was(
    overflow: SubscriptionOverflow, expected: list[int | str]
) -> None:
    """One gap, in its place, with its number."""
    subscription = Subscription(DELIVERED, buffer=3, overflow=overflow)

    subscription.offer(outcomes(7))
    subscription.close()

    assert subscription.missed == 4
    assert await read_all(subscription) == expected
    assert subscription.missed == 4


@pytest.mark.parametrize("overflow", OVERFLOWS)
async def test_gaps_add_up_for_a_reader_that_reads_nothing_until_the_end(overflow: SubscriptionOverflow) -> None:
    """With 100 000 outcomes: what it gets and what is missing make all of them."""
    subscription = Subscription(DELIVERED, overflow=overflow)
    one = outcomes(500)
    for _ in range(200):
        subscription.offer(one)
    subscription.close()

    items = [item async for item in subscription]

    assert accounted(items) == (1000, 99_000)
    assert subscription.missed == 99_000
    assert sum(isinstance(item, Gap) for item in items) == 1


async def test_default_buffer_holds_two_of_the_largest_lists() -> None:
    """A batch of 500 events, each with an outcome of its own: a reader may be a list behind and misses nothing."""
    subscription = Subscription(DELIVERED)

    subscription.offer(outcomes(500))
    subscription.offer(outcomes(500, first=501))

    assert take_all(subscription) == list(range(1, 1001))


async def test_bytes_that_buffered_outcomes_keep_are_bounded() -> None:
    """A reader that reads nothing keeps 32 MiB of events alive and not what it was offered."""
    subscription = Subscription(DELIVERED)
    large = outcome(1, events=500, size=2048)
    for _ in range(200):
        subscription.offer([large])
    subscription.close()

    received, missed = accounted([item async for item in subscription])

    assert (received, missed) == (32, 168)


async def test_slow_reader_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    """A lasting condition has one line, however many outcomes it costs."""
    for overflow in OVERFLOWS:
        subscription = Subscription(DELIVERED, buffer=1, overflow=overflow, name=f"to {overflow}")
        subscription.offer(outcomes(1))
        assert not [record for record in caplog.records if overflow in record.getMessage()]
        for _ in range(3):
            subscription.offer(outcomes(2))

    counted = "is not read in time and missed outcomes; further ones are counted only"
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.WARNING, f"to drop_newest {counted}"),
        (logging.WARNING, f"to drop_oldest {counted}"),
        (logging.WARNING, "to disconnect is not read in time and missed outcomes; it is disconnected"),
    ]


# -- filters that misbehave -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [ValueError("x"), asyncio.CancelledError(), SystemExit()], ids=lambda error: type(error).__name__
)
async def test_outcome_whose_filter_raised_is_missed(error: BaseException) -> None:
    """It is counted, and stands in the gap where it would have come; the others come."""

    def judge(one: Outcome) -> bool:
        if one.attempt in (2, 3):
            raise error
        return True

    subscription = Subscription(DELIVERED, filter=judge)

    subscription.offer(outcomes(5))

    assert take_all(subscription) == [1, "-2/2", 4, 5]
    assert (subscription.filter_errors, subscription.missed) == (2, 2)


async def test_ctrl_c_in_a_filter_leaves_who_waits_awake() -> None:
    """It passes through, and what came before it can be read."""

    def judge(one: Outcome) -> bool:
        if one.attempt == 2:
            raise KeyboardInterrupt
        return True

    subscription = Subscription(DELIVERED, filter=judge)
    reader = asyncio.create_task(subscription.receive())
    await anyio.wait_all_tasks_blocked()

    with pytest.raises(KeyboardInterrupt):
        subscription.offer(outcomes(2))

    assert seen([await reader]) == [1]


async def test_filter_may_close_its_own_subscription() -> None:
    """From there on nothing comes in, that outcome included; what was there stays readable."""

    def judge(one: Outcome) -> bool:
        if one.attempt == 3:
            subscription.close()
        return True

    subscription = Subscription(DELIVERED, filter=judge)

    subscription.offer(outcomes(5))

    assert await read_all(subscription) == [1, 2]
    assert subscription.missed == 0


async def test_filter_may_read_its_own_subscription() -> None:
    """It gets what was there before the outcome that it judges."""
    read = []

    def judge(one: Outcome) -> bool:
        read.append(subscription.receive_nowait())
        return True

    subscription = Subscription(DELIVERED, filter=judge)

    subscription.offer(outcomes(3))

    assert (seen(read), take_all(subscription)) == ([None, 1, 2], [3])


async def test_what_a_filter_caused_itself_is_missed_without_asking_it() -> None:
    """Of its kinds, while it is open."""
    asked: list[Outcome] = []
    subscription = Subscription(DELIVERED, filter=asked.append)

    subscription.miss([outcome(1), outcome(2, DROPPED), outcome(3, events=5)])
    assert (asked, subscription.missed) == ([], 2)
    subscription.close()
    subscription.miss([outcome(4)])

    assert await read_all(subscription) == ["-2/6"]


# -- reading ----------------------------------------------------------------------------------------------------------


async def test_reader_is_woken_by_what_it_waits_for() -> None:
    """By outcomes of its kinds, and by nothing else."""
    subscription = Subscription(DELIVERED, filter=lambda one: one.attempt > 1)
    reader = asyncio.create_task(subscription.receive())
    await anyio.wait_all_tasks_blocked()
    [parked] = subscription._readers

    subscription.offer([outcome(5, DROPPED), outcome(1)])
    await anyio.wait_all_tasks_blocked()
    assert subscription._readers == [parked]
    subscription.offer([outcome(2)])

    assert seen([await reader]) == [2]


async def test_reader_that_waits_is_told_of_a_gap_at_once() -> None:
    """It does not have to wait for an outcome behind it."""
    subscription = Subscription(DELIVERED)
    reader = asyncio.create_task(subscription.receive())
    await anyio.wait_all_tasks_blocked()

    subscription.miss([outcome(1)])

    assert seen([await reader]) == ["-1/1"]


async def test_receive_ends_at_its_timeout_and_loses_nothing() -> None:
    """The next one gets what came afterwards."""
    subscription = Subscription(DELIVERED)
    loop = asyncio.get_running_loop()
    began = loop.time()

    for timeout in (0, -1, 2.5):
        with pytest.raises(TimeoutError, match=f"^subscription had nothing to read within {timeout} s$"):
            await subscription.receive(timeout)
    assert loop.time() - began == 2.5
    assert not subscription._readers  # or a poll a second would fill the memory
    subscription.offer([outcome(1)])

    assert seen([await subscription.receive(0)]) == [1]


async def test_receive_nowait_never_waits() -> None:
    """It needs no loop either; nothing is there before, between and after."""
    subscription = Subscription(DELIVERED, buffer=1)

    assert subscription.receive_nowait() is None
    subscription.offer(outcomes(2))
    assert take_all(subscription) == [1, "-1/1"]
    subscription.close()
    assert subscription.receive_nowait() is None


async def test_outcomes_go_to_one_of_several_readers() -> None:
    """Each once, whoever is first."""
    subscription = Subscription(DELIVERED)
    readers = [asyncio.create_task(subscription.receive()) for _ in range(3)]
    await anyio.wait_all_tasks_blocked()

    subscription.offer(outcomes(2))
    await anyio.wait_all_tasks_blocked()
    assert sorted(reader.result().attempt for reader in readers if reader.done()) == [1, 2]  # type: ignore[union-attr]
    subscription.offer([outcome(3)])

    assert {reader.attempt for reader in await asyncio.gather(*readers)} == {1, 2, 3}  # type: ignore[union-attr]


@pytest.mark.parametrize("timeout", [None, 5])
async def test_cancelled_reader_loses_nothing(timeout: float | None) -> None:
    """Wherever it is cancelled, also when it was just woken: the next reader gets what it would have got."""
    subscription = Subscription(DELIVERED)
    offered: list[int | str | None] = []
    received: list[int | str | None] = []

    async def receive() -> None:
        received.extend(seen([await subscription.receive(timeout)]))

    @asynccontextmanager
    async def receiving() -> AsyncIterator[Swept]:
        offered.append(len(offered) + 1)
        asyncio.get_running_loop().call_later(1, subscription.offer, [outcome(len(offered))])
        yield receive()
        await asyncio.sleep(1)
        received.extend(take_all(subscription))

    assert await cancellation_sweep(receiving) > 2

    assert received == offered
    assert not subscription._readers


# -- the end ----------------------------------------------------------------------------------------------------------


async def test_what_is_buffered_is_read_to_the_end() -> None:
    """A close takes nothing away; then the iterator ends, and stays ended."""
    subscription = Subscription(DELIVERED, buffer=2)
    subscription.offer(outcomes(3))

    subscription.close()
    subscription.offer(outcomes(3))

    assert await read_all(subscription) == [1, 2, "-1/1"]
    for _ in range(2):
        assert await read_all(subscription) == []
        with pytest.raises(StopAsyncIteration):
            await anext(subscription)
        with pytest.raises(ClosedError, match=r"^audit is closed, and everything was read$"):
            await Subscription.receive(_named(subscription, "audit"))


def _named(subscription: Subscription, name: str) -> Subscription:
    subscription.name = name
    return subscription


async def test_readers_that_wait_all_end_once() -> None:
    """Whoever iterates stops, whoever receives learns that it is closed."""
    subscription = Subscription(DELIVERED)
    iterators = [asyncio.create_task(read_all(subscription)) for _ in range(2)]
    receiver = asyncio.create_task(subscription.receive(3600))
    await anyio.wait_all_tasks_blocked()

    subscription.close()

    assert await asyncio.gather(*iterators) == [[], []]
    with pytest.raises(ClosedError):
        await receiver
    assert asyncio.get_running_loop().time() < 1


async def test_leaving_the_block_closes() -> None:
    """Also by an error; closing again is a no-op."""
    told: list[Subscription] = []
    subscription = Subscription(DELIVERED)
    subscription.on_close = told.append

    async def leave() -> None:
        async with subscription as entered:
            assert entered is subscription
            assert not subscription.is_closed
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        await leave()
    subscription.close()
    async with subscription:
        pass

    assert (subscription.is_closed, told) == (True, [subscription])


async def test_disconnected_reader_gets_the_rest_the_gap_and_the_end() -> None:
    """The number in the gap is of the moment when it is read; then the subscription has closed by itself."""
    told: list[Subscription] = []
    subscription = Subscription(DELIVERED, buffer=2, overflow="disconnect")
    subscription.on_close = told.append
    assert not subscription.is_disconnected

    subscription.offer(outcomes(3))
    assert (subscription.is_disconnected, subscription.is_closed, told) == (True, True, [])
    items = [subscription.receive_nowait(), subscription.receive_nowait()]
    subscription.offer(outcomes(4, first=4))
    items += [item async for item in subscription]
    subscription.offer(outcomes(9))

    assert seen(items) == [1, 2, "-5/5"]
    assert (subscription.missed, told) == (5, [subscription])
    assert await read_all(subscription) == []


async def test_disconnected_reader_that_waited_is_not_left_waiting() -> None:
    """A list larger than the buffer comes while it waits: it gets what had room, and the end."""
    subscription = Subscription(DELIVERED, buffer=2, overflow="disconnect")
    reader = asyncio.create_task(read_all(subscription))
    await anyio.wait_all_tasks_blocked()

    subscription.offer(outcomes(5))

    assert await reader == [1, 2, "-3/3"]


async def test_subscription_of_a_parent_process_is_over() -> None:
    """No lock is waited for that a thread of the parent held; what is buffered stays readable."""
    subscription = Subscription(DELIVERED)
    subscription.offer(outcomes(1))
    holder = threading.Thread(target=subscription._lock.acquire)
    holder.start()
    holder.join()

    subscription.disown()
    subscription.offer(outcomes(1))

    assert subscription.is_closed
    assert await read_all(subscription) == [1]


async def test_reader_that_waited_when_its_process_forked_is_told_the_end() -> None:
    """Its loop may go on in the child; one that was cancelled and one whose loop was closed change nothing."""
    subscription = Subscription(DELIVERED)
    gone = asyncio.new_event_loop()
    subscription._readers.append(gone.create_future())
    gone.close()
    cancelled, reader = (asyncio.create_task(read_all(subscription)) for _ in range(2))
    await anyio.wait_all_tasks_blocked()
    cancelled.cancel()

    subscription.disown()

    assert await reader == []
    with pytest.raises(asyncio.CancelledError):
        await cancelled


# -- what is wrong ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["buffer", "buffer_bytes"])
@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (-1, "-1"), (float("nan"), "nan"), (1.5, "1.5"), (True, "True"), ("x", "'x'"), ([], "list")],
    ids=["0", "-1", "nan", "1.5", "True", "x", "list"],
)
async def test_a_bound_that_is_no_whole_number_from_1_is_refused(option: str, value: Any, shown: str) -> None:
    """The message names the option, the value and the rule."""
    unit = "outcomes" if option == "buffer" else "bytes"

    with pytest.raises(ValueError, match=option) as info:
        Subscription(DELIVERED, **{option: value})

    assert str(info.value) == f"{option} must be a whole number of {unit}, at least 1, or None, not {shown}"


@pytest.mark.parametrize(("value", "shown"), [("drop", "'drop'"), (None, "NoneType"), (5, "5"), ([], "list")], ids=repr)
async def test_an_unknown_overflow_is_refused(value: Any, shown: str) -> None:
    """With those that there are."""
    with pytest.raises(ValueError, match="overflow") as info:
        Subscription(DELIVERED, overflow=value)

    words = "'drop_newest', 'drop_oldest', 'disconnect'"
    assert str(info.value) == f"overflow must be one of {words}, not {shown}"


@pytest.mark.parametrize(("value", "shown"), [("", "''"), ("  ", "'  '"), (5, "5")], ids=repr)
async def test_a_name_that_says_nothing_is_refused(value: Any, shown: str) -> None:
    """Messages would not say whose subscription it is."""
    with pytest.raises(ValueError, match="name") as info:
        Subscription(DELIVERED, name=value)

    assert str(info.value) == f"name must be a string that is not blank, or None, not {shown}"


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (Subscription, ValueError),
        (lambda: Subscription("lost"), ValueError),
        (lambda: Subscription(None), TypeError),  # type: ignore[arg-type]
        (lambda: Subscription(DELIVERED, filter=5), TypeError),  # type: ignore[arg-type]
        (lambda: Subscription(DELIVERED, filter=read_all), TypeError),  # type: ignore[arg-type]
    ],
    ids=["no kind", "unknown kind", "None", "no function", "async"],
)
async def test_wrong_kinds_and_filters_are_refused(make: Callable[[], object], error: type[Exception]) -> None:
    """At construction; the messages are those of ``Interest``."""
    with pytest.raises(error):
        make()


async def test_repr_tells_the_state() -> None:
    """And shows no payload."""
    subscription = Subscription(OutcomeKind.DROPPED, "delivered", buffer=2, overflow="disconnect", name="audit")
    subscription.offer(outcomes(1))
    assert repr(subscription) == "<Subscription audit to dropped, delivered, open, 1 buffered, 0 missed>"
    subscription.offer(outcomes(2))
    assert repr(subscription) == "<Subscription audit to dropped, delivered, disconnected, 2 buffered, 1 missed>"

    other = Subscription(DELIVERED)
    other.close()
    assert repr(other) == "<Subscription subscription to delivered, closed, 0 buffered, 0 missed>"
