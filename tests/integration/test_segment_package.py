"""The real ``segment-analytics-python`` package delivers to the collector, which can so stand in for Segment."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
from segment.analytics.client import Client
from segment.analytics.request import _session as session

from eventpipe.cli.collector import Collector
from eventpipe.cli.faults import Faults, Outage
from tests.integration.segment_clients import WAIT, Expected, end, read, send_one_of_each, send_tracks, stored
from tests.integration.test_posthog_package import OneRequestLater

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


def client_of(host: str, failures: list[object], *, gzip: bool = False) -> Client:
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
    """track, identify, page, screen, group and alias, under our names, with all that they were given."""

    def send(host: str) -> Expected:
        client = client_of(host, failures, gzip=gzip)
        expected = send_one_of_each(client, identified={"$set": {"plan": "pro"}})
        end(client, session)
        return expected

    async with Collector(store=tmp_path, remember_ids=True) as collector:
        expected = await asyncio.to_thread(send, collector.url)

    events = stored(tmp_path)
    assert dict(collector.ids) == dict.fromkeys(expected, 1)
    assert {uuid: read(event) for uuid, event in events.items()} == expected
    for event in events.values():
        assert event["timestamp"] == "2026-01-01T12:00:00.123+00:00"
        assert event["properties"]["$context"]["ip"] == "::1"
        assert event["properties"]["$context"]["library"]["name"] == "analytics-python"
    assert collector.statistics().refused == 0


async def test_client_tries_again_after_a_failure(failures: list[object]) -> None:
    """A 503 on purpose is what it takes for one: it sends the batch again, and every event arrives once."""

    def send(host: str) -> set[str]:
        client = client_of(host, failures)
        ids = send_tracks(client)
        end(client, session)
        return ids

    faults = Faults(outage=Outage(0.0, 1.0))
    async with Collector(remember_ids=True, faults=faults, clock=OneRequestLater()) as collector:
        ids = await asyncio.to_thread(send, collector.url)

    assert dict(collector.ids) == dict.fromkeys(ids, 1)
    assert collector.statistics().failed == 1


async def test_a_request_without_key_is_refused(failures: list[object]) -> None:
    """The collector asks for a key, and the client reports the answer with its words."""

    def send(host: str) -> list[object]:
        reported: list[object] = []
        client = Client("", host=host, upload_interval=WAIT, on_error=lambda error, _: reported.append(str(error)))
        client.track("u1", "signed up")
        end(client, session)
        return reported

    async with Collector() as collector:
        reported = await asyncio.to_thread(send, collector.url)

    assert reported == ["[Segment] unauthorized: the request has no write key (401)"]
    assert (collector.events, collector.statistics().refused) == (0, 1)
