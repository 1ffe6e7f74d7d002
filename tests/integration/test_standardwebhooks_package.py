"""What the real ``standardwebhooks`` package signs is believed by the collector, and nothing else is."""

from __future__ import annotations

import base64
import datetime
from pathlib import Path

import aiohttp
import orjson
import pytest
from standardwebhooks import Webhook

from eventpipe.cli.collector import Collector

pytestmark = [pytest.mark.asyncio, pytest.mark.wallclock]

SECRET, OTHER = ("whsec_" + base64.b64encode(letter * 32).decode() for letter in (b"s", b"o"))
BODY = orjson.dumps({"type": "invoice.paid", "timestamp": "2026-01-31T09:05:00Z", "data": {"sum": 5}})


def signed(secret: str, body: bytes, late: datetime.timedelta = datetime.timedelta()) -> dict[str, str]:
    now = datetime.datetime.now(datetime.UTC) - late
    return {
        "Content-Type": "application/json",
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign("msg_1", now, body.decode()),
    }


async def answered(collector: Collector, headers: dict[str, str], body: bytes = BODY) -> int:
    async with aiohttp.ClientSession() as session, session.post(collector.url, data=body, headers=headers) as response:
        await response.read()
        return response.status


async def test_a_signed_webhook_is_taken(tmp_path: Path) -> None:
    """With any of the secrets; what is stored is the payload as an event, under the id of its header."""
    async with Collector(store=tmp_path, webhook_secrets=[OTHER, SECRET]) as collector:
        assert await answered(collector, signed(SECRET, BODY)) == 200

    [event] = [orjson.loads(line) for line in (tmp_path / "events.ndjson").read_bytes().splitlines()]
    assert (event["event"], event["uuid"], event["properties"]) == ("invoice.paid", "msg_1", {"sum": 5})
    assert event["timestamp"] == "2026-01-31T09:05:00Z"


async def test_a_webhook_that_is_not_to_be_believed_is_refused() -> None:
    """Another secret, another body, a copy of long ago, no signature: each gets 401."""
    async with Collector(webhook_secrets=[SECRET]) as collector:
        statuses = [
            await answered(collector, signed(OTHER, BODY)),
            await answered(collector, signed(SECRET, BODY), BODY + b" "),
            await answered(collector, signed(SECRET, BODY, datetime.timedelta(minutes=6))),
            await answered(collector, {"Content-Type": "application/json"}),
        ]

    assert statuses == [401] * 4
    assert (collector.events, collector.statistics().refused) == (0, 4)


async def test_without_a_secret_everything_is_taken() -> None:
    """A collector that was given none does not look at signatures."""
    async with Collector() as collector:
        assert await answered(collector, signed(OTHER, BODY)) == 200

    assert collector.events == 1
