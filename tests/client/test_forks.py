"""Forks: what the child may do, and what it must leave to its parent."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.wallclock

HEAD = """
import asyncio, gc, os, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)
from eventpipe import AsyncClient, ClosedError, DropReason
from eventpipe.sinks import CallbackSink, MemorySink

def in_child(work):
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException as exc:
            print("child:", repr(exc), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert status == 0, "the child failed"
"""


def run_forking(program: str, *, logged: str = "") -> None:
    """Run a program that forks, in a process without threads; nothing but ``logged`` may appear on stderr."""
    done = subprocess.run(  # a program of this test
        [sys.executable, "-W", "error", "-c", HEAD + textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, logged)


# -- a closed client --------------------------------------------------------------------------------------------------


def test_client_closed_before_a_fork_is_closed_in_the_child() -> None:
    """A capture there is a drop with its reason, in every form of the call, and none reaches the closed sink."""
    run_forking(
        """
        client = AsyncClient(MemorySink())
        asyncio.run(client.aclose())
        def child():
            async def main():
                receipts = [await client.capture("a"), client.capture_nowait("b")]
                assert [receipt.reason for receipt in receipts] == [DropReason.CLOSED] * 2, receipts
                try:
                    await client.flush()
                except ClosedError:
                    pass
                else:
                    raise AssertionError("flush() of a closed client")
                report = await client.aclose()
                assert (report.dropped, dict(report.dropped_by_reason)) == (2, {"closed": 2}), report
            asyncio.run(main())
            assert "closed" in repr(client), client
        in_child(child)
    """,
        logged="sink MemorySink: events are being dropped, reason closed\n"
        "sink MemorySink: 2 events were dropped, reason closed\n",
    )


def test_strict_client_closed_before_a_fork_raises_in_the_child() -> None:
    """``ClosedError``, as in the parent."""
    run_forking(
        """
        client = AsyncClient(MemorySink(), strict=True)
        asyncio.run(client.aclose())
        def child():
            try:
                asyncio.run(client.capture("a"))
            except ClosedError:
                return
            raise AssertionError("captured by a closed client")
        in_child(child)
    """,
        logged="sink MemorySink: events are being dropped, reason closed\n",
    )


# -- an event loop that goes on in the child --------------------------------------------------------------------------

ONE_LOOP = """
parent = os.getpid()
sent = []

async def send(batch):
    sent.extend(event.event for event in batch.events)

def tell(outcome):
    assert os.getpid() == parent, "told of what is the parent's"

client = AsyncClient(CallbackSink(send), max_batch_age=max_batch_age, on_drop=tell, on_error=tell)
loop = asyncio.new_event_loop()

async def child():
    await client.capture("child")
    gc.set_threshold(1)  # what only the garbage collector sees may be gone at any time
    await asyncio.sleep(0.02)
    report = await client.aclose(5)
    assert (report.delivered, report.pending) == (1, 0), report
    assert sent == ["child"], sent
"""


@pytest.mark.parametrize("max_batch_age", [0, 0.005], ids=["batch about to leave", "batch that ripens"])
def test_child_that_goes_on_with_the_loop_sends_only_its_own(max_batch_age: float) -> None:
    """The parent's dispatcher and workers are in the copy of the loop as well; they send nothing and tell nobody."""
    run_forking(
        f"max_batch_age = {max_batch_age}\n{ONE_LOOP}"
        + textwrap.dedent("""
        loop.run_until_complete(client.capture("parent"))
        in_child(lambda: loop.run_until_complete(child()))
        assert loop.run_until_complete(client.aclose(5)).delivered == 1
        assert sent == ["parent"], sent
        loop.close()
    """)
    )


def test_child_forked_inside_a_coroutine_sends_only_its_own() -> None:
    """The same with the fork in the middle of a handler, once the loop is known to be the running one again."""
    run_forking(
        "max_batch_age = 0.005\n"
        + ONE_LOOP
        + textwrap.dedent("""
        async def main():
            await client.capture("parent")
            pid = os.fork()
            if pid == 0:
                try:
                    asyncio._set_running_loop(loop)  # asyncio forgets it in a child
                    await child()
                except BaseException as exc:
                    print("child:", repr(exc), file=sys.stderr, flush=True)
                    os._exit(1)
                os._exit(0)
            _, status = os.waitpid(pid, 0)
            assert (await client.aclose(5)).delivered == 1
            assert sent == ["parent"], sent
            return os.waitstatus_to_exitcode(status)

        failed = loop.run_until_complete(main())
        loop.close()
        sys.exit(failed)
    """)
    )


def test_child_without_the_loops_thread_is_quiet() -> None:
    """Forked by another thread, it has the parent's dispatcher and no loop that could run it; its own client works."""
    run_forking("""
        import threading
        client = AsyncClient(MemorySink(), max_batch_age=60)
        is_up, over = threading.Event(), asyncio.Event()
        async def live():
            await client.capture("parent")
            await asyncio.sleep(0)
            is_up.set()
            await over.wait()
            assert (await client.aclose(5)).delivered == 1
        runner = asyncio.Runner()
        thread = threading.Thread(target=lambda: runner.run(live()))
        thread.start()
        is_up.wait()
        def child():
            global loop, runner, thread
            loop = runner = thread = None  # nothing but the package holds what ran there
            gc.collect()
            async def main():
                await client.capture("child")
                await client.aclose(5)
                assert client.statistics().delivered == 1, client.statistics()
            asyncio.run(main())
            gc.collect()
        loop = runner.get_loop()
        try:
            in_child(child)
        finally:
            loop.call_soon_threadsafe(over.set)
            thread.join()
            runner.close()
    """)


def test_close_under_way_at_a_fork_is_the_parents() -> None:
    """The copy of a close neither sends nor drops what is left, and does not end the sink; the child is closed."""
    run_forking(
        "max_batch_age = 60\n"
        + ONE_LOOP
        + textwrap.dedent("""
        async def begin():
            await client.capture("parent")
            client.closer = asyncio.get_running_loop().create_task(client.aclose(5))
            await asyncio.sleep(0)

        def child():
            loop.run_until_complete(asyncio.sleep(0.02))
            assert sent == [], sent
            report = loop.run_until_complete(client.aclose(5))
            assert (report.delivered, report.dropped, report.pending) == (0, 0, 0), report

        loop.run_until_complete(begin())
        in_child(child)
        assert loop.run_until_complete(client.aclose(5)).delivered == 1
        assert sent == ["parent"], sent
        loop.close()
    """)
    )


def test_fork_while_another_thread_leaves_the_first_event_hangs_nobody() -> None:
    """The child has an inbox of its own, with its own lock, and none of the parent's events."""
    run_forking(
        """
        import signal, threading
        from eventpipe.events import CapturedEvent
        from eventpipe.transport.inbox import Inbox
        client = AsyncClient(MemorySink())
        inside, forked = threading.Event(), threading.Event()
        size, main = CapturedEvent.size, threading.main_thread()
        def slow(self):
            if threading.current_thread() is not main and sys._getframe(1).f_code is Inbox.put.__code__:
                inside.set()
                forked.wait()
            return size.fget(self)
        CapturedEvent.size = property(slow)
        thread = threading.Thread(target=client.capture_nowait, args=("parent",))
        thread.start()
        inside.wait()
        def child():
            signal.alarm(10)
            client.capture_nowait("child")
            async def main():
                await client.flush()
                assert client.statistics().captured == 1, client.statistics()
                await client.aclose()
            asyncio.run(main())
        try:
            in_child(child)
        finally:
            forked.set()
            thread.join()
        asyncio.run(client.aclose())
        assert client.statistics().captured == 1, client.statistics()
    """
    )


def test_fork_while_another_thread_is_inside_a_hook_costs_the_child_nothing() -> None:
    """That thread is not there in the child, and a new one that gets its number is not taken for being inside."""
    run_forking("""
        import threading
        from eventpipe import SyncClient
        inside, forked = threading.Event(), threading.Event()
        def before_send(event):
            if event.event == "parent":
                inside.set()
                forked.wait()
            return event
        def tell(outcome):
            told.append(len(outcome.events))
        told = []
        client = SyncClient(MemorySink(), before_send=before_send)
        client.on_outcome(tell, "delivered")
        thread = threading.Thread(target=client.capture, args=("parent",))
        thread.start()
        inside.wait()
        def child():
            numbers = []
            def work():
                numbers.append(threading.get_ident())
                receipts.append(client.capture("child"))
                client.flush()
            receipts = []
            for _ in range(5):
                one = threading.Thread(target=work)
                one.start()
                one.join()
            assert [receipt.reason for receipt in receipts] == [None] * 5, receipts
            report = client.close()
            assert (report.delivered, report.dropped, sum(told)) == (5, 0, 5), (report, told)
        try:
            in_child(child)
        finally:
            forked.set()
            thread.join()
        assert client.close().delivered == 1
    """)


def test_fork_while_a_loop_in_another_thread_is_inside_a_hook_costs_the_child_nothing() -> None:
    """The same on the way in that a running loop takes."""
    run_forking("""
        import threading
        inside, forked = threading.Event(), threading.Event()
        def before_send(event):
            if event.event == "parent":
                inside.set()
                forked.wait()
            return event
        client = AsyncClient(MemorySink(), before_send=before_send)
        async def live(*names):
            async with client:
                for name in names:
                    assert (await client.capture(name)).accepted, name
            assert client.statistics().delivered == len(names), client.statistics()
        def run(*names):
            thread = threading.Thread(target=lambda: ended.append(asyncio.run(live(*names))))
            thread.start()
            return thread
        ended = []
        thread = run("first", "parent")
        inside.wait()
        def child():
            for _ in range(5):
                asyncio.run(asyncio.sleep(0))
            run("child", "child").join()
            assert ended == [None]
        try:
            in_child(child)
        finally:
            forked.set()
            thread.join()
    """)


def test_fork_while_another_thread_adds_a_callback_hangs_nobody() -> None:
    """The child's own callback is added, and told of its events."""
    run_forking("""
        import signal, threading
        client = AsyncClient(MemorySink())
        client._runtime.watch()
        inside, forked = threading.Event(), threading.Event()
        def add():
            with client._hooks._lock:  # as on_outcome() does, for a moment
                inside.set()
                forked.wait()
        thread = threading.Thread(target=add)
        thread.start()
        inside.wait()
        def child():
            signal.alarm(10)
            told = []
            async def live():
                client.on_outcome(told.append, "delivered")
                await client.capture("e")
                await client.aclose()
            asyncio.run(live())
            assert len(told) == 1, told
        try:
            in_child(child)
        finally:
            forked.set()
            thread.join()
    """)


@pytest.mark.parametrize(
    "way",
    ["await client.capture('fork')", "await asyncio.to_thread(client.capture_nowait, 'fork')"],
    ids=["on the loop", "in a thread"],
)
def test_child_forked_inside_a_hook_is_inside_it_still(way: str) -> None:
    """What it captures there is refused, as in its parent, on the client's loop and away from it."""
    run_forking(
        f"""
        def before_send(event):
            if event.event == "fork":
                in_child(child)
            return event
        def child():
            receipt = client.capture_nowait("inside")
            assert (receipt.accepted, receipt.reason) == (False, DropReason.BEFORE_SEND), receipt
        client = AsyncClient(MemorySink(), before_send=before_send)
        async def main():
            async with client:
                await client.capture("first")
                {way}
            assert client.statistics().delivered == 2, client.statistics()
        asyncio.run(main())
        """,
    )


def test_a_child_makes_ids_of_its_own() -> None:
    """Also while the parent's next event has the very stamp that the child inherits."""
    run_forking(
        """
        from eventpipe.encoding import encoder
        encoder.STAMP_LIFE = 60.0
        client = AsyncClient(MemorySink())
        read, write = os.pipe()
        async def capture():
            return [(await client.capture("a", properties={})).uuid for _ in range(5)]
        loop = asyncio.new_event_loop()
        loop.run_until_complete(capture())
        async def child():
            os.write(write, " ".join(await capture()).encode())
            await client.aclose()
        in_child(lambda: asyncio.run(child()))
        ids = [*loop.run_until_complete(capture()), *os.read(read, 4096).decode().split()]
        assert len(set(ids)) == len(ids) == 10, ids
        loop.run_until_complete(client.aclose())
        loop.close()
    """
    )


# -- readers ----------------------------------------------------------------------------------------------------------


def test_reader_counts_from_zero_in_the_child() -> None:
    """What its parent counted is not new there, nor is it subtracted from what is; the parent's reader goes on."""
    run_forking(
        """
        client = AsyncClient(MemorySink(name="eu"))
        reader = client.statistics_reader()
        async def capture(*names):
            await client.capture_many(names)
            await client.flush()
        def child():
            async def main():
                await capture("b", "b")
                since = reader.read()
                assert (since.captured, since.delivered, since.high_water.held) == (2, 2, 2), since
                assert {name: one.delivered for name, one in since.by_event.items()} == {"b": 2}, since.by_event
                assert since.by_sink["eu"].latency.send.count == 2, since.by_sink
                await capture("b")
                assert (reader.read().captured, reader.read().captured) == (1, 0)
                await client.aclose()
            asyncio.run(main())
        loop = asyncio.new_event_loop()
        loop.run_until_complete(capture("a", "a", "a"))
        assert reader.read().delivered == 3
        in_child(child)
        loop.run_until_complete(capture("c"))
        since = reader.read()
        names = {name: one.delivered for name, one in since.by_event.items()}
        assert (since.captured, names, since.high_water.held) == (1, {"c": 1}, 1), since
        loop.run_until_complete(client.aclose())
        loop.close()
    """
    )
