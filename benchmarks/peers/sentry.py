"""sentry-sdk's structured logs: a thread packs what was logged into envelopes, another one sends them."""

from __future__ import annotations

import time
from itertools import count
from typing import Any
from urllib.parse import urlsplit

import sentry_sdk
from sentry_sdk import logger

from benchmarks.peers import arguments
from benchmarks.subject import Setup, Subject

# Room for envelopes, and none of the compression, by default gzip of level 9: two fifths less CPU for each event. That
# no more than 1 000 logs wait for an envelope is not an option, so that it loses events with any.
BEST = {
    "transport_queue_size": 10_000,
    "_experiments": {"transport_compression_level": 0},
}
FLUSH_TIMEOUT = 60.0  # seconds; the default of 2 s gives up what is left


class Driver:
    """The SDK as a subject; what finds a thousand logs before it is dropped."""

    is_async = False

    def __init__(self) -> None:
        self._info = logger.info
        self._numbers = count(time.time_ns())  # logs have no id; no two processes give the same numbers

    def capture(self, event: str, *, distinct_id: str, properties: dict[str, Any]) -> None:  # Any: JSON
        self._info(event, attributes={**properties, "user.id": distinct_id, "number": next(self._numbers)})

    async def drain(self) -> None:
        sentry_sdk.flush(timeout=FLUSH_TIMEOUT)

    async def close(self) -> None:
        sentry_sdk.get_client().close()


async def open(setup: Setup) -> Subject:
    """The SDK with the far end as its project 1."""
    dsn = f"http://key@{urlsplit(setup.url).netloc}/1"
    sentry_sdk.init(dsn=dsn, enable_logs=True, **arguments(setup, BEST, {}))
    return Driver()
