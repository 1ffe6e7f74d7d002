"""Events that a codec may meet: the awkward ones, and as many others as are asked for."""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from eventpipe.encoding.encoder import Encoder
from eventpipe.events import Batch, CapturedEvent, Event
from eventpipe.testing.events import make_batch

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hypothesis.strategies import SearchStrategy

    from eventpipe.contracts import Codec

OF_ANOTHER: Final = "$of_another"
"""A property that another sink of the same client wants outside."""
LANES: Final = (None, "historical", "ai", "another")
_WRONG_KINDS: Final[Sequence[Any]] = ("", 7, {})  # Any: JSON
_LARGE: Final = 100_000  # bytes of a large text, where the codec takes as many
_DEPTH: Final = 100
_ODD: Final = "näme\n\r\t\"'\\,;= |\u2028\x00\x7f😀</script>"
_CLASHES: Final = (
    "uuid", "timestamp", "distinct_id", "event", "properties", "key", "headers", "id", "type", "time", "data", "source",
    "messageId", "userId", "anonymousId", "context", "traits", "body", "attributes", "meta", "batch", "options",
)  # fmt: skip


def capture(codec: Codec, events: Iterable[Event]) -> list[CapturedEvent]:
    """Encode events as a client does that sends to ``codec`` and to one other sink."""
    encoder = Encoder(lifted=frozenset(codec.lifted) | {OF_ANOTHER})
    return [
        encoder.encode(
            event.event,
            event.distinct_id,
            event.properties,
            event.timestamp,
            event.uuid,
            event.headers,
            event.key,
            event.lane,
        )
        for event in events
    ]


def batches(codec: Codec, events: Iterable[CapturedEvent], *, attempt: int = 1) -> list[Batch]:
    """Put events into batches as a client does: of one lane each, and none larger than the codec wants it."""
    by_lane: dict[str | None, list[CapturedEvent]] = {}
    for event in events:
        by_lane.setdefault(codec.lane(event), []).append(event)
    most = getattr(codec, "max_batch_events", None)
    return [
        make_batch(of_lane[start : start + (most or len(of_lane))], lane=lane, attempt=attempt)
        for lane, of_lane in by_lane.items()
        for start in range(0, len(of_lane), most or len(of_lane))
    ]


def plain_events(codec: Codec, number: int) -> list[CapturedEvent]:
    """Events as most are."""
    return capture(codec, [Event(f"e{n}", distinct_id=f"u{n}", properties={"n": n}) for n in range(number)])


def awkward_events(codec: Codec) -> list[CapturedEvent]:
    """Events that a client can capture, and a format may stumble over."""
    return capture(codec, awkward(codec))


def awkward(codec: Codec) -> list[Event]:
    """The same as their caller describes them."""
    large = "x" * min(_LARGE, codec.max_event_bytes // 2)
    nested: object = "innermost"
    for _ in range(_DEPTH):
        nested = [nested]
    lifted = dict.fromkeys(codec.lifted, "mine")
    odd: dict[str, Any] = {  # Any: what JSON cannot carry too, which is repaired at capture
        "not a number": [math.nan, math.inf, -math.inf],
        "half a character": "\ud800",
        "half\udfff": b"bytes",
        "set": {1},
        "huge": 10**40,
    }
    return [
        Event("nothing"),
        Event("empty", distinct_id="", properties={}, headers={}, key=""),
        Event(_ODD, distinct_id="\n,é= ", properties={"\n": '"', "": [None, {}], "a b,c=d": _ODD, _ODD: {_ODD: 1}}),
        Event("null", distinct_id="null", properties={"null": "null", "true": "true", "1": "1"}),
        Event("kinds", properties={"null": None, "true": True, "false": False, "text": "", "list": [], "map": {}}),
        Event("numbers", properties={"-0.0": -0.0, "0.1": 0.1, "1.0": 1.0, "tiny": 5e-324, "big": 1.7e308}),
        Event("whole numbers", properties={"most": 2**64 - 1, "signed": [2**63 - 1, -(2**63), 0, 2**53 + 1]}),
        Event("nested", properties={"nested": nested, "mixed": [1, "a", None, {"b": [{}, {"c": [True]}]}]}),
        Event("repaired", distinct_id="\ud800", properties=odd),
        Event("large", properties={"text": large}),
        Event("many", properties={f"p{n}": n for n in range(200)}),
        Event("headers and key", "u1", {"a": 1}, headers={"traceparent": "00-é", "X-Odd": _ODD[:9]}, key="k,\n"),
        Event("names of members", "u1", {name: f"mine of {name}" for name in _CLASHES}),
        Event("names of objects", "u1", {name: {"mine": name} for name in _CLASHES}),
        Event("lifted", distinct_id="u1", properties=lifted),
        Event("lifted among others", distinct_id="u1", properties={"a": 1, **lifted, "b": 2}, key="k"),
        Event("lifted of nobody", properties={"a": None, **lifted}),
        Event("lifted for another", distinct_id="u1", properties={"a": 1, OF_ANOTHER: {"mine": None}}),
        Event("lifted for another alone", distinct_id="u1", properties={OF_ANOTHER: "mine"}),
        Event("at once", uuid="00000000-0000-0000-0000-000000000000", timestamp=_at(1970)),
        Event("before all clocks", uuid="ffffffff-ffff-ffff-ffff-ffffffffffff", timestamp=_at(1969, microsecond=1)),
        Event("long ago", timestamp=_at(1)),
        Event("far off", timestamp=_at(9999, microsecond=999_999)),
        *_calls(),
        *(Event("in a lane", distinct_id="u1", properties={"a": 1}, lane=lane) for lane in LANES),
    ]  # fmt: skip


def _calls() -> list[Event]:
    """Events whose names and properties mean something to many formats, and the same without what is meant."""
    properties: dict[str, dict[str, Any]] = {  # Any: JSON
        "$identify": {"$set": {"plan": "pro"}, "$anon_distinct_id": "a1", "more": 1},
        "$groupidentify": {"$group_type": "team", "$group_key": "g1", "$group_set": {"size": 3}, "more": 1},
        "$create_alias": {"alias": "u2", "more": 1},
        "$pageview": {"name": "Home", "category": "Docs", "url": "/"},
        "$screen": {"$screen_name": "Start", "category": "Docs"},
    }
    return [
        Event(name, distinct_id=distinct_id, properties=given)
        for name, meant in properties.items()
        for distinct_id in ("u1", None)
        for given in (meant, {}, *(dict.fromkeys(meant, value) for value in _WRONG_KINDS))
    ]


def _at(year: int, microsecond: int = 0) -> datetime.datetime:
    return datetime.datetime(year, 12 if year == 1969 else 1, 1, 23, 59, 59, microsecond, tzinfo=datetime.UTC)


def any_events(codec: Codec, max_size: int = 6) -> SearchStrategy[Sequence[CapturedEvent]]:
    """Events of any text, values and lanes, and of lifted properties; needs hypothesis."""
    from hypothesis import strategies as st

    text = st.text(st.characters(codec="utf-8"), max_size=8)
    values = st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
        | text,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
        max_leaves=6,
    )  # fmt: skip
    known = {name for call in _calls() for name in call.properties or ()}
    names = text | st.sampled_from([OF_ANOTHER, *_CLASHES, *sorted(codec.lifted | known)])
    events = st.builds(
        Event,
        event=st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
        | st.sampled_from([call.event for call in _calls()]),
        distinct_id=st.none() | text,
        properties=st.none() | st.dictionaries(names, values, max_size=5),
        timestamp=st.none() | st.datetimes(timezones=st.just(datetime.UTC)),
        headers=st.none() | st.dictionaries(st.text("abXY-", min_size=1, max_size=5), text, max_size=2),
        key=st.none() | text,
        lane=st.sampled_from(LANES),
    )
    return st.lists(events, min_size=1, max_size=max_size).map(lambda made: capture(codec, made))
