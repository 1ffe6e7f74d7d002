"""The end of a consumer by a deadline: its own, or that of its log."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from eventpipe.core.service import ServiceState
from eventpipe.log.consumer import Consumer
from eventpipe.log.eventlog import EventLog
from eventpipe.log.handling import ConsumedEvent
from eventpipe.sinks import MemorySink
from eventpipe.stores import MemoryStore
from eventpipe.stores.base import Store
from eventpipe.testing.clock import LoopClock

pytestmark = pytest.mark.asyncio


class Busy:
    """A handler that takes so long for each event, and keeps which it has begun and which it has handled."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.begun: list[tuple[int, int]] = []
        self.handled: list[int] = []

    async def __call__(self, event: ConsumedEvent) -> None:
        self.begun.append((event.offset, event.attempt))
        await asyncio.sleep(self.seconds)
        self.handled.append(event.offset)


class SlowLeases(MemoryStore):
    """Takes a fifth of a second for whatever is asked of a lease."""

    async def acquire(self, name: str, holder: str, ttl: float | None) -> int:
        await asyncio.sleep(0.2)
        return await super().acquire(name, holder, ttl)

    async def release(self, name: str, token: int) -> None:
        await asyncio.sleep(0.2)
        await super().release(name, token)


class TestStop:
    @pytest.mark.parametrize("timeout", [0, 0.1, 10])
    async def test_a_stop_cuts_off_a_handler_at_its_deadline(self, log: EventLog, timeout: float) -> None:
        """And says what stays pending, within a quarter of a second; what ran is given back unharmed."""
        await log.append_many("orders", ["paid"] * 3)
        handle = Busy(1e6)
        consumer = Consumer(log, "orders", "audit", handle, timeout=1e6)
        await consumer.start()
        await asyncio.sleep(1)

        report = await consumer.stop(timeout)

        assert (bool(report), report.pending, consumer.state) == (True, 3, ServiceState.STOPPED)
        assert timeout <= report.elapsed <= timeout + 0.25
        assert await consumer.stop(timeout) == replace(report, elapsed=0.0)
        assert (await log.consumer("orders", "audit")).holder is None
        handle.seconds = 0.0
        await Consumer(log, "orders", "audit", handle).process()
        assert handle.begun == [(0, 1), (0, 1), (1, 1), (2, 1)]

    async def test_a_stop_cuts_off_its_last_pass_at_its_deadline(self, log: EventLog) -> None:
        """What the pass has handled until then is settled."""
        await log.append_many("orders", ["paid"] * 2000)
        handle = Busy(1.0)
        consumer = Consumer(log, "orders", "audit", handle, batch_events=1)
        await consumer.start()
        await asyncio.sleep(1.5)

        report = await consumer.stop(20)

        assert 20 <= report.elapsed <= 20.25
        assert report.pending == 2000 - len(handle.handled)
        assert len(handle.handled) == pytest.approx(21, abs=1)

    async def test_a_stop_makes_its_last_pass_also_while_the_lease_is_asked_for(self) -> None:
        """However slow the store is to grant it, and to take back what was granted to nobody any more."""
        async with EventLog(SlowLeases()) as log:
            await log.append_many("orders", ["paid"] * 3)
            handle = Busy(0.0)
            consumer = Consumer(log, "orders", "audit", handle)
            await consumer.start()
            await asyncio.sleep(0)

            report = await consumer.stop()

            assert (report.pending, handle.handled) == (0, [0, 1, 2])

    async def test_a_stop_waits_for_no_lease_beyond_its_deadline(self) -> None:
        """Then there is no last pass, and the report says what stays."""
        async with EventLog(SlowLeases()) as log:
            await log.append_many("orders", ["paid"] * 3)
            consumer = Consumer(log, "orders", "audit", Busy(0.0))
            await consumer.start()
            await asyncio.sleep(0)

            report = await consumer.stop(0.3)

            assert (report.pending, report.elapsed <= 0.55) == (3, True)
            await asyncio.sleep(1)  # what was granted to nobody any more is given back by then

    async def test_of_several_stops_the_earliest_deadline_counts(self, log: EventLog) -> None:
        """All of them have the report then."""
        await log.append("orders", "paid")
        consumer = Consumer(log, "orders", "audit", Busy(1e6), timeout=1e6)
        await consumer.start()
        await asyncio.sleep(1)

        first, *others = await asyncio.gather(consumer.stop(), consumer.stop(5), consumer.stop(60))

        assert 5 <= first.elapsed <= 5.25
        assert [report.pending for report in (first, *others)] == [1, 1, 1]

    async def test_a_store_that_does_not_answer_is_not_waited_for(
        self, log: EventLog, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The stop raises, and goes on; it may be waited for again."""
        await log.append("orders", "paid")
        consumer = Consumer(log, "orders", "audit", MemorySink(), max_batch_age=3600.0)
        await consumer.start()
        await asyncio.sleep(1)
        settle = log.store.settle
        answered = asyncio.Event()

        async def slow(*args: object) -> None:
            await answered.wait()
            await settle(*args)  # type: ignore[arg-type]  # as they come

        monkeypatch.setattr(log.store, "settle", slow)
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises(TimeoutError, match=r"^consumer 'audit' of topic 'orders' did not stop within 2 s$"):
            await consumer.stop(2)
        assert 2 <= loop.time() - began <= 2.5
        answered.set()

        report = await consumer.stop(2)

        assert (bool(report), report.pending, consumer.state) == (True, 0, ServiceState.STOPPED)


class TestStopOfTheLog:
    @pytest.mark.parametrize("leave", [True, False], ids=["leaving the block", "stop(5)"])
    async def test_a_log_ends_its_consumers_by_its_own_deadline(
        self, store: Store, clock: LoopClock, leave: bool
    ) -> None:
        """They begin with nothing more, however much they hold; what they had not begun with is as it was."""
        handle = Busy(1.0)
        log = EventLog(store, clock=clock)
        await log.start()
        await log.append_many("orders", ["paid"] * 1000)
        consumer = Consumer(log, "orders", "audit", handle)
        await consumer.start()
        await asyncio.sleep(2.5)
        assert consumer.statistics().held > 100
        handled = len(handle.handled)
        loop = asyncio.get_running_loop()
        began = loop.time()
        await (log.__aexit__() if leave else log.stop(5))

        assert loop.time() - began <= 1.25
        await consumer.stopped()
        assert (consumer.error, consumer.statistics().held) == (None, 0)
        assert (len(handle.handled), len(handle.begun)) == (handled + 1, handled + 1)
        await self._goes_on_at(store, clock, handled + 1)

    @pytest.mark.parametrize(("timeout", "least", "most"), [(None, 14, 15), (5, 4.4, 5)])
    async def test_a_log_cuts_off_what_takes_longer(
        self, store: Store, clock: LoopClock, timeout: float | None, least: float, most: float
    ) -> None:
        """In time to give it back, so that the stop does not raise; it comes again at the same attempt."""
        log = EventLog(store, clock=clock)
        await log.start()
        await log.append_many("orders", ["paid"] * 3)
        consumer = Consumer(log, "orders", "audit", Busy(1e6), timeout=1e6)
        await consumer.start()
        await asyncio.sleep(1)

        report = await log.stop(timeout)

        assert bool(report)
        assert least <= report.elapsed <= most
        await consumer.stopped()
        assert (consumer.error, consumer.statistics().interrupted) == (None, 1)
        await self._goes_on_at(store, clock, 0)

    @pytest.mark.parametrize(("timeout", "least", "most"), [(3, 7.5, 8), (60, 14, 15)], ids=["earlier", "later"])
    async def test_an_earlier_stop_of_the_log_brings_their_end_forward(
        self, log: EventLog, timeout: float, least: float, most: float
    ) -> None:
        """A later one does not put it off."""
        await log.append("orders", "paid")
        consumer = Consumer(log, "orders", "audit", Busy(1e6), timeout=1e6)
        await consumer.start()
        await asyncio.sleep(1)
        first = asyncio.create_task(log.stop())
        await asyncio.sleep(5)
        await log.stop(timeout)

        assert least <= (await first).elapsed <= most
        await consumer.stopped()

    async def test_a_log_that_is_cut_off_waits_for_nobody(self, store: Store, clock: LoopClock) -> None:
        """What runs is given back all the same."""
        log = EventLog(store, clock=clock)
        await log.start()
        await log.append("orders", "paid")
        consumer = Consumer(log, "orders", "audit", Busy(1e6), timeout=1e6)
        await consumer.start()
        await asyncio.sleep(1)

        log.cancel()
        report = await log.stop()

        assert (report.cancelled, consumer.error) == ((log.name,), None)
        assert report.elapsed <= 0.25
        await consumer.stopped()
        await self._goes_on_at(store, clock, 0)

    async def test_a_batch_that_has_not_left_is_given_back(self, store: Store, clock: LoopClock) -> None:
        """It waits for its age; the log does not."""
        log = EventLog(store, clock=clock)
        sink = MemorySink()
        await log.start()
        await log.append_many("orders", ["paid"] * 5)
        consumer = Consumer(log, "orders", "audit", sink, max_batch_age=3600.0)
        await consumer.start()
        await asyncio.sleep(1)
        await log.stop()
        await consumer.stopped()

        assert (sink.events, consumer.error) == ([], None)
        await self._goes_on_at(store, clock, 0)

    async def _goes_on_at(self, store: Store, clock: LoopClock, offset: int) -> None:
        """Whoever has the consumer next begins there, at the first attempt."""
        handle = Busy(0.0)
        async with EventLog(store, clock=clock) as log:
            await Consumer(log, "orders", "audit", handle).process()
        assert handle.begun[0] == (offset, 1)
