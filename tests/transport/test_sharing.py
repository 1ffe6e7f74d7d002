"""Flushes that share a barrier wait for what each of them has to wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from eventpipe import AsyncClient, TransientSinkError
from eventpipe.options import RetryPolicy
from eventpipe.testing.sinks import GatedSink

pytestmark = pytest.mark.asyncio


async def until_blocked() -> None:
    """Let everything run that can: in virtual time the next moment comes only when nothing else is ready."""
    await asyncio.sleep(0.001)


async def test_a_flush_does_not_share_a_barrier_from_before_a_later_capture() -> None:
    """One producer gives up, another captures: as many were captured as before, and the second flush waits for it."""
    sink = GatedSink()
    async with AsyncClient(sink, queue_events=2, batch_events=1, workers=2, overflow="wait") as client:
        await client.capture_many(["a", "b"])
        gives_up = asyncio.create_task(client.capture("c"))
        await until_blocked()
        first = asyncio.create_task(client.flush())
        await until_blocked()
        gives_up.cancel()
        await asyncio.wait({gives_up})
        comes_later = asyncio.create_task(client.capture("d"))
        await until_blocked()
        second = asyncio.create_task(client.flush())
        await until_blocked()

        sink.release(2)
        await until_blocked()

        assert (await comes_later).accepted
        assert (await first).pending == 0
        assert not second.done()
        sink.release()
        assert (await second).delivered == 3


async def test_a_flush_that_shares_a_barrier_hurries_what_began_to_wait_meanwhile() -> None:
    """The first flush found the batch in flight; the second finds its backoff, and makes it due."""
    sink = GatedSink()
    policy = RetryPolicy(initial=100.0, max_delay=100.0)
    async with AsyncClient(sink, retry=policy, flush_timeout=1_000) as client:
        await client.capture("a")
        first = asyncio.create_task(client.flush())
        await sink.reached(1)
        sink.release(1, error=TransientSinkError())
        await until_blocked()
        assert client.statistics().waiting_retry == 1

        second = asyncio.create_task(client.flush())
        sink.release()

        assert (await second).elapsed == 0.0
        assert (await first).elapsed < 1.0


@pytest.mark.parametrize("end", ["cancelled", "timed out"])
async def test_a_flush_that_ends_leaves_a_shared_barrier_to_the_other(end: str) -> None:
    """With two sinks: the other is still waiting at the first of them when this one leaves the second."""
    names: Iterator[str] = iter(["both", "one"])
    one, other = GatedSink(name="one"), GatedSink(name="other", where=lambda event: event.event == "both")
    async with AsyncClient(one, other) as client:
        await client.capture(next(names))
        leaves = asyncio.create_task(client.flush(timeout=5.0))
        one.release(1)
        await until_blocked()  # settled at the first sink: it waits at the second
        await client.capture(next(names))
        stays = asyncio.create_task(client.flush(timeout=60.0))
        await until_blocked()

        if end == "cancelled":
            leaves.cancel()
            await asyncio.wait({leaves})
        else:
            assert (await leaves).pending == 1
        other.release()
        await until_blocked()
        one.release()
        report = await stays

        assert (report.pending, report.delivered) == (0, 2)
        assert report.elapsed < 6.0


async def test_a_cancelled_flush_leaves_no_barrier_behind() -> None:
    """Not at the sinks that it had not come to wait for either."""
    one, other = GatedSink(name="one"), GatedSink(name="other")
    async with AsyncClient(one, other) as client:
        await client.capture("a")
        task = asyncio.create_task(client.flush())
        await until_blocked()

        task.cancel()
        await asyncio.wait({task})

        assert [dispatcher._barriers._open for dispatcher in client._dispatchers] == [[], []]
        one.release()
        other.release()


async def test_a_flush_until_attempted_does_not_share_a_barrier_from_before_a_failure() -> None:
    """What failed between the two flushes has had its attempt for the first, and gets another one for the second."""
    sink = GatedSink()
    policy = RetryPolicy(initial=100.0, max_delay=100.0)
    async with AsyncClient(sink, batch_events=1, retry=policy, flush_timeout=1_000) as client:
        await client.capture_many(["fails", "hangs"])
        await sink.reached(2)
        first = asyncio.create_task(client.flush(until="attempted"))
        await until_blocked()
        sink.release(1, error=TransientSinkError())
        await until_blocked()
        second = asyncio.create_task(client.flush(until="attempted"))
        await sink.reached(3)

        sink.release(1)
        await until_blocked()

        assert (first.done(), second.done()) == (True, False)
        sink.release()
        assert (await second).pending == 0
