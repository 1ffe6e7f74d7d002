"""What every codec writes says the same as the events: any properties, any text, any size, split into any batches."""

from __future__ import annotations

import gzip
import importlib
import sys
import zlib
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import get_args

import brotli
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventpipe import CapturedEvent, Codec, Event, Request
from eventpipe.codecs.compression import Compression, compress
from eventpipe.testing import CodecRig, ReadEvent
from eventpipe.testing.codec_events import any_events, awkward_events, batches, capture, plain_events
from eventpipe.testing.codec_requests import exact
from eventpipe.testing.events import STAMP
from tests.conformance.codec_rigs import RIGS
from tests.scale import SCALE

pytestmark = pytest.mark.parametrize("name", RIGS)

ZSTD = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
INFLATE: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
    "br": brotli.decompress,
    "zstd": importlib.import_module(ZSTD).decompress,
}


def requests(codec: Codec, events: Iterable[CapturedEvent]) -> list[Request]:
    return [codec.request(batch, 1, STAMP) for batch in batches(codec, events)]


def lanes_of(codec: Codec, events: Iterable[CapturedEvent]) -> dict[str | None, list[CapturedEvent]]:
    """Events by the lane that they travel in: within one, order is kept."""
    by_lane: dict[str | None, list[CapturedEvent]] = {}
    for event in events:
        by_lane.setdefault(codec.lane(event), []).append(event)
    return by_lane


def check_read(rig: CodecRig, groups: Iterable[Sequence[CapturedEvent]]) -> None:
    """Check that all that is read of groups sent one after another is what they say, lane by lane."""
    groups = list(groups)
    sent = [batch for group in groups for batch in batches(rig.codec, group)]
    read: dict[str | None, list[ReadEvent]] = {}
    for batch in sent:
        read.setdefault(batch.lane, []).extend(rig.read(rig.codec.request(batch, 1, STAMP)))

    for lane, events in lanes_of(rig.codec, [event for group in groups for event in group]).items():
        assert exact(read.pop(lane)) == exact(map(rig.expect, events))
    assert read == {}


@settings(max_examples=40 * SCALE, deadline=None)
@given(data=st.data())
def test_events_split_into_batches_anywhere_are_the_same_events(name: str, data: st.DataObject) -> None:
    """Nothing of an event depends on those that it travels with; together the batches hold each once and in order."""
    rig = RIGS[name]()
    events = data.draw(any_events(rig.codec, max_size=10))
    cuts = data.draw(st.lists(st.integers(0, len(events)), max_size=4).map(sorted))

    check_read(rig, [events[start:end] for start, end in pairwise([0, *cuts, len(events)]) if start < end])


@pytest.mark.parametrize("coding", get_args(Compression))
def test_compressed_bodies_inflate_to_the_same(name: str, coding: Compression) -> None:
    """In each coding that a sink can write, as any receiver inflates it."""
    codec = RIGS[name]().codec
    events = [*awkward_events(codec), *plain_events(codec, 200)]

    for request in requests(codec, events):
        assert INFLATE[coding](compress(request.body, coding)) == request.body


@pytest.mark.parametrize("text", ["x", "😀", "\x00"], ids=ascii)
def test_an_event_of_the_largest_size_arrives(name: str, text: str) -> None:
    """To the byte, whether its text is longer in UTF-8, or in JSON, or neither."""
    rig = RIGS[name]()
    [empty] = capture(rig.codec, [Event("e", distinct_id="u", properties={"text": ""})])
    [one] = capture(rig.codec, [Event("e", distinct_id="u", properties={"text": text})])
    room, each = rig.codec.max_event_bytes - empty.size, one.size - empty.size
    [largest] = capture(rig.codec, [Event("e", distinct_id="u", properties={"text": text * (room // each)})])

    assert rig.codec.max_event_bytes - each < largest.size <= rig.codec.max_event_bytes
    check_read(rig, [[largest]])


@pytest.mark.parametrize("number", [1, 1_200], ids=str)
def test_any_number_of_events_arrives(name: str, number: int) -> None:
    """In one batch, or in as few as the codec wants."""
    rig = RIGS[name]()
    events = plain_events(rig.codec, number)
    most = getattr(rig.codec, "max_batch_events", None) or number

    assert len(batches(rig.codec, events)) == -(-number // most)
    check_read(rig, [events])
