"""What the files in ``golden/`` hold, and how they were made: ``python -m tests.stores.golden_log FILE``.

A file is made once, by the release that first writes its version of the schema, and never again.
"""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from pathlib import Path
from typing import Any

from eventpipe.clock import Clock
from eventpipe.retention import Retention
from eventpipe.stores import SqliteStore
from eventpipe.stores.base import Store
from eventpipe.stores.values import ConsumerKey, Disposal, Disposition
from eventpipe.testing.events import STAMP, make_event
from eventpipe.testing.store_rig import MUCH

GOLDEN = Path(__file__).parent / "golden"
BILLING = ConsumerKey("orders", "billing")
UUID = "00000000-0000-7000-8000-0000000000{:02x}"


class GoldenClock(Clock):
    """A minute after the last step of what the files hold."""

    now = STAMP

    def time(self) -> float:
        return self.now


async def fill(store: Store, clock: GoldenClock) -> None:
    """Make what a file holds: something in each table but ``damaged``."""
    await store.declare("orders", Retention(max_events=100, max_age=1e6, on_full="wait"))
    await store.declare("few", Retention(max_events=2, on_full="drop_oldest"))
    for number in range(6):
        clock.now += 1
        extra: dict[str, Any] = {"lane": "historical", "headers": {"h": "é"}, "key": "k", "lifted": {"$set": {"a": 1}}}
        event = make_event(f"e{number}", uuid=UUID.format(number), **(extra if number == 5 else {}))
        await store.append("orders", [event])
        await store.append("few", [event])
    await store.add_consumer(BILLING, "earliest")
    await store.add_consumer(ConsumerKey("orders", "audit"), 2)
    await store.pause(ConsumerKey("orders", "audit"), True)
    token = await store.acquire(BILLING.lease, "golden", 1e9)
    claims = await store.claim(BILLING, token, max_events=4, max_bytes=MUCH)
    zero, one, two, _ = claims.events
    letter = make_event("e2", uuid=UUID.format(2), headers={"reason": "no"})
    await store.settle(
        BILLING,
        token,
        [
            Disposition(zero, Disposal.ACK),
            Disposition(one, Disposal.NACK, 30.0, "not now"),
            Disposition(two, Disposal.DEAD, reason="no", letter=letter),
        ],
    )


async def described(store: Store) -> dict[str, Any]:  # Any: JSON
    """All that a store says of itself."""
    topics = [dataclasses.asdict(info) for info in await store.topics()]
    for topic in topics:
        topic["retention"] = topic["retention"].model_dump()
    events = {
        topic["name"]: [
            [kept.offset, kept.appended_at, kept.event.json.decode(), kept.event.lane, kept.event.key]
            for kept in await store.read(topic["name"], 0, max_events=100, max_bytes=MUCH)
            if kept.event is not None
        ]
        for topic in topics
    }
    consumers = [dataclasses.asdict(info) for info in await store.consumers()]
    return {"topics": topics, "events": events, "consumers": consumers}


async def _make(path: Path) -> None:
    clock = GoldenClock()
    store = SqliteStore(path, clock=clock)
    await store.open()
    await fill(store, clock)
    await store.aclose()


if __name__ == "__main__":
    asyncio.run(_make(Path(sys.argv[1])))
