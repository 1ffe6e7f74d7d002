"""Segment's tracking API, which RudderStack and Jitsu take too: ``POST {host}/v1/batch``."""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import orjson

from eventpipe.clock import format_stamp
from eventpipe.codecs.base import KIB, HttpCodec, check_bytes, library_version, user_agent
from eventpipe.codecs.envelope import as_members
from eventpipe.codecs.keys import checked_key
from eventpipe.codecs.segment_calls import HOISTED, as_object, called, is_call, subject, taken
from eventpipe.contracts import Request
from eventpipe.events import DISTINCT_ID_AT, NO_PROPERTIES, TIMESTAMP_AT, UUID_AT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eventpipe.clock import Clock
    from eventpipe.events import Batch, CapturedEvent

SEGMENT_HOST = "https://api.segment.io"

# Source: Segment's HTTP API, which answers 400 to what is larger and takes 2 500 messages.
MAX_EVENT_BYTES = 32 * KIB
MAX_BATCH_BYTES = 500_000
# Fewer than are taken, because room is kept for what each message has more than its event.
MAX_BATCH_EVENTS = 500

# Of the event's bytes: the id with its closing quote, and the member "timestamp".
_ID_AND_STAMP = slice(UUID_AT.start, DISTINCT_ID_AT - len(b',"distinct_id":'))
# In a string of JSON every quote has a backslash before it: neither can be part of a name or an id.
_EVENT = b',"event":'
_PROPERTIES = b',"properties":'
_NULL = b"null"[0]
_QUOTE = b'"'[0]
_DOLLAR = b"$"[0]

_TRACK = b'{"type":"track","messageId":"'
_USER = b',"userId":'
_ANONYMOUS = b',"anonymousId":"'
# What a message has more than its event, beside context and integrations; the tests hold it.
_FRAME = 128
_AROUND = 64  # what a body has more than its messages: two names and a stamp


def segment_host(host: str | None = None) -> str:
    """Turn what people write for a data plane's address into the one that ``/v1/batch`` follows.

    Args:
        host: The address, which may end in ``/v1`` or ``/v1/batch`` already. ``None`` or blank means Segment's own.

    Returns:
        The address without these, surrounding space and trailing ``/``.
    """
    return (host or "").strip().rstrip("/").removesuffix("/v1/batch").removesuffix("/v1") or SEGMENT_HOST


class Segment(HttpCodec):
    """Writes a batch for Segment's ``/v1/batch``.

    The write key travels in the Authorization header, as a user without password, and is in no body, message or
    ``repr``. Every attempt carries the time at which it was made, with which the server corrects a wrong clock. Events
    with the names that ``Event.identify()``, ``group()``, ``alias()``, ``page()`` and ``screen()`` give become those
    calls, all others ``track``. An event without ``distinct_id`` is sent under its own id as an anonymous one.
    ``headers`` and ``key`` stay here.

    Args:
        write_key: The source's write key; surrounding space is cut off.
        context: Said of all events, beside this library's name; an event's property ``$context`` adds to it. ``None``
            means nothing.
        integrations: Which destinations get the events, by name; an event's property ``$integrations`` adds to it.
            ``None`` means all.
        max_event_bytes: Largest message that the far end takes. ``None`` means Segment's 32 KiB.
        max_batch_bytes: Largest body that the far end takes. ``None`` means Segment's 500 KB.
        clock: Reads the time that a date in Retry-After counts from. ``None`` means this machine's.

    Attributes:
        max_event_bytes: What of a message is left for its event.
        max_batch_bytes: What of a body is left for its events.
        max_batch_events: How many of them a body may have.

    Raises:
        ValueError: The key is empty, or has something other than printable ASCII; ``context`` or ``integrations`` is
            nothing that JSON can carry; a limit is wrong, or leaves no room for an event.
    """

    def __init__(
        self,
        write_key: str,
        *,
        context: Mapping[str, Any] | None = None,  # Any: JSON
        integrations: Mapping[str, Any] | None = None,  # Any: JSON
        max_event_bytes: int | None = None,
        max_batch_bytes: int | None = None,
        clock: Clock | None = None,
    ) -> None:
        library = {"name": "eventpipe", "version": library_version()}
        self._context = {"library": orjson.dumps(library), **_encoded("context", context)}
        self._integrations = _encoded("integrations", integrations)
        beside = {"context": as_object(self._context)}
        if self._integrations:
            beside["integrations"] = as_object(self._integrations)
        self._beside: Mapping[str, bytes] = beside
        self._tail = b"}," + as_members(beside) + b"}"
        event_bytes, batch_bytes, self.max_batch_events = _limits(
            MAX_EVENT_BYTES if max_event_bytes is None else max_event_bytes,
            MAX_BATCH_BYTES if max_batch_bytes is None else max_batch_bytes,
            _FRAME + len(self._tail),
        )
        super().__init__(max_event_bytes=event_bytes, max_batch_bytes=batch_bytes, clock=clock)
        user = checked_key("write_key", write_key).encode() + b":"
        self._headers = {
            "Content-Type": "application/json",
            "User-Agent": user_agent(),
            "Authorization": "Basic " + b2a_base64(user, newline=False).decode(),
        }
        self.lifted = frozenset(HOISTED)
        self.compressions: Mapping[str | None, frozenset[str]] = {None: frozenset({"gzip"})}

    def base_url(self, url: str) -> str:
        """Turn the sink's URL into the one that takes events; see ``segment_host()``."""
        return segment_host(url)

    def request(self, batch: Batch, attempt: int, now: float) -> Request:
        """Write one attempt; ``sentAt`` is the time of this one."""
        del attempt
        closing = b'],"sentAt":"' + format_stamp(now).encode() + b'"}'
        return Request("/v1/batch", self._headers, self._joined(batch.events, b'{"batch":[', closing))

    def _joined(self, events: Sequence[CapturedEvent], opening: bytes, closing: bytes) -> bytes:
        parts = [part for event in events if (part := _spliced(event)) is not None]
        if len(parts) < len(events):
            return opening + b",".join(map(self._message, events)) + closing
        # One join and no further copy of the whole, as for PostHog.
        parts[0] = opening + _TRACK + parts[0]
        parts[-1] += self._tail + closing
        return (self._tail + b"," + _TRACK).join(parts)

    def _message(self, event: CapturedEvent) -> bytes:
        part = _spliced(event)
        if part is not None:
            return _TRACK + part + self._tail
        data = event.data
        within = dict((event.extra.lifted if event.extra else None) or {})
        beside = self._merged(taken(within, HOISTED))
        name_at = data.index(_EVENT, DISTINCT_ID_AT)
        properties_at = data.index(_PROPERTIES, name_at)
        distinct_id = data[DISTINCT_ID_AT:name_at]
        name = data[name_at + len(_EVENT) : properties_at]
        properties = data[properties_at + len(_PROPERTIES) :]
        said = called(name, distinct_id, properties, within)
        if said is None:
            comma = b"," if within and data[-1] != NO_PROPERTIES else b""
            said = {"type": b'"track"'} | subject(distinct_id)
            said |= {"event": name, "properties": properties + comma + as_members(within) + b"}"}
        uuid = b'"' + data[UUID_AT] + b'"'
        if "userId" not in said:
            beside.setdefault("anonymousId", uuid)
        return as_object({**said, "messageId": uuid, "timestamp": b'"' + data[TIMESTAMP_AT] + b'"', **beside})

    def _merged(self, beside: dict[str, bytes]) -> dict[str, bytes]:
        """What an event has beside its properties, added to what all of them have."""
        for member, common in (("context", self._context), ("integrations", self._integrations)):
            if member in beside:
                own = {name: orjson.dumps(value) for name, value in orjson.loads(beside[member]).items()}
                beside[member] = as_object({**common, **own})
        return {**self._beside, **beside}

    def __repr__(self) -> str:
        return "Segment()"


def _spliced(event: CapturedEvent) -> bytes | None:
    """What stands between head and tail of a track; ``None`` where splicing is not enough."""
    data = event.data
    if event.extra is not None and event.extra.lifted:
        return None
    name_at = data.index(_EVENT, DISTINCT_ID_AT)
    if data[name_at + len(_EVENT) + 1] == _DOLLAR and is_call(data[name_at + len(_EVENT) :]):
        return None
    if data[DISTINCT_ID_AT] == _NULL or data[DISTINCT_ID_AT + 1] == _QUOTE:
        return data[_ID_AND_STAMP] + _ANONYMOUS + data[UUID_AT] + b'"' + data[name_at:]
    return data[_ID_AND_STAMP] + _USER + data[DISTINCT_ID_AT:]


def _encoded(option: str, values: object) -> dict[str, bytes]:
    """What all events have beside their properties, each value as JSON."""
    if values is None:
        return {}
    if isinstance(values, Mapping):
        with suppress(TypeError):
            return {name: orjson.dumps(value) for name, value in orjson.loads(orjson.dumps(dict(values))).items()}
    raise ValueError(f"{option} must be a mapping from text to what JSON can carry (its values are not shown)")


def _limits(max_event_bytes: int, max_batch_bytes: int, frame: int) -> tuple[int, int, int]:
    """What is left for events, where each message has ``frame`` bytes more: of one, of a body, and how many fit."""
    check_bytes("max_event_bytes", max_event_bytes)
    check_bytes("max_batch_bytes", max_batch_bytes)
    if max_event_bytes <= frame:
        raise ValueError(
            f"max_event_bytes must be more than the {frame} that the format, context and integrations take, "
            f"not {max_event_bytes}"
        )
    if max_batch_bytes < max_event_bytes + _AROUND:
        raise ValueError(f"max_batch_bytes must be at least max_event_bytes + {_AROUND}, not {max_batch_bytes}")
    events = min(MAX_BATCH_EVENTS, max(1, max_batch_bytes // 2 // frame))
    return max_event_bytes - frame, max_batch_bytes - _AROUND - events * frame, events
