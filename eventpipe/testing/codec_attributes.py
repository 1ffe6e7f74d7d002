"""Scenarios of the codec contract: what a codec says of itself."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from types import NoneType
from typing import TYPE_CHECKING, Any, Final

from eventpipe.testing.codec_events import awkward_events, batches, plain_events
from eventpipe.testing.events import STAMP

if TYPE_CHECKING:
    from eventpipe.contracts import Codec
    from eventpipe.testing.codec_rig import CodecRig

_CODINGS: Final = frozenset({"gzip", "deflate", "br", "zstd"})
_OPTIONAL: Final = ("has_lanes", "lane_event_bytes", "max_batch_events", "unique_ids", "compressions")


class AttributeScenarios:
    """What a codec promises of its attributes."""

    def test_limits_are_whole_numbers_that_agree(self, rig: CodecRig) -> None:
        """Each is from 1, and a batch has room for the largest event."""
        codec = rig.codec

        assert _is_count(codec.max_event_bytes)
        assert _is_count(codec.max_batch_bytes)
        assert codec.max_event_bytes <= codec.max_batch_bytes
        most = getattr(codec, "max_batch_events", None)
        assert most is None or _is_count(most)

    def test_lifted_names_are_text(self, rig: CodecRig) -> None:
        """A set that never changes, of names of properties."""
        assert isinstance(rig.codec.lifted, frozenset)
        assert {type(name) for name in rig.codec.lifted} <= {str}

    def test_flags_are_true_or_false(self, rig: CodecRig) -> None:
        """Or absent."""
        assert getattr(rig.codec, "has_lanes", True) in (True, False)
        assert getattr(rig.codec, "unique_ids", False) in (True, False)

    def test_a_lane_is_a_name_or_none(self, rig: CodecRig) -> None:
        """Always the same for the same event, and none at all from a codec without lanes."""
        events = awkward_events(rig.codec)

        lanes = [rig.codec.lane(event) for event in events]

        assert {type(lane) for lane in lanes} <= {str, NoneType}
        assert "" not in lanes
        assert [rig.codec.lane(event) for event in events] == lanes
        if not getattr(rig.codec, "has_lanes", True):
            assert set(lanes) == {None}

    def test_limits_of_lanes_are_whole_numbers_too(self, rig: CodecRig) -> None:
        """Each is a whole number from 1; a codec without lanes has none."""
        limits = getattr(rig.codec, "lane_event_bytes", {})

        assert isinstance(limits, Mapping)
        assert _may_name_lanes(rig.codec, limits)
        assert [lane for lane, limit in limits.items() if not _is_count(limit)] == []

    def test_codings_are_ones_that_a_sink_can_write(self, rig: CodecRig) -> None:
        """By lane, or under ``None`` for all the others; names as they stand in Content-Encoding."""
        codings: Any = getattr(rig.codec, "compressions", {None: _CODINGS})  # Any: a codec may have anything

        assert isinstance(codings, Mapping)
        assert _may_name_lanes(rig.codec, set(codings) - {None})
        for of_lane in codings.values():
            assert isinstance(of_lane, Collection)
            assert not isinstance(of_lane, str)
            assert set(of_lane) <= _CODINGS

    def test_attributes_stay_as_they_are(self, rig: CodecRig) -> None:
        """A sink reads them once."""
        before = _attributes(rig.codec)

        for batch in batches(rig.codec, plain_events(rig.codec, 3)):
            rig.codec.request(batch, 1, STAMP)
            for status in (200, 413, 429):
                rig.codec.response(batch, status, {}, b"", True)

        assert _attributes(rig.codec) == before

    def test_an_address_stays_one(self, rig: CodecRig) -> None:
        """What the codec makes of the user's URL is an address of the same scheme, and always the same."""
        for url in ("https://collector.example", "https://collector.example/a/b?c=d", "http://127.0.0.1:8000/batch"):
            base_url = getattr(rig.codec, "base_url", str)
            based = base_url(url)

            assert based.partition("://")[0] == url.partition("://")[0]
            assert base_url(url) == based


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _may_name_lanes(codec: Codec, names: Collection[object]) -> bool:
    has_lanes = getattr(codec, "has_lanes", True)
    return all(isinstance(name, str) and name for name in names) and (has_lanes or not names)


def _attributes(codec: Codec) -> dict[str, object]:
    names = ("lifted", "max_event_bytes", "max_batch_bytes", *_OPTIONAL)
    return {name: copy.deepcopy(getattr(codec, name, None)) for name in names}
