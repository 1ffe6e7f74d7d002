"""A loop in a thread of its own: what it runs, whom it answers, and how it ends."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from collections.abc import Callable, Iterator

import pytest

from eventpipe.core.loop_thread import HeldUpError, LoopEndedError, LoopThread

pytestmark = pytest.mark.wallclock

HERE = contextvars.ContextVar("HERE", default="nowhere")


def nothing() -> None: ...


def make(
    begin: Callable[[], object] = nothing, end: Callable[[], object] = nothing, at_exit: Callable[[], object] = nothing
) -> LoopThread:
    return LoopThread("loop of a test", begin=begin, end=end, at_exit=at_exit)


@pytest.fixture(name="home")
def _home() -> Iterator[LoopThread]:
    home = make()
    yield home
    assert home.stop(10)


async def where() -> tuple[int, str]:
    return threading.get_ident(), HERE.get()


def test_it_runs_in_the_context_of_the_caller(home: LoopThread) -> None:
    """On another thread, which there is once something is to run."""
    states = [home.is_alive]
    HERE.set("caller")
    thread, context = home.run(where())

    assert [*states, home.is_alive, home.is_here] == [False, True, False]
    assert thread != threading.get_ident()
    assert context == "caller"
    assert home.run(where())[0] == thread


def test_it_begins_in_an_empty_context() -> None:
    """Nothing of whoever starts it stays with what begins there."""
    seen: list[object] = []
    home = make(lambda: seen.extend([HERE.get(), home.is_here]))
    HERE.set("caller")
    home.run(where())
    home.stop(10)

    assert seen == ["nowhere", True]


def test_errors_and_timeouts_reach_the_caller(home: LoopThread) -> None:
    """What the work raises, and a timeout, which cancels the work."""
    cancelled = threading.Event()

    async def fail() -> None:
        raise KeyError("key")

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    with pytest.raises(KeyError, match="key"):
        home.run(fail())
    with pytest.raises(TimeoutError):
        home.run(hang(), 0.01)
    assert cancelled.wait(10)


def test_stop_answers_whoever_waits() -> None:
    """What came before the stop has a few steps to finish; what comes later is refused, until it starts anew."""
    ended: list[bool] = []
    home = make(end=lambda: ended.append(home.is_alive))
    life = home.start()
    answers = []

    async def work() -> str:
        for _ in range(5):
            await asyncio.sleep(0)
        return "done"

    def stop_and_ask() -> None:
        life.request_stop()
        answers.append(life.submit(work()))

    life.loop.call_soon_threadsafe(stop_and_ask)
    life.thread.join(10)

    assert answers[0].result(0) == "done"
    assert ended == [False]
    refused = work()
    with pytest.raises(LoopEndedError) as caught:
        life.submit(refused)
    refused.close()
    assert not caught.value.has_begun
    assert home.run(work()) == "done"
    assert home.start() is not life
    assert home.stop(10)


def test_what_hangs_at_the_stop_is_cancelled() -> None:
    """Whoever waits for it is told that it had begun."""
    home = make()
    errors: list[LoopEndedError] = []
    begun = threading.Event()

    async def hang() -> None:
        begun.set()
        await asyncio.Event().wait()

    def wait() -> None:
        with pytest.raises(LoopEndedError) as caught:
            home.run(hang())
        errors.append(caught.value)

    waiter = threading.Thread(target=wait)
    waiter.start()
    assert begun.wait(10)
    assert home.stop(10)
    waiter.join(10)

    assert [error.has_begun for error in errors] == [True]


def test_stop_returns_at_its_timeout() -> None:
    """Where something holds the thread up; a later one finds it ended."""
    home = make()
    inside, go_on = threading.Event(), threading.Event()

    def block() -> None:
        inside.set()
        go_on.wait(10)

    home.start().loop.call_soon_threadsafe(block)
    assert inside.wait(10)

    assert not home.stop(0.01)
    go_on.set()
    assert home.stop(10)
    assert make().stop(0), "one that never started has ended"


def test_what_was_given_up_never_begins() -> None:
    """Its caller may have done it by other means."""
    home = make()
    inside, go_on = threading.Event(), threading.Event()
    ran: list[str] = []

    def block() -> None:
        inside.set()
        go_on.wait(10)

    async def work() -> None:
        ran.append("late")

    home.start().loop.call_soon_threadsafe(block)
    assert inside.wait(10)
    with pytest.raises(HeldUpError) as caught:
        home.run(work(), 0.01)
    go_on.set()
    home.run(where())

    assert not caught.value.has_begun
    assert ran == []
    assert home.stop(10)


def test_without_a_thread_it_runs_on_the_callers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Unless that has a running loop, which it would hold up."""

    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def inside() -> None:
        with pytest.raises(RuntimeError, match="can't start new thread"):
            home.run(where())

    home = make()
    monkeypatch.setattr(threading.Thread, "start", start)
    assert home.run(where())[0] == threading.get_ident()
    asyncio.run(inside())
    assert not home.is_alive
    assert home.stop(0)


def test_who_waits_for_a_thread_that_never_starts_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread, or a signal handler, may have asked while it was to be started."""
    answers = []

    def start(thread: threading.Thread) -> None:
        answers.append(home.start().submit(where()))
        raise RuntimeError("can't start new thread")

    home = make()
    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        home.start()

    with pytest.raises(LoopEndedError) as caught:
        answers[0].result(0)
    assert not caught.value.has_begun


def test_error_of_its_own_ends_it_with_a_line(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody waits for it, so that the log says it, without the error's text; the next use starts it again."""
    lives: list[int] = []

    def begin() -> None:
        lives.append(1)
        if len(lives) == 1:
            raise ValueError("secret")

    home = make(begin)
    with caplog.at_level(logging.ERROR, "eventpipe"):
        home.start().thread.join(10)
    assert not home.is_alive
    home.run(where())

    assert len(lives) == 2
    assert caplog.messages == ["the event loop of thread loop of a test ended by ValueError"]
    assert home.stop(10)


def test_errors_at_exit_cost_no_other_its_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each is told to end, and is ended."""
    from eventpipe.core import loop_thread

    def fail() -> None:
        raise ValueError("secret")

    homes = [make(at_exit=fail) for _ in range(3)]
    for home in homes:
        home.run(where())
    monkeypatch.setattr(loop_thread, "_living", homes)
    loop_thread._end_at_exit()

    assert [home.is_alive for home in homes] == [False] * 3
    assert caplog.messages == ["thread loop of a test did not end in order: ValueError"] * 3
