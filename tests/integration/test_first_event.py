"""The README's way to a first event, line by line, as whoever tries it types it into three terminals."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import re
import shlex
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from eventpipe.cli.serve import ServeOptions

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PATIENCE = 30.0  # seconds for a line to come, on a machine with more to do


def block(kind: str, above: str = "") -> str:
    """The first block of that kind below a text."""
    found = re.search(rf"^```{kind}\n(.*?)^```$", README[README.index(above) :], re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


def typed() -> tuple[str, str, str, str]:
    """What to type: for the collector, to install what the application needs, for the application, and the request."""
    lines = [line for line in block("sh", "in three terminals").splitlines() if not line.startswith("#")]
    collector, application, request = lines
    install, _, run = application.partition(" && ")
    return collector, install, run, request


async def lines_until(process: Process, pattern: str) -> list[str]:
    """What it prints up to the first line in which ``pattern`` is found."""
    assert process.stdout is not None
    seen: list[str] = []
    async with asyncio.timeout(PATIENCE):
        while line := (await process.stdout.readline()).decode():
            seen.append(line.rstrip("\n"))
            if re.search(pattern, line):
                return seen
    raise AssertionError(f"it ended without {pattern}:\n" + "\n".join(seen))


@asynccontextmanager
async def terminal(line: str, folder: Path) -> AsyncIterator[Process]:
    """A line of the README, run in ``folder`` with the programs of this environment."""
    program, *words = shlex.split(line)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        program.removeprefix(".venv/bin/"),
        *words,
        cwd=folder,
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith(("EVENTPIPE_", "COLLECTOR_"))},
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": str(ROOT),
        },
        stdout=PIPE,
        stderr=STDOUT,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def address(lines: list[str]) -> str:
    return lines[-1].partition("http://")[2].split()[0]


def test_the_lines_fit_each_other() -> None:
    """The application sends to where the collector listens, the request goes to the application, with what it needs."""
    collector, install, application, request = typed()

    assert shlex.split(collector)[1:] == ["serve"]
    assert f"127.0.0.1:{ServeOptions().port}/" in block("python")
    assert shlex.split(application)[:3] == [".venv/bin/uvicorn", "app:app", "--port"]
    assert f"127.0.0.1:{shlex.split(application)[3]}/" in request
    *command, fastapi, uvicorn = shlex.split(install)
    assert command == [".venv/bin/pip", "install", "-q"]
    assert importlib.util.find_spec(fastapi)
    assert importlib.util.find_spec(uvicorn)


@pytest.mark.wallclock
@pytest.mark.timeout(120)
@pytest.mark.asyncio
async def test_the_collector_shows_the_first_event(tmp_path: Path) -> None:
    """The lines of the README show ``signed_up u1`` in the collector, and Ctrl-C ends it; only ports are others."""
    collector, _, application, request = typed()
    async with terminal(f"{collector} --port 0", tmp_path) as collecting:
        place = address(await lines_until(collecting, "listening on"))
        code = block("python").replace(f"127.0.0.1:{ServeOptions().port}", place)
        (tmp_path / "app.py").write_text(code)
        *words, port = shlex.split(application)
        async with terminal(shlex.join([*words, "0"]), tmp_path) as serving:
            own = address(await lines_until(serving, "Uvicorn running on"))
            curl, option, method, url = shlex.split(request.replace(f"127.0.0.1:{port}", own))
            assert (curl, option) == ("curl", "-X")
            async with aiohttp.ClientSession() as browser, browser.request(method, url) as answer:
                assert answer.status == 200

            shown = await lines_until(collecting, "^1 event in 1 batch")
            collecting.send_signal(signal.SIGINT)
            async with asyncio.timeout(PATIENCE):
                ended, _ = await collecting.communicate()

    assert shown[-2] == "signed_up u1"
    assert (collecting.returncode, ended.decode()) == (0, "eventpipe serve: stopped after 1 event in 1 batch\n")
