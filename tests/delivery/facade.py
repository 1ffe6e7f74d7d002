"""What tests of the facade share: an engine of each kind, and what a worker does, step by step."""

from __future__ import annotations

from pathlib import Path

from eventpipe.clock import Clock
from eventpipe.delivery.deliveries import Deliveries
from eventpipe.delivery.machine import advance
from eventpipe.delivery.sending import Attempted
from eventpipe.stores.delivery_base import DeliveringStore
from eventpipe.stores.delivery_values import ClaimedRow, EndpointState
from eventpipe.stores.memory import MemoryStore
from eventpipe.stores.sqlite import SqliteStore

ENGINES = ("memory", "sqlite")
URL = "https://acme.example/hooks"
SECRET = "whsec_" + "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"
OTHER = "whsec_" + "b3RoZXJvdGhlcm90aGVyb3RoZXJvdGhl"
THIRD = "whsec_" + "dGhpcmR0aGlyZHRoaXJkdGhpcmR0aGly"


def engine(kind: str, folder: Path, clock: Clock, *, name: str = "events.db") -> DeliveringStore:
    """A store that was not opened."""
    if kind == "memory":
        return MemoryStore(clock=clock)
    # What survives a loss of power is the store's guarantee, and costs an fsync for each of a thousand commits.
    return SqliteStore(folder / name, durability="process", clock=clock)


async def claimed(deliveries: Deliveries, holder: str = "test", limit: int = 100) -> list[ClaimedRow]:
    """What is due of the endpoints that are delivered to, taken for a minute."""
    now = deliveries.clock.time()
    return [
        row
        for due in await deliveries.kept.due()
        if due.endpoint.state is EndpointState.ACTIVE
        for row in await deliveries.kept.claim(
            due.endpoint, holder=holder, cutoff=now, after=None, now=now, until=now + 60, limit=limit
        )
    ]


async def attempted(deliveries: Deliveries, one: ClaimedRow) -> Attempted:
    """One attempt, of which nothing was written down."""
    assert one.event.event is not None
    endpoint = await deliveries.endpoint(one.row.endpoint)
    return await deliveries.senders.attempt(endpoint, one.event.event, one.row.total_attempts + 1, timeout=15)


async def settle(deliveries: Deliveries, one: ClaimedRow, made: Attempted) -> bool:
    """Write an attempt down; whether the row was still as it was claimed."""
    judgement = made.judgement
    change = advance(
        one.row,
        judgement.outcome,
        deliveries.clock.time(),
        deliveries.policy,
        random=lambda: 0.0,
        retry_after=judgement.retry_after,
        attempt=made.record,
    )
    assert change is not None
    (was_done,) = await deliveries.kept.change([change])
    return was_done


async def deliver(deliveries: Deliveries) -> int:
    """Attempt what is due, each once; how many that was."""
    rows = await claimed(deliveries)
    for one in rows:
        await settle(deliveries, one, await attempted(deliveries, one))
    return len(rows)
