"""A captured event as bytes with a checksum, and back, for engines that keep bytes."""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import Final
from zlib import crc32

import orjson

from eventpipe.events import CapturedEvent, Extra

# Place, moment, size, and the lengths of the parts: what moves a byte from one part to its neighbour is noticed.
_FRAME: Final = Struct("<qdqqqq")
_NOTHING_BESIDE: Final = Extra()
_MEMBERS: Final = frozenset({"headers", "key", "lane", "lifted"})


Row = tuple[int, float, bytes, bytes | None, bytes, int, int]
"""An event with where and when it was appended: place, moment, name, what is beside it, envelope, size, checksum."""

Packed = tuple[bytes, bytes | None, bytes, int]
"""An event as an engine keeps it; a plain tuple, because one is made for every event.

Its name in UTF-8; lane, headers, key and lifted properties as a JSON object, or ``None`` when there are none; the JSON
envelope, as ``CapturedEvent.data``; and what it counts for against bounds in bytes: as many as it holds in memory.
"""


def pack(event: CapturedEvent) -> Packed:
    """Everything of an event that outlives its process."""
    data, extra, lane = event.data, event.extra, event.lane
    if extra is None and lane is None:
        return event.name.encode(), None, data, len(data)
    members: dict[str, object] = {}
    if lane is not None:
        members["lane"] = lane
    if extra is not None:
        if extra.headers is not None:
            members["headers"] = dict(extra.headers)
        if extra.key is not None:
            members["key"] = extra.key
        if extra.lifted is not None:  # as text: their bytes come back as they are, however they were encoded
            members["lifted"] = {name: value.decode() for name, value in extra.lifted.items()}
    return event.name.encode(), orjson.dumps(members), data, event.held


def checksum(place: int, moment: float, name: bytes, extra: bytes | None, data: bytes, size: int) -> int:
    """CRC-32 of an event and of where and when it was appended: an event at another's place does not pass."""
    frame = _FRAME.pack(place, moment, size, len(name), len(data), -1 if extra is None else len(extra))
    return crc32(data, crc32(frame + name if extra is None else frame + name + extra))


def are_sound(rows: Sequence[Row]) -> bool:
    """Whether all of these pass their checksums; at two thirds of what it costs to ask for each.

    Raises:
        TypeError: A value is of another type than it was.
        struct.error: So it is, or out of range.
    """
    frame = _FRAME.pack
    passed = [
        crc32(data, crc32(frame(place, moment, size, len(name), len(data), -1) + name)) == check
        if extra is None
        else checksum(place, moment, name, extra, data, size) == check
        for place, moment, name, extra, data, size, check in rows
    ]
    return all(passed)


def unpack_all(rows: Sequence[Row], shift: float) -> list[CapturedEvent]:
    """The events, each captured at its moment with ``shift`` added; at two thirds of what it costs to make each.

    Raises:
        ValueError: One of them is not what ``pack()`` makes.
    """
    return [
        CapturedEvent(name.decode(), data, None, None, moment + shift)
        if extra is None
        else unpack(name, extra, data, moment + shift)
        for _, moment, name, extra, data, _, _ in rows
    ]


def pack_checked(event: CapturedEvent, place: int, moment: float) -> tuple[int, int, bytes, bytes | None, bytes]:
    """What ``pack()`` and ``checksum()`` make of an event, in one call: size, checksum, name, extra, data."""
    data = event.data
    if event.extra is None and event.lane is None:
        name, size = event.name.encode(), len(data)
        return size, crc32(data, crc32(_FRAME.pack(place, moment, size, len(name), size, -1) + name)), name, None, data
    name, extra, data, size = pack(event)
    return size, checksum(place, moment, name, extra, data, size), name, extra, data


def unpack(name: bytes, extra: bytes | None, data: bytes, captured_at: float) -> CapturedEvent:
    """The event; ``captured_at`` is its moment on the loop clock.

    Raises:
        ValueError: It is not what ``pack()`` makes. The message says why, without payload.
    """
    try:
        text = name.decode()
    except UnicodeDecodeError:
        raise ValueError("the name of the event is no text") from None
    if extra is None:
        return CapturedEvent(text, data, None, None, captured_at)
    try:
        members = orjson.loads(extra)
    except orjson.JSONDecodeError:
        raise ValueError("what is kept beside the event is no JSON") from None
    if not isinstance(members, dict) or not members.keys() <= _MEMBERS:
        raise ValueError("what is kept beside the event is of no version that is known here")
    lifted = members.get("lifted")
    beside = Extra(
        members.get("headers"),
        members.get("key"),
        None if lifted is None else {name: value.encode() for name, value in lifted.items()},
    )
    return CapturedEvent(text, data, members.get("lane"), None if beside == _NOTHING_BESIDE else beside, captured_at)
