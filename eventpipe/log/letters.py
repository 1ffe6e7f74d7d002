"""Dead letters: events that used up their attempts, with what is known of how they failed in their headers."""

from __future__ import annotations

import base64
import datetime
import uuid as uuidlib
from dataclasses import dataclass
from typing import Final

import orjson

from eventpipe.clock import format_stamp
from eventpipe.events import CLOSING, CapturedEvent, Extra
from eventpipe.log.shards import read_shard_name
from eventpipe.stores.values import ClaimedEvent, ConsumerKey, StoredEvent

ADDRESSEE: Final = "eventpipe-consumer"
"""The header of an event that one consumer alone is handed, without it: the others skip it. Replays alone set it."""

UNDECODABLE: Final = "eventpipe.undecodable"
"""The name of a letter whose event could not be decoded; its properties carry what is kept of it."""

MAX_TEXT: Final = 500  # characters of a reason or an error: enough to know it, little beside the event

_PREFIX: Final = "eventpipe-dead-"
_TOPIC: Final = _PREFIX + "topic"
_CONSUMER: Final = _PREFIX + "consumer"
_OFFSET: Final = _PREFIX + "offset"
_ATTEMPTS: Final = _PREFIX + "attempts"
_REASON: Final = _PREFIX + "reason"
_ERROR: Final = _PREFIX + "error"
_AT: Final = _PREFIX + "at"

_PLAIN: Final = Extra()

# What an event that is a letter itself, and could not be handled as such, has of these; any number of times.
_EARLIER: Final = _PREFIX + "was-"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event that a consumer gave up.

    Attributes:
        offset: The letter's own offset, in the topic of dead letters.
        event: The event, with the headers of a letter.
        topic: The topic in which it failed.
        consumer: The name of the consumer that gave it up.
        source_offset: The event's offset in that topic.
        attempts: At which attempt it was handed out last. Of those before, the first two may have been none: what a
            killed process had claimed, and not begun with, has used one up.
        reason: Why it was given up, in a word or two.
        error: The last error; ``None``: there was none, or nothing may be said of it.
        at: When, wall clock.
    """

    offset: int
    event: CapturedEvent
    topic: str
    consumer: str
    source_offset: int
    attempts: int
    reason: str
    error: str | None
    at: float

    @property
    def is_decodable(self) -> bool:
        """Whether the event is there, and not only the bytes that could not be decoded."""
        return self.event.name != UNDECODABLE


def letter_of(claimed: ClaimedEvent, key: ConsumerKey, reason: str, error: str | None, now: float) -> CapturedEvent:
    """The letter that stands for an event which a consumer gives up: the same envelope and id, and more headers.

    Args:
        claimed: The event, at its last attempt. One that could not be decoded becomes the property ``raw`` of its
            letter, in base64.
        key: The consumer.
        reason: Why, in a word or two.
        error: The last error, without payload; its first ``MAX_TEXT`` characters are kept.
        now: Wall clock.
    """
    event = claimed.event if claimed.event is not None else _undecodable(claimed, key, now)
    headers = {
        **{_put_away(name): value for name, value in event.headers.items() if name != ADDRESSEE},
        _TOPIC: key.topic,
        _CONSUMER: key.name,
        _OFFSET: str(claimed.offset),
        _ATTEMPTS: str(claimed.attempt),
        _REASON: _line(reason),
        _AT: format_stamp(now),
    }
    if error:
        headers[_ERROR] = _line(error)
    return _with_headers(event, headers)


def dead_letter(stored: StoredEvent) -> DeadLetter | None:
    """Read a letter; ``None``: this event is none, whoever appended it."""
    event = stored.event
    if event is None:
        return None
    headers = event.headers
    try:
        return DeadLetter(
            stored.offset,
            event,
            topic=headers[_TOPIC],
            consumer=headers[_CONSUMER],
            source_offset=int(headers[_OFFSET]),
            attempts=int(headers[_ATTEMPTS]),
            reason=headers[_REASON],
            error=headers.get(_ERROR),
            at=datetime.datetime.fromisoformat(headers[_AT]).timestamp(),
        )
    except (KeyError, ValueError):
        return None


def restored(letter: DeadLetter) -> CapturedEvent:
    """The event as it was, addressed to the consumer that gave it up: the others skip it."""
    headers = letter.event.headers
    own = {name: value for name, value in headers.items() if not name.startswith(_PREFIX)}
    earlier = {_taken_out(name): value for name, value in headers.items() if name.startswith(_EARLIER)}
    return _with_headers(letter.event, {**own, **earlier, ADDRESSEE: letter.consumer})


def addressed(event: CapturedEvent, consumer: str) -> CapturedEvent:
    """The same event, for one consumer alone."""
    return _with_headers(event, {**event.headers, ADDRESSEE: consumer})


def addressee(event: CapturedEvent) -> str | None:
    """The name of the consumer that alone is handed ``event``; ``None``: every consumer is."""
    extra = event.extra
    return None if extra is None or extra.headers is None else extra.headers.get(ADDRESSEE)


def unaddressed(event: CapturedEvent) -> CapturedEvent:
    """The same event, for every consumer; itself where it is."""
    if addressee(event) is None:
        return event
    return _with_headers(event, {name: value for name, value in event.headers.items() if name != ADDRESSEE})


def is_for(consumer: str, event: CapturedEvent) -> bool:
    """Whether a consumer is handed ``event``, as far as its addressee says.

    One that was addressed to a shard when there was another number of them is for every shard there is now, of which
    one has its key.
    """
    name = addressee(event)
    if name is None or name == consumer:
        return True
    (base, shard), (own_base, own_shard) = read_shard_name(name), read_shard_name(consumer)
    return base == own_base and shard.count != own_shard.count


def _put_away(header: str) -> str:
    return _EARLIER + header.removeprefix(_PREFIX) if header.startswith(_PREFIX) else header


def _taken_out(header: str) -> str:
    return _PREFIX + header.removeprefix(_EARLIER)


def _with_headers(event: CapturedEvent, headers: dict[str, str]) -> CapturedEvent:
    extra: Extra | None = Extra(headers) if event.extra is None else event.extra._replace(headers=headers or None)
    if extra == _PLAIN:
        extra = None
    return CapturedEvent(event.name, event.data, event.lane, extra, event.captured_at)


def _undecodable(claimed: ClaimedEvent, key: ConsumerKey, now: float) -> CapturedEvent:
    properties = {"fault": claimed.fault, "raw": base64.b64encode(claimed.raw).decode()}
    envelope = {
        # Of the place, because the event's own is not known: the same letter again has the same id.
        "uuid": str(uuidlib.uuid5(uuidlib.NAMESPACE_URL, f"eventpipe:{key.lease}/{claimed.offset}")),
        "timestamp": format_stamp(now),
        "distinct_id": None,
        "event": UNDECODABLE,
        "properties": properties,
    }
    return CapturedEvent(UNDECODABLE, orjson.dumps(envelope)[: -len(CLOSING)], None, None, 0.0)


def _line(text: str) -> str:
    """As a header may have it: of one line, and bounded."""
    return "".join(character if character.isprintable() else " " for character in text[:MAX_TEXT])
