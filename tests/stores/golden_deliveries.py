"""What the files in ``golden/`` hold of deliveries: ``python -m tests.stores.golden_deliveries FILE`` makes one.

From version 2 on; as with the log, a file is made once.
"""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from pathlib import Path
from typing import Any

from eventpipe.stores import SqliteStore
from eventpipe.stores.delivery_base import DeliveryStore
from eventpipe.stores.delivery_values import (
    AttemptRecord,
    Change,
    DeliveryFilter,
    DeliveryRow,
    DeliveryState,
    EndpointInfo,
    EndpointState,
    FailureReason,
    Publication,
    Rule,
)
from eventpipe.testing.events import STAMP, make_event
from tests.stores.golden_log import UUID, GoldenClock, fill

ACME = EndpointInfo(
    "acme",
    "webhook",
    "https://acme.example/hooks",
    headers=("x-tenant", "authorization"),
    rate_limit=2.5,
    timeout=7.0,
    created_at=STAMP,
)
PRIVATE = b'{"secrets":["whsec_golden"],"headers":{"x-tenant":"1","authorization":"2"}}'


async def fill_deliveries(kept: DeliveryStore) -> None:
    """Make what a file holds: something in each table, rows in each state, a claim, and an endpoint in each state."""
    await kept.put_endpoint(ACME, PRIVATE, replace=False)
    for name in ("audit", "gone", "off", "slow"):
        await kept.put_endpoint(EndpointInfo(name, "sink", created_at=STAMP), None, replace=False)
    await kept.set_endpoint_state("slow", EndpointState.PAUSED, "too slow")
    await kept.set_endpoint_state("off", EndpointState.DISABLED, "nobody there")
    await kept.put_rule(Rule("invoices", ("invoice.*", "paid"), ("acme", "audit"), {"plan": ["pro", "team"], "ü": 1}))
    beside: dict[str, Any] = {"headers": {"h": "é"}, "key": "k", "lifted": {"$set": {"a": 1}}}
    events = [
        make_event(
            "invoice.created",
            uuid=UUID.format(16 + number),
            properties={"sum": number, "text": "é"},
            **(beside if number == 3 else {}),
        )
        for number in range(5)
    ]
    published = [
        Publication(
            event,
            ("acme", "audit", "gone", "off", "slow") if number < 4 else (),
            f"inv-{number}" if number % 2 else None,
            STAMP + number,
            STAMP + number + 10_800,
        )
        for number, event in enumerate(events)
    ]
    await kept.publish(published)
    await kept.set_endpoint_state("gone", EndpointState.REMOVED, None)
    now = STAMP + 30
    claimed = await kept.claim(ACME, holder="golden", cutoff=now, after=None, now=now, until=STAMP + 90, limit=4)
    first, second, third, _ = [row for row, _ in claimed]
    delivered = AttemptRecord(1, now, 0.25, "delivered", 200, None, "ok")
    refused = AttemptRecord(1, now, 0.5, "retry", 503, "é: unavailable", "<p>")
    await kept.change(
        [
            settled(first, now, delivered),
            Change(second.id, second.version, DeliveryState.SENDING, None, 1, now + 300, now + 172_800, None,
                   attempt=refused),
            Change(third.id, third.version, DeliveryState.RESENDING, None, 0, now, now + 10_800, None, is_resend=True),
        ]
    )  # fmt: skip
    (audited,) = await kept.claim(
        EndpointInfo("audit", "sink", created_at=STAMP),
        holder="golden",
        cutoff=now,
        after=None,
        now=now,
        until=STAMP + 90,
        limit=1,
    )
    failed = dataclasses.replace(
        settled(audited.row, now, None), state=DeliveryState.FAILED, reason=FailureReason.CANCELLED
    )
    await kept.change([failed])


def settled(row: DeliveryRow, now: float, attempt: AttemptRecord | None) -> Change:
    """What becomes of a row that was delivered."""
    attempts = row.attempts + (attempt is not None)
    return Change(
        row.id, row.version, DeliveryState.SUCCESS, None, attempts, None, row.deadline_at, now, attempt=attempt
    )


async def described_deliveries(kept: DeliveryStore) -> dict[str, Any]:  # Any: JSON
    """All that a store says of its deliveries."""
    rows = await kept.rows(DeliveryFilter(), limit=1_000)
    events = [await kept.event(one.uuid) for one in await kept.events(limit=1_000)]
    return {
        "endpoints": [dataclasses.asdict(info) for info in await kept.endpoints()],
        "private": {
            info.name: None if private is None else private.decode()
            for info in await kept.endpoints()
            for private in [await kept.private(info.name)]
        },
        "rules": [dataclasses.asdict(rule) for rule in await kept.rules()],
        "events": [
            [one.uuid, one.name, one.published_at, one.dedupe_key, one.payload_version, one.fault,
             None if one.event is None else [one.event.json.decode(), dict(one.event.headers), one.event.key]]
            for one in events if one is not None
        ],
        "rows": [dataclasses.asdict(row) for row in rows],
        "attempts": {row.id: [dataclasses.asdict(one) for one in await kept.attempts(row.id)] for row in rows},
        "due": [[due.endpoint.name, due.first_due_at] for due in await kept.due()],
        "stats": [[one.endpoint.name, dict(one.rows), one.first_due_at, one.claimed] for one in await kept.stats()],
    }  # fmt: skip


async def _make(path: Path) -> None:
    clock = GoldenClock()
    store = SqliteStore(path, clock=clock)
    await store.open()
    await fill(store, clock)
    await fill_deliveries(store.deliveries)
    await store.aclose()


if __name__ == "__main__":
    asyncio.run(_make(Path(sys.argv[1])))
