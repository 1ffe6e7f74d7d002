"""Deliveries on a full disk: published until it is full, delivered and purged; as a program, on a disk of its own."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import NamedTuple

from eventpipe.errors import StoreFullError
from eventpipe.stores import SqliteStore
from eventpipe.stores.delivery_base import DeliveryStore
from eventpipe.stores.delivery_values import AttemptRecord, DeliveryFilter, EndpointInfo, Publication
from eventpipe.testing import make_event
from eventpipe.testing.events import STAMP
from tests.stores.golden_deliveries import settled

AUDIT = EndpointInfo("audit", "sink", created_at=STAMP)
HOLDER = "a-host-of-some-name.example:12345:eventpipe-reconciler"


class Round(NamedTuple):
    """What happened between two times that the disk was empty: rows, but for the status and the reserve in bytes."""

    reserve: int
    accepted: int
    settled: int
    last_status: int | None
    purged: int


async def published(kept: DeliveryStore) -> int:
    """How many it took until the disk was full."""
    count = 0
    while True:
        events = [make_event(properties={"text": "x" * 300}) for _ in range(10)]
        try:
            await kept.publish([Publication(event, ("audit",), None, STAMP, STAMP + 100) for event in events])
        except StoreFullError:
            return count
        count += 10


async def delivered(kept: DeliveryStore) -> int:
    """How many rows were claimed and settled, by sixteen workers."""
    count = 0
    attempt = AttemptRecord(1, STAMP, 0.1, "delivered", 200, None, "it was accepted " * 30)
    while True:
        claimed = await kept.claim(
            AUDIT, holder=HOLDER, cutoff=STAMP, after=None, now=STAMP, until=STAMP + 60.5, limit=16
        )
        if not claimed:
            return count
        done = await asyncio.gather(*(kept.change([settled(row, STAMP + 0.5, attempt)]) for row, _ in claimed))
        count += sum(is_done for (is_done,) in done)


async def fill_and_deliver(folder: Path) -> list[Round]:
    """Two rounds."""
    store = SqliteStore(folder / "log.db", durability="process")
    await store.open()
    kept = store.deliveries
    await kept.put_endpoint(AUDIT, None, replace=False)
    rounds = []
    for _ in range(2):
        reserve = (folder / "log.db-reserve").stat().st_size
        accepted = await published(kept)
        count = await delivered(kept)
        rows = await kept.rows(DeliveryFilter(), limit=1)
        purged = await kept.purge(before=STAMP + 1, limit=10_000)
        rounds.append(Round(reserve, accepted, count, rows[0].last_status, purged))
    await store.aclose()
    return rounds


if __name__ == "__main__":
    json.dump(asyncio.run(fill_and_deliver(Path(sys.argv[1]))), sys.stdout)
