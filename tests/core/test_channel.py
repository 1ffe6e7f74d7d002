"""The channel, beyond its contract: what happens within one step, what waiting costs, what it says of itself."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from eventpipe.core.channel import Channel
from eventpipe.core.deadline import Deadline
from eventpipe.errors import ClosedError
from eventpipe.testing.loop import VirtualTimeLoop

pytestmark = pytest.mark.asyncio


def loop() -> VirtualTimeLoop:
    running = asyncio.get_running_loop()
    assert isinstance(running, VirtualTimeLoop)
    return running


async def settle() -> None:
    """Let everybody run who can."""
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.mark.parametrize("capacity", [0, -1])
async def test_a_capacity_below_one_is_refused(capacity: int) -> None:
    """Nothing would ever fit in turn."""
    with pytest.raises(ValueError, match=f"^capacity must be at least 1, not {capacity}$"):
        Channel[int](capacity)


async def test_a_list_is_handed_over_as_it_is() -> None:
    """It is not copied; what its sender does to it later does not upset the counting."""
    channel: Channel[int] = Channel(10)
    items = [1, 2, 3]
    with channel.producer("only") as producer:
        producer.send_nowait(items)
        items.append(4)

        assert channel.held == 3
        assert await channel.receive() is items
        assert channel.held == 0


@pytest.mark.parametrize("nothing", [None, iter([1]), 3])
async def test_what_is_no_list_is_refused(nothing: Sequence[int]) -> None:
    """At the sender, who is to blame, and not at the reader."""
    channel: Channel[int] = Channel(10)
    with channel.producer("only") as producer:
        with pytest.raises(TypeError):
            producer.send_nowait(nothing)
        with pytest.raises(TypeError):
            await producer.send(nothing)

    assert channel.is_ended


async def test_nobody_overtakes_a_sender_that_was_given_room_and_did_not_run() -> None:
    """There is room beside its list, but it was first."""
    channel: Channel[int] = Channel(4)
    with channel.producer("only") as producer:
        producer.send_nowait([0, 0, 0, 0])
        first = asyncio.create_task(producer.send([1]))
        await settle()

        channel.receive_nowait()
        assert not producer.send_nowait([2])
        second = asyncio.create_task(producer.send([3]))
        await asyncio.gather(first, second)

        assert [await channel.receive(), await channel.receive()] == [[1], [3]]


async def test_a_sender_cancelled_in_the_step_of_its_grant_sent_nothing() -> None:
    """Its room goes to the next in line, and the reader never sees its list."""
    channel: Channel[int] = Channel(1)
    with channel.producer("only") as producer:
        producer.send_nowait([0])
        first, second = (asyncio.create_task(producer.send([item])) for item in (1, 2))
        await settle()

        channel.receive_nowait()
        first.cancel()
        await asyncio.wait({first, second})

        assert first.cancelled()
        assert second.exception() is None
        assert (channel.receive_nowait(), channel.receive_nowait()) == ([2], None)
        assert producer.send_nowait([3])


async def test_a_sender_cancelled_in_the_step_in_which_it_is_let_go_sent_nothing() -> None:
    """Nothing is counted as unread that was never sent, and the room stays what it was."""
    channel: Channel[int] = Channel(2)
    with channel.producer("only") as producer:
        producer.send_nowait([0, 0])
        sender = asyncio.create_task(producer.send([1, 1]))
        await settle()

        channel.leave()
        sender.cancel()
        await asyncio.wait({sender})

        assert sender.cancelled()
        assert channel.unread == 2
        channel.receive_nowait()
        assert [producer.send_nowait([item]) for item in (2, 3, 4)] == [True, True, False]


async def test_a_large_list_that_is_given_up_lets_in_who_is_behind() -> None:
    """What fits now does not wait for the reader."""
    channel: Channel[int] = Channel(3)
    with channel.producer("only") as producer:
        producer.send_nowait([0, 0])
        large, small = asyncio.create_task(producer.send([1, 1])), asyncio.create_task(producer.send([2]))
        await settle()
        assert channel.held == 2

        large.cancel()
        await small

        assert channel.held == 3


async def test_a_handle_whose_waiting_send_was_cancelled_closes() -> None:
    """A close that came while it waited takes effect; the end does not depend on a send that never came."""
    channel: Channel[int] = Channel(1)
    producer = channel.producer("only")
    producer.send_nowait([0])
    senders = [asyncio.create_task(producer.send([item])) for item in (1, 2)]
    await settle()
    producer.close()

    assert (producer.is_closed, channel.is_closed, channel.producers) == (True, False, ("only",))
    with pytest.raises(ClosedError, match=r"^producer only of channel channel was closed$"):
        await producer.send([3])
    senders[0].cancel()
    await asyncio.wait(senders[:1])
    assert not channel.is_closed
    senders[1].cancel()
    await asyncio.wait(senders)

    assert (channel.is_closed, channel.is_ended) == (True, False)
    assert [items async for items in channel] == [[0]]
    assert channel.is_ended


async def test_a_parked_reader_costs_nothing() -> None:
    """An hour without a list is a handful of steps, and so is an hour of empty ones."""
    channel: Channel[int] = Channel(10)
    with channel.producer("only") as producer:
        reader = asyncio.create_task(channel.receive())
        await settle()
        before = loop().steps

        await asyncio.sleep(3600)
        producer.send_nowait([])
        await asyncio.sleep(3600)

        assert loop().steps - before <= 6
        producer.send_nowait([1])
        assert await reader == [1]


async def test_a_channel_that_ended_is_not_waited_for() -> None:
    """Asking for the next list again and again takes no step of the loop."""
    channel: Channel[int] = Channel(10)
    channel.producer("only").close()
    before = loop().steps

    for _ in range(100):
        assert [items async for items in channel] == []
        with pytest.raises(ClosedError, match=r"^channel channel has ended$"):
            await channel.receive()
        assert await channel.drain(ignore, Deadline()) == 0

    assert loop().steps == before


async def cost_of_waiting(senders: int, *, cancelled: int = 0) -> tuple[int, int]:
    """Let ``senders`` wait for room for one; the callbacks that the loop was given, and its steps."""
    channel: Channel[int] = Channel(1)
    with channel.producer("only") as producer:
        producer.send_nowait([0])
        tasks = [asyncio.create_task(producer.send([number])) for number in range(1, senders + 1)]
        await settle()
        running = loop()
        steps, call_soon, calls = running.steps, running.call_soon, 0

        def counting(*args: object, **kwargs: object) -> asyncio.Handle:
            nonlocal calls
            calls += 1
            return call_soon(*args, **kwargs)  # type: ignore[arg-type]  # handed through as they come

        running.call_soon = counting  # type: ignore[method-assign]
        try:
            for task in tasks[:cancelled]:
                task.cancel()
            read = [(await channel.receive())[0] for _ in range(senders - cancelled + 1)]
        finally:
            del running.call_soon
        assert read == [0, *range(cancelled + 1, senders + 1)]
        await asyncio.wait(tasks)
    return calls, running.steps - steps


async def test_wake_ups_of_a_thousand_senders_grow_with_their_number() -> None:
    """Each is woken once, and the reader once for each, where waking all at each list would take half a million."""
    few, few_steps = await cost_of_waiting(100)
    many, many_steps = await cost_of_waiting(1_000)

    assert many <= 10 * few + 100
    assert many <= 4 * 1_000
    assert many_steps <= 10 * few_steps + 100
    assert many_steps <= 3 * 1_000


async def test_a_thousand_senders_that_give_up_cost_no_more() -> None:
    """Nine in ten are cancelled while they wait; the others get in, in order."""
    calls, steps = await cost_of_waiting(1_000, cancelled=900)

    assert calls <= 4 * 1_000
    assert steps <= 1_000


async def test_a_reader_woken_for_a_list_that_another_took_waits_on() -> None:
    """``receive_nowait()`` beside a parked reader takes what it was woken for, and the next list is the reader's."""
    channel: Channel[int] = Channel(10)
    with channel.producer("only") as producer:
        reader = asyncio.create_task(channel.receive())
        await settle()

        producer.send_nowait([1])
        assert channel.receive_nowait() == [1]
        await settle()
        assert not reader.done()

        producer.send_nowait([2])
        assert await reader == [2]


async def test_a_reader_that_was_left_is_told_which_end_it_was() -> None:
    """The channel has not ended; the error does not say so."""
    channel: Channel[int] = Channel(10)
    with channel.producer("only"):
        reader = asyncio.create_task(channel.receive())
        await settle()
        channel.leave()

        with pytest.raises(ClosedError, match=r"^the reader of channel channel left$"):
            await reader


async def ignore(items: Sequence[int]) -> None:
    """Handle nothing."""


async def test_an_error_of_the_handler_ends_the_drain_and_leaves_what_is_behind() -> None:
    """The next drain begins with the list after the one that it failed at."""
    channel: Channel[int] = Channel(10)

    async def fail(items: Sequence[int]) -> None:
        raise ZeroDivisionError

    with channel.producer("only") as producer:
        for item in (1, 2):
            producer.send_nowait([item])
    with pytest.raises(ZeroDivisionError):
        await channel.drain(fail, Deadline())

    assert await channel.receive() == [2]


@pytest.mark.parametrize("timeout", [None, 10.0], ids=["never", "later"])
async def test_a_timeout_of_the_handler_is_not_the_deadline(timeout: float | None) -> None:
    """Its own ``TimeoutError`` is an error like any other."""
    channel: Channel[int] = Channel(10)

    async def fail(items: Sequence[int]) -> None:
        async with asyncio.timeout(1):
            await asyncio.sleep(2)

    with channel.producer("only") as producer:
        producer.send_nowait([1])
        with pytest.raises(TimeoutError):
            await channel.drain(fail, Deadline.after(timeout))


async def test_a_handler_that_swallows_its_cancellation_ends_at_its_list() -> None:
    """The deadline does not come again, and still nothing more is handed on."""
    channel: Channel[int] = Channel(10)
    handled = []

    async def swallow(items: Sequence[int]) -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            handled.append(items)

    with channel.producer("only") as producer:
        for item in (1, 2, 3):
            producer.send_nowait([item])

        assert await channel.drain(swallow, Deadline.after(1)) == 2

    assert handled == [[1]]
    assert loop().time() == 1
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_handler_that_never_waits_is_cut_at_the_deadline() -> None:
    """No timer can fire meanwhile: the clock is asked between the lists."""
    channel: Channel[int] = Channel(10)
    handled = []
    clock = loop()
    now = clock.time()

    async def busy(items: Sequence[int]) -> None:
        nonlocal now
        now += 1
        handled.append(items)

    with channel.producer("only") as producer:
        for item in range(5):
            producer.send_nowait([item])
        deadline = Deadline.after(2)
        clock.time = lambda: now  # type: ignore[method-assign]  # time passes in the handler only
        try:
            assert await channel.drain(busy, deadline) == 3
        finally:
            del clock.time

    assert handled == [[0], [1]]


async def test_a_drain_that_is_left_ends_with_its_list() -> None:
    """Whoever says that the reader goes, in the handler or elsewhere; what is held stays held, and is counted."""
    channel: Channel[int] = Channel(10)
    handled = []

    async def handle(items: Sequence[int]) -> None:
        handled.append(items)
        channel.leave()

    with channel.producer("only") as producer:
        for items in ([1], [2, 2]):
            producer.send_nowait(items)

        assert await channel.drain(handle, Deadline()) == 2

    assert (handled, channel.unread) == ([[1]], 2)


async def test_a_cancelled_drain_leaves_what_it_did_not_hand_on() -> None:
    """The channel can be read on at once, by another reader."""
    channel: Channel[int] = Channel(10)

    async def stay(items: Sequence[int]) -> None:
        await asyncio.sleep(3600)

    with channel.producer("only") as producer:
        for item in (1, 2):
            producer.send_nowait([item])
        drain = asyncio.create_task(channel.drain(stay, Deadline.after(10)))
        await settle()
        with pytest.raises(RuntimeError, match=r"^channel channel has a reader already$"):
            await channel.receive()

        drain.cancel()
        await asyncio.wait({drain})

        assert drain.cancelled()
        assert await channel.receive() == [2]


async def test_says_who_keeps_it_from_being_made_as_new() -> None:
    """The producers that did not close are named, in the order in which they opened."""
    channel: Channel[int] = Channel(10, "outcomes")
    producers = [channel.producer(name) for name in ("b", "a", "c")]
    producers[2].close()

    with pytest.raises(RuntimeError, match=r"^channel outcomes cannot be reopened: not closed by b, a$"):
        channel.reopen()
    for producer in producers:
        producer.close()
    with pytest.raises(ClosedError, match=r"^channel outcomes has ended; reopen\(\) it before late can send$"):
        channel.producer("late")


async def test_tells_its_state() -> None:
    """Its ``repr`` says who has it open and how full it is, and shows no item."""
    channel: Channel[str] = Channel(10, "outcomes")
    assert repr(channel) == "<Channel outcomes open, 0/10 held, producers: none>"

    first, second = channel.producer("first"), channel.producer("second")
    first.send_nowait(["secret", "secret"])
    assert repr(channel) == "<Channel outcomes open, 2/10 held, producers: first, second>"
    assert repr(first) == "<Producer first of outcomes, open>"

    first.close()
    second.close()
    assert repr(channel) == "<Channel outcomes closed, 2/10 held, producers: none>"
    assert repr(first) == "<Producer first of outcomes, closed>"

    channel.receive_nowait()
    assert repr(channel) == "<Channel outcomes ended, 0/10 held, producers: none>"
