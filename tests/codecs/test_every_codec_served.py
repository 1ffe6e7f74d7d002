"""What every codec writes is the same events to a collector: ``eventpipe serve`` reads what it is sent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from multidict import CIMultiDict

from eventpipe import CapturedEvent, Request
from eventpipe.cli.wires import all_wires, wire_of
from eventpipe.cli.wires.base import Asked
from eventpipe.cli.wires.webhook import Signatures
from eventpipe.testing import CodecRig, ReadEvent
from eventpipe.testing.codec_events import any_events, awkward_events, batches
from eventpipe.testing.codec_requests import exact
from eventpipe.testing.events import STAMP
from tests.conformance.codec_readers import moment
from tests.conformance.codec_rigs import RIGS
from tests.scale import SCALE

pytestmark = pytest.mark.parametrize("name", RIGS)

WIRES = all_wires(Signatures())


LIBRARY = {"$lib": "eventpipe", "$lib_version": version("eventpipe")}


def kept(name: str, event: CapturedEvent, said: ReadEvent) -> list[ReadEvent]:
    """What a collector keeps of an event: who sent it too, where the format tells that apart."""
    match name:
        case "posthog-v1" | "posthog-v1, historical" | "hub of posthog-v1" if event.lane != "ai":
            about = str(said.distinct_id).strip()  # as the real service does, which drops what is about nothing else
            return [said.but(distinct_id=about, properties={**said.properties, **LIBRARY})] if about else []
        case "cloudevents" | "cloudevents-structured" | "cloudevents-binary":
            return [said.but(headers={"ce-source": "/tests", **said.headers})]
        case "otlp" | "otlp-json":
            return [said.but(properties={"resource.service.name": "tests", **said.properties})]
        case "feature-flags":
            return [said.but(distinct_id=said.distinct_id or None)]
    return [said]


def served(rig: CodecRig, request: Request) -> list[ReadEvent]:
    """The events that a collector keeps of a request."""
    base_url: Callable[[str], str] = getattr(rig.codec, "base_url", str)
    path = urlsplit(base_url("https://collector.example")).path + request.url
    asked = Asked(path.rstrip("/"), request.headers["Content-Type"].partition(";")[0], CIMultiDict(request.headers))
    wire = wire_of(asked, WIRES)
    wire.check(asked)
    return [own(event) for event in wire.read(asked, request.body, lambda: "ok").events]


def own(said: dict[str, Any]) -> ReadEvent:  # Any: JSON
    return ReadEvent(**{**said, "timestamp": moment(said["timestamp"])})


def check_served(name: str, events: Sequence[CapturedEvent]) -> None:
    rig = RIGS[name]()
    for batch in batches(rig.codec, events):
        expected = [one for event in batch.events for one in kept(name, event, rig.expect(event))]

        assert exact(served(rig, rig.codec.request(batch, 1, STAMP))) == exact(expected)


def test_a_collector_reads_events_of_every_shape(name: str) -> None:
    """One by one, and all together."""
    events = awkward_events(RIGS[name]().codec)

    for event in events:
        check_served(name, [event])
    check_served(name, events)


def test_a_collector_reads_any_events(name: str) -> None:
    """Those that hypothesis makes up."""

    @settings(max_examples=30 * SCALE, deadline=None, database=None)
    @given(any_events(RIGS[name]().codec))
    def check(events: Sequence[CapturedEvent]) -> None:
        check_served(name, events)

    check()
