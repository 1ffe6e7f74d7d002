"""The real ``rudder-sdk-python`` package delivers to the collector, which can so stand in for RudderStack."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
from rudderstack.analytics.client import Client
from rudderstack.analytics.request import _session as session

from eventpipe.cli.collector import Collector
from tests.integration.segment_clients import WAIT, Expected, end, read, send_one_of_each, send_tracks, stored

pytestmark = [pytest.mark.asyncio, pytest.mark.wallclock]


@pytest.fixture
def failures(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[object]]:
    """What the client says it could not deliver: nothing. It goes to loopback and to no proxy."""
    monkeypatch.setattr(session, "trust_env", False)
    monkeypatch.setattr(Client.log, "disabled", True)  # a logged error holds the connection that it came from
    reported: list[object] = []
    yield reported
    gc.collect()
    assert reported == []


def client_of(host: str, failures: list[object], *, gzip: bool) -> Client:
    return Client("key", host=host, gzip=gzip, upload_interval=WAIT, on_error=lambda *error: failures.append(error))


@pytest.mark.parametrize("gzip", [False, True], ids=["plain", "gzip"])
async def test_every_event_arrives_once(tmp_path: Path, failures: list[object], gzip: bool) -> None:
    """What ``track()`` was given arrives once, by id, in several batches, with its properties."""

    def send(host: str) -> set[str]:
        client = client_of(host, failures, gzip=gzip)
        ids = send_tracks(client)
        end(client, session)
        return ids

    async with Collector(store=tmp_path, remember_ids=True) as collector:
        ids = await asyncio.to_thread(send, collector.url)

    events = stored(tmp_path)
    assert dict(collector.ids) == dict.fromkeys(ids, 1)
    assert collector.statistics().names == {"event 0": 84, "event 1": 83, "event 2": 83}
    assert collector.statistics().refused == 0
    assert {(event["distinct_id"], event["properties"]["n"]) for event in events.values()} == {
        (f"u{number}", number) for number in range(len(ids))
    }


@pytest.mark.parametrize("gzip", [False, True], ids=["plain", "gzip"])
async def test_every_call_is_read_as_its_event(tmp_path: Path, failures: list[object], gzip: bool) -> None:
    """track, identify, page, screen, group and alias, under our names, with all that they were given.

    What ``identify()`` knows of somebody is in the context, where this client puts it.
    """

    def send(host: str) -> Expected:
        client = client_of(host, failures, gzip=gzip)
        expected = send_one_of_each(client, identified={})
        end(client, session)
        return expected

    async with Collector(store=tmp_path, remember_ids=True) as collector:
        expected = await asyncio.to_thread(send, collector.url)

    events = stored(tmp_path)
    assert dict(collector.ids) == dict.fromkeys(expected, 1)
    assert {uuid: read(event) for uuid, event in events.items()} == expected
    for event in events.values():
        context = event["properties"]["$context"]
        assert event["timestamp"] == "2026-01-01T12:00:00.123000+00:00"
        assert context["ip"] == "::1"
        assert context["library"]["name"] == "analytics-python"
        assert context.get("traits") == ({"plan": "pro"} if event["event"] == "$identify" else None)
    assert collector.statistics().refused == 0
