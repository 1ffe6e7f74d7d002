"""The README's example under a real server, with real requests and a real signal."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from eventpipe.cli.collector import Collector
from eventpipe.cli.faults import Faults, Outage
from eventpipe.cli.store import FILE_NAME

ROOT = Path(__file__).parents[2]
USERS = 200

pytestmark = [pytest.mark.asyncio, pytest.mark.wallclock]


@asynccontextmanager
async def running_app(collector: Collector) -> AsyncIterator[tuple[Process, str]]:
    """The example under uvicorn in a process of its own, and its address."""
    command = [sys.executable, "-m", "uvicorn", "examples.fastapi_app:app", "--port", "0", "--no-access-log"]
    environment = {**os.environ, "COLLECTOR_URL": f"{collector.url}/events"}
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=environment, stdout=PIPE, stderr=STDOUT)
    try:
        yield process, await address_of(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def address_of(process: Process) -> str:
    assert process.stdout is not None
    seen = ""
    async with asyncio.timeout(30):
        while line := (await process.stdout.readline()).decode():
            seen += line
            if found := re.search(r"running on (http://[\d.:]+)", line):
                return found[1]
    raise AssertionError(f"the application did not start:\n{seen}")


async def sign_up(address: str, users: range) -> None:
    async with aiohttp.ClientSession(address) as session:

        async def one(user: int) -> None:
            async with session.post("/signup", params={"user": f"u{user}"}) as answer:
                assert answer.status == 200

        await asyncio.gather(*(one(user) for user in users))


async def stop(process: Process) -> str:
    """Ask it to end as a process manager does, and return what it printed."""
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(20):
        printed, _ = await process.communicate()
    return printed.decode()


async def test_example_delivers_every_event_once_when_terminated(tmp_path: Path) -> None:
    """Each request's event reaches the collector exactly once, the last ones within the close that SIGTERM begins."""
    async with Collector(store=tmp_path, remember_ids=True) as collector, running_app(collector) as (process, address):
        await sign_up(address, range(USERS))

        printed = await stop(process)

        assert "Application shutdown complete" in printed
        assert "Traceback" not in printed
        assert sorted(collector.ids.values()) == [1] * USERS
        stored = (tmp_path / FILE_NAME).read_text()
        assert set(re.findall(r'"distinct_id":"(\w+)"', stored)) == {f"u{user}" for user in range(USERS)}


async def test_example_answers_during_an_outage_and_loses_nothing() -> None:
    """Two seconds of 503 delay no handler, and every event arrives once after them."""
    faults = Faults(outage=Outage(start=0.0, duration=2.0))
    async with Collector(faults=faults, remember_ids=True) as collector, running_app(collector) as (process, address):
        for part in range(4):  # the age of a batch apart, so that several batches meet the outage
            async with asyncio.timeout(2):
                await sign_up(address, range(part * 50, part * 50 + 50))
            await asyncio.sleep(0.5)
        async with asyncio.timeout(20):
            while collector.events < USERS:  # noqa: ASYNC110 - the events come from another process
                await asyncio.sleep(0.02)

        await stop(process)

        assert collector.statistics().failed > 0
        assert sorted(collector.ids.values()) == [1] * USERS
