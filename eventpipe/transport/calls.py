"""The arguments of a capture, as one value, checked."""

from __future__ import annotations

import datetime
import uuid as uuidlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TypedDict, get_args

from eventpipe.events import Capturable, CapturedEvent, DistinctId, Durability, Event, Overflow, Properties
from eventpipe.models import EventModel
from eventpipe.options import ClientOptions
from eventpipe.outcomes import OutcomeKind, Settlement

# What a disabled client hands out: an event that nobody captured.
NOBODY = CapturedEvent(
    "",
    b'{"uuid":"00000000-0000-0000-0000-000000000000","timestamp":"1970-01-01T00:00:00.000000Z",'
    b'"distinct_id":null,"event":"","properties":{',
    None,
    None,
    0.0,
)
NOBODY.settlement = Settlement(OutcomeKind.DROPPED, sink="", error="the client is disabled")


_OVERFLOWS = get_args(Overflow)
_DURABILITIES = get_args(Durability)
_ON_DISK = frozenset({"spill", "process", "power"})


class CaptureDict(TypedDict, total=False):
    """The keyword arguments of ``AsyncClient.capture()``, which says what each means."""

    distinct_id: DistinctId | None
    properties: Properties | None
    timestamp: datetime.datetime | None
    uuid: str | uuidlib.UUID | None
    headers: Mapping[str, str] | None
    key: str | None
    lane: str | None
    overflow: Overflow | None
    durability: Durability | None


def describe(event: Capturable, *arguments: object) -> Event:
    """Join the arguments of a call into an ``Event``; one that was given has them all already.

    Raises:
        TypeError: An ``Event`` and arguments were given.
    """
    if issubclass(type(event), Event):  # by its type: isinstance() would ask the object, which may raise
        if any(argument is not None for argument in arguments):
            raise TypeError("an Event has all arguments of capture() already; give them to Event(...)")
        return event  # type: ignore[return-value]
    return Event(event, *arguments)  # type: ignore[arg-type]  # checked by the encoder


def in_lane(lane: str, event: Capturable, given: CaptureDict) -> Event:
    """Join the arguments of a call into an ``Event`` of ``lane``.

    Raises:
        TypeError: An ``Event`` and arguments were given, or an argument that there is not.
        ValueError: Another lane was named.
    """
    is_event = issubclass(type(event), Event)  # by its type: isinstance() would ask the object, which may raise
    described = describe(event, *given.values()) if is_event else Event(event, **given)  # type: ignore[arg-type]
    if described.lane not in (None, lane):
        raise ValueError(f"lane must be {lane!r} or None here, not {described.lane!r}; use capture() for other lanes")
    return replace(described, lane=lane)


def listed(event_or_events: Capturable | Iterable[Capturable]) -> list[Capturable]:
    """One event or several as a list; a model is one, although it can be iterated over."""
    is_one = isinstance(event_or_events, str | Event | EventModel | type)
    return [event_or_events] if is_one else list(event_or_events)  # type: ignore[list-item, arg-type]  # as just asked


def patient(event: Capturable) -> Event:
    """The same event, ready to wait for room unless it says otherwise."""
    described = describe(event)
    return described if described.overflow is not None else replace(described, overflow="wait")


def overflow_of(described: Event, options: ClientOptions, *, has_spool: bool) -> Overflow:
    """What to do when there is no room for this event.

    Raises:
        ValueError: ``overflow`` or ``durability`` is not one of the words, or needs a spool.
    """
    overflow, durability = described.overflow or options.overflow, described.durability or options.durability
    for option, value, words in (("overflow", overflow, _OVERFLOWS), ("durability", durability, _DURABILITIES)):
        if value not in words:
            raise ValueError(f"{option} must be {', '.join(map(repr, words[:-1]))} or {words[-1]!r}, not {value!r}")
        if value in _ON_DISK and not has_spool:
            raise ValueError(f"{option}={value!r} needs a disk: give the client a folder, such as spool='var/events'")
    return overflow
