"""What a caller appends, in whatever way it is described, as a captured event."""

from __future__ import annotations

import datetime
import uuid as uuidlib
from collections.abc import Iterable, Mapping

from eventpipe.encoding import Encoder
from eventpipe.errors import InvalidEventError
from eventpipe.events import Capturable, CapturedEvent, DistinctId, Event, Properties
from eventpipe.log.letters import ADDRESSEE, addressee, unaddressed
from eventpipe.unfolding import Unfit

Appendable = Capturable | CapturedEvent
"""What ``append()`` takes for an event."""


def captured(
    encoder: Encoder,
    event: Appendable,
    distinct_id: DistinctId | None = None,
    properties: Properties | None = None,
    timestamp: datetime.datetime | None = None,
    uuid: str | uuidlib.UUID | None = None,
    headers: Mapping[str, str] | None = None,
    key: str | None = None,
) -> CapturedEvent:
    """Encode an event as a client does; one that was captured already is taken as it is.

    What a client captured is as it was, but for an addressee: whoever captured it is not there to be told, and the
    event is not to be lost, or kept from anybody, for a header of ours.

    Raises:
        InvalidEventError: It has no name, its properties cannot be read, or its headers address it.
        TypeError: Arguments were given beside an event that has them already.
    """
    kind = type(event)  # isinstance() would ask the object, which may raise
    if kind is str and timestamp is None and uuid is None and headers is None and key is None:
        plain = encoder.encode_plain(event, distinct_id, properties)
        if plain is not None:
            return plain
    is_captured = issubclass(kind, CapturedEvent)
    if is_captured or issubclass(kind, Event):
        if any(argument is not None for argument in (distinct_id, properties, timestamp, uuid, headers, key)):
            name = "a CapturedEvent" if is_captured else "an Event"
            raise TypeError(f"{name} has these arguments already; give them to the event, or its name alone")
        return unaddressed(event) if is_captured else _encoded(encoder, event)  # type: ignore[arg-type]  # as just asked
    return _encoded(encoder, Event(event, distinct_id, properties, timestamp, uuid, headers, key))  # type: ignore[arg-type]  # checked by the encoder


def all_captured(encoder: Encoder, events: Iterable[Appendable]) -> list[CapturedEvent]:
    """Encode events, in order.

    Raises:
        InvalidEventError: One of them is not valid; the message says which.
    """
    made: list[CapturedEvent] = []
    for event in events:
        if issubclass(type(event), CapturedEvent):
            made.append(event if event.extra is None else unaddressed(event))  # type: ignore[union-attr, arg-type]  # as just asked
            continue
        try:
            made.append(captured(encoder, event))
        except InvalidEventError as error:
            raise InvalidEventError(f"events[{len(made)}]: {error}", path=error.path, limit=error.limit) from error
    return made


def _encoded(encoder: Encoder, event: Event) -> CapturedEvent:
    if type(event.event) is Unfit:  # what a typed event came to
        raise event.event.error
    made = encoder.encode(
        event.event,
        event.distinct_id,
        event.properties,
        event.timestamp,
        event.uuid,
        event.headers,
        event.key,
        event.lane,
    )
    if addressee(made) is not None:
        raise InvalidEventError(
            f"header {ADDRESSEE!r} is the log's own and says for whom an event is replayed; leave it out: what is"
            " appended is for every consumer of the topic, each of which may have a filter"
        )
    return made
