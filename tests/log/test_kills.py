"""What a killed process had in hand: it comes again, and none dies of kills that was not handed out at the last."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from eventpipe import RetryPolicy
from eventpipe.log.consumer import Consumer
from eventpipe.log.eventlog import EventLog
from eventpipe.log.handling import ConsumedEvent
from eventpipe.log.in_hand import InHand
from eventpipe.log.receiver import Receiver
from eventpipe.stores.values import Claims, ConsumerKey, Disposal, Disposition
from tests.log.receiving import append

pytestmark = pytest.mark.asyncio

KEY = ConsumerKey("orders", "billing")
QUICK = RetryPolicy(initial=0.01, min_delay=0.0, max_delay=0.02)


async def test_what_was_in_hand_and_never_begun_with_is_handed_out_also_at_its_only_attempt(log: EventLog) -> None:
    """With 300 in hand the process is killed at one: the others are handed out, and so is that one once more, alone."""
    await append(log, 300)
    seen = await _life(log, until=5, max_attempts=1)
    assert seen == [(offset, 1) for offset in range(6)]

    seen = await _life(log, until=None, max_attempts=1)

    assert [offset for offset, _ in seen] == list(range(seen[0][0], 300))
    assert {attempt for _, attempt in seen} == {2}
    assert seen[0][0] <= 5  # what was handled before may have been settled or not
    assert await log.dead_letters("orders") == []


@pytest.mark.parametrize("max_attempts", [1, 2, 3, 5])
async def test_an_event_that_kills_every_process_is_the_only_one_to_die(log: EventLog, max_attempts: int) -> None:
    """At its last attempt it was in hand alone, so it is known to have been handed out; its neighbours are handled."""
    await append(log, 100)
    lives = 0
    done: set[int] = set()
    while len(done) < 99:
        seen = await _life(log, until=50, max_attempts=max_attempts)
        lives += (50, lives + 1) in seen
        done |= {offset for offset, _ in seen} - {50}

    assert lives == max(max_attempts, 2)
    assert [(letter.source_offset, letter.attempts) for letter in await log.dead_letters("orders")] == [(50, lives)]


@pytest.mark.parametrize("ordered_by", ["topic", None])
async def test_what_failed_before_dies_of_no_kill_it_was_not_handed_to(log: EventLog, ordered_by: Any) -> None:
    """All that failed comes again for the last time; the process is killed at one, and no other dies of that."""
    await append(log, 20)
    options: dict[str, Any] = {"max_attempts": 2, "ordered_by": ordered_by, "retry": QUICK}  # Any: options

    async def fail_once(event: ConsumedEvent) -> None:
        if event.attempt == 1:
            raise ValueError

    killed = await _life(log, until=(3, 2), work=fail_once, **options)
    seen = await _life(log, until=None, work=fail_once, **options)

    dead = {letter.source_offset for letter in await log.dead_letters("orders")}
    assert {(offset, 2) for offset in range(20)} == {one for one in killed + seen if one[1] == 2}
    assert {3} <= dead <= {offset for offset, attempt in killed if attempt == 2}


async def test_what_is_at_its_last_attempt_is_in_hand_alone_also_behind_what_is_not(log: EventLog) -> None:
    """A claim that brings it along gives it back, with all that is behind it, and the order holds."""
    await append(log, 10)
    await log.add_consumer(*KEY)
    await _killed_with(log, 10)
    await _killed_with(log, 10, unharmed=1)  # at their second of three attempts, but for the first event

    killed = await _life(log, until=1, max_attempts=3)
    seen = await _life(log, until=None, max_attempts=3)

    assert killed == [(0, 2), (1, 3)]
    assert [one for one in seen if one[0]] == [(offset, 3) for offset in range(2, 10)]
    assert [letter.source_offset for letter in await log.dead_letters("orders")] == [1]


@pytest.mark.parametrize("max_attempts", [1, 2, 3, 5])
async def test_what_was_in_the_line_of_a_killed_receiver_is_handed_out_before_it_dies(
    log: EventLog, max_attempts: int
) -> None:
    """Kills use up attempts of what is in line too, but none dies that was not handed out for the last time."""
    await append(log, 200)
    last: dict[int, int] = {}
    for until in (34, 47, 60, 61, 100, 180, None):
        receiver = await log.receiver(*KEY, max_attempts=max_attempts).__aenter__()
        while True:
            try:
                delivery = await receiver.receive(0.5)
            except TimeoutError:
                break
            last[delivery.offset] = delivery.attempt
            if delivery.offset == until:
                break
            await delivery.ack()
        await _die(log, receiver)

    letters = await log.dead_letters("orders")
    assert all(last[letter.source_offset] == letter.attempts == max_attempts for letter in letters)
    assert set(last) == set(range(200))
    assert (await log.consumer(*KEY)).pending == 0


async def test_what_was_given_back_for_its_last_attempt_waits_in_no_line(log: EventLog) -> None:
    """A receiver that claims many at a time gives back what is behind it, and hands it out at once."""
    await append(log, 100)
    receiver = await log.receiver(*KEY, max_attempts=2).__aenter__()
    deliveries = [await receiver.receive(0.5) for _ in range(40)]
    for delivery in deliveries:
        await delivery.nack()
    handed = [await receiver.receive(0.5)]
    while handed[-1].attempt == 1:  # those in line
        handed.append(await receiver.receive(0.5))
    await _die(log, receiver)

    await _rest(log, max_attempts=2)
    assert [letter.source_offset for letter in await log.dead_letters("orders")] == [handed[-1].offset]


# -- lives ------------------------------------------------------------------------------------------------------------


async def _life(
    log: EventLog,
    *,
    until: int | tuple[int, int] | None,
    work: Callable[[ConsumedEvent], Awaitable[None]] | None = None,
    **options: Any,  # Any: of the consumer
) -> list[tuple[int, int]]:
    """Offset and attempt of what a consumer is handed, until its process is killed at one, or nothing is left."""
    seen: list[tuple[int, int]] = []
    is_dead = asyncio.Event()

    async def handle(event: ConsumedEvent) -> None:
        seen.append((event.offset, event.attempt))
        if until in (event.offset, seen[-1]):
            is_dead.set()
            await asyncio.Event().wait()
        if work is not None:
            await work(event)

    claim, settle = log.store.claim, log.store.settle

    async def idle(*arguments: Any, **options: Any) -> Claims:  # Any: handed through
        return Claims([]) if is_dead.is_set() else await claim(*arguments, **options)

    async def mute(*arguments: Any) -> None:  # Any: handed through
        if not is_dead.is_set():
            await settle(*arguments)

    log.store.claim, log.store.settle = idle, mute  # type: ignore[assignment, method-assign]
    try:
        consumer = Consumer(log, *KEY, handle, **options)
        await consumer.start()
        async with asyncio.timeout(3600):
            while not is_dead.is_set() and (await consumer.lag()).events:  # noqa: ASYNC110  # time is virtual
                await asyncio.sleep(0.05)
        consumer.cancel()
        await consumer.stopped()
    finally:
        log.store.claim, log.store.settle = claim, settle  # type: ignore[method-assign]
    return seen


async def _killed_with(log: EventLog, events: int, *, unharmed: int = 0) -> None:
    """Have a process claim so many at once, give back the first of them, and be killed."""
    token = await log.store.acquire(KEY.lease, "a process", None)
    claims = await log.store.claim(KEY, token, max_events=events, max_bytes=1 << 20)
    released = [Disposition(claimed, Disposal.RELEASE) for claimed in claims.events[:unharmed]]
    await log.store.settle(KEY, token, released)
    await log.store.release(KEY.lease, token)


async def _die(log: EventLog, receiver: Receiver) -> None:
    """End a receiver as a kill of its process does: nothing is given back, and its lease is free at some time."""
    lease = receiver._claimant.lease
    assert lease is not None
    assert lease.token is not None
    await log.store.release(KEY.lease, lease.token)
    receiver._claimant._held = InHand()
    receiver._line.clear()
    await receiver.aclose()


async def _rest(log: EventLog, **options: Any) -> list[Any]:  # Any: options; deliveries
    """What a receiver is handed that acks it all."""
    deliveries: list[Any] = []  # Any: deliveries
    async with log.receiver(*KEY, **options) as receiver:
        while True:
            try:
                deliveries.append(await receiver.receive(0.5))
            except TimeoutError:
                return deliveries
            await deliveries[-1].ack()
