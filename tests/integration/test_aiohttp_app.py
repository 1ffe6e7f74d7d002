"""The example for aiohttp.web under aiohttp's own runner, with real requests and a real signal."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from eventpipe.cli.collector import Collector
from tests.integration.serving import Gate, once, serving, sign_up, stored

ANSWERED = [f"u{number}" for number in range(100)]
UNDER_WAY = [f"late{number}" for number in range(5)]

pytestmark = [pytest.mark.asyncio, pytest.mark.wallclock]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
async def test_example_delivers_every_event_once_when_it_is_ended(number: int, tmp_path: Path) -> None:
    """Those of answered requests, and those of handlers that were at work when the signal came, once each."""
    async with (
        Collector(store=tmp_path, remember_ids=True) as collector,
        Gate().listening() as gate,
        serving(
            "-m",
            "tests.integration.gated_aiohttp",
            COLLECTOR_URL=f"{collector.url}/events",
            GATE=str(gate.port),
        ) as server,
    ):
        await sign_up(server.address, ANSWERED)
        under_way = asyncio.create_task(sign_up(server.address, UNDER_WAY, "/gated"))
        await gate.reached(len(UNDER_WAY))

        server.signal(number)
        await server.refuses()
        await gate.open()
        await under_way
        printed = await server.end()

        assert (server.process.returncode, "Traceback" in printed) == (0, False)
        assert sorted(collector.ids.values()) == [1] * 2 * len(ANSWERED + UNDER_WAY)
        assert stored(tmp_path) == once(ANSWERED + UNDER_WAY)
