"""The command as a process of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
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

    @property
    def pid(self) -> int:
        return self._process.pid

    async def write(self, data: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(data)
        await self._process.stdin.drain()

    async def error_line(self) -> str:
        assert self._process.stderr is not None
        async with asyncio.timeout(20):
            return (await self._process.stderr.readline()).decode().rstrip("\n")

    async def line(self) -> str:
        assert self._process.stdout is not None
        async with asyncio.timeout(20):
            return (await self._process.stdout.readline()).decode().rstrip("\n")

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def end(self, stdin: bytes | None = b"") -> Ended:
        """Wait for it to end; what it printed since the last ``line()``.

        Args:
            stdin: Written before standard input is closed; ``None``: it stays open.
        """
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        if stdin is not None:
            with suppress(BrokenPipeError, ConnectionResetError):
                process.stdin.write(stdin)
                await process.stdin.drain()
            process.stdin.close()
        reading = asyncio.gather(process.stdout.read(), process.stderr.read())
        await asyncio.wait({reading}, timeout=40)
        is_hanging = not reading.done()
        if is_hanging:
            process.send_signal(signal.SIGABRT)  # faulthandler says where it stands
        stdout, stderr = await reading
        ended = Ended(await process.wait(), stdout.decode(), stderr.decode())
        assert not is_hanging, f"it did not end:\n{ended.stdout}\n{ended.stderr}"
        return ended


@asynccontextmanager
async def command(*words: str, environment: dict[str, str] | None = None) -> AsyncIterator[Command]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-X",
        "faulthandler",
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
        await process.communicate()  # closes the pipes
        await asyncio.sleep(0)  # the transport closes one step of the loop later


async def run(*words: str, stdin: bytes = b"", environment: dict[str, str] | None = None) -> Ended:
    async with command(*words, environment=environment) as running:
        return await running.end(stdin)
