"""What the real ``cloudevents`` package makes is read by the collector, in every mode."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from cloudevents.core.bindings.http import HTTPMessage, to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent

from eventpipe.cli.collector import Collector

pytestmark = [pytest.mark.asyncio, pytest.mark.wallclock]

MOMENT = datetime(2026, 1, 31, 9, 5, 0, 123456, UTC)
BATCH = {"Content-Type": "application/cloudevents-batch+json"}


def made(number: int, **attributes: Any) -> CloudEvent:
    whole = {
        "id": str(uuid.UUID(int=number)),
        "source": "/shop",
        "type": "paid €",
        "specversion": "1.0",
        "subject": "user, one",
        "time": MOMENT,
        "datacontenttype": "application/json",
        "tenant": "t1",
        **attributes,
    }
    return CloudEvent(whole, {"n": number, "text": "ä"})


def batch(event: CloudEvent) -> HTTPMessage:
    """The package has no batches: this is one of its events in JSON, twice."""
    one = orjson.loads(to_structured_event(event).body)
    return HTTPMessage(BATCH, orjson.dumps([one, {**one, "id": str(uuid.UUID(int=2))}]))


async def answered(collector: Collector, message: HTTPMessage) -> int:
    async with (
        aiohttp.ClientSession() as session,
        session.post(collector.url, data=message.body, headers=message.headers) as response,
    ):
        return response.status


@pytest.mark.parametrize(
    ("mode", "write", "number"),
    [("structured", to_structured_event, 1), ("binary", to_binary_event, 1), ("batch", batch, 2)],
    ids=["structured", "binary", "batch"],
)
async def test_every_mode_is_read(
    tmp_path: Path, mode: str, write: Callable[[CloudEvent], HTTPMessage], number: int
) -> None:
    """Attributes, extensions and data are those of the event, whether they travelled in headers or in the body."""
    message = write(made(1))

    async with Collector(store=tmp_path, remember_ids=True) as collector:
        assert await answered(collector, message) == 200

    events = [orjson.loads(line) for line in (tmp_path / "events.ndjson").read_bytes().splitlines()]
    assert dict(collector.ids) == {str(uuid.UUID(int=n + 1)): 1 for n in range(number)}
    assert collector.statistics().formats == {f"cloudevents-{mode}": number}
    for event in events:
        assert (event["event"], event["distinct_id"]) == ("paid €", "user, one")
        assert event["timestamp"] == "2026-01-31T09:05:00.123456Z"
        assert event["properties"] == {"n": 1, "text": "ä"}
        assert (event["headers"]["ce-source"], event["headers"]["tenant"]) == ("/shop", "t1")


async def test_an_id_that_is_none_of_ours_is_kept(tmp_path: Path) -> None:
    """It stands beside one of ours that is made of it: the same event gets the same one, however often it comes."""
    message = to_structured_event(made(1, id="order-7"))

    async with Collector(store=tmp_path, remember_ids=True) as collector:
        assert [await answered(collector, message) for _ in range(2)] == [200, 200]

    events = [orjson.loads(line) for line in (tmp_path / "events.ndjson").read_bytes().splitlines()]
    assert (collector.events, collector.duplicates) == (2, 1)
    assert {event["headers"]["ce-id"] for event in events} == {"order-7"}
