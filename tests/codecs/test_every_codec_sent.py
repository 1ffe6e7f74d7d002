"""The whole way with every codec: a client sends, compressed, and a collector has the same events."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import orjson
import pytest
from uuid_utils import uuid7

from eventpipe import AsyncClient, Event
from eventpipe.cli.collector import Collector
from eventpipe.codecs.compression import Compression
from eventpipe.sinks import HttpSink
from eventpipe.testing import ReadEvent, check_ledger
from eventpipe.testing.codec_events import awkward, capture
from eventpipe.testing.codec_requests import exact
from tests.codecs.test_every_codec_served import kept, own
from tests.conformance.codec_rigs import HUB_SECRET, RIGS, SECRET

MANY = 300  # events beside the awkward ones, so that a lane has several batches


def ways() -> Iterator[tuple[str, Compression | None]]:
    """Each codec with each coding that its far end reads, or with none."""
    for name, make in RIGS.items():
        known = getattr(make().codec, "compressions", {}).get(None, get_args(Compression))
        yield from ((name, coding) for coding in (*sorted(known), None))


def named(event: Event) -> Event:
    """The same with an id and a time, by which it is known afterwards."""
    return dataclasses.replace(
        event, uuid=event.uuid or str(uuid7()), timestamp=event.timestamp or datetime(2026, 1, 2, 3, 4, 5, 6, UTC)
    )


def stored(directory: Path) -> dict[str, ReadEvent]:
    """What the collector keeps, by id."""
    lines = (directory / "events.ndjson").read_bytes().splitlines()
    events = [orjson.loads(line) for line in lines]
    assert all(event.pop("received_at") for event in events)
    found = {event["uuid"]: own(event) for event in events}
    assert len(found) == len(events), "an event is there twice"
    return found


@pytest.mark.wallclock
@pytest.mark.asyncio
@pytest.mark.parametrize(("name", "compression"), list(ways()))
async def test_a_collector_has_what_a_client_captured(
    name: str, compression: Compression | None, tmp_path: Path
) -> None:
    """Every event once, unchanged and delivered, whatever its shape, in batches as a client makes them."""
    rig = RIGS[name]()
    described = [named(event) for event in awkward(rig.codec)]
    described += [named(Event(f"e{n}", distinct_id=f"u{n}", properties={"n": n})) for n in range(MANY)]
    expected = [one for event in capture(rig.codec, described) for one in kept(name, event, rig.expect(event))]

    secrets = [SECRET, HUB_SECRET] if name.startswith(("webhook", "hub")) else []  # with any, all must be signed
    async with Collector(store=tmp_path, webhook_secrets=secrets) as collector:
        sink = HttpSink(collector.url, rig.codec, compression=compression)
        async with AsyncClient(sink, batch_events=100) as client:
            await client.capture_many(described)
            await client.flush(timeout=30)
            statistics = check_ledger(client, drained=True)

    found = stored(tmp_path)
    assert (statistics.delivered, statistics.dropped_by_reason) == (len(described), {})
    assert exact(found.pop(event.uuid) for event in expected) == exact(expected)
    assert found == {}
