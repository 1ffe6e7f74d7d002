"""The example of deliveries and its customer under real servers: two failures, an arrival, and a resend by the CLI."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.integration.serving import ROOT, serving

SECRET = "whsec_Y3VzdG9tZXJjdXN0b21lcmN1c3RvbWVyY3Vz"
ARRIVAL = 30.0  # seconds, of which the delays of the example are one and a half

pytestmark = [pytest.mark.asyncio, pytest.mark.wallclock]


@asynccontextmanager
async def both(folder: Path) -> AsyncIterator[tuple[aiohttp.ClientSession, str]]:
    """A session with the sender, and the address of the customer."""
    async with (
        serving(
            "-m", "uvicorn", "examples.webhook_customer:app", "--port", "0", "--no-access-log", WEBHOOK_SECRETS=SECRET
        ) as customer,
        serving(
            "-m", "uvicorn", "examples.deliveries_app:app", "--port", "0", "--no-access-log",
            API_TOKEN="t", DELIVERIES_FILE=str(folder / "deliveries.db"),
        ) as sender,
        aiohttp.ClientSession(sender.address, headers={"authorization": "Bearer t"}) as session,
    ):  # fmt: skip
        await customer.accepts()
        await sender.accepts()
        yield session, customer.address
        for server in (sender, customer):
            server.signal()
            assert "Traceback" not in await server.end()


async def settled(session: aiohttp.ClientSession, attempts: int) -> dict[str, Any]:
    """The only delivery with its attempts, once it has come to its end with so many of them."""
    async with asyncio.timeout(ARRIVAL):
        while True:
            async with session.get("/hooks/deliveries?state=success") as answer:
                rows = (await answer.json())["deliveries"]
            if rows and rows[0]["total_attempts"] >= attempts:
                async with session.get(f"/hooks/deliveries/{rows[0]['id']}") as answer:
                    found: dict[str, Any] = await answer.json()
                    return found
            await asyncio.sleep(0.05)


async def test_an_endpoint_that_fails_twice_gets_it_and_a_resend_from_the_command_line(tmp_path: Path) -> None:
    """The endpoint is added over the API; a stranger adds none; the customer takes the event once, under one id."""
    async with both(tmp_path) as (session, customer):
        endpoint = {"name": "acme", "url": f"{customer}/hooks", "secret": SECRET, "allow_private": True}
        async with session.post("/hooks/endpoints", json=endpoint, headers={"authorization": "Bearer x"}) as answer:
            assert answer.status == 401
        async with session.post("/hooks/endpoints", json=endpoint) as answer:
            assert answer.status == 201, await answer.text()
        async with session.put("/hooks/rules/all", json={"events": ["invoice.*"], "endpoints": ["acme"]}) as answer:
            assert answer.status == 200, await answer.text()

        async with session.post("/invoices/7/paid") as answer:
            uuid = await answer.json()
        delivered = await settled(session, 3)
        again = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "eventpipe", "deliveries", "resend", str(tmp_path / "deliveries.db"), uuid],
            cwd=ROOT, capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        assert again.returncode == 0, again.stdout + again.stderr
        resent = await settled(session, 4)
        async with session.get(f"{customer}/taken") as answer:
            seen = await answer.json()

    assert [one["status"] for one in delivered["history"]] == [503, 503, 200]
    assert (resent["resends"], [one["status"] for one in resent["history"]]) == (1, [503, 503, 200, 200])
    assert seen["came"] == {uuid: 4}
    assert seen["taken"][uuid]["data"] == {"number": "7"}
