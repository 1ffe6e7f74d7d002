"""What PostHog's capture formats share: addresses, limits, lanes, properties, and how events are joined."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

import orjson

from eventpipe.clock import Clock
from eventpipe.codecs.base import KIB, MIB, HttpCodec, library_version
from eventpipe.codecs.keys import checked_key
from eventpipe.encoding.repair import NATIVE, Repairs, repair
from eventpipe.errors import InvalidEventError
from eventpipe.events import AI, DISTINCT_ID_AT, HISTORICAL, NO_PROPERTIES, UUID_AT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eventpipe.events import CapturedEvent, Properties

US_HOST = "https://us.i.posthog.com"
EU_HOST = "https://eu.i.posthog.com"
_ALIASES = {
    "https://app.posthog.com": US_HOST,
    "https://us.posthog.com": US_HOST,
    "https://eu.posthog.com": EU_HOST,
}

# The server takes bodies of 20 MiB and drops events near 1 MiB; with a margin for what it adds itself. What is
# captured for AI, prompts and answers with their pictures, may be larger.
MAX_EVENT_BYTES = 900 * KIB
MAX_AI_EVENT_BYTES = 8 * MIB
MAX_BATCH_BYTES = 5 * MIB

NAME = "eventpipe"  # of the sender, as the server knows it
PROFILE = "$process_person_profile"
LIBRARY_PROPERTIES = frozenset({"$lib", "$lib_version"})

_GEOIP = "$geoip_disable"
_NULL = b"null"[0]
_QUOTE = b'"'[0]


def posthog_host(host: str | None = None) -> str:
    """Turn what people write for PostHog's address into the address that takes events.

    Args:
        host: The address of a cloud region or of an own server; the addresses of the cloud's web pages mean the
            region they belong to. ``None`` or blank means the US cloud.

    Returns:
        The address without surrounding space and trailing ``/``.
    """
    host = (host or "").strip().rstrip("/") or US_HOST
    return _ALIASES.get(host.lower(), host)


class PostHogCodec(HttpCodec):
    """The parts of a codec for PostHog that its formats have in common.

    Args:
        api_key: The project key.
        historical: Whether all events are an import of old ones.
        disable_geoip: Whether the server leaves out where the sender is.
        super_properties: Properties of every event. ``None`` means none.
        clock: Reads the time that a date in Retry-After counts from. ``None`` means this machine's.

    Attributes:
        lane_event_bytes: The largest event of a lane whose limit is another one.
        compressions: The content codings that the far end reads, by lane.

    Raises:
        ValueError: The key is empty, or has something other than printable ASCII; a super-property has no name, or a
            value that JSON cannot carry.
    """

    def __init__(
        self,
        api_key: str,
        *,
        historical: bool,
        disable_geoip: bool,
        super_properties: Properties | None,
        clock: Clock | None,
    ) -> None:
        super().__init__(max_event_bytes=MAX_EVENT_BYTES, max_batch_bytes=MAX_BATCH_BYTES, clock=clock)
        self._key = checked_key("api_key", api_key)
        self._historical = historical
        self._disable_geoip = disable_geoip
        self._given = {**_own_properties(disable_geoip), **_encoded(super_properties)}
        self._tail = self._closing(self._given)
        self.lifted = frozenset({*self._given, _GEOIP, PROFILE})
        self.has_lanes = True
        self.lane_event_bytes: Mapping[str, int] = {AI: MAX_AI_EVENT_BYTES}
        self.compressions: Mapping[str | None, frozenset[str]] = {None: frozenset({"gzip"}), AI: frozenset({"gzip"})}

    def lane(self, event: CapturedEvent) -> str | None:
        """Name the event's lane: ``"ai"`` or ``"historical"`` if the caller asked for it, else ``None``.

        Where all events are historical, that is no lane of its own; it never depends on the event's name.
        """
        if event.lane == AI:
            return AI
        return HISTORICAL if event.lane == HISTORICAL and not self._historical else None

    def base_url(self, url: str) -> str:
        """Turn the sink's URL into the one that takes events; see ``posthog_host()``."""
        return posthog_host(url)

    def _is_historical(self, lane: str | None) -> bool:
        return self._historical or lane == HISTORICAL

    def _joined(self, events: Sequence[CapturedEvent], opening: bytes, closing: bytes) -> bytes:
        parts = [event.data for event in events if event.extra is None]
        for data in parts:
            # As _is_anonymous(), whose call would cost as much as all of this.
            if data[-1] == NO_PROPERTIES or data[DISTINCT_ID_AT] == _NULL or data[DISTINCT_ID_AT + 1] == _QUOTE:
                parts.clear()
                break
        if len(parts) < len(events):
            return opening + b",".join(map(self._whole, events)) + closing
        # No event needs anything of its own: one join puts the same members at the end of all properties. Nothing is
        # put around it afterwards: to copy a body of 200 KiB costs as much as to write it ten times.
        tail = b"," + self._tail
        parts[0] = opening + parts[0]
        parts[-1] += tail + closing
        return (tail + b",").join(parts)

    def _whole(self, event: CapturedEvent) -> bytes:
        data, tail = event.data, self._tail
        lifted = event.extra.lifted if event.extra else None
        if _is_anonymous(data):
            data = _named_by_uuid(data)
            tail = self._closing(self._of_nobody(lifted or {}))
        elif lifted:
            tail = self._closing_with(lifted)
        is_first = data[-1] == NO_PROPERTIES
        return data + (tail if is_first else b"," + tail)

    def _closing_with(self, lifted: Mapping[str, bytes]) -> bytes:
        return self._closing({**self._given, **lifted})

    def _of_nobody(self, lifted: Mapping[str, bytes]) -> Mapping[str, bytes]:
        """The values of an event that is about nobody: it makes no person, unless its caller wants one."""
        return {**self._given, PROFILE: b"false", **lifted}

    def _closing(self, values: Mapping[str, bytes]) -> bytes:
        """What ends an event: properties by name, each with its value as JSON, at least one, and closing braces."""
        raise AssertionError("implemented by the formats")

    def __repr__(self) -> str:
        return f"{type(self).__name__}(historical={self._historical}, disable_geoip={self._disable_geoip})"


def _encoded(super_properties: object) -> Mapping[str, bytes]:
    """Super-properties, each value as JSON, as those of an event would be."""
    if super_properties is None:
        return {}
    if not isinstance(super_properties, Mapping):
        raise ValueError(f"super_properties must be a mapping or None, not {type(super_properties).__name__}")
    try:
        members, _ = repair(super_properties, None, Repairs(strict=True), "super_properties")
    except InvalidEventError as exc:
        raise ValueError(str(exc)) from None
    return {name: orjson.dumps(value, None, NATIVE) for name, value in members.items()}


def _own_properties(disable_geoip: bool) -> Mapping[str, bytes]:
    """What a server library adds to every event, each value as JSON."""
    system, version = _operating_system()
    own: dict[str, object] = {
        "$lib": NAME,
        "$lib_version": library_version(),
        "$os": system,
        "$os_version": version,
        "$is_server": True,
    }
    if disable_geoip:
        own[_GEOIP] = True
    return {name: orjson.dumps(value) for name, value in own.items()}


@cache
def _operating_system() -> tuple[str, str]:
    """Its name and version as PostHog's own libraries spell them."""
    system = platform.system()
    if system == "Darwin":
        return "Mac OS X", platform.mac_ver()[0]
    try:
        return system, platform.freedesktop_os_release()["VERSION_ID"]
    except (OSError, KeyError):  # no such file, or a distribution without versions
        return system, platform.release()


def _is_anonymous(data: bytes) -> bool:
    """Whether ``distinct_id`` is null or empty: a string's first byte is never a quote, those are escaped."""
    return data[DISTINCT_ID_AT] == _NULL or data[DISTINCT_ID_AT + 1] == _QUOTE


def _named_by_uuid(data: bytes) -> bytes:
    event = data.index(b',"event":', DISTINCT_ID_AT)
    return data[:DISTINCT_ID_AT] + b'"' + data[UUID_AT] + b'"' + data[event:]
