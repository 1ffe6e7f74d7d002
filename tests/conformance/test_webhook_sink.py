"""``WebhookSink`` keeps the contract, against a real server on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from eventpipe.codecs import JsonCodec
from eventpipe.sinks import WebhookSink
from eventpipe.testing.server import ScriptedServer
from eventpipe.testing.sink_contract import SinkContract
from eventpipe.testing.sink_rig import SinkRig
from tests.conformance.test_http_sink import TIMEOUT, HttpWire

OPTIONS: dict[str, dict[str, Any]] = {
    "standard": {"secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"},
    "hub": {"secret": "a secret", "codec": JsonCodec(), "scheme": "hub"},
    "unsigned": {"secret": None},
}


@pytest.mark.wallclock
class TestWebhookSink(SinkContract):
    @pytest_asyncio.fixture(params=OPTIONS)
    async def rig(self, request: pytest.FixtureRequest) -> AsyncIterator[SinkRig]:
        async with ScriptedServer() as server:
            sink = WebhookSink(server.url, **OPTIONS[request.param], allow_private=True, timeout=TIMEOUT)
            yield SinkRig(sink, HttpWire(server), timeout=TIMEOUT)
            await sink.aclose()
