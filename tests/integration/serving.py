"""Applications under real servers in processes of their own: started, asked, and ended in the middle of requests."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Self
from urllib.parse import urlencode, urlsplit

import aiohttp
import orjson
import psutil

from eventpipe.cli.store import FILE_NAME

ROOT = Path(__file__).parents[2]
ANNOUNCED = re.compile(r"(?:running on|listening at:) (http://[\d.:]+)", re.IGNORECASE)
STARTED = 30.0  # seconds that a server may take to begin, on a machine with more to do
ENDED = 20.0  # seconds that it may take to end, its client's close_timeout included


class Server:
    """One server process.

    Attributes:
        process: It itself, or the one that looks after its workers.
        address: Where it listens.
        printed: What it has printed so far, as far as anybody read it.
    """

    def __init__(self, process: Process) -> None:
        self.process = process
        self.address = ""
        self.printed = ""

    async def read_until(self, pattern: str | re.Pattern[str]) -> str:
        """Read what it prints up to the line that has ``pattern``, and return what its first group found."""
        assert self.process.stdout is not None
        async with asyncio.timeout(STARTED):
            while line := (await self.process.stdout.readline()).decode():
                self.printed += line
                if found := re.search(pattern, line):
                    return found[found.re.groups and 1]
        raise AssertionError(f"the server ended without {pattern}:\n{self.printed}")

    def signal(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    async def end(self) -> str:
        """Wait until it has ended, and return all that it printed."""
        async with asyncio.timeout(ENDED):
            printed, _ = await self.process.communicate()
        self.printed += printed.decode()
        return self.printed

    async def stops(self) -> None:
        """Ask it to end, and wait until it says so, or takes no connections any more."""
        self.signal()
        if "gunicorn" in self.printed:  # whose workers listen to the end
            await self.read_until("Handling signal: term")
            return
        await self.refuses()

    async def accepts(self) -> None:
        """Wait until it takes connections: Uvicorn says where it will listen before it does."""
        async with asyncio.timeout(STARTED):
            while not await is_open(self.address):  # noqa: ASYNC110  # it is another process
                await asyncio.sleep(0.005)

    async def refuses(self) -> None:
        """Wait until it takes no connections any more."""
        async with asyncio.timeout(ENDED):
            while await is_open(self.address):  # noqa: ASYNC110  # as above
                await asyncio.sleep(0.005)


@asynccontextmanager
async def serving(*command: str, cwd: Path = ROOT, **environment: str) -> AsyncIterator[Server]:
    """``python -m command`` in a process of its own, once it says where it listens."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        cwd=cwd,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
        stdout=PIPE,
        stderr=STDOUT,
        start_new_session=True,
    )
    server = Server(process)
    try:
        server.address = await server.read_until(ANNOUNCED)
        yield server
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)  # and with it the workers
        await process.communicate()


End = Callable[[Server], None]


def terminate(server: Server) -> None:
    """As a process manager does: the process that it knows."""
    server.signal(signal.SIGTERM)


def press_control_c(server: Server) -> None:
    """As a terminal does: every process of the group, each before the one that would tell it to end by SIGTERM.

    Uvicorn takes a SIGINT after a SIGTERM for the wish to end at once, and ends by SIGTERM: nothing more of it runs.
    """
    process = psutil.Process(server.process.pid)
    for each in [*reversed(process.children(recursive=True)), process]:
        each.send_signal(signal.SIGINT)


class Gate:
    """What handlers of a server process connect to and wait at, until it is opened.

    Attributes:
        port: Where it listens.
    """

    def __init__(self) -> None:
        self.port = 0
        self._writers: list[asyncio.StreamWriter] = []
        self._arrived = asyncio.Condition()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Self]:
        server = await asyncio.start_server(self._arrive, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            await self.open()
            server.close()
            await server.wait_closed()

    async def _arrive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with self._arrived:
            self._writers.append(writer)
            self._arrived.notify_all()
        await reader.read()

    async def reached(self, number: int) -> None:
        """Wait until so many handlers wait."""
        async with asyncio.timeout(STARTED), self._arrived:
            await self._arrived.wait_for(lambda: len(self._writers) == number)

    async def open(self) -> None:
        """Let those go on who wait."""
        writers, self._writers = self._writers, []
        for writer in writers:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


def stored(folder: Path) -> Counter[tuple[str, str | None]]:
    """How often the collector that stores in ``folder`` got each event: its name and whom it is about."""
    lines = (folder / FILE_NAME).read_bytes().splitlines()
    return Counter((event["event"], event.get("distinct_id")) for event in map(orjson.loads, lines))


def once(users: Iterable[str]) -> Counter[tuple[str, str | None]]:
    """What is stored where each of these users signed up with a request of its own that was captured too."""
    signed_up = Counter[tuple[str, str | None]](("signed_up", user) for user in users)
    return signed_up + Counter({("request", None): signed_up.total()})


async def is_open(address: str) -> bool:
    try:
        _, writer = await asyncio.open_connection(*place_of(address))
    except ConnectionError:
        return False
    writer.close()
    return True


def place_of(address: str) -> tuple[str, int]:
    parts = urlsplit(address)
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port


async def sign_up(address: str, users: Iterable[str], path: str = "/signup") -> None:
    """One request for each user, all at once; each is answered with success."""
    async with aiohttp.ClientSession(address) as session:

        async def one(user: str) -> None:
            async with session.post(path, data={"user": user}) as answer:
                assert answer.ok, (answer.status, await answer.text())

        await asyncio.gather(*map(one, users))


class HeldRequest:
    """A request that is under way: its server said that it waits for the body."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes) -> None:
        self._reader = reader
        self._writer = writer
        self._body = body

    @classmethod
    @asynccontextmanager
    async def begun(cls, address: str, users: Iterable[str]) -> AsyncIterator[list[HeldRequest]]:
        """One for each user; what is left of them at the end is cut off."""
        async with AsyncExitStack() as stack:
            yield [await stack.enter_async_context(await cls._begin(address, user)) for user in users]

    @classmethod
    async def _begin(cls, address: str, user: str, path: str = "/signup") -> HeldRequest:
        """Send all but the body of the request that ``sign_up()`` sends, and wait until the server wants that."""
        host, port = place_of(address)
        reader, writer = await asyncio.open_connection(host, port)
        body = urlencode({"user": user}).encode()
        writer.write(
            f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nExpect: 100-continue\r\nConnection: close\r\n"
            f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        )
        async with asyncio.timeout(STARTED):
            answered = await reader.readuntil(b"\r\n\r\n")
        assert answered.split()[1] == b"100", answered
        return cls(reader, writer, body)

    async def __aenter__(self) -> HeldRequest:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()
        with suppress(ConnectionError):
            await self._writer.wait_closed()

    async def finish(self) -> int:
        """Send the body, and return the status of the answer."""
        self._writer.write(self._body)
        async with asyncio.timeout(ENDED):
            answer = await self._reader.readuntil(b"\r\n\r\n")
        return int(answer.split()[1])
