"""What is left behind is found and named; what belongs to the loop, or ends in time, is not."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from pathlib import Path

import pytest

from eventpipe.testing.leaks import Baseline, LeakError, no_leaks


@pytest.mark.asyncio
async def test_a_task_left_is_named() -> None:
    """With its name and what it runs; one that has ended is none."""
    baseline = Baseline.take()
    await asyncio.create_task(asyncio.sleep(0))
    left = asyncio.create_task(asyncio.sleep(1), name="forgotten")

    with pytest.raises(LeakError) as caught:
        baseline.check()

    await left
    assert str(caught.value).startswith("1 left behind:\n  task forgotten: <coroutine object sleep")


@pytest.mark.asyncio
async def test_tasks_from_before_and_the_current_one_are_not_counted() -> None:
    """Only what came since."""
    before = asyncio.create_task(asyncio.sleep(1))
    baseline = Baseline.take()

    async def check() -> None:
        baseline.check()

    await asyncio.create_task(asyncio.sleep(0))
    checker = asyncio.create_task(check())
    await checker
    await before


def test_a_thread_left_is_named_after_its_time_of_grace() -> None:
    """One that is about to end is waited for; one that stays is named."""
    gate = threading.Event()
    thread = threading.Thread(target=gate.wait, name="stuck")
    baseline = Baseline.take()
    thread.start()

    with pytest.raises(LeakError, match="1 left behind:\n  thread stuck"):
        baseline.check(grace=0.005)
    threading.Timer(0.005, gate.set).start()
    baseline.check()


@pytest.mark.asyncio
async def test_threads_of_the_loop_are_its_own() -> None:
    """The default executor's workers live as long as the loop."""
    with no_leaks():
        await asyncio.to_thread(lambda: None)


def test_a_file_left_open_is_named(tmp_path: Path) -> None:
    """By its descriptor and what it stands for."""
    path = tmp_path / "left.ndjson"
    baseline = Baseline.take()
    with path.open("w") as file:
        with pytest.raises(LeakError) as caught:
            baseline.check()
        assert f"file {file.fileno()}: " in str(caught.value)
        if Path("/proc/self/fd").is_dir():
            assert str(path) in str(caught.value)

    baseline.check()


def test_a_descriptor_that_stands_for_something_else_is_new() -> None:
    """Closing one socket and opening another under its number hides nothing."""
    first = socket.socket()
    number = first.fileno()
    baseline = Baseline.take()
    first.close()
    second = socket.socket()
    try:
        assert second.fileno() == number
        with pytest.raises(LeakError, match=f"1 left behind:\n  file {number}: "):
            baseline.check()
    finally:
        second.close()


def test_closed_in_the_block_is_no_leak() -> None:
    """A whole program, with sockets and tasks, leaves nothing."""
    with no_leaks():
        asyncio.run(asyncio.sleep(0))
        read, write = os.pipe()
        os.close(read)
        os.close(write)


def test_all_that_is_left_is_listed() -> None:
    """One error with a line for each."""
    gate = threading.Event()
    thread = threading.Thread(target=gate.wait, name="left")
    baseline = Baseline.take()
    thread.start()
    left = socket.socket()

    with pytest.raises(LeakError, match="2 left behind:\n  thread left\n  file "):
        baseline.check(grace=0)

    left.close()
    gate.set()
    thread.join()


def test_an_error_inside_goes_first() -> None:
    """A test that fails says why, not what it left for that reason."""
    left: list[socket.socket] = []

    def work() -> None:
        with no_leaks():
            left.append(socket.socket())
            raise KeyError

    with pytest.raises(KeyError):
        work()
    left[0].close()


def test_the_block_is_checked_at_its_end() -> None:
    """What is left by then is an error."""
    left: list[socket.socket] = []

    def work() -> None:
        with no_leaks():
            left.append(socket.socket())

    with pytest.raises(LeakError, match="1 left behind"):
        work()
    left[0].close()
