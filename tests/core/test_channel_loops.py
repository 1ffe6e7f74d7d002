"""A channel in one event loop after another: a loop that was closed takes its producers and its reader with it."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from eventpipe.core.channel import Channel, Producer
from eventpipe.core.deadline import Deadline
from eventpipe.errors import ClosedError

Work = Coroutine[Any, Any, object]  # Any: what a coroutine yields to its loop is between the two


def leave_running(
    *works: Callable[[], Work], at_last: Callable[[], object] = lambda: None
) -> list[asyncio.Task[object]]:
    """Run a loop until all of ``works`` wait, and close it under them, just after ``at_last()``."""
    loop = asyncio.new_event_loop()

    async def begin() -> list[asyncio.Task[object]]:
        tasks = [loop.create_task(work()) for work in works]
        for _ in range(5):
            await asyncio.sleep(0)
        assert not any(task.done() for task in tasks)
        return tasks

    tasks = loop.run_until_complete(begin())
    at_last()
    loop.close()
    for task in tasks:
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # a loop closed under its tasks is the point
    return tasks


@contextmanager
def open_loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    try:
        yield loop
    finally:
        loop.close()


async def read(channel: Channel[int]) -> list[list[int]]:
    return [list(items) async for items in channel]


def test_works_in_one_loop_after_the_other() -> None:
    """Ended and made as new in each; the constructor binds nothing."""
    channel: Channel[int] = Channel(2)

    async def live() -> None:
        async with asyncio.TaskGroup() as group:
            reader = group.create_task(read(channel))
            with channel.producer("only") as producer:
                for item in range(5):
                    await producer.send([item])
            assert await reader == [[0], [1], [2], [3], [4]]

    for _ in range(3):
        asyncio.run(live())
        channel.reopen()


def test_what_was_sent_before_its_loop_was_closed_can_be_read_in_the_next() -> None:
    """Then it ends: nobody will close the handles of the first loop. Lists whose senders still waited were not sent."""
    channel: Channel[int] = Channel(2)

    async def send() -> None:
        with channel.producer("gone") as producer:
            for item in range(5):
                await producer.send([item])

    tasks = leave_running(send)

    assert (channel.held, channel.producers, channel.is_closed, channel.is_ended) == (2, (), True, False)
    assert asyncio.run(read(channel)) == [[0], [1]]
    assert channel.is_ended
    del tasks


def test_room_given_to_a_sender_whose_loop_is_closed_is_room() -> None:
    """It was let in and never ran: its list was not sent, and the next loop has the whole capacity."""
    channel: Channel[int] = Channel(2)

    async def send() -> None:
        producer = channel.producer("gone")
        producer.send_nowait([0, 0])
        await producer.send([1, 1])

    async def live() -> None:
        channel.reopen()
        with channel.producer("next") as producer:
            tasks.clear()
            gc.collect()
            assert [producer.send_nowait([item]) for item in (2, 3, 4)] == [True, True, False]

    tasks = leave_running(send, at_last=channel.receive_nowait)
    assert channel.held == 0
    asyncio.run(live())


def test_what_was_counted_as_unread_stays_counted() -> None:
    """A reader that left before its loop was closed has left in the next one as well."""
    channel: Channel[int] = Channel(2)
    channel.leave()

    async def send() -> None:
        producer = channel.producer("gone")
        for _ in range(3):
            await producer.send([1, 1])

    asyncio.run(send())

    assert channel.unread == 6
    assert channel.receive_nowait() == [1, 1]
    assert channel.unread == 4


def test_garbage_of_a_closed_loop_touches_nothing_of_the_next() -> None:
    """Its senders, its reader and its handles end in the middle of a later life, and that goes on as it was."""
    channel: Channel[int] = Channel(1)
    handles: list[Producer[int]] = []

    async def send() -> None:
        with channel.producer("gone") as producer:
            handles.append(producer)
            for item in range(3):
                await producer.send([item])

    async def handle(items: object) -> None:
        await asyncio.Event().wait()

    async def drain() -> None:
        await channel.drain(handle, Deadline())  # takes the first list and stays

    async def send_more() -> None:
        with channel.producer("gone too") as producer:
            await producer.send([2])

    async def live() -> None:
        channel.reopen()
        with channel.producer("next") as producer:
            reader = asyncio.create_task(read(channel))
            await asyncio.sleep(0)
            tasks.clear()
            gc.collect()
            for gone in handles:
                gone.close()

            assert channel.producers == ("next",)
            with pytest.raises(RuntimeError, match="not closed by next"):
                channel.reopen()
            for item in (3, 4):
                await producer.send([item])
                assert channel.held == 1
                assert not producer.send_nowait([5])
        assert await reader == [[3], [4]]

    tasks = leave_running(send, send_more, drain)
    asyncio.run(live())


def test_a_handle_of_a_closed_loop_is_closed() -> None:
    """It says so, sends nothing, and closing it is no error."""
    channel: Channel[int] = Channel(2, "outcomes")

    async def open_one() -> Producer[int]:
        return channel.producer("gone")

    gone = asyncio.run(open_one())

    assert gone.is_closed
    with pytest.raises(ClosedError, match=r"^producer gone of channel outcomes was closed$"):
        gone.send_nowait([1])
    with pytest.raises(ClosedError, match=r"reopen\(\) it before"):
        channel.producer("next")
    gone.close()
    channel.reopen()
    assert not channel.producer("next").is_closed


def test_closing_a_handle_of_a_closed_loop_wakes_nobody_there() -> None:
    """A reader that was parked in it is not woken, and that is no error."""
    channel: Channel[int] = Channel(2)
    early = channel.producer("early")

    tasks = leave_running(channel.receive)
    assert not channel.is_read
    early.close()

    assert channel.is_ended
    assert not tasks[0].done()


def test_works_outside_a_loop_where_nobody_waits() -> None:
    """Handles can be opened, and used, before there is a loop; whoever reads comes later."""
    channel: Channel[int] = Channel(2)
    with channel.producer("early") as producer:
        assert producer.send_nowait([1, 2])
        assert not producer.send_nowait([3])
        assert channel.receive_nowait() == [1, 2]
        assert producer.send_nowait([4])

    assert asyncio.run(read(channel)) == [[4]]


def test_a_handle_opened_before_its_loop_goes_with_it() -> None:
    """It belongs to the first loop in which anybody waits for its channel."""
    channel: Channel[int] = Channel(1)
    early = channel.producer("early")
    early.send_nowait([1])

    tasks = leave_running(lambda: early.send([2]))

    assert early.is_closed
    assert asyncio.run(read(channel)) == [[1]]
    del tasks


@pytest.mark.parametrize("use", ["handle", "reader"])
def test_two_loops_at_once_are_refused(use: str) -> None:
    """While it is in use in one, another one gets an error and not a share; after that it may."""
    channel: Channel[int] = Channel(1, "outcomes")

    async def begin() -> Callable[[], None]:
        if use == "handle":
            return channel.producer("first").close
        reader = asyncio.create_task(read(channel))
        await asyncio.sleep(0)
        assert not reader.done()
        return channel.leave

    async def open_another() -> None:
        channel.producer("second").close()

    refusal = r"^channel outcomes is in use in another event loop$"
    with open_loop() as first:
        end = first.run_until_complete(begin())
        for other in (open_another, channel.receive, lambda: channel.drain(None, Deadline())):  # type: ignore[arg-type]
            with pytest.raises(RuntimeError, match=refusal):
                asyncio.run(other())
        end()
        first.run_until_complete(asyncio.sleep(0))
        if channel.is_closed:
            channel.reopen()
        asyncio.run(open_another())


def test_a_sender_of_another_loop_is_refused() -> None:
    """Where it would have to wait: nobody could wake it."""
    channel: Channel[int] = Channel(1, "outcomes")

    async def fill() -> Producer[int]:
        producer = channel.producer("first")
        producer.send_nowait([1])
        return producer

    with open_loop() as first:
        producer = first.run_until_complete(fill())
        with pytest.raises(RuntimeError, match=r"^channel outcomes is in use in another event loop$"):
            asyncio.run(producer.send([2]))

        assert first.run_until_complete(channel.receive()) == [1]
        assert producer.send_nowait([3])
