"""The command as a process of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Ended:
    code: int
    stdout: str
    stderr: str


class Command:
    """A running ``eventpipe``."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def line(self) -> str:
        assert self._process.stdout is not None
        async with asyncio.timeout(20):
            return (await self._process.stdout.readline()).decode().rstrip("\n")

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def end(self, stdin: bytes | None = None) -> Ended:
        """Wait for it to end; what it printed since the last ``line()``."""
        async with asyncio.timeout(40):
            stdout, stderr = await self._process.communicate(stdin)
        assert self._process.returncode is not None
        return Ended(self._process.returncode, stdout.decode(), stderr.decode())


@asynccontextmanager
async def command(*words: str, environment: dict[str, str] | None = None) -> AsyncIterator[Command]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "eventpipe",
        *words,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "COLUMNS": "100", **(environment or {})},
    )
    try:
        yield Command(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
        # The transport of an ended process closes one step of the loop later.
        await asyncio.sleep(0)


async def run(*words: str, stdin: bytes | None = None, environment: dict[str, str] | None = None) -> Ended:
    async with command(*words, environment=environment) as running:
        return await running.end(stdin)
