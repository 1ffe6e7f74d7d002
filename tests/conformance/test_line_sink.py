"""The sink that the documentation shows keeps the contract; a template for sinks that live elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import orjson
import pytest_asyncio

from eventpipe.testing import Refusal, SinkContract, SinkRig
from examples.line_sink import LineSink


class LineWire:
    """The line server, and the test's hand on it."""

    def __init__(self) -> None:
        self._received: list[str] = []
        self._answer = "ok"
        self._partial = False
        self._hangs = False
        self._reached = asyncio.Event()
        self._open = 0
        self._changed = asyncio.Condition()

    @property
    def received(self) -> Sequence[str]:
        return self._received

    def accept(self) -> None:
        self._answer, self._partial, self._hangs = "ok", False, False

    def refuse(self, kind: Refusal, retry_after: float | None = None) -> None:
        self._partial = kind == "partial"
        self._answer = "refused" if kind == "permanent" else f"busy {retry_after or ''}"

    def hang(self) -> None:
        self._hangs = True

    async def reached(self) -> None:
        await self._reached.wait()

    async def left(self) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: self._open == 0)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            line = await reader.readline()
            if line.endswith(b"\n"):  # else the sink went away in the middle of it
                await self._take([event["uuid"] for event in orjson.loads(line)], reader, writer)
        finally:
            writer.close()
            async with self._changed:
                self._open -= 1
                self._changed.notify_all()

    async def _take(self, ids: list[str], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._hangs:
            self._reached.set()
            await reader.read()  # until the sink goes away
        elif self._partial:
            self._received += [ids[0], *ids[2:]]
            writer.write(" ".join(["ok", "unknown", *["ok"] * len(ids[2:])]).encode() + b"\n")
        else:
            self._received += ids if self._answer == "ok" else []
            writer.write(self._answer.encode() + b"\n")


class TestLineSink(SinkContract):
    @pytest_asyncio.fixture
    async def rig(self) -> AsyncIterator[SinkRig]:
        wire = LineWire()
        server = await asyncio.start_server(wire.serve, "127.0.0.1", limit=1 << 20)
        async with server:
            host, port = server.sockets[0].getsockname()
            sink = LineSink(host, port, timeout=1)
            yield SinkRig(sink, wire, partial=True, timeout=1)
            await sink.aclose()
            await wire.left()
