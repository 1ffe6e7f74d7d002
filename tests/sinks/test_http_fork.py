"""The HTTP sink where a forked child goes on with a copy of its parent's loop, and of the attempts in it."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from eventpipe.testing.exchange import Reply
from eventpipe.testing.server import ScriptedServer

pytestmark = [pytest.mark.asyncio, pytest.mark.wallclock]

PROGRAM = """
import asyncio, os, sys
from eventpipe import TransientSinkError
from eventpipe.sinks import HttpSink
from eventpipe.testing.events import make_batch

sink = HttpSink(sys.argv[1], timeout=5)
loop = asyncio.new_event_loop()
if sys.argv[2] == "kept alive":
    loop.run_until_complete(sink.send(make_batch()))
attempt = loop.create_task(sink.send(make_batch()))
loop.run_until_complete(asyncio.sleep(0.1))
pid = os.fork()
if pid == 0:
    try:
        loop.run_until_complete(attempt)
    except TransientSinkError:
        loop.run_until_complete(sink.send(make_batch()))
        loop.run_until_complete(sink.aclose())
        os._exit(0)
    os._exit(1)
_, status = os.waitpid(pid, 0)
loop.run_until_complete(attempt)
loop.run_until_complete(sink.send(make_batch()))
loop.run_until_complete(sink.aclose())
loop.close()
sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.parametrize("connection", ["new", "kept alive"])
async def test_an_attempt_under_way_at_a_fork_is_the_parents(connection: str) -> None:
    """The copy in the child neither reads its answer nor sends it again; both processes send what is their own."""
    async with ScriptedServer() as server, asyncio.timeout(30):
        before = 1 if connection == "kept alive" else 0
        server.script(*[200] * before, Reply(latency=0.5))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", PROGRAM, server.url, connection, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        output = await process.communicate()

        assert (process.returncode, output) == (0, (b"", b""))
        assert [request.connection for request in server.requests[before:]] == [1, 2, 1]
