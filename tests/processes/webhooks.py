"""A far end of webhooks in a process of its own, which counts them: ``python -m tests.processes.webhooks``."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from aiohttp import web

ROOT = Path(__file__).parents[2]


class Seen(NamedTuple):
    """What a far end has read.

    Attributes:
        ids: The ``webhook-id`` of each request, in the order in which they came.
        times: When each came, on the monotonic clock of the system.
        most: Requests that were there at once and not answered, at most.
    """

    ids: list[str]
    times: list[float]
    most: int

    @property
    def copies(self) -> Counter[str]:
        """How often each came."""
        return Counter(self.ids)

    def first_after(self, moment: float) -> float:
        """When the first one came after a moment."""
        return min(at for at in self.times if at > moment)


class FarEnd:
    """A running one, as the test that started it sees it."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self._process = process
        self.url = url

    def seen(self) -> Seen:
        """What it has read so far."""
        return Seen(*json.loads(self._tell(None)))

    def hold(self, seconds: float) -> None:
        """Answer each request after so long, from now on."""
        self._tell(seconds)

    def await_requests(self, count: int, timeout: float = 20.0) -> Seen:
        """Wait until it has read so many."""
        deadline = time.monotonic() + timeout
        while len((seen := self.seen()).ids) < count:
            assert time.monotonic() < deadline, f"{len(seen.ids)} of {count} requests within {timeout} s"
            time.sleep(0.002)
        return seen

    def _tell(self, command: float | None) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline()


@contextmanager
def far_end() -> Iterator[FarEnd]:
    """One that answers at once, until it is told otherwise."""
    command = [sys.executable, "-m", "tests.processes.webhooks"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield FarEnd(process, process.stdout.readline().strip())
        finally:
            process.stdin.close()  # which ends it


class Counting:
    """Answers 200 to everything."""

    def __init__(self) -> None:
        self.hold = 0.0
        self._ids: list[str] = []
        self._times: list[float] = []
        self._open = 0
        self._most = 0

    async def take(self, request: web.Request) -> web.Response:
        self._ids.append(request.headers["webhook-id"])
        self._times.append(time.monotonic())
        self._open += 1
        self._most = max(self._most, self._open)
        try:
            await asyncio.sleep(self.hold)
        finally:
            self._open -= 1
        return web.Response()

    def told(self) -> str:
        return json.dumps([self._ids, self._times, self._most])


async def serve() -> None:
    counting = Counting()
    app = web.Application()
    app.router.add_post("/", counting.take)
    runner = web.AppRunner(app, handle_signals=False, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, shutdown_timeout=0.1)
    await site.start()
    (address,) = runner.addresses
    print(f"http://127.0.0.1:{address[1]}/", flush=True)  # noqa: T201
    while line := await asyncio.to_thread(sys.stdin.readline):
        command = json.loads(line)
        if command is not None:
            counting.hold = command
        print(counting.told(), flush=True)  # noqa: T201
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(serve())
