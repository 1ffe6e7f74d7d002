"""PostHog's capture format, version 1: ``POST {host}/i/v1/analytics/events``, answered event by event."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, NamedTuple

import orjson

from eventpipe.clock import Clock, format_stamp
from eventpipe.codecs.base import error_for, library_version, retry_after_of, user_agent
from eventpipe.codecs.envelope import as_members
from eventpipe.codecs.posthog import PostHogV0
from eventpipe.codecs.posthog_base import LIBRARY_PROPERTIES, NAME, PROFILE, PostHogCodec
from eventpipe.codecs.posthog_results import Results, are_all_ok
from eventpipe.contracts import Request
from eventpipe.events import AI

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from eventpipe.errors import SinkError
    from eventpipe.events import Batch, Properties
    from eventpipe.outcomes import Verdict

# The answer has at least 55 bytes for each event. That for so many is below the 64 KiB that are read of one, with room
# for some words; of more events a part would have to go again, although the server has taken them.
MAX_BATCH_EVENTS = 1000

_PATH = "/i/v1/analytics/events"
_CODINGS = frozenset({"gzip", "deflate", "br", "zstd"})
_MAX_SDK_INFO = 200  # characters; the server ignores a longer one

_BOOLEANS = {"true": b"true", "1": b"true", "false": b"false", "0": b"false"}


def _as_boolean(value: object) -> bytes | None:
    """A boolean as JSON; ``None``: the value means none."""
    if isinstance(value, str):
        return _BOOLEANS.get(value.strip().lower())
    return (b"true" if value else b"false") if isinstance(value, int | float) else None


def _as_string(value: object) -> bytes | None:
    """A string as JSON; ``None``: the value means none."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return orjson.dumps(value) if isinstance(value, str) else None


class _Place(NamedTuple):
    """Where the format has a property of another name, outside the properties."""

    within: Literal["options", "root"]
    name: bytes
    coerce: Callable[[object], bytes | None]


_PLACES = {
    "$cookieless_mode": _Place("options", b'"cookieless_mode":', _as_boolean),
    "$ignore_sent_at": _Place("options", b'"disable_skew_correction":', _as_boolean),
    PROFILE: _Place("options", b'"process_person_profile":', _as_boolean),
    "$product_tour_id": _Place("options", b'"product_tour_id":', _as_string),
    "$session_id": _Place("root", b'"session_id":', _as_string),
    "$window_id": _Place("root", b'"window_id":', _as_string),
}
_NO_PROPERTIES = _PLACES.keys() | LIBRARY_PROPERTIES


class PostHogV1(PostHogCodec):
    """Writes a batch for PostHog's ``/i/v1/analytics/events`` and reads the verdict on each event.

    The project key travels in the header Authorization, and is in no body, message or ``repr``. All attempts of a batch
    carry the same id and the same time of making; each its number and its own time, with which the server corrects a
    wrong clock. Events that the server asks for again travel again, and no others.

    The properties ``$cookieless_mode``, ``$ignore_sent_at``, ``$process_person_profile``, ``$product_tour_id``,
    ``$session_id`` and ``$window_id`` have places of their own in the format, and are left out where their value does
    not fit there; ``$lib`` and ``$lib_version`` are the server's to add. An event without ``distinct_id`` is sent under
    its own id and makes no person profile. ``headers`` and ``key`` stay here.

    A name or ``distinct_id`` above 200 bytes is sent as it is: the server refuses that event, with its reason, and
    takes the others. To cut an id would make one person of several.

    The lane ``"historical"`` marks a batch as an import of old events. The lane ``"ai"`` has no place in this version:
    it is written and answered as by ``PostHogV0``. Other lanes are not known and travel as usual.

    Args:
        api_key: The project key; surrounding space is cut off.
        historical: Whether all events are an import of old ones.
        disable_geoip: Whether the server leaves out where the sender is, which for a server says nothing of its user.
        super_properties: Properties of every event, encoded once; stronger than those that the codec adds, weaker than
            those of the event. ``None`` means none.
        clock: Reads the time that a date in Retry-After counts from. ``None`` means this machine's.

    Attributes:
        unique_ids: The server refuses a batch that holds one id twice.
        max_batch_events: The largest batch.

    Raises:
        ValueError: The key is empty, or has something other than printable ASCII; a super-property has a value that
            JSON cannot carry.
    """

    unique_ids = True
    max_batch_events = MAX_BATCH_EVENTS

    def __init__(
        self,
        api_key: str,
        *,
        historical: bool = False,
        disable_geoip: bool = True,
        super_properties: Properties | None = None,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(
            api_key,
            historical=historical,
            disable_geoip=disable_geoip,
            super_properties=super_properties,
            clock=clock,
        )
        self._v0 = PostHogV0(
            api_key,
            historical=historical,
            disable_geoip=disable_geoip,
            super_properties=super_properties,
            clock=clock,
        )
        self.lifted |= frozenset(_PLACES)
        self.compressions = {**self.compressions, None: _CODINGS}
        self._headers = {
            "Authorization": f"Bearer {self._key}",
            "Content-Type": "application/json",
            "User-Agent": user_agent(),
            "PostHog-Sdk-Info": f"{NAME}/{library_version()}"[:_MAX_SDK_INFO],
        }
        self._properties = _properties(self._given)
        self._given_outside = {name: value for name, value in self._given.items() if name in _PLACES}
        self._results = Results(self._key)

    def request(self, batch: Batch, attempt: int, now: float) -> Request:
        """Write one attempt; the headers tell it from the others of the batch."""
        if batch.lane == AI:
            return self._v0.request(batch, attempt, now)
        headers = {
            **self._headers,
            "PostHog-Attempt": str(attempt),
            "PostHog-Request-Id": batch.id,
            "PostHog-Request-Timestamp": format_stamp(now),
        }
        historical = b'"historical_migration":true,' if self._is_historical(batch.lane) else b""
        opening = b'{"created_at":"' + format_stamp(batch.created_at).encode() + b'",' + historical + b'"batch":['
        return Request(_PATH, headers, self._joined(batch.events, opening, b"]}"))

    def response(
        self, batch: Batch, status: int, headers: Mapping[str, str], body: bytes, complete: bool
    ) -> Sequence[Verdict] | SinkError | None:
        """Read the verdict on each event; an answer that is not 2xx by its status, and that to AI events too."""
        if batch.lane == AI:
            return super().response(batch, status, headers, body, complete)
        if complete and 200 <= status <= 299 and are_all_ok(batch.events, body):
            return None
        now = self._clock.time()
        error = error_for(status, headers, now)
        if error is not None:
            return error
        coding, retry_after = headers.get("content-encoding"), retry_after_of(headers, now)
        return self._results.read(batch.events, body, complete, coding=coding, retry_after=retry_after)

    def _of_nobody(self, lifted: Mapping[str, bytes]) -> Mapping[str, bytes]:
        values = super()._of_nobody(lifted)
        # Left out, it would make a person.
        return values if _as_boolean(orjson.loads(values[PROFILE])) else {**values, PROFILE: b"false"}

    def _closing_with(self, lifted: Mapping[str, bytes]) -> bytes:
        if lifted.keys() <= _PLACES.keys():  # as nearly always: then the properties are those of every event
            return self._properties + _outside({**self._given_outside, **lifted})
        return super()._closing_with(lifted)

    def _closing(self, values: Mapping[str, bytes]) -> bytes:
        return _properties(values) + _outside(values)


def _properties(values: Mapping[str, bytes]) -> bytes:
    return as_members({name: value for name, value in values.items() if name not in _NO_PROPERTIES})


def _outside(values: Mapping[str, bytes]) -> bytes:
    """What follows the properties: their closing brace, the options, and the root's last members and brace."""
    options: list[bytes] = []
    root: list[bytes] = []
    for name, value in values.items():
        place = _PLACES.get(name)
        coerced = place and place.coerce(orjson.loads(value))
        if place and coerced is not None:
            (root if place.within == "root" else options).append(place.name + coerced)
    return b",".join([b'},"options":{' + b",".join(options) + b"}", *root]) + b"}"
