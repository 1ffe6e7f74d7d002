"""A shared file with deliveries to one far end, and programs that make them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eventpipe.delivery import (
    AttemptRecord,
    Deliveries,
    DeliveryFilter,
    DeliveryRow,
    DeliveryState,
    Endpoint,
)
from eventpipe.stores.sqlite import SqliteStore
from tests.processes.delivering import ENDPOINT
from tests.processes.logged import made
from tests.processes.nursery import Child, Nursery

# An attempt that took longer would be made again, and be no proof of anything.
PATIENT = {"timeout": 20.0, "claim_ttl": 30.0, "interval": 0.2, "lock": None}


class Place:
    """A file, as the test looks at it between programs.

    Args:
        path: Of the file.
        url: Where its endpoint is.
        shared: Whether several programs use it at once.
    """

    def __init__(self, path: Path, url: str, *, shared: bool = True) -> None:
        self.path = path
        self.is_shared = shared
        asyncio.run(self._begin(url))

    def publish(self, count: int) -> list[str]:
        """Publish so many; their ids."""
        events = [made(0, number) for number in range(count)]
        asyncio.run(self._publish(events))
        return [event.uuid for event in events]

    def rows(self) -> list[DeliveryRow]:
        """All deliveries, the oldest first."""
        return asyncio.run(self._rows())

    def row(self, uuid: str) -> DeliveryRow:
        """The delivery of an event."""
        (found,) = [row for row in self.rows() if row.event_uuid == uuid]
        return found

    def attempts(self, row: DeliveryRow) -> list[AttemptRecord]:
        return asyncio.run(self._attempts(row.id))

    def settled(self, timeout: float = 20.0) -> list[DeliveryRow]:
        """Wait until all are delivered; all of them."""
        deadline = time.monotonic() + timeout
        while True:
            rows = self.rows()
            left = [row for row in rows if row.state is not DeliveryState.SUCCESS]
            if not left:
                return rows
            assert time.monotonic() < deadline, f"{len(left)} are not delivered within {timeout} s: {left[:3]}"
            time.sleep(0.02)

    def fork(self, children: Nursery, role: str, **arguments: Any) -> Child:  # Any: JSON
        return children.fork(role, path=str(self.path), shared=self.is_shared, **{**PATIENT, "workers": 1, **arguments})

    async def _begin(self, url: str) -> None:
        async with self._deliveries() as deliveries:
            await deliveries.add_endpoint(Endpoint(ENDPOINT, url, allow_private=True))

    async def _publish(self, events: Sequence[Any]) -> None:  # Any: what an append takes
        async with self._deliveries() as deliveries:
            await deliveries.publish_many(events, endpoints=[ENDPOINT])

    async def _rows(self) -> list[DeliveryRow]:
        async with self._deliveries() as deliveries:
            found: list[DeliveryRow] = []
            while page := await deliveries.rows(DeliveryFilter(), after=found[-1].id if found else None, limit=1000):
                found += page
            return found[::-1]

    async def _attempts(self, id_: int) -> list[AttemptRecord]:
        async with self._deliveries() as deliveries:
            return await deliveries.attempts(id_)

    def _deliveries(self) -> Deliveries:
        return Deliveries(SqliteStore(self.path, shared=self.is_shared, durability="process"))
