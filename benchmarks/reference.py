"""The reference: the pipeline that a careful engineer writes in an hour, to have something to compare with.

A queue of dicts, a task that makes batches, workers that send them and try again, a count that ``flush()`` waits for,
and a close that ends in time; ids and stamps come from the standard library, as most would have it. It loses nothing
while there is room and ten attempts are enough. It has no receipts, no bound in bytes, no repair of values that JSON
cannot carry, no reasons for what it drops, no hooks and one far end.
"""

from __future__ import annotations

import asyncio
import gzip
import logging
import random
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import aiohttp
import orjson

logger = logging.getLogger(__name__)

MAX_ATTEMPTS = 10
FIRST_DELAY = 0.5
MAX_DELAY = 30.0

Item = dict[str, Any]  # Any: JSON


class Pipeline:
    """Takes events in, and posts them in batches in the background."""

    def __init__(
        self,
        url: str,
        *,
        batch_events: int = 500,
        compress: bool = False,
        workers: int = 16,
        queue_events: int = 10_000,
        max_batch_age: float = 1.0,
    ) -> None:
        self._url = url
        self._batch_events = batch_events
        self._compress = compress
        self._workers = workers
        self._max_batch_age = max_batch_age
        self._queue: asyncio.Queue[Item | None] = asyncio.Queue(queue_events)  # None: a flush wants what there is
        self._batches: asyncio.Queue[list[Item]] = asyncio.Queue(1)
        self._progress = asyncio.Condition()
        self._tasks: list[asyncio.Task[None]] = []
        self._is_closed = False
        self.captured = 0
        self.delivered = 0
        self.dropped = 0

    async def start(self) -> None:
        """Open the session and start the tasks."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._workers), timeout=aiohttp.ClientTimeout(total=10)
        )
        self._tasks = [asyncio.create_task(self._make_batches())]
        self._tasks += [asyncio.create_task(self._work()) for _ in range(self._workers)]

    def capture(
        self,
        event: str,
        *,
        distinct_id: str,
        properties: Mapping[str, Any] | None = None,  # Any: JSON
    ) -> None:
        """Queue an event, or drop it when there is no room."""
        if self._is_closed:
            raise RuntimeError("the pipeline is closed")
        self.captured += 1
        try:
            self._queue.put_nowait(_item(event, distinct_id, properties))
        except asyncio.QueueFull:
            self.dropped += 1

    async def capture_wait(
        self,
        event: str,
        *,
        distinct_id: str,
        properties: Mapping[str, Any] | None = None,  # Any: JSON
    ) -> None:
        """Queue an event, once there is room."""
        if self._is_closed:
            raise RuntimeError("the pipeline is closed")
        self.captured += 1
        await self._queue.put(_item(event, distinct_id, properties))

    async def flush(self, timeout: float = 10.0) -> bool:
        """Wait until what was captured so far is delivered or dropped; ``False`` when time ran out."""
        target = self.captured
        try:
            async with asyncio.timeout(timeout):
                await self._queue.put(None)
                async with self._progress:
                    await self._progress.wait_for(lambda: self.delivered + self.dropped >= target)
        except TimeoutError:
            return False
        return True

    async def aclose(self, timeout: float = 15.0) -> bool:
        """Send what is left, then stop; ``False`` when time ran out, and what was left is dropped."""
        if self._is_closed:
            return True
        self._is_closed = True
        flushed = await self.flush(timeout)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._session.close()
        self.dropped = self.captured - self.delivered
        return flushed

    async def _make_batches(self) -> None:
        while True:
            batch: list[Item] = []
            item = await self._queue.get()
            try:
                async with asyncio.timeout(self._max_batch_age):
                    while item is not None:
                        batch.append(item)
                        if len(batch) == self._batch_events:
                            break
                        item = await self._queue.get()
            except TimeoutError:
                pass
            if batch:
                await self._batches.put(batch)

    async def _work(self) -> None:
        while True:
            batch = await self._batches.get()
            is_delivered = await self._send(batch)
            async with self._progress:
                if is_delivered:
                    self.delivered += len(batch)
                else:
                    self.dropped += len(batch)
                self._progress.notify_all()

    async def _send(self, batch: list[Item]) -> bool:
        """Try until the far end accepts the batch, refuses it, or has had ten attempts."""
        headers = {"Content-Type": "application/json"}
        body = orjson.dumps(batch)
        if self._compress:
            body = await asyncio.to_thread(gzip.compress, body, 1)
            headers["Content-Encoding"] = "gzip"
        for attempt in range(MAX_ATTEMPTS):
            try:
                async with self._session.post(self._url, data=body, headers=headers) as response:
                    await response.read()
                    response.raise_for_status()
                return True
            except (aiohttp.ClientError, TimeoutError) as error:
                if isinstance(error, aiohttp.ClientResponseError) and error.status < 500 and error.status != 429:
                    logger.error("%d events refused: %s", len(batch), error)
                    return False
                logger.warning("attempt %d of %d failed: %s", attempt + 1, MAX_ATTEMPTS, error)
                delay = min(FIRST_DELAY * 2**attempt, MAX_DELAY)
                await asyncio.sleep(delay * random.uniform(0.5, 1))
        logger.error("%d events dropped after %d attempts", len(batch), MAX_ATTEMPTS)
        return False


def _item(event: str, distinct_id: str, properties: Mapping[str, Any] | None) -> Item:  # Any: JSON
    return {
        "uuid": str(uuid.uuid4()),
        "timestamp": datetime.now(UTC).isoformat(),
        "distinct_id": distinct_id,
        "event": event,
        "properties": properties,
    }
