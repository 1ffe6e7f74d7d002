"""What a pass over due deliveries does in SQLite: find, claim, give back and change; plain functions of a transaction.

Rows that are settled are in none of the indexes that are used here, so that a pass costs the same however many there
are.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from eventpipe.stores.delivery_values import (
    DELIVERIES,
    MAX_ATTEMPTS_KEPT,
    Change,
    ClaimedRow,
    DeliveryRow,
    DueEndpoint,
    EndpointInfo,
    Place,
)
from eventpipe.stores.sqlite_delivery_rows import (
    JOINED,
    REASON_NUMBERS,
    ROOM,
    ROW,
    STATE_NUMBERS,
    Claim,
    decoded,
    encoded,
)
from eventpipe.stores.sqlite_endpoints import find_same, numbered
from eventpipe.stores.sqlite_jobs import Transaction
from eventpipe.stores.sqlite_published import EVENT, EVENT_COLUMNS, event_of

# From one endpoint that has open rows to the next, and past all of its rows at once.
_OPEN_ENDPOINTS: Final = """
WITH RECURSIVE open (endpoint) AS (
  SELECT min(endpoint) FROM deliveries WHERE due_at IS NOT NULL
  UNION ALL
  SELECT (SELECT min(endpoint) FROM deliveries WHERE due_at IS NOT NULL AND deliveries.endpoint > open.endpoint)
  FROM open WHERE open.endpoint IS NOT NULL
)
"""
_CLAIM: Final = f"""
SELECT {ROW}, {EVENT} FROM deliveries AS d INDEXED BY deliveries_by_due {JOINED}
WHERE d.endpoint = ? AND d.due_at IS NOT NULL AND d.due_at <= ? AND (d.due_at, d.id) > (?, ?)
  AND (d.claimed_until IS NULL OR d.claimed_until <= ?)
ORDER BY d.due_at, d.id LIMIT ?
"""  # noqa: S608  # constants
_OPEN_FROM: Final = (
    f"{_OPEN_ENDPOINTS} SELECT d.id FROM open CROSS JOIN deliveries AS d INDEXED BY deliveries_by_due"  # noqa: S608
    " ON d.endpoint = open.endpoint AND d.due_at IS NOT NULL"
)
_BEGINNING: Final = Place(-math.inf, 0)


class Ask(NamedTuple):
    """One claim; each as ``DeliveryStore.claim()`` has it.

    Attributes:
        endpoint: Whose rows.
        holder: Who takes them.
        cutoff: Those that are due until then.
        after: And behind this place.
        now: Wall clock.
        until: For how long.
        limit: At most so many.
        shift: What makes a moment on the loop clock of a stamp.
    """

    endpoint: EndpointInfo
    holder: str
    cutoff: float
    after: Place | None
    now: float
    until: float
    limit: int
    shift: float


class Rescue(NamedTuple):
    """What a clock that was set back would leave lying; each as ``DeliveryStore.rescue()`` has it."""

    now: float
    claimed_before: float
    due_before: float
    unattempted_after: float


def due(transaction: Transaction, _: None) -> list[DueEndpoint]:
    """Endpoints with open rows, each with the first moment at which one is due."""
    db = transaction.db
    firsts = dict(
        db.execute(
            f"{_OPEN_ENDPOINTS} SELECT endpoint, (SELECT min(due_at) FROM deliveries"  # noqa: S608  # a constant
            " WHERE deliveries.endpoint = open.endpoint AND due_at IS NOT NULL) FROM open WHERE endpoint IS NOT NULL"
        )
    )
    found = []
    for kept in numbered(db, firsts):
        first = firsts[kept.id]
        # What is no moment is damaged; a rescue makes it due.
        found.append(DueEndpoint(kept.info, first if isinstance(first, float) else math.inf))
    return sorted(found, key=lambda one: (one.endpoint.name, one.endpoint.created_at))


def claim(transaction: Transaction, asks: Sequence[Ask]) -> list[list[ClaimedRow]]:
    """Take due rows of endpoints, for many who ask; for each which they are, as ``DeliveryStore.claim()`` has it.

    A row that cannot be believed is handed out without its event, and with the reason: then it fails as what cannot be
    read does, where it might have gone to somebody whom it was not meant for.
    """
    return [_claim(transaction.db, ask) for ask in asks]


def _claim(db: sqlite3.Connection, ask: Ask) -> list[ClaimedRow]:
    endpoint = find_same(db, ask.endpoint)
    if endpoint is None or endpoint.info.version != ask.endpoint.version:
        return []
    taken = Claim(ask.until, ask.holder)
    claimed: list[ClaimedRow] = []
    rows = db.execute(_CLAIM, (endpoint.id, ask.cutoff, *(ask.after or _BEGINNING), ask.now, ask.limit)).fetchall()
    for columns in rows:
        row, fault = decoded(columns[:-EVENT_COLUMNS], taken)
        event = event_of(columns[-EVENT_COLUMNS:], ask.shift)
        if fault is not None:
            event = replace(event, event=None, fault=fault)
        claimed.append(ClaimedRow(row, event))
    db.executemany(
        "UPDATE deliveries SET claimed_until = ?, holder = ?, version = ? WHERE id = ?",
        [(ask.until, encoded(ask.holder), row.version, row.id) for row, _ in claimed],
    )
    return claimed


def release(transaction: Transaction, rows: Sequence[DeliveryRow]) -> int:
    """Give back rows that are still as they were when they were claimed; how many."""
    return transaction.db.executemany(
        "UPDATE deliveries SET claimed_until = NULL, holder = ?, version = version + 1"
        " WHERE id = ? AND version = ? AND claimed_until IS NOT NULL",
        [(ROOM, row.id, row.version) for row in rows],
    ).rowcount


def change(transaction: Transaction, calls: Sequence[Sequence[Change]]) -> list[list[bool]]:
    """Change rows that are still as they were, and keep the attempts, for many callers; for each which they were."""
    return [[_change(transaction, one) and _record(transaction, one) for one in changes] for changes in calls]


def change_alone(transaction: Transaction, calls: Sequence[Sequence[Change]]) -> list[list[bool]]:
    """As ``change()``, and the file does not grow by it: what attempts came to is kept, and no record of them."""
    return [[_change(transaction, one) for one in changes] for changes in calls]


def _change(transaction: Transaction, one: Change) -> bool:
    db, attempt = transaction.db, one.attempt
    state, reason = STATE_NUMBERS[one.state], REASON_NUMBERS[one.reason]
    room = None if one.due_at is None else ROOM
    values = (state, reason, one.attempts, one.due_at, one.deadline_at, one.settled_at, int(one.is_resend), room)
    if attempt is None:
        changed = db.execute(
            "UPDATE deliveries SET state = ?, reason = ?, attempts = ?, due_at = ?, deadline_at = ?, settled_at = ?,"
            " resends = resends + ?, claimed_until = NULL, holder = ?, version = version + 1"
            " WHERE id = ? AND version = ?",
            (*values, one.id, one.version),
        ).rowcount
    else:
        changed = db.execute(
            "UPDATE deliveries SET state = ?, reason = ?, attempts = ?, due_at = ?, deadline_at = ?, settled_at = ?,"
            " resends = resends + ?, claimed_until = NULL, holder = ?, version = version + 1, total_attempts = ?,"
            " last_status = ?, last_error = ? WHERE id = ? AND version = ?",
            (*values, attempt.number, attempt.status, encoded(attempt.error), one.id, one.version),
        ).rowcount
    if changed and one.is_resend:
        transaction.touched.add(DELIVERIES)
    return changed > 0


def _record(transaction: Transaction, one: Change) -> bool:
    attempt = one.attempt
    if attempt is None:
        return True
    transaction.db.execute(
        "INSERT OR REPLACE INTO attempts VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            one.id,
            attempt.number,
            attempt.began_at,
            attempt.duration,
            encoded(attempt.outcome),
            attempt.status,
            encoded(attempt.error),
            encoded(attempt.response),
        ),
    )
    if attempt.number > MAX_ATTEMPTS_KEPT:
        transaction.db.execute(
            "DELETE FROM attempts WHERE delivery = ? AND number <= ?", (one.id, attempt.number - MAX_ATTEMPTS_KEPT)
        )
    return True


def rescue(transaction: Transaction, ask: Rescue) -> int:
    """Free rows that are claimed, or due, at a moment that nobody can have meant; how many."""
    db = transaction.db
    claimed = db.execute(
        "SELECT id FROM deliveries WHERE claimed_until IS NOT NULL AND claimed_until >= ?", (ask.claimed_before,)
    ).fetchall()
    late = {*db.execute(f"{_OPEN_FROM} AND d.due_at >= ?", (ask.due_before,))}
    if ask.unattempted_after < ask.due_before:
        late.update(
            db.execute(
                f"{_OPEN_FROM} AND d.due_at > ? AND d.attempts = 0"
                " AND (d.claimed_until IS NULL OR d.claimed_until <= ? OR d.claimed_until >= ?)",
                (ask.unattempted_after, ask.now, ask.claimed_before),
            )
        )
    freed = {*claimed, *late}
    if not freed:
        return 0
    db.executemany(
        "UPDATE deliveries SET claimed_until = NULL, holder = ? WHERE id = ?", [(ROOM, *number) for number in claimed]
    )
    db.executemany("UPDATE deliveries SET due_at = ? WHERE id = ?", [(ask.now, *number) for number in late])
    db.executemany("UPDATE deliveries SET version = version + 1 WHERE id = ?", list(freed))
    transaction.touched.add(DELIVERIES)
    return len(freed)
