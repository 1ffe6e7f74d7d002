"""PostHog's capture format, version 0: ``POST {host}/batch/``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from eventpipe.clock import Clock, format_stamp
from eventpipe.codecs.base import user_agent
from eventpipe.codecs.envelope import as_members
from eventpipe.codecs.posthog_base import PostHogCodec
from eventpipe.contracts import Request
from eventpipe.events import AI, CLOSING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from eventpipe.events import Batch, Properties

_PATH = "/batch/"
_AI_PATH = "/i/v0/ai/batch/"


class PostHogV0(PostHogCodec):
    """Writes a batch for PostHog's ``/batch/``.

    The project key travels in the body, and is in no header, message or ``repr``. Every attempt carries the time at
    which it was made, with which the server corrects a wrong clock. An event without ``distinct_id`` is sent under
    its own id and makes no person profile. ``headers`` and ``key`` stay here.

    The lane ``"historical"`` marks a batch as an import of old events. The lane ``"ai"`` goes to ``/i/v0/ai/batch/``,
    where an event may have 8 MiB. Other lanes are not known and travel as usual.

    Args:
        api_key: The project key; surrounding space is cut off.
        historical: Whether all events are an import of old ones.
        disable_geoip: Whether the server leaves out where the sender is, which for a server says nothing of its user.
        super_properties: Properties of every event, encoded once; stronger than those that the codec adds, weaker than
            those of the event. ``None`` means none.
        clock: Reads the time that a date in Retry-After counts from. ``None`` means this machine's.

    Raises:
        ValueError: The key is empty, or has something other than printable ASCII; a super-property has a value that
            JSON cannot carry.
    """

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
        self._opening = b'{"api_key":' + orjson.dumps(self._key) + b',"historical_migration":'
        self._headers = {"Content-Type": "application/json", "User-Agent": user_agent()}

    def request(self, batch: Batch, attempt: int, now: float) -> Request:
        """Write one attempt; ``sent_at`` is the time of this one."""
        del attempt
        historical = b"true" if self._is_historical(batch.lane) else b"false"
        opening = self._opening + historical + b',"sent_at":"' + format_stamp(now).encode() + b'","batch":['
        path = _AI_PATH if batch.lane == AI else _PATH
        return Request(path, self._headers, self._joined(batch.events, opening, b"]}"))

    def _closing(self, values: Mapping[str, bytes]) -> bytes:
        return as_members(values) + CLOSING
