"""Numbers of one moment, whoever asks, from whichever thread, in whatever state the client's loop is."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import chain, repeat

import pytest

from eventpipe import AsyncClient, Statistics
from eventpipe.integrations.snapshots import consistent, read, read_async
from eventpipe.sinks import MemorySink
from eventpipe.testing import HangingSink

pytestmark = pytest.mark.wallclock

PATIENCE = 0.05  # seconds, in tests in which nobody will answer


def thread_of(client: AsyncClient, ask: Callable[..., int] = read) -> int:
    """The thread in which the client is looked at when this one asks."""
    return ask(client, threading.get_ident)


def adds_up(numbers: Statistics) -> bool:
    return numbers.captured == numbers.delivered + numbers.dropped + numbers.pending


@pytest.mark.asyncio
async def test_the_loop_itself_reads_when_another_thread_asks() -> None:
    """Between two steps of the loop no number is half changed."""
    async with AsyncClient(MemorySink()) as client:
        seen = await asyncio.to_thread(thread_of, client)

        assert seen == threading.get_ident()


@pytest.mark.asyncio
async def test_who_asks_on_the_loop_reads_at_once() -> None:
    """A scrape in the middle of a handler, without any await, does not wait for the loop that it holds up."""
    async with AsyncClient(MemorySink()) as client:
        await client.capture("a")
        began = time.monotonic()

        assert consistent(client).captured == 1
        assert time.monotonic() - began < 0.4


def test_a_client_without_a_loop_is_read_where_one_asks() -> None:
    """Before it was started, and after its loop was closed."""
    client = AsyncClient(MemorySink())
    assert consistent(client).captured == 0

    async def live() -> None:
        await client.capture("a")
        await client.aclose()

    asyncio.run(live())

    assert consistent(client).delivered == 1
    assert thread_of(client) == threading.get_ident()


def test_a_loop_that_stopped_and_was_not_closed_is_not_waited_for() -> None:
    """It may never run again."""
    client = AsyncClient(MemorySink())
    loop = asyncio.new_event_loop()
    loop.run_until_complete(client.capture("a"))

    assert consistent(client).captured == 1

    loop.run_until_complete(client.aclose())
    loop.close()


@pytest.mark.asyncio
async def test_a_loop_that_waits_for_who_asks_is_waited_for_half_a_second_at_most() -> None:
    """A handler that joins the thread of a scrape: both would wait for ever."""
    async with AsyncClient(MemorySink()) as client:
        await client.capture("a")
        with ThreadPoolExecutor(1) as executor:
            began = time.monotonic()

            numbers = executor.submit(consistent, client).result()  # holds this loop up

            assert 0.4 < time.monotonic() - began < 2
        assert numbers.captured == 1


@pytest.mark.asyncio
async def test_what_was_asked_in_vain_is_not_answered_later() -> None:
    """A loop that was held up for long does not find the questions of all scrapes meanwhile."""
    looked: list[int] = []

    def look() -> None:
        looked.append(threading.get_ident())

    async with AsyncClient(MemorySink()) as client:
        with ThreadPoolExecutor(1) as executor:
            executor.submit(read, client, look, PATIENCE).result()
            asker = executor.submit(threading.get_ident).result()
        for _ in range(3):
            await asyncio.sleep(0)

    assert looked == [asker]


@pytest.mark.asyncio
async def test_an_error_reaches_who_asked_and_not_the_loop() -> None:
    """The loop that was asked goes on without a word of it."""

    def fail() -> int:
        raise LookupError("nothing here")

    async with AsyncClient(MemorySink()) as client:
        with pytest.raises(LookupError, match="nothing here"):
            await asyncio.to_thread(read, client, fail)

        assert await asyncio.to_thread(thread_of, client) == threading.get_ident()


@pytest.mark.asyncio
async def test_another_loop_asks_without_standing_still() -> None:
    """An ASGI server on a loop of its own serves others while it waits for the client's loop."""
    client = AsyncClient(MemorySink())
    await client.capture("a")
    steps: list[int] = []

    async def elsewhere() -> int:
        asking = asyncio.ensure_future(read_async(client, threading.get_ident))
        while not asking.done():
            steps.append(1)
            await asyncio.sleep(0)
        return await asking

    assert await asyncio.to_thread(asyncio.run, elsewhere()) == threading.get_ident()
    assert len(steps) > 1
    await client.aclose()


@pytest.mark.parametrize("outcome", ["number", "error"])
@pytest.mark.asyncio
async def test_another_loop_reads_by_itself_when_the_client_s_is_held_up(outcome: str) -> None:
    """After a bounded wait, during which it goes on."""

    def look() -> int:
        if outcome == "error":
            raise LookupError
        return threading.get_ident()

    async def elsewhere() -> int:
        began = time.monotonic()
        try:
            return await read_async(client, look, PATIENCE)
        except LookupError:
            return threading.get_ident()
        finally:
            assert PATIENCE * 0.9 < time.monotonic() - began < 2

    client = AsyncClient(MemorySink())
    await client.capture("a")
    with ThreadPoolExecutor(1) as executor:
        assert executor.submit(asyncio.run, elsewhere()).result() != threading.get_ident()
    await client.aclose()


@pytest.mark.asyncio
async def test_another_loop_may_give_up_asking() -> None:
    """Nobody looks afterwards, and the client's loop hears nothing of it."""
    looked: list[int] = []
    client = AsyncClient(MemorySink())
    await client.capture("a")

    async def elsewhere() -> None:
        asking = asyncio.create_task(read_async(client, lambda: looked.append(1), 10))
        await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

    with ThreadPoolExecutor(1) as executor:
        executor.submit(asyncio.run, elsewhere()).result()  # this loop is held up meanwhile
    await asyncio.sleep(0)

    assert looked == []
    await client.aclose()


WHOLE = Statistics(captured=3, delivered=1, dropped=1, dropped_by_reason={"expired": 1}, pending=1, queued=1)


@pytest.mark.parametrize(
    "torn",
    [
        replace(WHOLE, captured=4),
        replace(WHOLE, queued=0),
        replace(WHOLE, dropped_by_reason={}),
        replace(WHOLE, by_sink={"one": replace(WHOLE, delivered=2)}),
    ],
    ids=["captured", "places", "reasons", "sink"],
)
def test_numbers_that_do_not_add_up_are_read_again(torn: Statistics, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the loop cannot be asked, another thread may change them meanwhile."""
    client = AsyncClient(MemorySink())
    monkeypatch.setattr(client, "statistics", chain([torn, torn], repeat(WHOLE)).__next__)

    assert consistent(client) == WHOLE


def test_numbers_that_never_add_up_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who looks does not look for ever, and an error in the accounts is not hidden."""
    client = AsyncClient(MemorySink())
    torn = replace(WHOLE, captured=4)
    monkeypatch.setattr(client, "statistics", lambda: torn)

    assert consistent(client) == torn


@pytest.mark.asyncio
async def test_every_snapshot_adds_up_while_events_come_and_go() -> None:
    """A thread that reads again and again never sees an event that came in and is nowhere."""
    client = AsyncClient(MemorySink(), HangingSink(), queue_events=500, batch_events=10, max_batch_age=0)
    seen: list[Statistics] = []

    def watch() -> None:
        while len(seen) < 200:
            seen.append(consistent(client))

    watching = asyncio.create_task(asyncio.to_thread(watch))
    while not watching.done():
        for _ in range(500):
            await client.capture("a")
        await asyncio.sleep(0.001)  # a loop that never rests can keep other threads from Python for seconds
    await client.aclose(0)

    assert [numbers for numbers in seen if not adds_up(numbers)] == []
    assert len({numbers.captured for numbers in seen}) > 20
