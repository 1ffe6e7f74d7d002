"""What ``eventpipe demo`` shows while it runs."""

from __future__ import annotations

import time

from rich.console import RenderableType

from eventpipe.cli.display import table
from eventpipe.cli.producer import Producer
from eventpipe.cli.rate import Rate
from eventpipe.cli.text import duration
from eventpipe.client import AsyncClient


class DemoView:
    """Puts a running demo into words.

    Args:
        client: Whose counters are shown.
        producer: Whose measurements are shown.
        started: When it began, on the monotonic clock.
        seconds: How long it produces.
    """

    def __init__(self, client: AsyncClient, producer: Producer, started: float, seconds: float) -> None:
        self._client = client
        self._producer = producer
        self._started = started
        self._seconds = seconds
        self._rate = Rate(started)

    def frame(self) -> RenderableType:
        """The live table."""
        now = time.monotonic()
        counted = self._client.statistics()
        elapsed = now - self._started
        phase = (
            f"{elapsed:.0f} of {self._seconds:g} s" if elapsed < self._seconds else f"{elapsed:.0f} s, sending the rest"
        )
        phase = phase if counted.pending or elapsed < self._seconds else f"{elapsed:.0f} s, done"
        return table(
            [
                ("time", phase),
                ("captured", f"{counted.captured:,}"),
                ("delivered", f"{counted.delivered:,}  ({self._rate.of(counted.delivered, now):,.0f}/s)"),
                ("waiting", f"{counted.waiting_room + counted.queued + counted.buffered:,}"),
                ("in flight", f"{counted.in_flight:,}"),
                ("to retry", f"{counted.waiting_retry:,}"),
                ("retried", f"{counted.retries:,} batches"),
                ("dropped", f"{counted.dropped:,}"),
                ("capture", self._captures()),
                ("loop lag", self._lag()),
            ]
        )

    def line(self) -> str:
        """The same as one line."""
        counted = self._client.statistics()
        waiting = counted.waiting_room + counted.queued + counted.buffered
        return (
            f"{time.monotonic() - self._started:4.1f} s: {counted.captured:,} captured, "
            f"{counted.delivered:,} delivered, {waiting:,} waiting, {counted.in_flight:,} in flight, "
            f"{counted.waiting_retry:,} to retry, "
            f"{counted.retries:,} retried, {counted.dropped:,} dropped; capture {self._captures()}; lag {self._lag()}"
        )

    def _captures(self) -> str:
        captures = self._producer.captures
        return f"p50 {duration(captures.quantile(0.5))}, p99 {duration(captures.quantile(0.99))}"

    def _lag(self) -> str:
        """The longest since the last look."""
        lag, self._producer.recent_lag = self._producer.recent_lag, 0.0
        return duration(lag)
