"""``HttpSink`` keeps the contract, against a real server on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from functools import partialmethod

import aiohttp
import pytest
import pytest_asyncio

from eventpipe.codecs.json import JsonCodec
from eventpipe.codecs.ndjson import NdjsonCodec
from eventpipe.sinks.http import HttpSink
from eventpipe.testing.exchange import Reply
from eventpipe.testing.server import ScriptedServer
from eventpipe.testing.sink_contract import SinkContract
from eventpipe.testing.sink_rig import Refusal, SinkRig

TIMEOUT = 1.0  # long enough for a busy machine, short enough to be waited for


class HttpWire:
    def __init__(self, server: ScriptedServer) -> None:
        self._server = server
        self._answered = 0

    @property
    def received(self) -> Sequence[str]:
        return self._server.uuids

    def accept(self) -> None:
        self._server.default = 200

    def refuse(self, kind: Refusal, retry_after: float | None = None) -> None:
        headers = {} if retry_after is None else {"Retry-After": f"{retry_after:.0f}"}
        self._server.default = Reply({"transient": 503, "permanent": 404}[kind], headers)

    def hang(self) -> None:
        self._answered = len(self._server.requests)
        self._server.default = "hang"

    async def reached(self) -> None:
        await self._server.reached(self._answered + 1)

    async def left(self) -> None:
        await self._server.disconnected()


@pytest.mark.wallclock
class TestHttpSink(SinkContract):
    @pytest_asyncio.fixture(params=[JsonCodec, NdjsonCodec])
    async def rig(self, request: pytest.FixtureRequest) -> AsyncIterator[SinkRig]:
        async with ScriptedServer() as server:
            sink = HttpSink(server.url, request.param(), timeout=TIMEOUT)
            yield SinkRig(sink, HttpWire(server), timeout=TIMEOUT)
            await sink.aclose()


@pytest.mark.wallclock
class TestHttpSinkThatIsWatched(SinkContract):
    """As where a mock or an instrument stands in for what makes aiohttp's requests: they go through its session."""

    @pytest_asyncio.fixture
    async def rig(self, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SinkRig]:
        original = aiohttp.ClientSession._request
        monkeypatch.setattr(aiohttp.ClientSession, "_request", partialmethod(original))
        async with ScriptedServer() as server:
            sink = HttpSink(server.url, timeout=TIMEOUT)
            yield SinkRig(sink, HttpWire(server), timeout=TIMEOUT)
            await sink.aclose()
