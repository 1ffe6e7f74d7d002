"""Captured events and batches for tests of sinks and codecs, made without a client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import orjson
from uuid_utils import uuid7

from eventpipe.clock import format_stamp
from eventpipe.events import Batch, CapturedEvent, Extra

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from eventpipe.events import Properties

STAMP: Final = 1_767_225_600.0
"""2026-01-01T00:00:00Z, the capture time of events that were given none."""


def make_event(
    event: str = "e",
    *,
    distinct_id: str | None = "u1",
    properties: Properties | None = None,
    timestamp: float = STAMP,
    uuid: str | None = None,
    headers: Mapping[str, str] | None = None,
    key: str | None = None,
    lane: str | None = None,
    lifted: Properties | None = None,
    captured_at: float = 0.0,
) -> CapturedEvent:
    """Make an event as a client captures it.

    Args:
        event: Its name.
        distinct_id: Whom it is about.
        properties: Plain JSON values by name. ``None`` means none.
        timestamp: Wall clock, seconds since the epoch.
        uuid: Its id, 36 characters. ``None`` means a new UUIDv7.
        headers: Values beside the properties. ``None`` means none.
        key: The caller's key. ``None`` means none.
        lane: The caller's lane. ``None`` means none.
        lifted: Properties that a codec wants outside, by name. ``None`` means none.
        captured_at: Moment of capture on the loop clock.
    """
    envelope = {
        "uuid": uuid or str(uuid7()),
        "timestamp": format_stamp(timestamp),
        "distinct_id": distinct_id,
        "event": event,
        "properties": dict(properties or {}),
    }
    outside = {name: orjson.dumps(value) for name, value in (lifted or {}).items()}
    extra = Extra(headers, key, outside or None) if headers or key is not None or outside else None
    return CapturedEvent(event, orjson.dumps(envelope)[:-2], lane, extra, captured_at)


def make_batch(
    events: int | Sequence[CapturedEvent] = 1,
    *,
    id: str | None = None,  # noqa: A002  # the name that Batch has for it
    lane: str | None = None,
    created_at: float = STAMP,
    attempt: int = 1,
) -> Batch:
    """Make a batch.

    Args:
        events: The events, in order; or their number, and each is made: ``e0`` about ``u0``, ``e1`` about ``u1``, …
        id: The batch's id. ``None`` means a new UUIDv7.
        lane: The lane of the batch.
        created_at: Wall clock, seconds since the epoch.
        attempt: The running attempt, counted from 1.
    """
    if isinstance(events, int):
        events = [make_event(f"e{n}", distinct_id=f"u{n}", lane=lane) for n in range(events)]
    return Batch(id or str(uuid7()), lane, tuple(events), created_at, attempt)
