"""segment-analytics-python: ``track()`` prepares the event and queues it, a thread sends batches."""

from __future__ import annotations

from typing import Any

from segment.analytics.client import Client

from benchmarks.peers import ROOMY, arguments, origin
from benchmarks.subject import Setup, Subject

# A batch ends at 475 kB, which are about 700 of these events; this sends four times as much in a second to the slow far
# end. A second thread sends more still to that, but competes for the interpreter: half the CPU again for each event.
BEST = {
    "max_queue_size": ROOMY,
    "upload_size": 500,
}
NAMES = {"batch_events": "upload_size", "gzip": "gzip", "workers": "thread", "queue_events": "max_queue_size"}


class Driver:
    """The client as a subject; what finds the queue full is dropped with a log line."""

    is_async = False

    def __init__(self, client: Client) -> None:
        self._client = client

    def capture(self, event: str, *, distinct_id: str, properties: dict[str, Any]) -> Any:  # Any: JSON; its answer
        return self._client.track(distinct_id, event, properties)

    async def drain(self) -> None:
        self._client.flush()

    async def close(self) -> None:
        self._client.shutdown()


async def open(setup: Setup) -> Subject:
    """A client of the far end."""
    return Driver(Client("key", host=origin(setup.url), **arguments(setup, BEST, NAMES)))
