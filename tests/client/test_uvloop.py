"""The same client on uvloop's event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

import pytest
import uvloop

from eventpipe import AsyncClient, Outcome, OutcomeKind, RetryPolicy
from eventpipe.sinks import FileSink, HttpSink, MemorySink
from eventpipe.testing import FlakySink, check_ledger
from tests.far_end import FarEnd

pytestmark = pytest.mark.wallclock
T = TypeVar("T")


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run on uvloop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


@pytest.fixture(scope="module", autouse=True)
def _pipe_of_the_process() -> None:
    """Uvloop keeps one pipe for the life of the process, from its first loop on; no test leaks it."""
    run(asyncio.sleep(0))


@pytest.fixture
def far_end() -> Iterator[FarEnd]:
    with FarEnd() as far_end:
        yield far_end


def test_events_arrive_once_over_http(far_end: FarEnd) -> None:
    """Several batches at once, in a loop that is uvloop's."""

    async def main() -> None:
        assert type(asyncio.get_running_loop()) is uvloop.Loop
        async with AsyncClient(HttpSink(far_end.url, compression=None), batch_events=50) as client:
            for number in range(1_000):
                await client.capture(f"e{number}")
            assert (await client.flush()).pending == 0
            assert check_ledger(client).delivered == 1_000

    run(main())

    assert sorted(far_end.names) == sorted(f"e{number}" for number in range(1_000))


def test_a_block_has_flushed_when_it_has_ended(far_end: FarEnd) -> None:
    """A ``batch_scope()``, the second on a client that stays open."""

    async def main() -> None:
        async with AsyncClient(HttpSink(far_end.url, compression=None), max_batch_age=60) as client:
            for number in range(2):
                async with client.batch_scope() as block:
                    await client.capture(f"e{number}")
                assert block.report is not None
                assert (block.report.delivered, block.report.pending) == (1, 0)

    run(main())

    assert far_end.names == ["e0", "e1"]


def test_close_ends_by_its_deadline_with_a_mute_far_end(far_end: FarEnd) -> None:
    """What it could not send is dropped, and counted."""
    far_end.is_mute = True

    async def main() -> None:
        client = AsyncClient(HttpSink(far_end.url, compression=None))
        await client.capture("e")
        began = asyncio.get_running_loop().time()
        report = await client.aclose(timeout=0.2)
        assert asyncio.get_running_loop().time() - began < 0.2 + 0.25
        assert report.dropped_by_reason == {"close_deadline": 1}

    run(main())


def test_retries_deliver_everything() -> None:
    """Backoffs are timers of uvloop's."""
    sink = FlakySink(seed=5, failure_rate=0.5)

    async def main() -> None:
        retry = RetryPolicy(initial=0.001, max_delay=0.002, min_delay=0.0)
        async with AsyncClient(sink, batch_events=10, retry=retry) as client:
            for number in range(200):
                await client.capture(f"e{number}")
            assert (await client.flush()).pending == 0
            assert client.statistics().delivered == 200
            assert client.statistics().retries > 0

    run(main())


def test_threads_capture_while_the_loop_runs() -> None:
    """Each event is taken over once."""
    sink = MemorySink()

    async def main() -> None:
        async with AsyncClient(sink, queue_events=100_000) as client:

            def produce() -> None:
                for _ in range(200):
                    client.capture_nowait("e")

            threads = [threading.Thread(target=produce) for _ in range(20)]
            for thread in threads:
                thread.start()
            for thread in threads:
                await asyncio.to_thread(thread.join)
            assert (await client.flush()).pending == 0

    run(main())

    assert len({event.uuid for event in sink.events}) == len(sink.events) == 4_000


def test_the_next_loop_carries_the_queue_over(far_end: FarEnd) -> None:
    """From uvloop to uvloop, and from it to asyncio's own."""
    client = AsyncClient(HttpSink(far_end.url, compression=None), max_batch_age=60)

    async def capture(name: str) -> None:
        await client.capture(name)

    run(capture("first"))
    run(capture("second"))

    async def end() -> None:
        assert (await client.aclose()).delivered == 2

    asyncio.run(end())

    assert sorted(far_end.names) == ["first", "second"]


def test_a_receipt_and_a_subscription_tell_the_outcome() -> None:
    """Whoever waits is woken."""

    async def main() -> None:
        async with AsyncClient(MemorySink()) as client, client.subscribe(OutcomeKind.DELIVERED) as outcomes:
            receipt = await client.capture("e")
            assert (await receipt.outcome(timeout=10)).kind is OutcomeKind.DELIVERED
            outcome = await anext(outcomes)
            assert isinstance(outcome, Outcome)
            assert outcome.uuids == (receipt.uuid,)

    run(main())


def test_files_are_written(tmp_path: Any) -> None:
    """Threads of a file sink come back to the loop."""

    async def main() -> None:
        async with AsyncClient(FileSink(tmp_path / "events.ndjson")) as client:
            await client.capture("e")

    run(main())

    assert (tmp_path / "events.ndjson").read_text().count("\n") == 1


def test_flushes_that_wait_no_time_at_all_both_return() -> None:
    """Each with what is pending; neither is in the way of the other, or of the close."""

    async def flushed_twice() -> list[int]:
        async with AsyncClient(MemorySink(), max_batch_age=3600) as client:
            await client.capture("paid")
            reports = await asyncio.gather(*(client.flush(timeout=0) for _ in range(5)))
            return [report.pending + report.delivered for report in reports]

    assert run(flushed_twice()) == [1] * 5
