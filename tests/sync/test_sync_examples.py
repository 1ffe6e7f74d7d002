"""The script and the WSGI application of the examples, as they are run: in processes, with signals, under gunicorn."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import aiohttp
import pytest

from eventpipe.cli.collector import Collector
from eventpipe.cli.store import FILE_NAME
from tests.integration.serving import Server, serving

ROOT = Path(__file__).parents[2]
USERS = 200

pytestmark = [pytest.mark.asyncio, pytest.mark.wallclock]


def delivered_to(folder: Path) -> list[str]:
    """Whom the events were about that a collector stored."""
    return sorted(re.findall(r'"distinct_id":"(\w+)"', (folder / FILE_NAME).read_text()))


async def test_script_delivers_each_line_once() -> None:
    """More lines than the queue holds: it waits, and loses none."""
    users = "".join(f"u{number}\n" for number in range(3_000))

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "examples.script"],
            input=users,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=ROOT,
            env={**os.environ, "COLLECTOR_URL": f"{collector.url}/events", "EVENTPIPE_QUEUE_EVENTS": "700"},
        )

    async with Collector(remember_ids=True) as collector:
        done = await asyncio.to_thread(run)

        assert (done.returncode, done.stderr) == (0, "3000 delivered, 0 dropped\n")
        assert list(collector.ids.values()) == [1] * 3_000


async def test_script_that_is_terminated_sends_what_it_has(tmp_path: Path) -> None:
    """SIGTERM in the middle of its input: everything captured before arrives."""
    async with Collector(store=tmp_path) as collector:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "examples.script",
            cwd=ROOT,
            env={**os.environ, "COLLECTOR_URL": f"{collector.url}/events"},
            stdin=PIPE,
            stderr=PIPE,
        )
        assert process.stdin is not None
        process.stdin.write(b"".join(b"u%d\n" % number for number in range(10)))
        await process.stdin.drain()
        async with asyncio.timeout(20):
            while collector.events < 10:  # noqa: ASYNC110  # the events come from another process
                await asyncio.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            _, printed = await process.communicate()

        assert (process.returncode, printed) == (143, b"")
        assert delivered_to(tmp_path) == sorted(f"u{number}" for number in range(10))


async def both_workers(server: Server) -> None:
    """Wait until both are there: gunicorn forgets to end one that it forks in the middle of its own end."""
    for _ in range(2):
        await server.read_until("Booting worker")


@pytest.mark.parametrize("threads", [1, 4], ids=["a request at a time", "four threads a worker"])
async def test_wsgi_application_delivers_every_event_once_when_terminated(tmp_path: Path, threads: int) -> None:
    """Under gunicorn with two workers, forked from a process that made the client; the close is each worker's own."""
    command = (
        "-m",
        "gunicorn",
        "-c",
        "python:examples.wsgi_app",
        "--bind",
        "127.0.0.1:0",
        "--no-control-socket",
        "--threads",
        str(threads),
    )
    async with (
        Collector(store=tmp_path, remember_ids=True) as collector,
        serving(*command, COLLECTOR_URL=f"{collector.url}/events") as server,
    ):
        await both_workers(server)
        async with aiohttp.ClientSession(server.address) as session:

            async def sign_up(number: int) -> None:
                async with session.get("/", params={"user": f"u{number}"}) as answer:
                    assert answer.status == 204

            for part in range(0, USERS, 20):
                await asyncio.gather(*map(sign_up, range(part, part + 20)))
        server.signal(signal.SIGTERM)
        printed = await server.end()

        assert "Traceback" not in printed
        assert "pending at exit" not in printed
        assert list(collector.ids.values()) == [1] * USERS
        assert delivered_to(tmp_path) == sorted(f"u{number}" for number in range(USERS))


async def test_master_that_captures_before_it_forks_shares_nothing(tmp_path: Path) -> None:
    """Its thread is not in the workers, and its events are sent by itself alone."""
    app = tmp_path / "captured_early.py"
    app.write_text(
        "from examples.wsgi_app import *\n"
        "from examples.wsgi_app import app, client, worker_exit\n"
        "wsgi_app = 'captured_early:app'\n"
        "client.capture('loaded')\n"
        "def on_exit(server): client.close()\n"
    )
    command = ("-m", "gunicorn", "-c", "python:captured_early", "--bind", "127.0.0.1:0", "--no-control-socket")
    path = f"{tmp_path}{os.pathsep}{ROOT}"
    async with (
        Collector(store=tmp_path, remember_ids=True) as collector,
        serving(
            *command, COLLECTOR_URL=f"{collector.url}/events", EVENTPIPE_MAX_BATCH_AGE="60", PYTHONPATH=path
        ) as server,
    ):
        await both_workers(server)
        async with aiohttp.ClientSession(server.address) as session:
            for number in range(20):
                async with session.get("/", params={"user": f"u{number}"}) as answer:
                    assert answer.status == 204
        server.signal(signal.SIGTERM)
        printed = await server.end()

        assert "Traceback" not in printed
        assert list(collector.ids.values()) == [1] * 21
        assert delivered_to(tmp_path) == sorted(f"u{number}" for number in range(20))
        assert (tmp_path / FILE_NAME).read_text().count('"loaded"') == 1
