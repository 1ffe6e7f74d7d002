"""Looking at deliveries in SQLite; plain functions of a transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from typing import Any, Final, NamedTuple

from eventpipe.stores.delivery_values import (
    AttemptRecord,
    DeliveryFilter,
    DeliveryRow,
    DeliveryState,
    EndpointState,
    EndpointStats,
)
from eventpipe.stores.names import fits
from eventpipe.stores.sqlite_delivery_rows import (
    JOINED,
    REASON_NUMBERS,
    ROW,
    STATE_NUMBERS,
    STATES,
    attempt_of,
    decoded,
    text,
)
from eventpipe.stores.sqlite_endpoints import numbered
from eventpipe.stores.sqlite_jobs import Transaction

# Rows that are looked at in one transaction, where a filter wants few: 10 ms at most, in which nobody else's job is
# done.
LIST_STEP: Final = 4_000
_MAX_ID: Final = (1 << 63) - 1  # that SQLite can keep
_ROW_OF: Final = f"SELECT {ROW} FROM deliveries AS d {JOINED} WHERE d.id = ?"  # noqa: S608  # constants


class Listing(NamedTuple):
    """Which rows are asked for.

    Attributes:
        wanted: The filter.
        after: With ids below this one. ``None``: from the newest on.
        limit: At most so many.
    """

    wanted: DeliveryFilter
    after: int | None
    limit: int


def rows(transaction: Transaction, listing: Listing) -> tuple[list[DeliveryRow], int | None]:
    """Some rows, newest first, and the id below which to go on; ``None``: nowhere."""
    db, wanted = transaction.db, listing.wanted
    last = _MAX_ID if listing.after is None else max(min(listing.after - 1, _MAX_ID), 0)
    (lowest, highest) = db.execute(
        "SELECT (SELECT min(id) FROM deliveries), (SELECT max(id) FROM deliveries WHERE id <= ?)", (last,)
    ).fetchone()
    if highest is None:
        return [], None
    conditions, values = _conditions(db, wanted)
    # An event has few rows, and an index of its own.
    start = lowest if wanted.event_uuid is not None else max(lowest, highest + 1 - LIST_STEP)
    pattern = wanted.event_name
    name = "NULL" if pattern is None else "(SELECT name FROM published WHERE id = d.event)"
    scanned = db.execute(
        f"SELECT d.id, {name} FROM deliveries AS d"  # noqa: S608  # constants
        f" WHERE {' AND '.join([*conditions, 'd.id <= ?', 'd.id >= ?'])} ORDER BY d.id DESC",
        (*values, highest, start),
    )
    found: list[DeliveryRow] = []
    with closing(scanned):
        for number, event_name in scanned:
            if pattern is not None and not fits(pattern, text(event_name) or ""):
                continue
            found += [decoded(columns).row for columns in db.execute(_ROW_OF, (number,))]
            if len(found) == listing.limit:
                return found, None
    return found, start if start > lowest else None


def _conditions(db: sqlite3.Connection, wanted: DeliveryFilter) -> tuple[list[str], list[Any]]:  # Any: as SQLite
    conditions: list[str] = []
    values: list[Any] = []

    def one_of(column: str, numbers: Iterable[object]) -> None:
        listed = list(numbers)
        conditions.append(f"{column} IN ({', '.join('?' * len(listed))})")
        values.extend(listed)

    if wanted.endpoint is not None:
        names = db.execute("SELECT id FROM endpoints WHERE name = ?", (wanted.endpoint.encode(errors="replace"),))
        one_of("d.endpoint", [number for (number,) in names])
    if wanted.event_uuid is not None:
        conditions.append("d.event = (SELECT id FROM published WHERE uuid = ?)")
        values.append(wanted.event_uuid.encode(errors="replace"))
    elif wanted.states or wanted.endpoint is not None:
        # All of them where none is named, so that the ids of an endpoint can be looked up between two bounds.
        one_of("d.state", [STATE_NUMBERS[state] for state in wanted.states or DeliveryState])
    if wanted.event_uuid is not None and wanted.states:
        one_of("d.state", [STATE_NUMBERS[state] for state in wanted.states])
    for condition, value in (
        ("d.reason = ?", None if wanted.reason is None else REASON_NUMBERS[wanted.reason]),
        ("d.due_at < ?", wanted.due_before),
        ("d.created_at >= ?", wanted.published_after),
        ("d.created_at < ?", wanted.published_before),
    ):
        if value is not None:
            conditions.append(condition)
            values.append(value)
    return conditions, values


def row(transaction: Transaction, number: int) -> DeliveryRow | None:
    """A row, if there is one."""
    columns = transaction.db.execute(_ROW_OF, (_possible(number),)).fetchone()
    return None if columns is None else decoded(columns).row


def _possible(number: int) -> int | None:
    """An id that somebody asks for; ``None``, which no row has, where SQLite cannot keep it."""
    return number if 0 <= number <= _MAX_ID else None


def attempts(transaction: Transaction, number: int) -> list[AttemptRecord]:
    """The attempts of a row that are kept, in their order."""
    found = transaction.db.execute(
        "SELECT number, began_at, duration, outcome, status, error, response FROM attempts WHERE delivery = ?"
        " ORDER BY number",
        (_possible(number),),
    )
    return [attempt_of(columns) for columns in found]


def count(transaction: Transaction, start: int) -> tuple[list[tuple[int, DeliveryState, int]], int | None]:
    """How many of the next rows, from an id on, are in each state, by endpoint, and where to go on; ``None``: nowhere.

    By ids, and not by the index that has both: so a row that changes meanwhile is counted once.
    """
    db = transaction.db
    (lowest, highest) = db.execute(
        "SELECT (SELECT min(id) FROM deliveries WHERE id >= ?), (SELECT max(id) FROM deliveries)", (start,)
    ).fetchone()
    if lowest is None:
        return [], None
    end = min(lowest + LIST_STEP - 1, _MAX_ID)
    counts = db.execute(
        "SELECT endpoint, state, count(*) FROM deliveries WHERE id >= ? AND id <= ? GROUP BY endpoint, state",
        (lowest, end),
    )
    found = [(endpoint, STATES[state], number) for endpoint, state, number in counts if state in STATES]
    return found, end + 1 if end < highest else None


def stats(transaction: Transaction, ask: tuple[Sequence[tuple[int, DeliveryState, int]], float]) -> list[EndpointStats]:
    """How the rows of each endpoint stand, by name, of what ``count()`` has found, and the time."""
    counts, now = ask
    db = transaction.db
    rows: dict[int, dict[DeliveryState, int]] = {}
    for endpoint, state, number in counts:
        own = rows.setdefault(endpoint, {})
        own[state] = own.get(state, 0) + number
    claimed = dict(
        db.execute("SELECT endpoint, count(*) FROM deliveries WHERE claimed_until > ? GROUP BY endpoint", (now,))
    )
    found: list[EndpointStats] = []
    for kept in numbered(db, [number for (number,) in db.execute("SELECT id FROM endpoints")]):
        if kept.info.state is EndpointState.REMOVED and kept.id not in rows:
            continue
        (first,) = db.execute(
            "SELECT min(due_at) FROM deliveries WHERE endpoint = ? AND due_at IS NOT NULL", (kept.id,)
        ).fetchone()
        first_due_at = first if isinstance(first, float) else None
        found.append(EndpointStats(kept.info, rows.get(kept.id, {}), first_due_at, claimed.get(kept.id, 0)))
    return sorted(found, key=lambda one: (one.endpoint.name, one.endpoint.created_at))
