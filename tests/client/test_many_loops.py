"""One client and several loops, in one thread after another and in several at once."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from eventpipe import AsyncClient, Batch, ClosedError, DropReason, Event, FlushReport, Outcome, OutcomeKind, Receipt
from eventpipe.sinks import CallbackSink, MemorySink
from eventpipe.testing import GatedSink, HangingSink, check_ledger
from eventpipe.transport import runtime

pytestmark = pytest.mark.wallclock


def in_thread(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a loop closed by hand leaves tasks
@pytest.mark.parametrize("ending", ["run", "close"])
def test_close_that_its_loop_cut_short_is_made_good_on_the_next(ending: str) -> None:
    """Neither an error of the first loop nor a wait for it: another close, by its own deadline."""
    close_twice(ending)
    gc.collect()  # while the test catches what asyncio logs of the first loop's tasks


def close_twice(ending: str) -> None:
    client = AsyncClient(HangingSink())

    async def begin() -> asyncio.Task[object]:
        await client.capture("a")
        closing: asyncio.Task[object] = asyncio.create_task(client.aclose(30))
        await asyncio.sleep(0.01)
        return closing

    if ending == "run":
        asyncio.run(begin())
    else:
        loop = asyncio.new_event_loop()
        loop.run_until_complete(begin())
        loop.close()

    report = asyncio.run(client.aclose(0))

    assert (report.dropped_by_reason, report.pending) == ({DropReason.CLOSE_DEADLINE: 1}, 0)
    check_ledger(client, drained=True)


def test_captures_after_the_close_and_its_loop_are_counted() -> None:
    """Nobody is left to take events over, so whoever leaves one counts it."""
    client = AsyncClient(MemorySink(), strict=True)
    asyncio.run(client.aclose())

    with pytest.raises(ClosedError):
        client.capture_nowait("a")
    with ThreadPoolExecutor(1) as executor, pytest.raises(ClosedError):
        executor.submit(client.capture_nowait, "b").result()

    assert check_ledger(client, drained=True).dropped_by_reason == {DropReason.CLOSED: 2}


def test_outcome_is_told_on_another_loop_than_the_one_that_settles() -> None:
    """A receipt waited for in a thread wakes that thread's loop, whether its event came from here or from there."""
    sink = GatedSink()
    client = AsyncClient(sink, max_batch_age=0)
    outcomes: list[Outcome] = []

    def wait_for(make: Callable[[], Receipt], waiting: Callable[[], object]) -> threading.Thread:
        async def wait() -> None:
            task = asyncio.create_task(make().outcome(20))
            await asyncio.sleep(0)
            waiting()
            outcomes.append(await task)

        return in_thread(lambda: asyncio.run(wait()))

    early = threading.Event()
    threads = [wait_for(lambda: client.capture_nowait("before there is a runtime"), early.set)]
    early.wait()

    async def main() -> None:
        receipt = await client.capture("here")
        waiting, loop = asyncio.Event(), asyncio.get_running_loop()
        threads.append(wait_for(lambda: receipt, lambda: loop.call_soon_threadsafe(waiting.set)))
        await waiting.wait()
        sink.release()
        await client.aclose()

    began = time.monotonic()
    asyncio.run(main())
    for thread in threads:
        thread.join()

    assert [outcome.kind for outcome in outcomes] == [OutcomeKind.DELIVERED] * 2
    assert time.monotonic() - began < 10  # and not when the timeout woke the loop


def test_loops_that_capture_first_at_once_share_one_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever thread is quicker has the dispatchers; the other leaves its event for that loop."""
    sink = MemorySink()
    client = AsyncClient(sink)
    both, done = threading.Barrier(2), threading.Barrier(2)
    met: set[int] = set()

    def meet(_: runtime.Runtime) -> None:
        """Stand where a thread has seen that no runtime is there, until the other has seen it too."""
        if threading.get_ident() not in met:
            met.add(threading.get_ident())
            both.wait(10)

    async def capture() -> None:
        await client.capture("e")
        await asyncio.to_thread(done.wait, 10)

    monkeypatch.setattr(runtime.Runtime, "watch", meet)
    with ThreadPoolExecutor(2) as executor:
        runs = [executor.submit(asyncio.run, capture()) for _ in range(2)]
        errors = [run.exception() for run in runs]
    monkeypatch.undo()
    asyncio.run(client.aclose())

    assert errors == [None, None]
    assert len(sink.events) == check_ledger(client, drained=True).captured == 2


def test_garbage_of_a_loop_that_was_closed_does_not_disturb_the_next(caplog: pytest.LogCaptureFixture) -> None:
    """What the first loop left is collected in the middle of a flush on the second: the flush and the close go on."""
    gates: list[asyncio.Event] = []
    arrived: list[asyncio.Event] = []

    async def wait_at_the_gate(batch: Batch) -> None:
        arrived[-1].set()
        await gates[-1].wait()

    client = AsyncClient(CallbackSink(wait_at_the_gate), max_batch_age=0)

    async def begin() -> None:
        gates.append(asyncio.Event())
        arrived.append(asyncio.Event())
        await client.capture("a")
        left_behind = asyncio.create_task(client.flush())
        await arrived[-1].wait()
        assert client.statistics().in_flight == 1
        assert not left_behind.done()

    async def go_on() -> None:
        gates.append(asyncio.Event())
        arrived.append(asyncio.Event())
        await client.capture("b")
        flushing = asyncio.create_task(client.flush())
        await arrived[-1].wait()
        gc.collect()
        await asyncio.sleep(0.01)
        assert not flushing.done()
        gates[-1].set()
        assert (await flushing).delivered == 2
        assert (await client.aclose()).delivered == 2

    gc.disable()  # until its time has come
    try:
        loop = asyncio.new_event_loop()
        loop.run_until_complete(begin())
        loop.close()
        asyncio.run(go_on())
    finally:
        gc.enable()
    check_ledger(client, drained=True)
    assert {record.name for record in caplog.records} == {"asyncio"}  # which names the tasks that were left


def test_capture_on_the_next_loop_does_not_wake_the_last() -> None:
    """The dispatcher that a closed loop left parked cannot be woken, and the caller does not hear of it."""
    sink = MemorySink()
    client = AsyncClient(sink, max_batch_age=0)

    async def begin() -> None:
        await client.capture("a")
        await client.flush()
        await asyncio.sleep(0.01)  # it parks until another event comes

    loop = asyncio.new_event_loop()
    loop.run_until_complete(begin())
    loop.close()

    async def go_on() -> None:
        await client.capture("b")
        await client.aclose()

    asyncio.run(go_on())

    assert [event.event for event in sink.events] == ["a", "b"]
    gc.collect()


def on_another_loop(work: Callable[[], Coroutine[Any, Any, object]]) -> tuple[object, float]:
    """What ``work`` gave, or raised, and the seconds it took."""
    began = time.monotonic()
    try:
        return asyncio.run(work()), time.monotonic() - began
    except Exception as error:  # noqa: BLE001  # it is what the tests look at
        return error, time.monotonic() - began


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda client: client.flush(0.05), FlushReport),
        (lambda client: client.deliver("b", timeout=0.05), TimeoutError),
        (lambda client: client.aclose(0.05), RuntimeError),
    ],
    ids=["flush", "deliver", "aclose"],
)
def test_calls_from_another_loop_keep_their_timeout_while_the_client_s_is_held_up(
    call: Callable[[AsyncClient], Coroutine[Any, Any, object]], expected: type
) -> None:
    """Nobody knows there what became of the events, but the caller goes on in time."""
    client = AsyncClient(MemorySink())
    executor = ThreadPoolExecutor(1)

    async def main() -> None:
        await client.capture("a")
        given, took = executor.submit(on_another_loop, lambda: call(client)).result()  # holds the loop up meanwhile
        assert isinstance(given, expected)
        assert took < 1
        await client.aclose()

    with executor:
        asyncio.run(main())
    check_ledger(client, drained=True)


def test_flush_from_another_loop_ends_with_the_client_s() -> None:
    """The loop that the client lives on ends: the flush says what is pending, and its task is not cancelled."""
    sink = HangingSink()
    client = AsyncClient(sink)
    executor = ThreadPoolExecutor(1)
    flushes: list[Future[tuple[object, float]]] = []

    async def main() -> None:
        await client.capture("a")
        flushes.append(executor.submit(on_another_loop, lambda: client.flush(10)))
        await sink.reached(1)

    with executor:
        asyncio.run(main())
        report, took = flushes[0].result()
    assert isinstance(report, FlushReport)
    assert (report.pending, took < 5) == (1, True)
    asyncio.run(client.aclose(0))


@pytest.mark.parametrize("queue_events", [1, 10], ids=["full", "room"])
def test_a_second_loop_of_the_thread_shows_an_event_to_the_hook_once(queue_events: int) -> None:
    """Also where the event finds no room at once, beside a loop that is neither running nor closed."""
    seen: list[str] = []

    def hook(event: Event) -> Event:
        seen.append(event.event)
        return event

    client = AsyncClient(MemorySink(), before_send=hook, max_batch_age=60, queue_events=queue_events)
    home, other = asyncio.new_event_loop(), asyncio.new_event_loop()
    home.run_until_complete(client.capture("at home", properties={}))
    other.run_until_complete(client.capture("elsewhere", properties={}))
    other.close()
    home.run_until_complete(client.aclose())
    home.close()

    assert seen == ["at home", "elsewhere"]
    assert check_ledger(client, drained=True).captured == 2


def test_what_crashed_starts_again_beside_the_others_whoever_captures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another loop that captures first neither fails nor takes it away from the loop in which the others run."""
    monkeypatch.setattr(runtime, "RESTART_AFTER", 0.02)
    one, two = MemorySink(name="one"), MemorySink(name="two")

    async def elsewhere(client: AsyncClient) -> FlushReport:
        await client.capture("b")
        return await client.flush(5)

    async def life() -> tuple[AsyncClient, FlushReport]:
        async with AsyncClient(one, two) as client:
            await client.capture("a")
            await client.flush()
            [crashing] = [task for task in asyncio.all_tasks() if task.get_name() == "eventpipe-one"]
            crashing.cancel()
            await asyncio.wait({crashing})
            assert client.health().crashed == ("eventpipe-one",)
            return client, await asyncio.to_thread(asyncio.run, elsewhere(client))

    client, report = asyncio.run(life())

    assert (report.delivered, report.pending) == (2, 0)
    assert [[event.name for event in sink.events] for sink in (one, two)] == [["a", "b"], ["a", "b"]]
    check_ledger(client, drained=True)
