"""A delivery is settled exactly, or given back, whatever else happens to its receiver."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

import pytest

from eventpipe.errors import LeaseLostError, StoreError
from eventpipe.log.delivery import Delivery
from eventpipe.log.eventlog import EventLog
from eventpipe.options import RetryPolicy
from eventpipe.retention import Retention
from eventpipe.stores.memory import MemoryStore
from eventpipe.stores.values import Claims, ConsumerKey
from eventpipe.testing.clock import LoopClock
from eventpipe.testing.events import STAMP
from tests.log.receiving import append, at, attempts, cursor, offsets, take

pytestmark = pytest.mark.asyncio


def now() -> float:
    return asyncio.get_running_loop().time()


# -- ack --------------------------------------------------------------------------------------------------------------


async def test_ack_settles_this_event_and_no_other(log: EventLog) -> None:
    """In any order: the cursor is at most one past the last event without a gap before it, and never goes back."""
    await append(log, 5)
    cursors = []
    async with log.receiver("orders", "billing") as receiver:
        deliveries = await take(receiver, 5)
        for number in (3, 1, 0, 4, 2):
            await deliveries[number].ack()
            cursors.append(await cursor(log))

    assert cursors == [0, 0, 2, 2, 5]


async def test_second_ack_changes_nothing(log: EventLog) -> None:
    """Neither one after the other nor both at once, nor a nack after it."""
    await append(log, 2)
    async with log.receiver("orders", "billing") as receiver:
        first = await receiver.receive()
        await asyncio.gather(first.ack(), first.ack())
        await first.ack()
        await first.nack()

        assert await cursor(log) == 1
        assert offsets(await take(receiver, 1)) == [1]
        with pytest.raises(TimeoutError):
            await receiver.receive(3600)


async def test_ack_after_a_nack_counts_until_the_event_is_handed_out_anew(log: EventLog) -> None:
    """Then the event belongs to the later delivery."""
    await append(log, 2)
    async with log.receiver("orders", "billing") as receiver:
        first, second = await take(receiver, 2)
        await first.nack(10)
        await first.ack()
        await second.nack()
        again = await receiver.receive(0)
        with pytest.raises(LeaseLostError):
            await second.ack()
        assert (await cursor(log), again.attempt) == (1, 2)
        await again.ack()

    assert await cursor(log) == 2


async def test_ack_works_after_the_receiving_task_was_cancelled(log: EventLog) -> None:
    """What it was handed is not lost with it."""
    await append(log, 1)
    kept: list[Delivery] = []

    async def work() -> None:
        kept.append(await receiver.receive())
        await receiver.receive()

    async with log.receiver("orders", "billing") as receiver:
        task = asyncio.create_task(work())
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait({task})
        await kept[0].ack()

    assert await cursor(log) == 1


# -- nack -------------------------------------------------------------------------------------------------------------


async def test_nacked_event_comes_again_after_its_delay_while_later_ones_go_on(log: EventLog) -> None:
    """At the moment it is due exactly, at the next attempt; its reason is the consumer's last error."""
    await append(log, 3)
    async with log.receiver("orders", "billing") as receiver:
        first = await receiver.receive()
        await first.nack(7.5, "no room")
        for delivery in await take(receiver, 2):
            await delivery.ack()
        again = await receiver.receive()

        assert (again.offset, again.attempt, now()) == (0, 2, at(log, 7.5))
        assert (await log.consumer("orders", "billing")).last_error == "no room"
        assert await cursor(log) == 0
        await again.ack()
    assert await cursor(log) == 3


async def test_nack_without_a_delay_hands_it_out_next(log: EventLog) -> None:
    """After what is in line, and in no time."""
    await append(log, 4)
    async with log.receiver("orders", "billing") as receiver:
        deliveries = await take(receiver, 2)  # of 1 and 2: one is in line
        await deliveries[0].nack()

        assert attempts(await take(receiver, 3)) == [(2, 1), (0, 2), (3, 1)]
        assert now() == at(log, 0)


@pytest.mark.parametrize("delay", [-1, float("nan"), float("inf"), True, "1", 10**400])
async def test_delay_that_is_none_is_refused(log: EventLog, delay: Any) -> None:
    """And nothing is given back."""
    await append(log, 1)
    async with log.receiver("orders", "billing") as receiver:
        delivery = await receiver.receive()
        with pytest.raises(ValueError, match=r"^delay must be a finite number of seconds, at least 0, not "):
            await delivery.nack(delay)
        with pytest.raises(TimeoutError):
            await receiver.receive(10)


# -- the last attempt -------------------------------------------------------------------------------------------------


async def test_event_goes_to_the_dead_letters_with_its_last_nack(
    log: EventLog, caplog: pytest.LogCaptureFixture
) -> None:
    """It is handed out so often and not once more, the letter says why, and the consumer goes on."""
    await log.append("orders", "paid", properties={"sum": 5}, headers={"trace": "t1"})
    async with log.receiver("orders", "billing", max_attempts=3) as receiver:
        for attempt in (1, 2, 3):
            delivery = await receiver.receive()
            assert (delivery.offset, delivery.attempt) == (0, attempt)
            await delivery.nack(reason=f"failed {attempt}")
        await delivery.ack()
        await delivery.nack()
        await append(log, 1)
        await (await receiver.receive()).ack()
        with pytest.raises(TimeoutError):
            await receiver.receive(3600)

    (letter,) = await log.dead_letters("orders")
    assert (letter.topic, letter.consumer, letter.source_offset, letter.attempts) == ("orders", "billing", 0, 3)
    assert (letter.reason, letter.error, letter.at) == ("exhausted", "failed 3", at(log, STAMP))
    assert (letter.event.event, letter.event.properties) == ("paid", {"sum": 5})
    assert letter.event.uuid == delivery.event.uuid
    assert letter.event.headers["trace"] == "t1"
    info = await log.consumer("orders", "billing")
    assert (info.cursor, info.dead, info.last_error) == (2, 1, "failed 3")
    assert [record.message for record in caplog.records if record.levelno == logging.WARNING] == [
        "consumer 'billing' of topic 'orders' gave up the event at offset 0 after 3 attempts (failed 3); it is in the"
        " dead letters"
    ]


async def test_event_that_was_handed_out_often_enough_and_never_acked_goes_to_the_dead_letters(log: EventLog) -> None:
    """By the next holder, which is handed the one after it in its place, and waits for more where there is none."""
    await append(log, 2)
    for _ in range(2):
        async with log.receiver("orders", "billing", max_attempts=2) as receiver:
            assert offsets(await take(receiver, 1)) == [0]
    async with log.receiver("orders", "billing", max_attempts=2) as receiver:
        (delivery,) = await take(receiver, 1)
        assert (delivery.offset, delivery.attempt) == (1, 1)
        await delivery.ack()

    (letter,) = await log.dead_letters("orders")
    assert (letter.source_offset, letter.attempts, letter.reason, letter.error) == (0, 2, "exhausted", None)
    assert await cursor(log) == 2


async def test_replayed_dead_letter_is_handed_to_its_consumer_alone(log: EventLog) -> None:
    """At its first attempt again."""
    await append(log, 1)
    async with log.receiver("orders", "billing", max_attempts=1) as one, log.receiver("orders", "audit") as other:
        await (await one.receive()).nack()
        await (await other.receive()).ack()
        await log.replay_dead_letters("orders")

        assert attempts(await take(one, 1)) == [(1, 1)]
        with pytest.raises(TimeoutError):
            await other.receive(3600)
    assert await cursor(log, name="audit") == 2


async def test_full_dead_letters_hold_up_their_own_event_only(log: EventLog, caplog: pytest.LogCaptureFixture) -> None:
    """It stays unharmed and is given up half a minute later, when there is room; later events go on."""
    await log.declare("orders.dead", Retention(max_events=1))
    await log.append("orders.dead", "in the way")
    await append(log, 2)
    async with log.receiver("orders", "billing", max_attempts=1) as receiver:
        assert offsets(await take(receiver, 1)) == [0]
    async with log.receiver("orders", "billing", max_attempts=1) as receiver:
        await (await receiver.receive()).ack()
        assert await cursor(log) == 0
        await log.declare("orders.dead", Retention(max_events=2))
        with pytest.raises(TimeoutError):
            await receiver.receive(30)

    assert [letter.source_offset for letter in await log.dead_letters("orders")] == [0]
    assert await cursor(log) == 2
    assert "keeps the event at offset 0: topic 'orders.dead'" in caplog.text


# -- events that cannot be decoded ------------------------------------------------------------------------------------


class UndecodableStore(MemoryStore):
    """What a store on disk hands out where it finds an event of a format that it does not know."""

    async def claim(
        self, key: ConsumerKey, token: int | None, *, max_events: int, max_bytes: int, ttl: float | None = None
    ) -> Claims:
        claims = await super().claim(key, token, max_events=max_events, max_bytes=max_bytes, ttl=ttl)
        claims = claims._replace(events=[*claims.events])
        for claimed in claims.events:
            if claimed.offset == 1:
                claimed.event, claimed.fault, claimed.raw = None, "unknown format 9", b"\x09raw"
        return claims


async def test_event_that_cannot_be_decoded_is_handed_out_and_goes_to_the_dead_letters(clock: LoopClock) -> None:
    """It has its offset and its fault, its event raises, it stays unacked, and its bytes are in the letter."""
    async with EventLog(UndecodableStore(clock=clock), clock=clock) as log:
        await append(log, 3)
        faults = []
        async with log.receiver("orders", "billing", max_attempts=2) as receiver:
            async for delivery in receiver:
                try:
                    async with delivery:
                        assert delivery.event is not None
                except StoreError as error:
                    faults.append((delivery.offset, delivery.attempt, delivery.fault, str(error)))
                if (await log.consumer("orders", "billing")).pending == 0:
                    break

        message = (
            "the event at offset 1 of topic 'orders' cannot be decoded: unknown format 9; ack() it to pass it over, or"
            " nack() it, and after attempt 2 its bytes go to the dead letters"
        )
        assert faults == [(1, 1, "unknown format 9", message), (1, 2, "unknown format 9", message)]
        (letter,) = await log.dead_letters("orders")
        assert (letter.source_offset, letter.attempts, letter.error) == (1, 2, "StoreError")
        assert letter.event.properties == {"fault": "unknown format 9", "raw": "CXJhdw=="}


# -- async with -------------------------------------------------------------------------------------------------------


async def test_block_that_succeeds_acks(log: EventLog) -> None:
    """At its end, and not before."""
    await append(log, 1)
    async with log.receiver("orders", "billing") as receiver:
        async with await receiver.receive():
            assert await cursor(log) is None
        assert await cursor(log) == 1


async def test_block_that_raises_nacks_with_a_backoff_and_the_error_goes_on(log: EventLog) -> None:
    """The reason is the type of the error, never its text; delays are those of the retry policy."""
    await append(log, 1)
    moments = []
    policy = RetryPolicy(initial=2, factor=3, max_delay=100, jitter=0)
    async with log.receiver("orders", "billing", retry=policy) as receiver:
        for _ in range(3):
            delivery = await receiver.receive()
            moments.append(now())
            with pytest.raises(KeyError, match="secret"):
                async with delivery:
                    raise KeyError("secret")

    assert moments == [at(log, 0), at(log, 2), at(log, 8)]
    assert (await log.consumer("orders", "billing")).last_error == "KeyError"


async def test_backoff_is_that_of_the_default_policy_unless_told_otherwise(log: EventLog) -> None:
    """A quarter to half a second at first."""
    await append(log, 1)
    async with log.receiver("orders", "billing") as receiver:
        with pytest.raises(ZeroDivisionError):
            async with await receiver.receive():
                raise ZeroDivisionError
        await receiver.receive()

    assert 0.25 <= now() <= 1


@pytest.mark.parametrize("interruption", [asyncio.CancelledError, KeyboardInterrupt, SystemExit])
async def test_block_that_is_cut_off_gives_the_event_back_unharmed(
    log: EventLog, interruption: type[BaseException]
) -> None:
    """At the same attempt: being cancelled says nothing of the event. It waits for the first delay of the policy."""
    await append(log, 1)
    moments = []
    policy = RetryPolicy(initial=2, factor=3, max_delay=100, jitter=0)
    async with log.receiver("orders", "billing", retry=policy, max_attempts=1) as receiver:
        for _ in range(3):
            delivery = await receiver.receive()
            moments.append(now())
            with pytest.raises(interruption):
                async with delivery:
                    raise interruption
    async with log.receiver("orders", "billing") as receiver:  # who takes over does not wait
        assert attempts([await receiver.receive(0)]) == [(0, 1)]

    assert moments == [at(log, 0), at(log, 2), at(log, 4)]


async def test_event_that_always_hangs_is_no_hot_loop(log: EventLog) -> None:
    """With a timeout around its block it never uses up an attempt; with one inside it goes to the dead letters."""
    await append(log, 1)
    handed = 0
    async with log.receiver("orders", "billing", max_attempts=3) as receiver:
        began = now()
        while now() < began + 10:
            delivery = await receiver.receive()
            handed += 1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.01), delivery:
                    await asyncio.sleep(3600)
        assert 20 <= handed <= 40  # a quarter to half a second each
        assert await log.dead_letters("orders") == []

        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with await receiver.receive(), asyncio.timeout(0.01):
                    await asyncio.sleep(3600)

    assert [(letter.attempts, letter.error) for letter in await log.dead_letters("orders")] == [(3, "TimeoutError")]


@pytest.mark.parametrize("error", [None, ValueError, asyncio.CancelledError])
@pytest.mark.parametrize("call", ["ack", "nack"])
async def test_block_that_settled_the_event_itself_is_believed(
    log: EventLog, call: str, error: type[BaseException] | None
) -> None:
    """Its end says nothing more, however it ends."""
    await append(log, 1)
    async with log.receiver("orders", "billing") as receiver:
        try:
            async with await receiver.receive() as delivery:
                await (delivery.ack() if call == "ack" else delivery.nack(5, "later"))
                if error is not None:
                    raise error
        except (ValueError, asyncio.CancelledError):
            pass

        info = await log.consumer("orders", "billing")
        expected = (1, 0, None) if call == "ack" else (None, 1, "later")
        assert (info.cursor, info.pending, info.last_error) == expected


async def test_coroutine_that_is_thrown_away_in_the_block_leaves_the_event_claimed(log: EventLog) -> None:
    """Nothing can be awaited there, and nothing is."""
    await append(log, 1)

    async def work(delivery: Delivery) -> None:
        async with delivery:
            await asyncio.sleep(3600)

    async with log.receiver("orders", "billing") as receiver:
        coroutine = work(await receiver.receive())
        coroutine.send(None)
        coroutine.close()

        with pytest.raises(TimeoutError):
            await receiver.receive(60)


async def test_error_of_the_block_goes_before_that_of_giving_back(
    log: EventLog, caplog: pytest.LogCaptureFixture
) -> None:
    """Which is logged; an ack that fails is raised, because nothing else says so."""
    await append(log, 2)
    async with log.receiver("orders", "billing") as receiver:
        for error in (ValueError, asyncio.CancelledError):
            delivery = await receiver.receive()
            await log.seek("orders", "billing", 0)
            with pytest.raises(error):
                async with delivery:
                    raise error
        delivery = await receiver.receive()
        await log.seek("orders", "billing", 0)
        with pytest.raises(LeaseLostError):
            async with delivery:
                pass

    assert caplog.text.count("the event at offset 0 could not be given back by consumer 'billing'") == 2


# -- extend -----------------------------------------------------------------------------------------------------------


async def test_event_of_an_exclusive_receiver_cannot_be_extended(log: EventLog) -> None:
    """The error says why, and what can."""
    await append(log, 1)
    async with log.receiver("orders", "billing") as receiver:
        delivery = await receiver.receive()
        with pytest.raises(RuntimeError, match=r"has it for itself.*; extend\(\) is for receivers with competing=True"):
            await delivery.extend(5)


@pytest.mark.parametrize("ttl", [0, -1, float("inf"), False])
async def test_time_that_holds_nothing_is_refused(log: EventLog, ttl: float) -> None:
    """It has to be positive and finite."""
    await append(log, 1)
    async with log.receiver("orders", "billing", competing=True) as receiver:
        delivery = await receiver.receive()
        with pytest.raises(ValueError, match=r"^ttl must be a finite number of seconds above 0, not "):
            await delivery.extend(ttl)
