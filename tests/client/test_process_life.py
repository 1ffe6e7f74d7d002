"""Threads, loops, forks and exits: what a client does when the process around it changes."""

from __future__ import annotations

import asyncio
import contextvars
import subprocess
import sys
import textwrap
import threading

import anyio
import pytest

from eventpipe import AsyncClient, DropReason, Event, OutcomeKind, Receipt
from eventpipe.sinks import CallbackSink, MemorySink
from eventpipe.testing import GatedSink, check_ledger


def run_python(program: str, *, timeout: float = 30) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # a program of this test
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


# -- threads ----------------------------------------------------------------------------------------------------------


@pytest.mark.wallclock
@pytest.mark.asyncio
async def test_captures_from_threads_arrive_once() -> None:
    """Fifty threads capture at once; every event is delivered once and its receipt knows."""
    sink = MemorySink()
    receipts: list[Receipt] = []
    async with AsyncClient(sink, queue_events=100_000) as client:

        def produce() -> None:
            receipts.extend(client.capture_nowait("e") for _ in range(200))

        await asyncio.gather(*(asyncio.to_thread(produce) for _ in range(50)))
        assert (await client.flush()).pending == 0
        assert len(sink.events) == 10_000
        assert all(receipt.accepted for receipt in receipts)
        assert (await receipts[-1].outcome(1)).kind is OutcomeKind.DELIVERED
    assert sorted(event.uuid for event in sink.events) == sorted(receipt.uuid for receipt in receipts)
    assert check_ledger(client, drained=True).captured == 10_000


@pytest.mark.wallclock
@pytest.mark.asyncio
async def test_capture_from_a_thread_returns_while_the_loop_is_blocked() -> None:
    """It waits for nobody; the inbox is bounded, and what finds it full is counted when the loop is back."""
    sink = MemorySink()
    async with AsyncClient(sink, queue_events=500, batch_events=100) as client:
        await client.capture("start it")
        receipts: list[Receipt] = []
        done = threading.Event()

        def produce() -> None:
            receipts.extend(client.capture_nowait("e") for _ in range(600))
            done.set()

        thread = threading.Thread(target=produce)
        thread.start()
        assert done.wait(10)  # blocks the loop: the thread gets through nevertheless
        thread.join()
        assert [receipt.accepted for receipt in receipts] == [None] * 500 + [False] * 100
        assert {receipt.reason for receipt in receipts[500:]} == {DropReason.QUEUE_FULL}
        assert (await receipts[-1].outcome(1)).reason == DropReason.QUEUE_FULL
        await client.flush()
        statistics = check_ledger(client)
        assert statistics.captured == 601
        assert statistics.dropped_by_reason.get(DropReason.QUEUE_FULL, 0) >= 100
        assert statistics.delivered + statistics.dropped == 601


@pytest.mark.wallclock
@pytest.mark.asyncio
async def test_outcome_can_be_awaited_on_another_loop() -> None:
    """A thread with a loop of its own captures and waits; the client settles over here."""
    async with AsyncClient(MemorySink(), max_batch_age=0) as client:
        await client.capture("start it")

        async def elsewhere() -> OutcomeKind:
            receipt = await client.capture("e")
            report = await client.flush(5)
            assert report.pending == 0
            return (await receipt.outcome(5)).kind

        kind = await asyncio.to_thread(lambda: asyncio.run(elsewhere()))
        assert kind is OutcomeKind.DELIVERED


@pytest.mark.wallclock
@pytest.mark.asyncio
async def test_close_from_another_loop_closes_the_client() -> None:
    """The close runs where the client lives, and its report comes back."""
    sink = MemorySink()
    client = AsyncClient(sink)
    await client.capture("e")
    report = await asyncio.to_thread(lambda: asyncio.run(client.aclose(5)))
    assert report.delivered == 1
    assert await client.aclose() == report


@pytest.mark.asyncio
async def test_inbox_holds_until_there_is_a_runtime() -> None:
    """Captured before the first await: sent once the client runs, in order."""
    sink = MemorySink()
    client = AsyncClient(sink)
    early = client.capture_nowait("early")
    before = early.accepted
    async with client:
        await client.capture("later")
    assert [event.event for event in sink.events] == ["early", "later"]
    assert (before, early.accepted) == (None, True)
    check_ledger(client, drained=True)


@pytest.mark.asyncio
async def test_close_sends_what_the_inbox_holds() -> None:
    """A client that was only ever used without a loop delivers at its close."""
    sink = MemorySink()
    client = AsyncClient(sink)
    client.capture_nowait("e")
    assert (await client.aclose()).delivered == 1


@pytest.mark.asyncio
async def test_no_context_leaks_into_the_workers() -> None:
    """A request's context variables do not reach a sink, whichever request came first."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="empty")
    seen: list[str] = []
    async with AsyncClient(CallbackSink(lambda batch: seen.append(variable.get()))) as client:
        variable.set("of a request")
        await client.capture("e")
        await client.flush()
    assert seen == ["empty"]


@pytest.mark.asyncio
async def test_cancelling_the_task_that_started_the_client_ends_nothing() -> None:
    """The dispatcher is nobody's child."""
    sink = GatedSink()
    client = AsyncClient(sink, batch_events=1)

    async def first() -> None:
        await client.capture("e")
        await asyncio.sleep(3600)

    task = asyncio.create_task(first())
    await sink.reached(1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    sink.release()
    await client.capture("e")
    assert (await client.flush()).pending == 0
    await client.aclose()
    assert len(sink.events) == 2


# -- loops ------------------------------------------------------------------------------------------------------------


def test_second_asyncio_run_carries_the_queue_over() -> None:
    """The first run ends with events pending; the second delivers them, none twice."""
    sink = MemorySink()
    client = AsyncClient(sink)

    async def first() -> None:
        await client.capture_many(["a", "b"])

    async def second() -> None:
        await client.capture("c")
        report = await client.flush()
        assert report.delivered == 3
        await client.aclose()

    asyncio.run(first())
    asyncio.run(second())
    assert [event.event for event in sink.events] == ["a", "b", "c"]
    check_ledger(client, drained=True)


def test_batch_in_flight_when_its_loop_ended_goes_again() -> None:
    """Whether it arrived nobody knows, so it is sent again: at least once."""
    sink = GatedSink()
    client = AsyncClient(sink, batch_events=1)

    async def first() -> None:
        await client.capture("e")
        await sink.reached(1)

    async def second() -> None:
        sink.release()
        assert (await client.aclose()).delivered == 1

    asyncio.run(first())
    check_ledger(client)
    asyncio.run(second())
    assert [batch.attempt for batch in sink.attempts] == [1, 1]
    check_ledger(client, drained=True)


@pytest.mark.wallclock
@pytest.mark.parametrize("ending", ["closed", "cancelled and closed"])
def test_loop_closed_by_hand_is_noticed(ending: str) -> None:
    """A loop that was closed without a word is noticed at the next capture; nothing is lost."""
    done = run_python(f"""
        import asyncio
        from eventpipe import AsyncClient
        from eventpipe.sinks import MemorySink
        sink = MemorySink()
        client = AsyncClient(sink)
        def run(work):
            loop = asyncio.new_event_loop()
            loop.run_until_complete(work)
            if {ending!r} != "closed":
                for task in asyncio.all_tasks(loop):
                    task.cancel()
                loop.run_until_complete(asyncio.sleep(0.2))
            loop.close()
        async def last():
            await client.capture("c")
            report = await client.aclose()
            assert report.delivered == 3, report
        run(client.capture("a"))
        run(client.capture("b"))
        run(last())
        assert sorted(event.event for event in sink.events) == ["a", "b", "c"]
    """)
    assert done.returncode == 0, done.stderr


@pytest.mark.wallclock
@pytest.mark.parametrize("arguments", ["", ", lane='x'"], ids=["plain", "more than plain"])
def test_capture_without_a_wait_follows_to_the_next_loop(arguments: str) -> None:
    """Where the loop before was closed by hand, its event leaves in its time, and nobody has to await anything."""
    done = run_python(f"""
        import asyncio
        from eventpipe import AsyncClient
        from eventpipe.sinks import CallbackSink
        async def send(batch):
            sent.extend(event.event for event in batch.events)
            arrived.set()
        sent = []
        client = AsyncClient(CallbackSink(send), max_batch_age=0.01)
        async def capture(name):
            global arrived
            arrived = asyncio.Event()
            client.capture_nowait(name{arguments})
            await arrived.wait()
        async def first():
            await client.flush()
            await capture("a")
        for work in (first(), capture("b"), capture("c"), client.aclose()):
            loop = asyncio.new_event_loop()
            loop.run_until_complete(work)
            loop.close()
        assert sent == ["a", "b", "c"], sent
    """)
    assert done.returncode == 0, done.stderr


@pytest.mark.wallclock
def test_capture_without_a_wait_and_without_a_loop_stays_queued() -> None:
    """After the client's loop was closed and before the next one runs; whoever comes next has it sent."""
    done = run_python("""
        import asyncio
        from eventpipe import AsyncClient
        from eventpipe.sinks import MemorySink
        sink = MemorySink()
        client = AsyncClient(sink)
        loop = asyncio.new_event_loop()
        loop.run_until_complete(client.flush())
        loop.run_until_complete(client.capture("a"))
        loop.close()
        assert client.capture_nowait("b").accepted
        assert client.statistics().pending == 2
        asyncio.run(client.aclose())
        assert [event.event for event in sink.events] == ["a", "b"], sink.events
    """)
    assert done.returncode == 0, done.stderr


def test_flush_on_a_loop_while_the_client_lives_on_one_that_sleeps() -> None:
    """A loop that is neither running nor closed cannot send; that is an error and no hang."""
    client = AsyncClient(MemorySink())
    one, other = asyncio.new_event_loop(), asyncio.new_event_loop()
    one.run_until_complete(client.capture("e"))
    with pytest.raises(RuntimeError, match="neither running nor closed"):
        other.run_until_complete(client.flush())
    one.run_until_complete(client.aclose())
    one.close()
    other.close()


# -- processes --------------------------------------------------------------------------------------------------------


@pytest.mark.wallclock
def test_forgotten_close_is_reported_at_exit() -> None:
    """A line on stderr has the number of events that were pending."""
    done = run_python("""
        import asyncio
        from eventpipe import AsyncClient
        from eventpipe.sinks import MemorySink
        client = AsyncClient(MemorySink())
        async def main():
            for _ in range(17):
                await client.capture("e")
        asyncio.run(main())
    """)
    assert done.returncode == 0, done.stderr
    assert "17 events were pending" in done.stderr
    assert "aclose" in done.stderr


@pytest.mark.wallclock
def test_closed_client_is_quiet_at_exit() -> None:
    """Nothing on stderr."""
    done = run_python("""
        import asyncio
        from eventpipe import AsyncClient
        from eventpipe.sinks import MemorySink
        async def main():
            async with AsyncClient(MemorySink()) as client:
                await client.capture("e")
        asyncio.run(main())
    """)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.wallclock
@pytest.mark.parametrize("when", ["idle", "with a full queue"])
def test_forked_child_starts_clean(when: str) -> None:
    """The child works, sends nothing of its parent's, and does not hang; the parent goes on."""
    done = run_python(f"""
        import asyncio, os, sys, warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        from eventpipe import AsyncClient
        from eventpipe.sinks import MemorySink
        sink = MemorySink()
        client = AsyncClient(sink, queue_events=300)
        async def parent():
            await client.capture("parent"); await client.flush()
            if {when!r} != "idle":
                for number in range(300):
                    assert client.capture_nowait("parent").accepted
                assert client.statistics().pending == 300
        async def child():
            assert client.statistics().captured == 0, client.statistics()
            await client.capture("child")
            report = await client.aclose(5)
            assert report.delivered == 1, report
        asyncio.run(parent())
        before = len(sink.events)
        pid = os.fork()
        if pid == 0:
            try:
                asyncio.run(child())
                assert [event.event for event in sink.events[before:]] == ["child"], sink.events
                os._exit(0)
            except BaseException as exc:
                print("child:", repr(exc), file=sys.stderr, flush=True)
                os._exit(1)
        _, status = os.waitpid(pid, 0)
        async def end():
            await client.flush()
            await client.capture("parent")
            return await client.aclose(5)
        report = asyncio.run(end())
        assert report.pending == 0 and report.dropped == 0, report
        assert [event.event for event in sink.events] == ["parent"] * ({2 if when == "idle" else 302}), report
        sys.exit(os.waitstatus_to_exitcode(status))
    """)
    assert done.returncode == 0, done.stderr


@pytest.mark.wallclock
def test_fork_inside_a_running_loop_does_not_hang() -> None:
    """A child forked in the middle of a handler starts a client of its own on a loop of its own."""
    done = run_python("""
        import asyncio, os, sys, warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        from eventpipe import AsyncClient
        from eventpipe.sinks import MemorySink
        sink = MemorySink()
        async def main():
            client = AsyncClient(sink)
            await client.capture("parent")
            pid = os.fork()
            if pid == 0:
                client.capture_nowait("child")
                os._exit(0 if client.statistics().captured == 0 else 1)
            _, status = os.waitpid(pid, 0)
            report = await client.aclose()
            assert report.delivered == 1, report
            return os.waitstatus_to_exitcode(status)
        sys.exit(asyncio.run(main()))
    """)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.wallclock
@pytest.mark.asyncio
async def test_interpreter_cancelling_all_tasks_loses_nothing_without_a_number() -> None:
    """Somebody cancels every task there is; what is pending stays pending, and the next capture starts again."""
    sink = GatedSink()
    client = AsyncClient(sink, batch_events=1)
    await client.capture("a")
    await sink.reached(1)
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await anyio.wait_all_tasks_blocked()
    assert check_ledger(client).pending == 1
    sink.release()
    await client.capture("b")
    assert (await client.flush(5)).delivered == 2
    await client.aclose()
    check_ledger(client, received=sink.uuids, drained=True)


def test_constructor_is_inert() -> None:
    """No loop, task or thread is needed or made; events may be described before."""
    threads = threading.active_count()
    clients = [AsyncClient(MemorySink()) for _ in range(100)]
    assert threading.active_count() == threads
    assert all(client.statistics().captured == 0 for client in clients)
    assert Event("e").event == "e"
