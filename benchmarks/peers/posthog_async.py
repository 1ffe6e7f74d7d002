"""posthog's asynchronous client: a plain ``capture()`` prepares the event and queues it, tasks send batches."""

from __future__ import annotations

from posthog import AsyncPosthog

from benchmarks.peers import ROOMY, arguments, origin
from benchmarks.subject import Setup, Subject

# It hands each event to a thread and back to measure its size; several tasks that do so at once wait less for each
# other: a quarter less CPU for each event. Larger batches changed nothing.
BEST = {
    "max_queue_size": ROOMY,
    "thread": 8,
}
NAMES = {"batch_events": "flush_at", "gzip": "gzip", "workers": "thread", "queue_events": "max_queue_size"}


class Driver:
    """The client as a subject; what finds the queue full is dropped with a log line."""

    is_async = False

    def __init__(self, client: AsyncPosthog) -> None:
        self._client = client
        self.capture = client.capture

    async def drain(self) -> None:
        await self._client.flush(timeout_seconds=None)  # its default gives up after 10 s

    async def close(self) -> None:
        await self._client.shutdown()


async def open(setup: Setup) -> Subject:
    """A client of the far end."""
    return Driver(AsyncPosthog("key", host=origin(setup.url), **arguments(setup, BEST, NAMES)))
