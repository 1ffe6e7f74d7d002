"""Forks: what the child may do, and what it must leave to its parent."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.wallclock

HEAD = """
import asyncio, os, sys, warnings
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
