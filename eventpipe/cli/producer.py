"""Handlers as a web service has them: each request in its own task, capturing an event and going on."""

from __future__ import annotations

import asyncio
import time

from eventpipe.cli.histogram import Histogram
from eventpipe.client import AsyncClient

TICK = 0.01  # seconds between arrivals: requests come in small bursts, as they do from a proxy
LAG_INTERVAL = 0.02  # seconds between looks at how late the loop is

_PLANS = ("free", "pro", "team")


class Producer:
    """Calls handlers at a steady rate and measures what capturing costs them.

    Attributes:
        ids: The ids of all captured events.
        captures: How long ``await client.capture()`` took.
        lags: How late the loop called what was due.
        recent_lag: The longest of these since it was last set to 0.0, in seconds.

    Args:
        client: Takes the events.
        rate: Handlers per second.
    """

    def __init__(self, client: AsyncClient, rate: float) -> None:
        self.ids: set[str] = set()
        self.captures = Histogram()
        self.lags = Histogram()
        self.recent_lag = 0.0
        self._client = client
        self._rate = rate
        self._is_stopped = False

    def stop(self) -> None:
        """Let ``run()`` end when the handlers that have begun are done: none loses sight of its event."""
        self._is_stopped = True

    async def run(self, seconds: float) -> None:
        """Produce for so long, or until ``stop()``.

        Cancellation:
            Ends the handlers too; an event captured at that moment may be missing from ``ids``.
        """
        clock = asyncio.get_running_loop().time
        started = clock()
        total = round(self._rate * seconds)
        begun = 0
        async with asyncio.TaskGroup() as requests:
            while begun < total and not self._is_stopped:
                due = min(total, round(self._rate * (clock() - started)))
                for number in range(begun, due):
                    requests.create_task(self._handle(number))
                begun = max(begun, due)
                await asyncio.sleep(TICK)

    async def _handle(self, number: int) -> None:
        """A handler: does its work, and says in passing what happened."""
        properties = {"plan": _PLANS[number % 3], "path": f"/items/{number % 100}", "duration_ms": number % 250}
        before = time.perf_counter()
        receipt = await self._client.capture("page_viewed", distinct_id=f"u{number % 1000}", properties=properties)
        self.captures.add(time.perf_counter() - before)
        self.ids.add(receipt.uuid)

    async def watch_lag(self) -> None:
        """Measure how late the loop is, until cancelled."""
        clock = asyncio.get_running_loop().time
        while True:
            due = clock() + LAG_INTERVAL
            await asyncio.sleep(LAG_INTERVAL)
            self._note_lag(max(0.0, clock() - due))

    def _note_lag(self, lag: float) -> None:
        self.lags.add(lag)
        self.recent_lag = max(self.recent_lag, lag)
