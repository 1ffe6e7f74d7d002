"""A consumer that runs: order, isolation, stops, leases, moves."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable

import pytest

from eventpipe import Deadline, RetryPolicy
from eventpipe.core.service import ServiceState
from eventpipe.errors import UnknownConsumerError
from eventpipe.log.consumer import Consumer
from eventpipe.log.eventlog import EventLog
from eventpipe.log.handling import ConsumedEvent
from eventpipe.log.shards import Shard
from eventpipe.sinks import MemorySink
from eventpipe.testing import FlakySink, GatedSink, HangingSink, VirtualTimeLoop
from eventpipe.testing.events import make_event

pytestmark = pytest.mark.asyncio

QUICK = RetryPolicy(initial=0.01, min_delay=0.0, max_delay=0.02)


async def _append(log: EventLog, events: int, topic: str = "orders") -> list[str]:
    made = [make_event("paid", distinct_id=f"u{number % 3}", properties={"number": number}) for number in range(events)]
    await log.append_many(topic, made)
    return [event.uuid for event in made]


async def _until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(600):
        while not is_so():  # noqa: ASYNC110  # time is virtual
            await asyncio.sleep(0.01)


async def _caught_up(*consumers: Consumer) -> None:
    async with asyncio.timeout(600):
        for consumer in consumers:
            while (await consumer.lag()).events:  # noqa: ASYNC110  # as above
                await asyncio.sleep(0.05)


async def _nothing(event: ConsumedEvent) -> None:
    """Handle an event well."""


class TestDelivery:
    async def test_an_event_reaches_a_handler_live(self, log: EventLog) -> None:
        """With its place and attempt, as soon as it is appended; append waits for no handler."""
        seen: list[ConsumedEvent] = []

        async def handle(event: ConsumedEvent) -> None:
            seen.append(event)

        async with Consumer(log, "orders", "audit", handle, start="latest"):
            offset = await log.append("orders", "paid", distinct_id="42")
            await _until(lambda: bool(seen))

        (event,) = seen
        assert (event.event.event, event.topic, event.offset, event.attempt) == ("paid", "orders", offset, 1)

    async def test_a_sink_has_the_properties_outside_that_it_wants_there(self, log: EventLog) -> None:
        """As from a client: who appended did not know which codec would send the event."""
        sink = MemorySink()
        sink.lifted = frozenset({"$set"})  # type: ignore[attr-defined]
        await log.append("orders", "paid", properties={"$set": {"plan": "pro"}, "sum": 5})

        async with Consumer(log, "orders", "analytics", sink):
            pass

        [event] = sink.events
        assert (event.lifted, event.data[-8:]) == ({"$set": {"plan": "pro"}}, b'{"sum":5')
        assert event.properties == {"$set": {"plan": "pro"}, "sum": 5}

    @pytest.mark.parametrize("handling", ["sleeps", "hangs", "holds up its stop"])
    async def test_append_is_undisturbed_by_a_handler(self, log: EventLog, handling: str) -> None:
        """It returns without a moment going by, whatever a handler does."""
        sink = HangingSink(swallows=3 if handling == "holds up its stop" else 0)
        loop = asyncio.get_running_loop()
        async with Consumer(log, "orders", "audit", sink, batch_events=1, timeout=5 if handling == "sleeps" else 600):
            await log.append("orders", "paid")
            await sink.reached()
            began = loop.time()
            await _append(log, 1_000)
            assert loop.time() - began < 1.0  # real time, in a store that has a thread
        await sink.release()

    async def test_batches_leave_by_events_or_age(self, log: EventLog) -> None:
        """A full one at once, the rest when its first event is old enough."""
        sink = MemorySink()
        loop = asyncio.get_running_loop()
        async with Consumer(log, "orders", "audit", sink, batch_events=10, max_batch_age=2.0):
            began = loop.time()
            await _append(log, 25)
            await _until(lambda: len(sink.events) == 20)
            assert loop.time() - began < 1.0
            await _until(lambda: len(sink.events) == 25)
            assert began + 2.0 <= loop.time() < began + 3.0  # a store that has a thread takes real time
        assert [len(batch.events) for batch in sink.batches] == [10, 10, 5]

    async def test_no_event_is_handed_out_before_its_delay(self, log: EventLog) -> None:
        """It is counted from the append."""
        loop = asyncio.get_running_loop()
        times: list[float] = []

        async def handle(event: ConsumedEvent) -> None:
            times.append(loop.time())

        async with Consumer(log, "orders", "audit", handle, delay=30.0):
            began = loop.time()
            await log.append("orders", "paid")
            await asyncio.sleep(10)
            await log.append("orders", "paid")
            await asyncio.sleep(60)
        assert [moment - began for moment in times] == pytest.approx([30.25, 40.25], abs=0.251)

    async def test_an_idle_consumer_takes_no_steps(self, log: EventLog) -> None:
        """An hour of fifty of them is a handful of turns of the loop."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        consumers = [Consumer(log, "orders", f"c{number}", _nothing) for number in range(50)]
        await _append(log, 10)
        for consumer in consumers:
            await consumer.start()
        await _caught_up(*consumers)
        await asyncio.sleep(300)  # the log trims what was settled
        before = loop.steps
        await asyncio.sleep(3600)
        assert loop.steps - before < 10
        for consumer in consumers:
            await consumer.stop()

    async def test_three_consumers_that_fail_at_random_see_everything_in_order(self, log: EventLog) -> None:
        """10 000 events: each at least once, in order; exactly once where nothing failed; whatever the others do."""
        seed = random.randrange(1 << 30)
        sinks = [
            FlakySink(seed + number, failure_rate=rate, latency=(0.0, 0.01))
            for number, rate in enumerate([0.0, 0.2, 0.5])
        ]
        consumers = [
            Consumer(log, "orders", f"c{number}", sink, batch_events=200, retry=QUICK, max_attempts=None)
            for number, sink in enumerate(sinks)
        ]
        for consumer in consumers:
            await consumer.start()
        uuids = [uuid for _ in range(10) for uuid in await _append(log, 1_000)]
        await _caught_up(*consumers)
        for consumer in consumers:
            await consumer.stop()

        for sink in sinks:
            assert sink.uuids == uuids, f"seed {seed}"
        assert consumers[0].statistics().handed == 10_000

    async def test_one_down_since_start_loses_nothing_while_another_is_busy(self, log: EventLog) -> None:
        """What the busy one has settled is not trimmed before the other has, too."""
        down = MemorySink()
        await log.add_consumer("orders", "down")
        async with Consumer(log, "orders", "busy", MemorySink(), max_batch_age=0.0) as busy:
            uuids = []
            for _ in range(20):
                uuids += await _append(log, 50)
                await _caught_up(busy)
                await log.trim()
                await asyncio.sleep(120)
        await Consumer(log, "orders", "down", down).process()

        assert down.uuids == uuids

    async def test_each_shard_has_its_keys(self, log: EventLog) -> None:
        """Together they see everything once, each key in one shard."""
        uuids = await _append(log, 90)
        sinks = [MemorySink(), MemorySink()]
        for index, sink in enumerate(sinks):
            await Consumer(log, "orders", "audit", sink, shard=Shard(index, 2)).process()

        assert sorted(sinks[0].uuids + sinks[1].uuids) == sorted(uuids)
        assert not {event.key for event in sinks[0].events} & {event.key for event in sinks[1].events}
        assert [info.name for info in await log.consumers("orders")] == ["audit[0/2]", "audit[1/2]"]


class TestOrder:
    async def test_each_key_keeps_its_order_with_concurrency(self, log: EventLog) -> None:
        """Handlers of other keys go on meanwhile; none of one key ever run at once."""
        seed = random.randrange(1 << 30)
        chance = random.Random(seed)
        seen: dict[str | None, list[int]] = {}
        running: set[str | None] = set()
        most = 0

        async def handle(event: ConsumedEvent) -> None:
            nonlocal most
            key = event.event.key
            assert key not in running
            running.add(key)
            most = max(most, len(running))
            try:
                await asyncio.sleep(chance.uniform(0, 0.01))
                if chance.random() < 0.2:
                    raise ValueError
                seen.setdefault(key, []).append(event.offset)
            finally:
                running.discard(key)

        made = [make_event(key=f"k{chance.randrange(6)}") for _ in range(400)]
        await log.append_many("orders", made)
        consumer = Consumer(
            log, "orders", "audit", handle, ordered_by="key", concurrency=4, retry=QUICK, max_attempts=None
        )
        async with consumer:
            await _caught_up(consumer)

        assert sorted(offset for offsets in seen.values() for offset in offsets) == list(range(400)), f"seed {seed}"
        assert all(offsets == sorted(offsets) for offsets in seen.values()), f"seed {seed}"
        assert most == 4

    async def test_a_failing_event_holds_up_the_topic_until_it_is_given_up(self, log: EventLog) -> None:
        """Nothing behind it is handed out before; then it is in the dead letters, and the others follow."""
        seen: list[int] = []

        async def handle(event: ConsumedEvent) -> None:
            seen.append(event.offset)
            if event.offset == 1:
                raise ValueError

        await _append(log, 3)
        consumer = Consumer(log, "orders", "audit", handle, max_attempts=4, retry=QUICK)
        async with consumer:
            await _caught_up(consumer)

        assert seen == [0, 1, 1, 1, 1, 2]
        assert [letter.source_offset for letter in await log.dead_letters("orders")] == [1]

    async def test_what_fails_waits_for_its_backoff(self, log: EventLog) -> None:
        """Attempt after attempt, as the policy says."""
        loop = asyncio.get_running_loop()
        times: list[float] = []

        async def handle(event: ConsumedEvent) -> None:
            times.append(loop.time())
            if len(times) < 4:
                raise ValueError

        await _append(log, 1)
        consumer = Consumer(log, "orders", "audit", handle, retry=RetryPolicy(initial=1.0, factor=3.0, jitter=0.0))
        async with consumer:
            await _caught_up(consumer)

        waits = [later - earlier for earlier, later in itertools.pairwise(times)]
        assert waits == pytest.approx([1.0, 3.0, 9.0], abs=0.25)


class TestStop:
    async def test_a_stop_hands_out_what_is_in_hand(self, log: EventLog) -> None:
        """A batch that waited for its age leaves at once; the report says that nothing is pending."""
        sink = MemorySink()
        consumer = Consumer(log, "orders", "audit", sink, max_batch_age=3600.0)
        await consumer.start()
        await _append(log, 7)
        await asyncio.sleep(1)
        assert not sink.events
        report = await consumer.stop(timeout=5)

        assert (len(sink.events), report.pending, bool(report)) == (7, 0, True)

    async def test_a_stop_makes_a_last_pass_over_what_it_had_not_claimed(self, log: EventLog) -> None:
        """Each event once, however much is pending, also where it was asked to stop before its first claim."""
        sink = MemorySink()
        ids = await _append(log, 12_000)
        consumer = Consumer(log, "orders", "audit", sink)
        await consumer.start()
        report = await consumer.stop(timeout=60)

        assert (report.pending, bool(report)) == (0, True)
        assert sink.uuids == ids

    async def test_a_last_pass_ends_with_what_fails_in_order(self, log: EventLog) -> None:
        """A far end that is down is attempted once, and everything stays pending."""
        sink = FlakySink(seed=1, failure_rate=1.0)
        await _append(log, 3)
        consumer = Consumer(log, "orders", "audit", sink)
        await consumer.start()
        report = await consumer.stop()

        assert (report.pending, len(sink.attempts)) == (3, 1)

    async def test_one_that_stands_by_makes_no_last_pass(self, log: EventLog) -> None:
        """The holder goes on; of two, one alone is ever at work."""
        holder, standby = GatedSink(), MemorySink()
        async with Consumer(log, "orders", "audit", holder, max_batch_age=0.0):
            second = Consumer(log, "orders", "audit", standby)
            await second.start()
            await _append(log, 3)
            await holder.reached()
            report = await second.stop()
            holder.release()

        assert (report.pending, bool(report), standby.events) == (3, True, [])

    async def test_a_stop_cuts_off_at_its_deadline(self, log: EventLog) -> None:
        """What ran is told as interrupted and given back: the next life has it at the same attempt."""
        sink = GatedSink()
        consumer = Consumer(log, "orders", "audit", sink, max_batch_age=0.0)
        await consumer.start()
        interrupted = consumer.subscribe("interrupted")
        await _append(log, 3)
        await sink.reached()
        loop = asyncio.get_running_loop()
        began = loop.time()
        consumer.request_stop()
        consumer.request_stop(Deadline.after(4))
        report = await consumer.stop()

        assert loop.time() - began == pytest.approx(4, abs=0.25)
        assert (report.pending, consumer.statistics().interrupted) == (3, 3)
        assert [len(outcome.captured) async for outcome in interrupted] == [3]  # type: ignore[union-attr]
        sink.release()
        await consumer.start()
        await _caught_up(consumer)
        await consumer.stop()
        assert [batch.attempt for batch in sink.attempts] == [1, 1]

    async def test_a_handler_that_swallows_its_cancellation_holds_up_nobody(self, log: EventLog) -> None:
        """The stop ends in time and names it; what it held is given back."""
        sink = HangingSink(swallows=100)
        consumer = Consumer(log, "orders", "audit", sink, max_batch_age=0.0)
        await consumer.start()
        await _append(log, 2)
        await sink.reached()
        consumer.request_stop(Deadline.after(1))
        report = await consumer.stop()

        assert (len(report.stragglers), report.pending, bool(report)) == (1, 2, False)
        other = MemorySink()
        await Consumer(log, "orders", "audit", other, when_held="raise").process()
        await sink.release()
        await asyncio.sleep(1)
        assert len(other.events) == 2

    async def test_a_handler_has_a_timeout(self, log: EventLog) -> None:
        """It is cancelled, and its event has failed."""
        times = 0

        async def handle(event: ConsumedEvent) -> None:
            nonlocal times
            times += 1
            if times == 1:
                await asyncio.sleep(3600)

        await _append(log, 1)
        consumer = Consumer(log, "orders", "audit", handle, timeout=2.0, retry=QUICK)
        async with consumer:
            await _caught_up(consumer)
            assert consumer.statistics().last_error == "timeout: did not end within 2 s"
        assert (times, consumer.statistics().retried) == (2, 1)

    async def test_leaving_the_block_closes_the_sink(self, log: EventLog) -> None:
        """``stop()`` leaves it open."""
        sink = MemorySink()
        async with Consumer(log, "orders", "audit", sink) as consumer:
            await consumer.stop()
            assert not sink.is_closed
        assert sink.is_closed


class TestHolders:
    async def test_one_holder_works_at_a_time(self, log: EventLog) -> None:
        """The second stands by, and goes on where the first stopped."""
        sinks = [MemorySink(), MemorySink()]
        first, second = (Consumer(log, "orders", "audit", sink, max_batch_age=0.0) for sink in sinks)
        await first.start()
        await second.start()
        uuids = await _append(log, 5)
        await _caught_up(first)
        assert (len(sinks[1].events), second.statistics().is_holder) == (0, False)
        await first.stop()
        uuids += await _append(log, 5)
        await _caught_up(second)
        await second.stop()

        assert [*sinks[0].uuids, *sinks[1].uuids] == uuids

    async def test_one_that_stands_by_can_be_stopped(self, log: EventLog) -> None:
        """At once, without ever having held anything."""
        async with Consumer(log, "orders", "audit", _nothing):
            second = Consumer(log, "orders", "audit", _nothing)
            await second.start()
            await asyncio.sleep(1)
            report = await second.stop(timeout=1)
            assert (bool(report), second.state) == (True, ServiceState.STOPPED)

    async def test_a_seek_is_obeyed_while_it_runs(self, log: EventLog) -> None:
        """What was in hand is forgotten, and it goes on from the new place."""
        seen: list[int] = []

        async def handle(event: ConsumedEvent) -> None:
            await asyncio.sleep(1)
            seen.append(event.offset)

        await _append(log, 20)
        consumer = Consumer(log, "orders", "audit", handle, batch_events=1)
        async with consumer:
            await asyncio.sleep(3.5)
            assert seen == [0, 1, 2]
            await log.seek("orders", "audit", 15)
            await _caught_up(consumer)
            assert seen == [0, 1, 2, 15, 16, 17, 18, 19]
            await log.seek("orders", "audit", 18)
            await _caught_up(consumer)
            assert seen[8:] == [18, 19]

    async def test_a_pause_is_obeyed_while_it_runs(self, log: EventLog) -> None:
        """Nothing more is claimed; after ``resume()`` it goes on, in order, with what failed before."""
        seen: list[int] = []

        async def handle(event: ConsumedEvent) -> None:
            seen.append(event.offset)
            if event.offset == 1 and event.attempt == 1:
                raise ValueError

        consumer = Consumer(log, "orders", "audit", handle, retry=RetryPolicy(initial=1.0, jitter=0.0))
        async with consumer:
            await _append(log, 3)
            await asyncio.sleep(0.5)
            await log.pause("orders", "audit")
            await asyncio.sleep(60)
            await _append(log, 2)
            assert seen == [0, 1]
            await log.resume("orders", "audit")
            await _caught_up(consumer)
        assert seen == [0, 1, 1, 2, 3, 4]

    async def test_a_removed_consumer_fails(self, log: EventLog) -> None:
        """It is not registered again behind the back of who removed it."""
        consumer = Consumer(log, "orders", "audit", _nothing)
        await consumer.start()
        await asyncio.sleep(1)
        await log.remove_consumer("orders", "audit")
        await consumer.stopped()

        assert (consumer.state, type(consumer.error)) == (ServiceState.FAILED, UnknownConsumerError)
        assert await log.consumers("orders") == []

    async def test_a_stalled_holder_cannot_commit(self, log: EventLog) -> None:
        """Whoever took over has its events, and its late success changes nothing."""
        uuids = await _append(log, 3)
        sink, other = GatedSink(), MemorySink()
        consumer = Consumer(log, "orders", "audit", sink, max_batch_age=0.0)
        await consumer.start()
        await sink.reached()
        # What another process sees of a holder that is silent: its lease is over.
        lease = consumer.key.lease
        shift = consumer._shift
        assert shift is not None
        token = shift._claimant._token
        assert token is not None
        await log.store.release(lease, token)
        await Consumer(log, "orders", "audit", other, when_held="raise").process()
        sink.release(1)
        await asyncio.sleep(1)
        await consumer.stop()

        assert (other.uuids, sink.uuids) == (uuids, uuids)
        statistics = consumer.statistics()
        assert (statistics.delivered, statistics.interrupted, statistics.takeovers) == (0, 3, 1)
