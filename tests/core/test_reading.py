"""A service that reads a channel to its end: what ends it, what a stop waits for, and what is left."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Sequence

import pytest

from eventpipe.core.channel import Channel, Producer
from eventpipe.core.deadline import Deadline
from eventpipe.core.group import ServiceGroup
from eventpipe.core.reading import Reading
from eventpipe.core.service import Service, ServiceState
from eventpipe.errors import ClosedError
from eventpipe.options import RetryPolicy
from eventpipe.testing.loop import VirtualTimeLoop

pytestmark = pytest.mark.asyncio


class Keeping(Reading[int]):
    """Keeps what it read; 0 is what it fails at, and below it is what it takes as many seconds for."""

    def __init__(self, channel: Channel[int] | None = None) -> None:
        super().__init__(channel or Channel(10), "keeping")
        self.kept: list[int] = []

    async def _handle(self, items: Sequence[int]) -> None:
        for item in items:
            if item == 0:
                raise ZeroDivisionError
            if item < 0:
                await asyncio.sleep(-item)
        self.kept += items


def loop() -> VirtualTimeLoop:
    running = asyncio.get_running_loop()
    assert isinstance(running, VirtualTimeLoop)
    return running


def state(service: Service) -> ServiceState:
    # Through a function, so that a type checker does not take it for constant.
    return service.state


async def settle() -> None:
    """Let everybody run who can."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_the_end_of_its_input_ends_it_without_a_stop() -> None:
    """It has read everything and is finished; an hour later it has taken no step more."""
    reading = Keeping()
    producer = reading.channel.producer("only")
    await reading.start()
    for item in (1, 2, 3):
        await producer.send([item])

    before = loop().steps
    producer.close()
    await reading.stopped()
    assert loop().steps - before <= 4

    assert (reading.kept, reading.left) == ([1, 2, 3], 0)
    assert (state(reading), reading.error, reading.is_finished) == (ServiceState.STOPPED, None, True)
    before = loop().steps
    await asyncio.sleep(3600)
    assert loop().steps - before <= 2
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_parks_while_nothing_comes() -> None:
    """An hour of no input is a handful of steps."""
    reading = Keeping()
    async with reading:
        with reading.channel.producer("only") as producer:
            await settle()
            before = loop().steps
            await asyncio.sleep(3600)
            assert loop().steps - before <= 2
            producer.send_nowait([1])
        await reading.stopped()

    assert reading.kept == [1]


async def test_input_that_ended_before_it_started_is_read_and_finishes_it() -> None:
    """Whoever writes need not wait for whoever reads."""
    reading = Keeping()
    with reading.channel.producer("early") as producer:
        producer.send_nowait([1, 2])

    await reading.start()
    await reading.stopped()

    assert (reading.kept, reading.is_finished) == ([1, 2], True)


async def test_a_stop_waits_for_the_end_of_its_input() -> None:
    """What producers send meanwhile is read, however long they take."""
    reading = Keeping()
    await reading.start()
    with reading.channel.producer("slow") as producer:
        stop = asyncio.create_task(reading.stop())
        for item in (1, 2, 3):
            await asyncio.sleep(60)
            await producer.send([item])
        assert not stop.done()
    report = await stop

    assert report
    assert (reading.kept, reading.left) == ([1, 2, 3], 0)
    assert (state(reading), reading.is_finished) == (ServiceState.STOPPED, False)


async def test_a_stop_without_a_producer_is_the_end_of_its_input() -> None:
    """What is held is read; who comes later is told that it has ended."""
    channel: Channel[int] = Channel(10)
    reading = Keeping(channel)
    await reading.start()
    await reading.stop()
    with pytest.raises(ClosedError):
        channel.producer("late")

    await reading.start()
    with channel.producer("only") as producer:
        producer.send_nowait([1])
        producer.send_nowait([2])
        reading.request_stop()
    await reading.stopped()

    assert (reading.kept, reading.left) == ([1, 2], 0)


async def test_the_deadline_cuts_it_off_and_counts_what_is_left() -> None:
    """The list in hand, what is held, and what senders were waiting with; they are let go, and so are later ones."""
    reading = Keeping()
    producer = reading.channel.producer("only")
    await reading.start()
    for items in ([1], [-3600, 2], [3] * 9):
        await producer.send(items)
    waiting = asyncio.create_task(producer.send([4, 4]))
    await settle()

    with pytest.raises(TimeoutError):
        await reading.stop(5)
    await reading.stopped()

    assert (loop().time(), state(reading), reading.error) == (5.0, ServiceState.STOPPED, None)
    await waiting
    assert (reading.kept, reading.left) == ([1], 2 + 9 + 2)
    await producer.send([5, 5, 5])
    assert reading.left == 2 + 9 + 2 + 3
    producer.close()


async def test_says_what_a_deadline_left_and_who_did_not_close(caplog: pytest.LogCaptureFixture) -> None:
    """One line, an error only where something was left; an end of input in time says nothing."""
    reading = Keeping()
    await reading.start()
    with reading.channel.producer("in time"):
        reading.request_stop(Deadline.after(1))
    await reading.stopped()
    assert caplog.record_tuples == []

    for lists in ([], [[-60], [1, 1]]):
        await reading.start()
        with reading.channel.producer("a"), reading.channel.producer("b") as producer:
            for items in lists:
                await producer.send(items)
            reading.request_stop(Deadline.after(1))
            await reading.stopped()

    name, text = (
        "eventpipe.core.reading",
        "service keeping was cut off by its deadline, with {} items left; not closed by a, b",
    )
    assert caplog.record_tuples == [(name, logging.WARNING, text.format(0)), (name, logging.ERROR, text.format(3))]


async def test_an_earlier_deadline_counts_and_a_later_one_does_not() -> None:
    """Of several stops the nearest moment is the one that cuts it off."""
    reading = Keeping()
    with reading.channel.producer("only") as producer:
        await reading.start()
        producer.send_nowait([-3600])
        reading.request_stop()
        await settle()
        reading.request_stop(Deadline.after(10))
        reading.request_stop(Deadline.after(5))
        reading.request_stop(Deadline.after(20))
        await reading.stopped()

        assert loop().time() == 5
        assert reading.left == 1


async def test_a_deadline_that_is_due_cuts_it_off_at_once() -> None:
    """Also while it is parked; of lists that came in this very step it takes the one that it was woken for."""
    reading = Keeping()
    with reading.channel.producer("only") as producer:
        for lists in ([], [[1], [2]]):
            await reading.start()
            await settle()
            for items in lists:
                producer.send_nowait(items)
            reading.request_stop(Deadline.after(0))
            await reading.stopped()

        assert (reading.kept, reading.left, loop().time()) == ([1], 1, 0)


async def test_a_handler_that_swallows_its_cancellation_is_the_last() -> None:
    """It ends when it likes; nothing is handed to it after the deadline."""

    class Stubborn(Keeping):
        async def _handle(self, items: Sequence[int]) -> None:
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError:
                await asyncio.sleep(10)
            self.kept += items

    reading = Stubborn()
    with reading.channel.producer("only") as producer:
        await reading.start()
        for item in (1, 2):
            producer.send_nowait([item])
        reading.request_stop(Deadline.after(1))
        await reading.stopped()

        assert (reading.kept, reading.left, loop().time()) == ([1], 1, 11)
        assert reading.error is None


async def test_a_handler_that_fails_is_a_crash() -> None:
    """The error is kept, the list it failed at and those behind it are left, and no producer waits for room."""
    reading = Keeping()
    producer = reading.channel.producer("only")
    await reading.start()
    for items in ([1], [0, 0], [2] * 10):
        await producer.send(items)
    await reading.stopped()

    assert state(reading) == ServiceState.FAILED
    assert isinstance(reading.error, ZeroDivisionError)
    assert (reading.kept, reading.left) == ([1], 2 + 10)
    await producer.send([3])
    assert reading.left == 2 + 10 + 1
    producer.close()


@pytest.mark.parametrize("timeout", [None, 10.0], ids=["no deadline", "a later deadline"])
async def test_a_timeout_of_the_handler_is_a_crash_and_not_the_deadline(timeout: float | None) -> None:
    """Whatever it raises is its error."""

    class Impatient(Keeping):
        async def _handle(self, items: Sequence[int]) -> None:
            async with asyncio.timeout(1):
                await asyncio.sleep(2)

    reading = Impatient()
    with reading.channel.producer("only") as producer:
        await reading.start()
        reading.request_stop(Deadline.after(timeout))
        producer.send_nowait([1])
        producer.send_nowait([2])
        await reading.stopped()

        assert isinstance(reading.error, TimeoutError)
        assert (reading.left, loop().time()) == (1 + 1, 1)


async def test_goes_on_after_a_crash_with_the_list_behind() -> None:
    """Started again by its group while producers are open, it misses the list it failed at and no other."""
    reading = Keeping()
    group = ServiceGroup(reading, restart=RetryPolicy(max_attempts=3, initial=1))
    with reading.channel.producer("only") as producer:
        await group.start()
        for item in (1, 0, 2):
            producer.send_nowait([item])
        await settle()
        assert group.crashed == (reading,)
        producer.send_nowait([3])
        await asyncio.sleep(10)
        producer.send_nowait([4])
    await group.stopped()

    assert (reading.kept, reading.left, reading.is_finished) == ([1, 2, 3, 4], 1, True)


async def test_goes_on_after_a_crash_to_the_end_of_its_input() -> None:
    """Its producers are done: started again, it reads what they sent, is finished, and only then begins anew."""
    reading = Keeping()
    with reading.channel.producer("done") as producer:
        for items in ([0], [1], [-3600], [2], [3]):
            producer.send_nowait(items)
    await reading.start()
    await reading.stopped()
    await reading.start()
    await settle()
    assert reading.kept == [1]
    assert reading._life is not None
    reading._life.task.cancel()
    await reading.stopped()
    await reading.start()
    await reading.stopped()
    assert (reading.kept, reading.left, reading.is_finished) == ([1, 2, 3], 2, True)

    await reading.start()
    with reading.channel.producer("next") as producer:
        producer.send_nowait([4])
    await reading.stopped()
    assert (reading.kept, reading.left) == ([1, 2, 3, 4], 2)


async def test_a_life_after_the_end_begins_with_a_fresh_channel() -> None:
    """Each is as good as the first, whether it ended by itself or was stopped."""
    reading = Keeping()
    for number in (1, 2, 3, 4):
        await reading.start()
        with reading.channel.producer(str(number)) as producer:
            await producer.send([number])
        if number % 2:
            await reading.stopped()
        await reading.stop()

    assert (reading.kept, reading.left) == ([1, 2, 3, 4], 0)


async def test_what_a_deadline_left_is_not_read_in_a_later_life() -> None:
    """It was counted as left, and stays so; the next life is about new input."""
    reading = Keeping()
    await reading.start()
    with reading.channel.producer("only") as producer:
        producer.send_nowait([-60, 1])
        producer.send_nowait([2, 2, 2])
        reading.request_stop(Deadline.after(1))
        await reading.stopped()
    assert reading.left == 5

    await reading.start()
    assert reading.left == 5
    with reading.channel.producer("next") as producer:
        producer.send_nowait([3])
    await reading.stopped()

    assert (reading.kept, reading.left) == ([3], 5)


async def test_what_it_was_cut_off_from_is_not_read_in_a_later_life() -> None:
    """Being cut off is no crash: the next life is about new input, and what was left stays counted."""
    reading = Keeping()
    await reading.start()
    with reading.channel.producer("only") as producer:
        producer.send_nowait([-60])
        producer.send_nowait([1, 1])
        await settle()
        reading.cancel()
        await reading.stopped()
    assert (reading.left, reading.was_cut_off) == (3, True)

    await reading.start()
    with reading.channel.producer("next") as producer:
        producer.send_nowait([2])
    await reading.stopped()

    assert (reading.kept, reading.left) == ([2], 3)


async def test_a_crash_in_another_loop_is_not_gone_on_with() -> None:
    """Whoever starts it in a new loop begins anew; what the first loop left stays counted."""
    reading = Keeping()

    async def crash() -> None:
        with reading.channel.producer("gone") as producer:
            for items in ([0], [1, 1]):
                producer.send_nowait(items)
        await reading.start()
        await reading.stopped()

    await asyncio.to_thread(asyncio.run, crash())
    assert (state(reading), reading.left) == (ServiceState.FAILED, 3)

    await reading.start()
    with reading.channel.producer("next") as producer:
        producer.send_nowait([2])
    await reading.stopped()
    assert (reading.kept, reading.left) == ([2], 3)


async def test_an_error_of_a_handler_that_is_cut_off_is_a_crash() -> None:
    """At the deadline as well as before: nobody else would hear of it."""

    class Failing(Keeping):
        async def _handle(self, items: Sequence[int]) -> None:
            try:
                await asyncio.sleep(3600)
            finally:
                raise ZeroDivisionError

    reading = Failing()
    with reading.channel.producer("only") as producer:
        await reading.start()
        producer.send_nowait([1])
        reading.request_stop(Deadline.after(1))
        await reading.stopped()

    assert (state(reading), loop().time()) == (ServiceState.FAILED, 1)
    assert isinstance(reading.error, ZeroDivisionError)


@pytest.mark.parametrize("when", ["before", "after"])
async def test_may_do_more_than_read(when: str) -> None:
    """A stop that comes before it reads, or after it has, is a stop; its deadline holds for the reading."""

    class Busy(Keeping):
        async def _serve(self) -> None:
            await asyncio.sleep(10)
            await super()._serve()
            await asyncio.sleep(10)

    reading = Busy()
    with reading.channel.producer("only") as producer:
        producer.send_nowait([-3600])
        await reading.start()
        if when == "before":
            reading.request_stop(Deadline.after(15))
            await reading.stopped()
            assert (reading.left, loop().time()) == (1, 15 + 10)
            return
        producer.send_nowait([1])
        reading.request_stop(Deadline.after(3700))
    await asyncio.sleep(3615)
    reading.request_stop(Deadline.after(1))
    await reading.stopped()
    assert (reading.left, reading.error, loop().time()) == (0, None, 10 + 3600 + 10)


async def test_a_deadline_that_passes_before_it_reads_leaves_everything() -> None:
    """What it does first took too long: no list is begun."""

    class Late(Keeping):
        async def _serve(self) -> None:
            await asyncio.sleep(10)
            await super()._serve()

    reading = Late()
    with reading.channel.producer("only") as producer:
        for items in ([1], [2]):
            producer.send_nowait(items)
        await reading.start()
        reading.request_stop(Deadline.after(5))
        await reading.stopped()

        assert (reading.kept, reading.left, loop().time()) == ([], 2, 10)


async def test_a_life_after_a_deadline_reads_on_where_a_producer_stayed() -> None:
    """Its channel cannot be made as new; what was left by then is read."""
    reading = Keeping()
    await reading.start()
    with reading.channel.producer("stays") as producer:
        producer.send_nowait([-60])
        producer.send_nowait([1])
        reading.request_stop(Deadline.after(1))
        await reading.stopped()
        assert reading.left == 2

        await reading.start()
        producer.send_nowait([2])
    await reading.stopped()

    assert (reading.kept, reading.left) == ([1, 2], 1)


async def test_its_channel_can_be_replaced_while_it_is_at_rest() -> None:
    """Before the first start and between two lives; while it runs or stops that is an error, and nothing changes."""
    first, second = Channel[int](10, "first"), Channel[int](10, "second")
    reading = Keeping()
    reading.channel = first
    assert reading.channel is first

    await reading.start()
    producer = first.producer("only")
    producer.send_nowait([-10, 0])
    for expected in ("running", "stopping"):
        with pytest.raises(RuntimeError, match=rf"^service keeping is {expected}; its channel cannot be replaced$"):
            reading.channel = second
        reading.request_stop()
    assert reading.channel is first
    producer.send_nowait([1, 1, 1])
    producer.close()
    await reading.stopped()
    assert reading.left == 2 + 3

    for item, other in ((1, second), (2, Channel[int](10, "third"))):  # after a crash, and after it has finished
        with other.producer("early") as producer:
            producer.send_nowait([item])
        reading.channel = other
        await reading.start()
        await reading.stopped()
    assert (reading.kept, reading.left, reading.is_finished) == ([1, 2], 2 + 3, True)


@pytest.mark.parametrize("is_busy", [False, True], ids=["parked", "in the middle of a list"])
async def test_a_second_reader_of_a_channel_fails_and_costs_the_first_nothing(is_busy: bool) -> None:
    """The one that came late is told; the other reads on, and misses nothing."""
    first = Keeping()
    second = Keeping(first.channel)
    with first.channel.producer("only") as producer:
        await first.start()
        if is_busy:
            producer.send_nowait([-10])
        await settle()
        for _ in range(2):
            await second.start()
            await second.stopped()
            assert (state(second), repr(second.error)) == (
                ServiceState.FAILED,
                "RuntimeError('channel channel has a reader already')",
            )
        producer.send_nowait([1])
        producer.send_nowait([2])
    await first.stopped()

    assert (first.kept[is_busy:], second.kept, first.is_finished) == ([1, 2], [], True)


async def test_one_that_cannot_begin_anew_while_another_reads_costs_that_one_nothing() -> None:
    """It had served before, and would make the channel as new: its start fails, and the other reads on."""
    second = Keeping()
    first = Keeping(second.channel)
    await second.start()
    await second.stop()
    await first.start()
    await first.stop()
    await first.start()

    with pytest.raises(RuntimeError, match=r"^channel channel cannot be reopened: it is being read$"):
        await second.start()

    with first.channel.producer("only") as producer:
        producer.send_nowait([1])
    await first.stopped()
    assert (first.kept, first.is_finished) == ([1], True)


async def test_ends_of_input_order_the_stop_of_a_group() -> None:
    """Asked to stop at the same time, each ends when those before it have: nothing is lost between them."""

    class Passing(Keeping):
        def __init__(self, to: Channel[int]) -> None:
            super().__init__()
            self.to = to
            self.producer: Producer[int] | None = None

        async def _open(self) -> None:
            await super()._open()
            self.producer = self.to.producer(self.name)

        async def _handle(self, items: Sequence[int]) -> None:
            assert self.producer is not None
            await asyncio.sleep(1)
            await self.producer.send(items)

        async def _close(self) -> None:
            await super()._close()
            if self.producer is not None and not self._is_abandoned():
                self.producer.close()

        def _is_abandoned(self) -> bool:
            return self._life is not None and self._life.is_abandoned

    last = Keeping(Channel(1))
    middle = Passing(last.channel)
    first = Passing(middle.channel)
    group = ServiceGroup(last, middle, first)
    for _ in range(2):
        last.kept.clear()
        async with group:
            with first.channel.producer("only") as producer:
                for item in range(1, 6):
                    await producer.send([item])
            report = await group.stop(60)

        assert report
        assert last.kept == [1, 2, 3, 4, 5]


async def test_an_own_handler_may_ask_it_to_stop() -> None:
    """A request from inside is a request: it reads to the end of its input."""

    class Enough(Keeping):
        async def _handle(self, items: Sequence[int]) -> None:
            await super()._handle(items)
            self.request_stop()

    reading = Enough()
    await reading.start()
    with reading.channel.producer("only") as producer:
        producer.send_nowait([1])
        await settle()
        assert state(reading) == ServiceState.STOPPING
        producer.send_nowait([2])
    await reading.stopped()

    assert reading.kept == [1, 2]


@pytest.mark.parametrize("end", ["cut off", "cancelled by somebody else"])
async def test_cancelled_it_leaves_its_producers_free(end: str) -> None:
    """Nobody waits for room that no reader will make; what is left is counted."""
    reading = Keeping()
    with reading.channel.producer("only") as producer:
        await reading.start()
        for items in ([-3600], [1] * 10):
            await producer.send(items)
        waiting = asyncio.create_task(producer.send([2]))
        await settle()
        assert not waiting.done()

        if end == "cut off":
            reading.cancel()
        else:
            assert reading._life is not None
            reading._life.task.cancel()
        await reading.stopped()
        await waiting

        assert reading.left == 1 + 10 + 1


async def test_begins_anew_after_its_loop_was_closed_under_it() -> None:
    """The next loop finds it at rest: it starts with a fresh channel, and garbage of the first one changes nothing."""
    reading = Keeping(Channel(1))
    tasks: list[asyncio.Task[None]] = []

    def leave() -> None:
        gone = asyncio.new_event_loop()

        async def begin() -> None:
            await reading.start()
            producer = reading.channel.producer("gone")

            async def send() -> None:
                for item in (-3600, 1, 2):
                    await producer.send([item])

            tasks.append(gone.create_task(send()))
            await settle()

        gone.run_until_complete(begin())
        tasks.extend(asyncio.all_tasks(gone))
        for task in tasks:
            task._log_destroy_pending = False  # type: ignore[attr-defined]  # a loop closed under its tasks
        gone.close()

    await asyncio.to_thread(leave)
    assert state(reading) == ServiceState.STOPPED

    async with reading:
        with reading.channel.producer("next") as producer:
            await settle()
            tasks.clear()
            gc.collect()
            for item in (3, 4, -3600):
                await producer.send([item])
            await settle()
            deadline = Deadline.after(1)
            reading.request_stop(deadline)
            await reading.stopped()

    assert (reading.kept, loop().time()) == ([3, 4], deadline.when)
    assert reading.left == 2 + 1  # of the first loop the list in hand and the one held; the third was never sent
