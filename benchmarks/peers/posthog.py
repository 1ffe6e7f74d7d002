"""posthog, the synchronous client: ``capture()`` prepares the event and queues it, a thread sends batches."""

from __future__ import annotations

from posthog import Posthog

from benchmarks.peers import ROOMY, arguments, origin
from benchmarks.subject import Setup, Subject

# Large batches send six times as much in a second to the slow far end; the service takes 20 MB, these are about 1.5.
# A second thread only competes for the interpreter: a third more CPU for each event.
BEST = {
    "max_queue_size": ROOMY,
    "flush_at": 2_000,
}
NAMES = {"batch_events": "flush_at", "gzip": "gzip", "workers": "thread", "queue_events": "max_queue_size"}


class Driver:
    """The client as a subject; what finds the queue full is dropped with a log line."""

    is_async = False

    def __init__(self, client: Posthog) -> None:
        self._client = client
        self.capture = client.capture

    async def drain(self) -> None:
        self._client.flush(timeout_seconds=None)  # its default gives up after 10 s

    async def close(self) -> None:
        self._client.shutdown()


async def open(setup: Setup) -> Subject:
    """A client of the far end."""
    return Driver(Posthog("key", host=origin(setup.url), **arguments(setup, BEST, NAMES)))
