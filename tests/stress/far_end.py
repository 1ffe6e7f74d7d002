"""A far end in a process of its own: ``python -m tests.stress.far_end KIND``; it counts what it reads by ``X-Run``."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from eventpipe.testing import Reply, ScriptedServer
from eventpipe.testing.server import Answer

ROOT = Path(__file__).parents[2]
RUN = "X-Run"
ANSWERS: dict[str, Answer] = {
    "never answers": "hang",
    "drips its headers": Reply(behaviour="drip", interval=0.5),
    "drips its body": Reply(body=b"a" * 100, behaviour="drip_body", interval=0.5),
    "answers 503": 503,
    "asks for an hour": Reply(503, {"Retry-After": "3600"}),
    "asks everybody for an hour": Reply(429, {"Retry-After": "3600"}),
    "reads nothing": 200,
}


class FarEnd:
    """A running one, as the test that started it sees it."""

    def __init__(self, process: Process, url: str) -> None:
        self._process = process
        self.url = url

    async def seen(self) -> tuple[Counter[str], int]:
        """Requests read so far, by the value of their header, and connections accepted."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"\n")
        async with asyncio.timeout(30):
            requests, connections = json.loads(await self._process.stdout.readline())
        return Counter(requests), connections


@asynccontextmanager
async def far_end(kind: str) -> AsyncIterator[FarEnd]:
    command = [sys.executable, "-m", "tests.stress.far_end", kind]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdin=PIPE, stdout=PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            url = (await process.stdout.readline()).decode().strip()
        yield FarEnd(process, url)
    finally:
        process.stdin.close()  # which ends it
        await process.communicate()
        await asyncio.sleep(0)  # the transport closes one step of the loop later


async def serve(kind: str) -> None:
    async with ScriptedServer(default=ANSWERS[kind], mute=kind == "reads nothing") as server:
        print(server.url, flush=True)  # noqa: T201
        while await asyncio.to_thread(sys.stdin.readline):
            counts = Counter(request.headers.get(RUN.lower(), "") for request in server.requests)
            print(json.dumps([counts, server.connections]), flush=True)  # noqa: T201


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
