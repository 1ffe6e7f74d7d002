"""The far end of the measurements: an HTTP server in a process of its own that counts what it reads.

A plain ``asyncio.Protocol`` takes a tenth of the CPU that a client spends on a request, so the server is never what
limits a run; its own CPU seconds are part of the counts, which lets a run prove that. It may also behave badly, and
then counts as delivered only what it answered with 200.

The process is told what to do over its standard input, one JSON object a line, and answers each line with one. When its
input ends, it ends.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
import threading
import time
import zlib
from dataclasses import asdict, dataclass
from typing import Any, cast

from benchmarks import wires
from benchmarks.process import Behaviour, Counts, pin

HEAD_END = b"\r\n\r\n"
MAX_HEAD_BYTES = 64 * 1024
CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
GZIP = re.compile(rb"\r\ncontent-encoding: *gzip", re.IGNORECASE)
UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Arrived:
    """The events of one request: how many, their ids where those are being verified, and what accepts them."""

    events: int
    ids: list[bytes]
    answer: bytes


class Far:
    """The counters, and how the server behaves."""

    def __init__(self) -> None:
        self.reset(Behaviour())

    def reset(self, behaviour: Behaviour) -> None:
        """Begin a new count, and behave like this from now on."""
        self._behaviour = behaviour
        self._counts = Counts()
        self._read_ids: dict[bytes, float] = {}  # with the moment at which each came first
        self._accepted_ids: dict[bytes, float] = {}
        self._reads: list[tuple[float, int]] = []
        self._accepts: list[tuple[float, int]] = []
        self._outage_ends: float | None = None
        self._cpu = time.process_time()

    def connected(self) -> None:
        self._counts.connections += 1

    def read(self, path: bytes, body: bytes, compressed: bool) -> Arrived:
        """Count one request that is there as a whole."""
        counts = self._counts
        counts.requests += 1
        counts.bytes += len(body)
        if compressed:
            body = zlib.decompress(body, wbits=31)
        wire = wires.of(path)
        ids = wire.ids(body) if self._behaviour.verify else []
        arrived = Arrived(len(ids) if self._behaviour.verify else wire.count(body), ids, wire.accept(body))
        counts.read += arrived.events
        now = time.monotonic()
        self._reads.append((now, _added(arrived, self._read_ids, now)))
        return arrived

    def delay(self) -> float | None:
        """Seconds until the request that was just read is answered; ``None``: it never is."""
        behaviour = self._behaviour
        if behaviour.is_mute:
            return None
        if behaviour.stall_every and not self._counts.requests % behaviour.stall_every:
            return behaviour.stall_seconds
        return behaviour.latency

    def accepts(self) -> bool:
        """Whether a request that is answered now is answered with 200."""
        if not self._behaviour.outage_seconds:
            return True
        now = time.monotonic()
        if self._outage_ends is None:
            self._outage_ends = now + self._behaviour.outage_seconds
        return now >= self._outage_ends

    def accepted(self, arrived: Arrived) -> None:
        """Count what was answered with 200."""
        self._counts.events += arrived.events
        now = time.monotonic()
        self._accepts.append((now, _added(arrived, self._accepted_ids, now)))

    def counts(self) -> Counts:
        """The counts so far."""
        self._counts.unique = len(self._accepted_ids)
        self._counts.cpu = time.process_time() - self._cpu
        return self._counts

    def times(self) -> dict[str, list[tuple[float, int]]]:
        """When new events were read, and when they were accepted: ``time.monotonic()`` and how many."""
        return {"reads": self._reads, "accepts": self._accepts}

    def firsts(self) -> dict[str, float]:
        """When each event was read first, by its id, where those are being verified: ``time.monotonic()``."""
        return {id_.decode(): at for id_, at in self._read_ids.items()}


def _added(arrived: Arrived, known: dict[bytes, float], now: float) -> int:
    if not arrived.ids:
        return arrived.events
    before = len(known)
    known.update({id_: now for id_ in arrived.ids if id_ not in known})
    return len(known) - before


class Connection(asyncio.Protocol):
    """One kept-alive connection: requests with a ``Content-Length``, each answered as its wire wants or as told."""

    def __init__(self, far: Far, loop: asyncio.AbstractEventLoop) -> None:
        self._far = far
        self._loop = loop
        self._buffer = bytearray()
        self._wanted = 0  # bytes of the request that is being read; 0 while its head is not complete
        self._head_bytes = 0
        self._path = b""
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
            arrived = self._far.read(self._path, body, self._compressed)
            delay = self._far.delay()
            if delay:
                self._loop.call_later(delay, self._answer, arrived)
            elif delay is not None:
                self._answer(arrived)

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
        self._path = head.split(b" ", 2)[1]
        self._compressed = GZIP.search(head) is not None
        return True

    def _answer(self, arrived: Arrived) -> None:
        if self._transport.is_closing():
            return
        if self._far.accepts():
            self._far.accepted(arrived)
            self._transport.write(arrived.answer)
        else:
            self._transport.write(UNAVAILABLE)

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


def _command(far: Far, command: dict[str, Any]) -> None:  # Any: JSON
    told: object = far.times() if "times" in command else far.firsts() if "firsts" in command else asdict(far.counts())
    answer = json.dumps(told)
    if "reset" in command:
        far.reset(Behaviour(**command["reset"]))
    print(answer, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Count events sent over HTTP.")
    parser.add_argument("--cpu", type=int, default=None, help="the core to stay on")
    pin(parser.parse_args().cpu)
    asyncio.run(serve())


if __name__ == "__main__":
    main()
