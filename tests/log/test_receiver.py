"""A receiver hands each event of its consumer to one of those who ask, and lets go of nothing."""

from __future__ import annotations

import asyncio
import datetime
import gc
import logging
import re
from collections.abc import Sequence
from typing import Any

import pytest

from eventpipe.errors import (
    ClosedError,
    CursorError,
    LeaseHeldError,
    LeaseLostError,
    UnknownConsumerError,
)
from eventpipe.log.eventlog import EventLog
from eventpipe.log.in_hand import InHand
from eventpipe.log.receiver import Receiver
from eventpipe.retention import Retention
from eventpipe.stores.base import Store
from eventpipe.stores.memory import MemoryStore
from eventpipe.stores.values import Claims, ConsumerKey, Disposition
from eventpipe.testing.clock import LoopClock
from eventpipe.testing.events import STAMP, make_event
from tests.log.receiving import SlowStore, append, at, at_rest, attempts, cursor, offsets, take

pytestmark = pytest.mark.asyncio


# -- what is handed out -----------------------------------------------------------------------------------------------


async def test_events_are_handed_out_by_offset_and_each_once(log: EventLog) -> None:
    """Those that are there, and those to come; when all are acked the cursor is behind the last."""
    await append(log, 250)
    seen = []

    async with log.receiver("orders", "billing") as receiver:
        async for delivery in receiver:
            seen.append((delivery.offset, delivery.event.event, delivery.attempt))
            await delivery.ack()
            if delivery.offset == 249:
                await append(log, 50)
            if delivery.offset == 299:
                break

    assert seen == [(number, f"e{number % 250}", 1) for number in range(300)]
    assert await cursor(log) == 300


async def test_delivery_says_what_it_is(log: EventLog) -> None:
    """The event as it was captured, where it is, since when, and for whom."""
    await asyncio.sleep(5)
    await log.append("orders", "paid", distinct_id="42", properties={"sum": 5})

    async with log.receiver("orders", "billing") as receiver:
        delivery = await receiver.receive()

    assert (delivery.topic, delivery.consumer, delivery.offset, delivery.attempt) == ("orders", "billing", 0, 1)
    assert (delivery.event.event, delivery.event.distinct_id, delivery.event.properties) == ("paid", "42", {"sum": 5})
    assert (delivery.appended_at, delivery.gap, delivery.fault) == (at(log, STAMP + 5), 0, None)
    assert repr(delivery) == "<Delivery 0 of topic 'orders', attempt 1>"


async def test_events_addressed_to_another_consumer_are_passed_over(log: EventLog) -> None:
    """They count as settled and as skipped, also when a whole page is; those addressed to this one are handed out."""
    for number, name in enumerate(["audit", "audit", None, "billing", "audit"]):
        event = make_event(f"e{number}", headers=None if name is None else {"eventpipe-consumer": name})
        await log.store.append("orders", [event])  # as a replay does

    async with log.receiver("orders", "billing") as receiver:
        deliveries = await take(receiver, 2)
        for delivery in deliveries:
            await delivery.ack()
        with pytest.raises(TimeoutError):
            await receiver.receive(0)

    info = await log.consumer("orders", "billing")
    assert offsets(deliveries) == [2, 3]
    assert (info.cursor, info.skipped, info.pending) == (5, 3, 0)


@pytest.mark.parametrize(
    ("start", "first"), [("earliest", 0), (0, 0), (2, 2), (datetime.datetime(2026, 1, 1, 0, 0, 20), 2), ("latest", 3)]
)
async def test_new_consumer_begins_where_it_was_told(log: EventLog, start: Any, first: int) -> None:
    """At the first event, at an offset, at a time, or after the last."""
    for number in range(3):
        await log.append("orders", f"e{number}")
        await asyncio.sleep(10)

    async with log.receiver("orders", "billing", start=start) as receiver:
        await log.append("orders", "e3")
        assert (await receiver.receive()).offset == first


async def test_latest_is_resolved_and_kept_when_the_receiver_is_opened(log: EventLog) -> None:
    """What is appended before is not handed out, and everything after is, although nothing was received meanwhile."""
    await append(log, 3)
    receiver = log.receiver("orders", "billing", start="latest")
    await append(log, 2)
    async with receiver:
        pass
    await append(log, 4)

    async with log.receiver("orders", "billing", start="latest") as again:
        assert offsets(await take(again, 4)) == [5, 6, 7, 8]


async def test_consumer_that_exists_stays_where_it_is(log: EventLog) -> None:
    """Whatever start says, even one that the topic does not have."""
    await append(log, 3)
    await log.add_consumer("orders", "billing", 1)

    for start in ("earliest", "latest", 3):
        async with log.receiver("orders", "billing", start=start) as receiver:
            assert (await receiver.receive()).offset == 1


async def test_start_outside_the_topic_is_refused(log: EventLog) -> None:
    """The error has the first and the last offset, and no consumer is made."""
    await append(log, 3)

    with pytest.raises(CursorError) as caught:
        await log.receiver("orders", "billing", start=4).__aenter__()

    assert (caught.value.offset, caught.value.first, caught.value.last) == (4, 0, 3)
    assert await log.consumers() == []


async def test_one_name_on_two_topics_is_two_consumers(log: EventLog) -> None:
    """Neither moves, holds or wakes the other."""
    await append(log, 3, "orders")
    await append(log, 2, "users")

    async with log.receiver("orders", "billing") as one, log.receiver("users", "billing", when_held="raise") as other:
        for delivery in await take(one, 3):
            await delivery.ack()
        assert offsets(await take(other, 2)) == [0, 1]

    assert (await cursor(log, "orders"), await cursor(log, "users")) == (3, None)


async def test_no_cursor_is_not_a_cursor_at_the_start(log: EventLog) -> None:
    """Who has settled nothing has none, wherever it begins; an event that was not acked is handed out again."""
    await append(log, 3)

    async with log.receiver("orders", "billing") as receiver:
        assert (await receiver.receive()).offset == 0
        assert await cursor(log) is None
    async with log.receiver("orders", "billing") as receiver:
        first = await receiver.receive()
        await first.ack()

    assert (first.offset, first.attempt) == (0, 2)
    assert await cursor(log) == 1


async def test_gap_is_counted_logged_and_shown_on_the_delivery_behind_it(
    store: Store, log: EventLog, caplog: pytest.LogCaptureFixture
) -> None:
    """Events that retention dropped before they were settled, told once."""
    await log.declare("orders", Retention(max_events=5, on_full="drop_oldest"))
    async with log.receiver("orders", "billing") as receiver:
        await append(log, 5)
        await (await receiver.receive()).ack()
        await append(log, 4)
        await append(log, 3)
        deliveries = await take(receiver, 5)

        assert [(one.offset, one.gap) for one in deliveries] == [(7, 6), (8, 0), (9, 0), (10, 0), (11, 0)]
        assert receiver.gap == 6
    assert [record.message for record in caplog.records if record.levelno == logging.ERROR] == [
        "consumer 'billing' of topic 'orders' missed 6 events that retention dropped"
    ]


async def test_paused_consumer_is_handed_nothing_until_it_is_resumed(log: EventLog) -> None:
    """What it has in hand can be settled meanwhile; a receiver that waits goes on at once."""
    await append(log, 2)
    async with log.receiver("orders", "billing") as receiver:
        first = await receiver.receive()
        await log.pause("orders", "billing")
        await first.ack()
        with pytest.raises(TimeoutError):
            await receiver.receive(3600)

        waiting = asyncio.create_task(receiver.receive())
        await at_rest()
        began = asyncio.get_running_loop().time()
        await log.resume("orders", "billing")

        assert (await waiting).offset == 1
        assert asyncio.get_running_loop().time() == at(log, began)


# -- waiting ----------------------------------------------------------------------------------------------------------


async def test_receive_gives_up_after_its_timeout(log: EventLog) -> None:
    """At that moment exactly, and the receiver goes on."""
    async with log.receiver("orders", "billing") as receiver:
        with pytest.raises(
            TimeoutError, match=r"^consumer 'billing' of topic 'orders' was handed no event within 2\.5 s$"
        ):
            await receiver.receive(2.5)

        assert asyncio.get_running_loop().time() == at(log, 2.5)
        await log.append("orders", "paid")
        assert (await receiver.receive(2.5)).offset == 0


async def test_engine_that_gives_up_itself_is_not_taken_for_a_timeout(
    log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its error goes on as it is, and the receiver can be asked again."""

    async def slow(*_: object, **__: object) -> Claims:
        raise TimeoutError("the engine does not answer")

    await append(log, 1)
    async with log.receiver("orders", "billing") as receiver:
        with monkeypatch.context() as patch:
            patch.setattr(log.store, "claim", slow)
            with pytest.raises(TimeoutError, match=r"^the engine does not answer$"):
                await receiver.receive()
        assert (await receiver.receive()).offset == 0


async def test_receive_without_time_looks_once(log: EventLog) -> None:
    """What is there is handed out; where nothing is, or another task waits already, nothing is waited for."""
    await append(log, 1)
    async with log.receiver("orders", "billing") as receiver:
        assert (await receiver.receive(0)).offset == 0
        with pytest.raises(TimeoutError):
            await receiver.receive(0)
        waiting = asyncio.create_task(receiver.receive())
        await at_rest()
        began = asyncio.get_running_loop().time()
        with pytest.raises(TimeoutError):
            await receiver.receive(-1)

        assert asyncio.get_running_loop().time() == at(log, began)
        waiting.cancel()


async def test_batch_has_what_is_there_and_at_least_one(log: EventLog) -> None:
    """Up to the number that was asked for, in order; it waits for the first only."""
    await append(log, 10)
    async with log.receiver("orders", "billing") as receiver:
        batches = [offsets(await receiver.receive_batch(4)) for _ in range(3)]
        with pytest.raises(TimeoutError):
            await receiver.receive_batch(4, 3)
        waiting = asyncio.create_task(receiver.receive_batch(4))
        await asyncio.sleep(7)
        await append(log, 2)

        assert batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
        assert offsets(await waiting) == [10, 11]
        assert asyncio.get_running_loop().time() == at(log, 10)


async def test_batch_takes_what_is_in_line_while_another_task_waits(log: EventLog) -> None:
    """It does not wait behind a task that waits for more."""
    async with log.receiver("orders", "billing") as receiver:
        waiting = [asyncio.create_task(receiver.receive_batch(2)) for _ in range(2)]
        await at_rest()
        await append(log, 5)

        assert sorted(offsets(await waiting[0]) + offsets(await waiting[1])) == [0, 1, 2, 3]
        waiting.append(asyncio.create_task(receiver.receive_batch(10)))
        assert offsets(await waiting[2]) == [4]


async def test_two_tasks_on_one_receiver_never_get_the_same_event(log: EventLog) -> None:
    """Each of ten gets its own, whoever waits and whoever finds some in line."""
    seen: list[int] = []

    async def work(receiver: Receiver) -> None:
        async for delivery in receiver:
            seen.append(delivery.offset)
            await asyncio.sleep(delivery.offset % 3)
            await delivery.ack()

    async with log.receiver("orders", "billing") as receiver:
        tasks = [asyncio.create_task(work(receiver)) for _ in range(10)]
        for _ in range(10):
            await append(log, 30)
            await asyncio.sleep(7)
    await asyncio.gather(*tasks)

    assert sorted(seen) == list(range(300))
    assert await cursor(log) == 300


async def test_event_in_line_costs_no_suspension(log: EventLog) -> None:
    """To receive it runs through, so that nobody comes between; in memory, to ack it does as well."""
    await append(log, 10)
    async with log.receiver("orders", "billing") as receiver:
        await take(receiver, 2)  # of 1 and 2: one is in line

        async def one() -> int:
            delivery = await receiver.receive()
            if isinstance(log.store, MemoryStore):
                async with delivery:
                    pass
            return delivery.offset

        with pytest.raises(StopIteration, match="2"):
            one().send(None)


async def test_backlog_leaves_others_their_turns(log: EventLog) -> None:
    """Between two pages the loop goes round, although a receiver of events that are there never has to wait."""
    await append(log, 1000)
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    async with log.receiver("orders", "billing") as receiver:
        await take(receiver, 1000)
    task.cancel()

    assert turns >= 15  # 1, 2, 4, … 64, 100, 100, …: pages


async def test_claims_double_up_to_the_prefetch(log: EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that what is in line with an event that kills the process is little, and nothing after a restart."""
    asked = asks(log, monkeypatch)
    await append(log, 100)

    async with log.receiver("orders", "billing", prefetch_events=20) as receiver:
        await take(receiver, 60)
    async with log.receiver("orders", "other", prefetch_events=20) as receiver:
        await receiver.receive_batch(50)

    assert asked == [1, 2, 4, 8, 16, 20, 20, 50]


def asks(log: EventLog, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many events each claim asks for."""
    asked: list[int] = []
    claim = log.store.claim

    async def spy(key: ConsumerKey, token: int | None, *, max_events: int, **rest: Any) -> Claims:
        asked.append(max_events)
        return await claim(key, token, max_events=max_events, **rest)

    monkeypatch.setattr(log.store, "claim", spy)
    return asked


async def test_event_that_ends_its_process_uses_up_its_own_attempts_only(log: EventLog) -> None:
    """Killed at it again and again, it goes to the dead letters; those behind it have lost one attempt at most."""
    await append(log, 200)
    deaths = 0
    done: dict[int, int] = {}
    while len(done) < 199:
        receiver = await log.receiver("orders", "billing", max_attempts=3).__aenter__()
        async for delivery in receiver:
            if delivery.offset == 150:
                deaths += 1
                break
            done[delivery.offset] = delivery.attempt
            await delivery.ack()
            if len(done) == 199:
                break
        await die(log, receiver)

    assert deaths == 3
    assert {offset for offset, attempt in done.items() if attempt > 1} <= set(range(151, 200))
    assert max(done.values()) == 2
    assert [(letter.source_offset, letter.attempts) for letter in await log.dead_letters("orders")] == [(150, 3)]


async def die(log: EventLog, receiver: Receiver) -> None:
    """End a receiver as a kill of its process does: nothing is given back, and its lease is free at some time."""
    key = receiver.key
    lease = receiver._claimant.lease
    assert lease is not None
    assert lease.token is not None
    await log.store.release(key.lease, lease.token)
    receiver._claimant._held = InHand()
    receiver._line.clear()
    await receiver.aclose()


# -- holders ----------------------------------------------------------------------------------------------------------


async def test_second_holder_waits_for_the_first(log: EventLog) -> None:
    """For as long as it takes, without a timer, and goes on where the first stopped."""
    await append(log, 2)
    async with log.receiver("orders", "billing") as first:
        await (await first.receive()).ack()
        second = log.receiver("orders", "billing")
        opening = asyncio.create_task(second.__aenter__())
        await asyncio.sleep(3600)
        assert not opening.done()

    await opening
    assert (await second.receive()).offset == 1
    await second.aclose()


async def test_second_holder_is_told_if_it_asks(log: EventLog) -> None:
    """Who has the consumer, and until when."""
    async with log.receiver("orders", "billing"):
        with pytest.raises(LeaseHeldError, match=r"is held by .*, until it is released"):
            await log.receiver("orders", "billing", when_held="raise").__aenter__()


async def test_late_ack_after_the_close_works(log: EventLog) -> None:
    """In any order; what was not acked is handed to the next holder, as its second attempt."""
    await append(log, 5)
    async with log.receiver("orders", "billing") as receiver:
        deliveries = await take(receiver, 4)
    await deliveries[2].ack()
    await deliveries[0].ack()

    assert await cursor(log) == 1
    async with log.receiver("orders", "billing") as receiver:
        assert attempts(await take(receiver, 3)) == [(1, 2), (3, 2), (4, 1)]


async def test_late_ack_after_a_takeover_raises_and_moves_nothing(log: EventLog) -> None:
    """The next holder was handed the event, and only what that one says counts."""
    await append(log, 3)
    async with log.receiver("orders", "billing") as receiver:
        late = await take(receiver, 3)
    async with log.receiver("orders", "billing") as receiver:
        again = await take(receiver, 3)
        await again[0].ack()
        for delivery in late:
            with pytest.raises(LeaseLostError):
                await delivery.ack()
            with pytest.raises(LeaseLostError):
                await delivery.nack()

        assert await cursor(log) == 1
        await again[2].ack()
        await again[1].ack()
    assert await cursor(log) == 3


async def test_lost_lease_ends_the_receiver_with_an_error(log: EventLog) -> None:
    """Whoever has the consumer now, this one claims nothing more."""
    await append(log, 2)
    async with log.receiver("orders", "billing") as receiver:
        first = await receiver.receive()
        lease = receiver._claimant.lease
        assert lease is not None
        assert lease.token is not None
        await log.store.release(receiver.key.lease, lease.token)
        async with log.receiver("orders", "billing", when_held="raise") as other:
            taken = await other.receive()
            with pytest.raises(LeaseLostError):
                await first.ack()
            with pytest.raises(LeaseLostError):
                await receiver.receive()
            await taken.ack()

    assert await cursor(log) == 1


# -- the end ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["the receiver", "the log"])
async def test_iteration_ends_once_when_it_is_closed(log: EventLog, who: str) -> None:
    """For all who wait, at once; then for ever, and ``receive()`` says so."""

    async def read(receiver: Receiver) -> list[int]:
        return [delivery.offset async for delivery in receiver]

    await append(log, 1)
    async with log.receiver("orders", "billing") as receiver:
        reading = [asyncio.create_task(read(receiver)) for _ in range(3)]
        waiting = asyncio.create_task(receiver.receive())
        await at_rest()
        await (receiver.aclose() if who == "the receiver" else log.stop())

        assert await asyncio.gather(*reading) == [[0], [], []]
        with pytest.raises(ClosedError, match=r"^the receiver of consumer 'billing' of topic 'orders' is closed$"):
            await waiting
        for _ in range(3):
            with pytest.raises(StopAsyncIteration):
                await anext(receiver)
        with pytest.raises(ClosedError):
            await receiver.receive(1)
        with pytest.raises(ClosedError):
            await receiver.receive_batch(2)
        assert receiver.is_closed


async def test_receiver_may_be_closed_in_its_own_loop(log: EventLog) -> None:
    """The iteration ends behind the event in hand, which can still be acked."""
    await append(log, 5)
    seen = []
    async with log.receiver("orders", "billing") as receiver:
        async for delivery in receiver:
            seen.append(delivery.offset)
            if delivery.offset == 2:
                await receiver.aclose()
            await delivery.ack()

    assert (seen, await cursor(log)) == ([0, 1, 2], 3)


async def test_opening_that_waits_ends_when_the_log_stops(log: EventLog) -> None:
    """With an error: there is no consumer to wait for any more."""
    await log.store.acquire(ConsumerKey("orders", "billing").lease, "somebody", None)
    opening = asyncio.create_task(log.receiver("orders", "billing").__aenter__())
    await at_rest()
    await log.stop()

    with pytest.raises(ClosedError):
        await opening


@pytest.mark.parametrize("who", ["the receiver", "the log"])
async def test_events_in_line_are_given_back_unharmed(log: EventLog, who: str) -> None:
    """Their attempt does not count; that of those which were handed out does."""
    await append(log, 20)
    async with log.receiver("orders", "billing") as receiver:
        await take(receiver, 4)  # of 1, 2, 4
        await (receiver.aclose() if who == "the receiver" else log.stop())
        await log.start()  # where it was stopped
        with pytest.raises(ClosedError):
            await receiver.receive()
    async with log.receiver("orders", "billing") as receiver:
        assert attempts(await take(receiver, 20)) == [(offset, 2 if offset < 4 else 1) for offset in range(20)]


async def test_forgotten_receiver_warns(log: EventLog) -> None:
    """When the garbage collector takes it open; who closes it hears nothing."""
    receiver = log.receiver("orders", "billing")
    await receiver.__aenter__()
    held = [receiver]
    del receiver
    with pytest.warns(ResourceWarning, match=r"^the receiver of consumer 'billing' of topic 'orders' was forgotten"):
        held.clear()

    other = log.receiver("orders", "other")
    async with other:
        pass
    del other
    log.receiver("orders", "unopened")
    gc.collect()


async def test_receiver_is_opened_once(log: EventLog) -> None:
    """Before that it hands out nothing, and says what to do."""
    receiver = log.receiver("orders", "billing")
    for call in (receiver.receive, receiver.__anext__):
        with pytest.raises(ClosedError, match=r"^the receiver of consumer .* is not open; use `async with`$"):
            await call()
    async with receiver:
        with pytest.raises(RuntimeError, match="was opened before; make another one"):
            await receiver.__aenter__()
    with pytest.raises(RuntimeError, match="was opened before"):
        await receiver.__aenter__()
    assert "closed, 0 in line" in repr(receiver)


async def test_receiver_that_was_closed_cannot_be_opened(log: EventLog) -> None:
    """Not even when it never was; its consumer is free."""
    receiver = log.receiver("orders", "billing")
    await receiver.aclose()

    with pytest.raises(ClosedError):
        await receiver.__aenter__()
    async with log.receiver("orders", "billing", when_held="raise"):
        pass


async def test_receiver_of_a_log_that_does_not_run_cannot_be_opened(store: Store, clock: LoopClock) -> None:
    """It can be made before, and opened when the log runs."""
    log = EventLog(store, clock=clock)
    receiver = log.receiver("orders", "billing")
    with pytest.raises(ClosedError, match="has not started"):
        await receiver.__aenter__()
    async with log, receiver:
        await append(log, 1)
        assert (await receiver.receive()).offset == 0


# -- consumers that are moved or removed ------------------------------------------------------------------------------


async def test_receiver_of_a_removed_consumer_ends_with_an_error(log: EventLog) -> None:
    """At once, also where events were in line, which nobody may settle any more; closing it is quiet."""
    await append(log, 3)
    async with log.receiver("orders", "billing") as receiver:
        first, _ = await take(receiver, 2)  # of 1 and 2: one is in line
        await log.remove_consumer("orders", "billing")

        for call in (receiver.receive, receiver.__anext__, first.ack):
            with pytest.raises(UnknownConsumerError) as caught:
                await call()
            assert (caught.value.topic, caught.value.consumer) == ("orders", "billing")


async def test_waiting_receiver_of_a_removed_consumer_ends_with_an_error(log: EventLog) -> None:
    """In no time."""
    async with log.receiver("orders", "billing") as receiver:
        waiting = asyncio.create_task(receiver.receive())
        await at_rest()
        began = asyncio.get_running_loop().time()
        await log.remove_consumer("orders", "billing")

        with pytest.raises(UnknownConsumerError):
            await waiting
        assert asyncio.get_running_loop().time() == at(log, began)


@pytest.mark.parametrize(("to", "then"), [(0, [0, 1, 2]), (2, [2, 3, 4]), (15, [15, 16, 17]), ("latest", [20, 21])])
async def test_seek_moves_an_open_receiver(log: EventLog, to: Any, then: list[int]) -> None:
    """What was in line is dropped, the next event is that at the new place, and late acks are refused."""
    await append(log, 20)
    async with log.receiver("orders", "billing") as receiver:
        before = await take(receiver, 5)  # of 1, 2, 4: two are in line
        await before[0].ack()
        await log.seek("orders", "billing", to)
        await append(log, 2)
        after = await take(receiver, len(then))
        for delivery in before[1:]:
            with pytest.raises(LeaseLostError):
                await delivery.ack()
        for delivery in after:
            await delivery.ack()

        assert attempts(after) == [(offset, 1) for offset in then]
    assert await cursor(log) == then[-1] + 1


@pytest.mark.parametrize("turns", range(9))
async def test_seek_in_the_middle_of_a_claim_leaves_nothing_from_before(clock: LoopClock, turns: int) -> None:
    """Neither what was in line nor what was being claimed behind it is handed out once the seek is done."""
    async with EventLog(SlowStore(clock=clock), clock=clock) as log, log.receiver("orders", "billing") as receiver:
        await append(log, 8)
        await take(receiver, 2)  # of 1 and 2: one is in line
        receiving = asyncio.create_task(receiver.receive_batch(10))
        for _ in range(turns):
            await asyncio.sleep(0)
        was_done = receiving.done()
        await log.seek("orders", "billing", 5)
        batch = await receiving

        if not was_done:
            assert attempts(batch) == [(5, 1), (6, 1), (7, 1)]


async def test_seek_while_an_event_is_given_up_goes_on_from_the_new_place(
    log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not given up, but handed out at its first attempt again; there is no letter."""
    await append(log, 3)
    async with log.receiver("orders", "billing", max_attempts=1) as receiver:
        await take(receiver, 2)
    settle = log.store.settle

    async def overtaken(key: ConsumerKey, token: int | None, dispositions: Sequence[Disposition]) -> None:
        monkeypatch.setattr(log.store, "settle", settle)
        await log.store.seek(key, 1)
        await settle(key, token, dispositions)

    async with log.receiver("orders", "billing", max_attempts=1) as receiver:
        monkeypatch.setattr(log.store, "settle", overtaken)
        assert attempts(await take(receiver, 2)) == [(1, 1), (2, 1)]
    assert await log.dead_letters("orders") == []


async def test_seek_wakes_a_receiver_that_waits(log: EventLog) -> None:
    """It goes on from the new place in no time."""
    await append(log, 3)
    async with log.receiver("orders", "billing") as receiver:
        for delivery in await take(receiver, 3):
            await delivery.ack()
        waiting = asyncio.create_task(receiver.receive())
        await at_rest()
        began = asyncio.get_running_loop().time()
        await log.seek("orders", "billing", 1)

        assert (await waiting).offset == 1
        assert asyncio.get_running_loop().time() == at(log, began)


async def test_seek_by_another_process_shows_at_the_next_ack(log: EventLog) -> None:
    """Nobody here was told: the ack is refused, what was in line is dropped, and the receiver goes on from there."""
    await append(log, 20)
    async with log.receiver("orders", "billing") as receiver:
        deliveries = await take(receiver, 4)
        await log.store.seek(receiver.key, 1)
        with pytest.raises(LeaseLostError):
            await deliveries[3].ack()

        assert offsets(await take(receiver, 19)) == list(range(1, 20))


# -- arguments --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"start": "first"}, ValueError, "start must be 'earliest', 'latest', an offset or a datetime, not 'first'"),
        ({"start": 1.5}, TypeError, "start must be"),
        ({"prefetch_events": 0}, ValueError, "prefetch_events must be a whole number, at least 1, not 0"),
        ({"prefetch_events": True}, ValueError, "prefetch_events must be a whole number, at least 1, not True"),
        ({"prefetch_bytes": -1}, ValueError, "prefetch_bytes must be a whole number, at least 1, not -1"),
        ({"max_attempts": 2.5}, ValueError, "max_attempts must be a whole number, at least 1, not 2.5"),
        ({"when_held": "steal"}, ValueError, "when_held must be 'wait' or 'raise', not 'steal'"),
        ({"when_held": "raise", "competing": True}, ValueError, "when_held='raise' has no meaning with competing=True"),
        ({"ttl": 0}, ValueError, "ttl must be a positive number of seconds, not 0"),
        ({"ttl": float("nan"), "competing": True}, ValueError, "ttl must be a positive number of seconds, not nan"),
        ({"ttl": 5, "heartbeat": 3}, ValueError, "heartbeat must be below half of ttl"),
        ({"name": ""}, ValueError, "the name of a consumer must not be empty"),
        ({"name": "a\nb"}, ValueError, "the name of a consumer must have no white space"),
        ({"topic": "a b"}, ValueError, "the name of a topic must have no white space"),
        ({"topic": 3}, TypeError, "the name of a topic must be text, not 3"),
    ],
)
async def test_wrong_arguments_are_refused_when_the_receiver_is_made(
    log: EventLog, options: dict[str, Any], error: type[Exception], text: str
) -> None:
    """The message names the option, the value and the rule; nothing is registered."""
    with pytest.raises(error, match=f"^{re.escape(text)}"):
        log.receiver(**{"topic": "orders", "name": "billing", **options})

    assert await log.consumers() == []


async def test_wrong_batch_size_is_refused(log: EventLog) -> None:
    """It has to be at least one."""
    async with log.receiver("orders", "billing") as receiver:
        with pytest.raises(ValueError, match=r"^max_events must be a whole number, at least 1, not 0$"):
            await receiver.receive_batch(0)
