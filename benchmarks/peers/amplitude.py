"""amplitude-analytics: ``track()`` prepares the event and stores it, a thread makes batches, up to 16 send them."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

from amplitude import Amplitude, BaseEvent, Config
from amplitude.constants import EventLogLevel

from benchmarks.peers import arguments, origin
from benchmarks.subject import Setup, Subject

# It looks after retries when its interval has passed, by default 10 s. A batch of 2 000 events or 1 MB is what the
# service takes; no size changed much, nor did leaving out its log line.
BEST = {
    "flush_interval_millis": 1_000,
    "flush_queue_size": 1_000,
    "event_log_level": EventLogLevel.NONE,
}
NAMES = {"batch_events": "flush_queue_size"}
POLL = 0.001  # seconds
PATIENCE = 25.0  # seconds without any event settled; it gives a request 10, and looks after retries every 10


class Driver:
    """The client as a subject; its buffer has no bound."""

    is_async = False

    def __init__(self, config: Config) -> None:
        self._client = Amplitude("key", config)
        self._captured = 0
        self._settled = 0
        self._lock = threading.Lock()
        config.callback = self._settle

    def capture(self, event: str, *, distinct_id: str, properties: dict[str, Any]) -> None:  # Any: JSON
        self._captured += 1
        self._client.track(BaseEvent(event, user_id=distinct_id, event_properties=properties))

    async def drain(self) -> None:
        """Flush, then wait until each event was called back for: ``flush()`` does not know what is being sent already.

        It is not called again, as it would send at once what waits for its next attempt, and use up all attempts.
        """
        self._client.flush()
        settled, since = -1, 0.0
        while self._settled < self._captured:
            if self._settled > settled:
                settled, since = self._settled, time.monotonic()
            elif time.monotonic() > since + PATIENCE:
                return  # an error that it does not catch ends a thread's request without a callback
            await asyncio.sleep(POLL)

    async def close(self) -> None:
        self._client.shutdown()

    def _settle(self, event: BaseEvent, code: int, message: str | None) -> None:
        with self._lock:  # from any of its threads
            self._settled += 1


async def open(setup: Setup) -> Subject:
    """A client of the far end."""
    return Driver(Config(server_url=f"{origin(setup.url)}/2/httpapi", **arguments(setup, BEST, NAMES)))
