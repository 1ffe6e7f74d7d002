"""PostHog's capture format, version 0: ``POST {host}/batch/``."""

from __future__ import annotations

import platform
from functools import cache
from typing import TYPE_CHECKING

import orjson

from eventpipe.clock import Clock, format_stamp
from eventpipe.codecs.base import KIB, MIB, HttpCodec, library_version, user_agent
from eventpipe.contracts import Request
from eventpipe.events import CLOSING, DISTINCT_ID_AT, NO_PROPERTIES, UUID_AT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from eventpipe.events import Batch, CapturedEvent

US_HOST = "https://us.i.posthog.com"
EU_HOST = "https://eu.i.posthog.com"
_ALIASES = {
    "https://app.posthog.com": US_HOST,
    "https://us.posthog.com": US_HOST,
    "https://eu.posthog.com": EU_HOST,
}

# The server takes bodies of 20 MiB and drops events near 1 MiB; with a margin for what it adds itself.
MAX_EVENT_BYTES = 900 * KIB
MAX_BATCH_BYTES = 5 * MIB

HISTORICAL = "historical"

_NULL = b"null"[0]
_QUOTE = b'"'[0]
_PROFILE = "$process_person_profile"


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


class PostHogV0(HttpCodec):
    """Writes a batch for PostHog's ``/batch/``.

    The project key travels in the body, and is in no header, message or ``repr``. Every attempt carries the time at
    which it was made, with which the server corrects a wrong clock. An event without ``distinct_id`` is sent under
    its own id and makes no person profile. ``headers`` and ``key`` stay here.

    The lane ``"historical"`` marks a batch as an import of old events; other lanes are not known and travel as usual.

    Args:
        api_key: The project key; surrounding space is cut off.
        historical: Whether all events are an import of old ones.
        disable_geoip: Whether the server leaves out where the sender is, which for a server says nothing of its user.
        clock: Reads the time that a date in Retry-After counts from. ``None`` means this machine's.

    Raises:
        ValueError: The key is empty, or has something other than printable ASCII.
    """

    def __init__(
        self, api_key: str, *, historical: bool = False, disable_geoip: bool = True, clock: Clock | None = None
    ) -> None:
        super().__init__(max_event_bytes=MAX_EVENT_BYTES, max_batch_bytes=MAX_BATCH_BYTES, clock=clock)
        key = _checked_key(api_key)
        self._historical = historical
        self._disable_geoip = disable_geoip
        self._opening = b'{"api_key":' + orjson.dumps(key) + b',"historical_migration":'
        self._headers = {"Content-Type": "application/json", "User-Agent": user_agent()}
        self._own = _own_properties(disable_geoip)
        self._tail = _members(self._own) + CLOSING
        self.lifted = frozenset({*self._own, "$geoip_disable", _PROFILE})
        self.has_lanes = not historical

    def lane(self, event: CapturedEvent) -> str | None:
        """Name the event's lane: ``"historical"`` if the caller asked for it, else ``None``."""
        return HISTORICAL if event.lane == HISTORICAL and not self._historical else None

    def base_url(self, url: str) -> str:
        """Turn the sink's URL into the one that takes events; see ``posthog_host()``."""
        return posthog_host(url)

    def request(self, batch: Batch, attempt: int, now: float) -> Request:
        """Write one attempt; ``sent_at`` is the time of this one."""
        del attempt
        historical = b"true" if self._historical or batch.lane == HISTORICAL else b"false"
        opening = self._opening + historical + b',"sent_at":"' + format_stamp(now).encode() + b'","batch":['
        return Request("/batch/", self._headers, self._joined(batch.events, opening, b"]}"))

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
            tail = _members({**self._own, _PROFILE: b"false", **(lifted or {})}) + CLOSING
        elif lifted:
            tail = _members({**self._own, **lifted}) + CLOSING
        return data + (tail if data[-1] == NO_PROPERTIES else b"," + tail)

    def __repr__(self) -> str:
        return f"PostHogV0(historical={self._historical}, disable_geoip={self._disable_geoip})"


def _checked_key(api_key: object) -> str:
    key = api_key.strip() if isinstance(api_key, str) else ""
    if not key or not all("!" <= character <= "~" for character in key):
        raise ValueError(
            "api_key must be printable ASCII without spaces inside, and not empty (its value is not shown)"
        )
    return key


def _own_properties(disable_geoip: bool) -> Mapping[str, bytes]:
    """What a server library adds to every event, each value as JSON."""
    system, version = _operating_system()
    own: dict[str, object] = {
        "$lib": "eventpipe",
        "$lib_version": library_version(),
        "$os": system,
        "$os_version": version,
        "$is_server": True,
    }
    if disable_geoip:
        own["$geoip_disable"] = True
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


def _members(properties: Mapping[str, bytes]) -> bytes:
    return b",".join(orjson.dumps(name) + b":" + value for name, value in properties.items())


def _is_anonymous(data: bytes) -> bool:
    """Whether ``distinct_id`` is null or empty: a string's first byte is never a quote, those are escaped."""
    return data[DISTINCT_ID_AT] == _NULL or data[DISTINCT_ID_AT + 1] == _QUOTE


def _named_by_uuid(data: bytes) -> bytes:
    event = data.index(b',"event":', DISTINCT_ID_AT)
    return data[:DISTINCT_ID_AT] + b'"' + data[UUID_AT] + b'"' + data[event:]
