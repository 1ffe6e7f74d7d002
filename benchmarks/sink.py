"""The far end of the measurements: an HTTP server in a process of its own that counts what it reads.

A plain ``asyncio.Protocol`` takes a tenth of the CPU that a client spends on a request, so the server is never what
limits a run; its own CPU seconds are part of the counts, which lets a run prove that.

The process is told what to do over its standard input, one JSON object a line, and answers each line with the counts so
far. When its input ends, it ends.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
import threading
import time
import zlib
from dataclasses import asdict, dataclass
from typing import IO, Self, cast

HEAD_END = b"\r\n\r\n"
MAX_HEAD_BYTES = 64 * 1024
# Every event begins with its id, and no property of the measured events holds these bytes.
EVENT_START = b'{"uuid":"'
EVENT_ID = re.compile(rb'\{"uuid":"([^"]+)"')
CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
GZIP = re.compile(rb"\r\ncontent-encoding: *gzip", re.IGNORECASE)
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


@dataclass(slots=True)
class Counts:
    """What the server has read since the last reset.

    Attributes:
        requests: Requests read whole.
        events: Events in them, repeated ones included.
        unique: Different event ids among them; 0 unless ids are being verified.
        bytes: Bytes of the bodies, as they came over the wire.
        connections: Connections that were opened.
        cpu: CPU seconds that this process used.
    """

    requests: int = 0
    events: int = 0
    unique: int = 0
    bytes: int = 0
    connections: int = 0
    cpu: float = 0.0


class Far:
    """The counters, and how the server behaves."""

    def __init__(self) -> None:
        self.latency = 0.0
        self.verify = False
        self.reset()

    def reset(self) -> None:
        """Begin a new count."""
        self._counts = Counts()
        self._ids: set[bytes] = set()
        self._cpu = time.process_time()

    def connected(self) -> None:
        self._counts.connections += 1

    def read(self, body: bytes, compressed: bool) -> None:
        """Count one request."""
        counts = self._counts
        counts.requests += 1
        counts.bytes += len(body)
        if compressed:
            body = zlib.decompress(body, wbits=31)
        if self.verify:
            ids = EVENT_ID.findall(body)
            self._ids.update(ids)
            counts.events += len(ids)
        else:
            counts.events += body.count(EVENT_START)

    def counts(self) -> Counts:
        """The counts so far."""
        self._counts.unique = len(self._ids)
        self._counts.cpu = time.process_time() - self._cpu
        return self._counts


class Connection(asyncio.Protocol):
    """One kept-alive connection: requests with a ``Content-Length``, each answered with ``200 {}``."""

    def __init__(self, far: Far, loop: asyncio.AbstractEventLoop) -> None:
        self._far = far
        self._loop = loop
        self._buffer = bytearray()
        self._wanted = 0  # bytes of the request that is being read; 0 while its head is not complete
        self._head_bytes = 0
        self._compressed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._far.connected()

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        while len(buffer) >= self._wanted:
            if not self._wanted:
                if not self._read_head():
                    return
                continue
            body = bytes(memoryview(buffer)[self._head_bytes : self._wanted])
            del buffer[: self._wanted]
            self._wanted = 0
            self._far.read(body, self._compressed)
            if self._far.latency:
                self._loop.call_later(self._far.latency, self._answer)
            else:
                self._answer()

    def _read_head(self) -> bool:
        end = self._buffer.find(HEAD_END)
        if end < 0:
            if len(self._buffer) > MAX_HEAD_BYTES:
                self._refuse()
            return False
        head = bytes(self._buffer[: end + 2])
        length = CONTENT_LENGTH.search(head)
        if length is None or not head.startswith(b"POST "):
            self._refuse()
            return False
        self._head_bytes = end + len(HEAD_END)
        self._wanted = self._head_bytes + int(length[1])
        self._compressed = GZIP.search(head) is not None
        return True

    def _answer(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(ANSWER)

    def _refuse(self) -> None:
        self._transport.write(BAD_REQUEST)
        self._transport.close()


async def serve() -> None:
    """Serve on a free loopback port, announced as the first line of output, until the input ends."""
    loop = asyncio.get_running_loop()
    far = Far()
    server = await loop.create_server(lambda: Connection(far, loop), "127.0.0.1", 0, backlog=1024)
    port = server.sockets[0].getsockname()[1]
    print(json.dumps({"port": port}), flush=True)
    ended = asyncio.Event()
    commands = threading.Thread(target=_obey, args=(far, loop, ended), daemon=True)
    commands.start()
    await ended.wait()
    server.close()


def _obey(far: Far, loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
    for line in sys.stdin:
        loop.call_soon_threadsafe(_command, far, json.loads(line))
    loop.call_soon_threadsafe(ended.set)


def _command(far: Far, command: dict[str, object]) -> None:
    answer = json.dumps(asdict(far.counts()))
    if "latency" in command:
        far.latency = float(cast("float", command["latency"]))
    if "verify" in command:
        far.verify = bool(command["verify"])
    if command.get("reset"):
        far.reset()
    print(answer, flush=True)


class SinkProcess:
    """The server seen from the process that started it; a context manager that ends it."""

    def __init__(self, cpu: int | None = None) -> None:
        arguments = [] if cpu is None else ["--cpu", str(cpu)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.sink", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._commands = cast("IO[str]", self._process.stdin)
        self._answers = cast("IO[str]", self._process.stdout)
        self.url = f"http://127.0.0.1:{json.loads(self._answers.readline())['port']}/batch"

    def counts(self) -> Counts:
        """What was read since the last reset."""
        return self._tell()

    def reset(self, *, latency: float = 0.0, verify: bool = False) -> Counts:
        """Begin a new count.

        Args:
            latency: Seconds between reading a request and answering it.
            verify: Collect the event ids, so that repeated events show in ``Counts.unique``.

        Returns:
            The counts until now.
        """
        return self._tell(reset=True, latency=latency, verify=verify)

    def _tell(self, **command: object) -> Counts:
        self._commands.write(json.dumps(command) + "\n")
        self._commands.flush()
        return Counts(**json.loads(self._answers.readline()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._commands.close()
        self._process.wait(timeout=10)
        self._answers.close()


def pin(cpu: int | None) -> None:
    """Keep this process on one core, where the system can."""
    if cpu is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {cpu})


def main() -> None:
    parser = argparse.ArgumentParser(description="Count events sent over HTTP.")
    parser.add_argument("--cpu", type=int, default=None, help="the core to stay on")
    pin(parser.parse_args().cpu)
    asyncio.run(serve())


if __name__ == "__main__":
    main()
