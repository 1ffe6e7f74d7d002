"""What becomes of events that are pending when the interpreter ends, because nobody closed their client."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator

import pytest

from eventpipe import AsyncClient
from eventpipe.sinks import MemorySink
from tests.far_end import FarEnd

pytestmark = pytest.mark.wallclock


@pytest.fixture
def far_end() -> Iterator[FarEnd]:
    with FarEnd() as far_end:
        yield far_end


HEAD = """
import asyncio, sys, threading
from eventpipe import AsyncClient
from eventpipe.sinks import HttpSink
client = AsyncClient(HttpSink(sys.argv[1], compression=None), exit_timeout=float(sys.argv[2]), max_batch_age=60)
async def capture():
    for number in range(17):
        await client.capture(f"e{number}")
"""
ENDS = {
    "asyncio.run": "asyncio.run(capture())",
    "a loop that stands still": """
        loop = asyncio.new_event_loop()
        loop.run_until_complete(capture())
    """,
    "a loop that was closed": """
        loop = asyncio.new_event_loop()
        loop.run_until_complete(capture())
        loop.close()
    """,
    "a loop in a thread": """
        loop = asyncio.new_event_loop()
        threading.Thread(target=loop.run_forever, daemon=True).start()
        asyncio.run_coroutine_threadsafe(capture(), loop).result()
    """,
    "no loop at all": """
        for number in range(17):
            client.capture_nowait(f"e{number}")
    """,
    "sys.exit": """
        async def main():
            await capture()
            sys.exit(0)
        asyncio.run(main())
    """,
}


def run(program: str, far_end: FarEnd, exit_timeout: float = 20) -> tuple[subprocess.CompletedProcess[str], float]:
    """Run a program to its end; returns that, and the seconds it took."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", HEAD + textwrap.dedent(program), far_end.url, str(exit_timeout)],
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    return done, time.monotonic() - began


@pytest.mark.parametrize("end", ENDS)
def test_what_is_pending_has_a_last_attempt(end: str, far_end: FarEnd) -> None:
    """Wherever its loop is, each event arrives once, and one line says what happened."""
    done, _ = run(ENDS[end], far_end)

    assert done.returncode == 0
    assert sorted(far_end.names) == sorted(f"e{number}" for number in range(17))
    lines = [line for line in done.stderr.splitlines() if "not closed" in line]
    assert lines == [
        "a client was not closed; 17 events were pending at exit and had a last attempt; "
        "in all, 17 events were delivered and 0 dropped"
    ]


def test_what_was_flushed_needs_none(far_end: FarEnd) -> None:
    """A client that nobody closed, and that holds nothing, ends without a word."""
    done, _ = run(
        """
        async def main():
            await capture()
            await client.flush()
        asyncio.run(main())
        """,
        far_end,
    )

    assert (done.returncode, len(far_end.names)) == (0, 17)
    assert "not closed" not in done.stderr


def test_one_event_is_told_as_one(far_end: FarEnd) -> None:
    """Whether it has a last attempt or not."""
    done, _ = run("client.capture_nowait('e')\nclient._runtime.last_attempt = None", far_end)
    sent, _ = run("client.capture_nowait('e')", far_end)

    assert "a client was not closed, and 1 event was pending at exit; use" in done.stderr
    assert "1 event was pending at exit and had a last attempt; in all, 1 event was delivered and 0" in sent.stderr


def test_an_error_that_ends_the_program_has_its_exit_code_and_the_last_attempt(far_end: FarEnd) -> None:
    """The traceback is there as ever."""
    done, _ = run("asyncio.run(capture())\nraise KeyError('oops')", far_end)

    assert done.returncode == 1
    assert "KeyError: 'oops'" in done.stderr
    assert len(far_end.names) == 17


def test_a_far_end_that_does_not_answer_holds_nothing_up_for_longer(far_end: FarEnd) -> None:
    """The interpreter ends after ``exit_timeout``, and the line has what was dropped."""
    far_end.is_mute = True
    _, without = run("", far_end)

    done, took = run("asyncio.run(capture())", far_end, exit_timeout=1)

    assert 1.0 <= took < without + 1 + 2
    assert "17 events were pending at exit and had a last attempt" in done.stderr
    assert "in all, 0 events were delivered and 17 dropped" in done.stderr


def test_what_fails_is_named_and_what_is_left_is_counted(far_end: FarEnd) -> None:
    """An attempt that raises costs the number nothing."""
    done, _ = run(
        """
        asyncio.run(capture())
        async def fail():
            raise OSError("secret")
        client._runtime.last_attempt = fail
        """,
        far_end,
    )

    assert done.returncode == 0
    assert "17 events were pending at exit, and the last attempt to send them raised OSError" in done.stderr
    assert "a client was not closed, and 17 events were pending at exit" in done.stderr
    assert "secret" not in done.stderr
    assert far_end.names == []


def test_a_child_makes_none_for_its_parent(far_end: FarEnd) -> None:
    """What was pending at a fork is the parent's."""
    done, _ = run(
        """
        import os
        asyncio.run(capture())
        if (child := os.fork()) == 0:
            sys.exit(0)
        os.waitpid(child, 0)
        """,
        far_end,
    )

    assert done.returncode == 0
    assert len(far_end.names) == 17
    assert done.stderr.count("not closed") == 1


@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_a_wrong_time_is_named(value: float) -> None:
    """Whoever wants none leaves it out."""
    with pytest.raises(ValueError, match=r"exit_timeout must be (above 0|a finite number), not"):
        AsyncClient(MemorySink(), exit_timeout=value)
