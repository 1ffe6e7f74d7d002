"""Published events in SQLite, and their way in and out; plain functions of a transaction."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from eventpipe.checked import shown
from eventpipe.errors import UnknownEndpointError
from eventpipe.events import UUID_AT, CapturedEvent
from eventpipe.stores.delivery_values import (
    DELIVERIES,
    PAYLOAD_VERSION,
    DeliveryState,
    EndpointState,
    FailureReason,
    Publication,
    Published,
    PublishedEvent,
)
from eventpipe.stores.names import fits
from eventpipe.stores.packing import checksum, pack, unpack
from eventpipe.stores.sqlite_delivery_rows import (
    REASON_NUMBERS,
    ROOM,
    STATE_NUMBERS,
    encoded,
    identity_of,
    text,
    whole,
)
from eventpipe.stores.sqlite_endpoints import Kept, forget_removed, load
from eventpipe.stores.sqlite_jobs import Transaction
from eventpipe.stores.sqlite_schema import OFFSET_BITS, place_of

EVENT: Final = (
    "p.id, p.uuid, p.dedupe_key, p.published_at, p.payload_version, p.size, p.checksum, p.name, p.extra, p.data"
)
"""The columns that ``event_of()`` takes."""
EVENT_COLUMNS: Final = EVENT.count(",") + 1

# Looked at in one transaction, where a name may fit few: about 5 ms, in which nobody else's job is done.
LIST_STEP: Final = 2_000

_MAX_ID: Final = 1 << OFFSET_BITS
_ALTERED: Final = "the published event does not pass its checksum"
_MISSING: Final = "the published event is missing"
_PENDING: Final = STATE_NUMBERS[DeliveryState.PENDING]
_FAILED: Final = STATE_NUMBERS[DeliveryState.FAILED]
_DISABLED: Final = REASON_NUMBERS[FailureReason.ENDPOINT_DISABLED]


class Listing(NamedTuple):
    """Which published events are asked for.

    Attributes:
        name: With this name; ``*`` stands for any characters. ``None``: with any.
        after: Behind the one of this id. ``None``: from the newest on.
        limit: At most so many.
    """

    name: str | None
    after: str | None
    limit: int


def publish(transaction: Transaction, calls: Sequence[Sequence[Publication]]) -> list[list[Published] | Exception]:
    """Keep events with their rows, for many callers: for each what became of them, or why nothing was kept of his."""
    return _Publishing(transaction).all_of(calls)


class _Publishing:
    """What is looked up once for all who publish in one transaction."""

    def __init__(self, transaction: Transaction) -> None:
        self._touched = transaction.touched
        self._db = db = transaction.db
        self._endpoints: dict[str, Kept] = {}
        # What is beyond the bound came there by damage, and would leave no numbers for what follows.
        # Nor is the number of an event given again that is lost, and has rows.
        (last, meant) = db.execute(
            "SELECT (SELECT max(id) FROM published WHERE id < ?), (SELECT max(event) FROM deliveries WHERE event < ?)",
            (_MAX_ID, _MAX_ID),
        ).fetchone()
        self._event = max(last or 0, meant or 0)
        # The number of a row that was deleted is never given again.
        (last, ever) = db.execute(
            "SELECT (SELECT max(id) FROM deliveries WHERE id < ?),"
            " (SELECT seq FROM sqlite_sequence WHERE name = 'deliveries' AND seq < ?)",
            (_MAX_ID, _MAX_ID),
        ).fetchone()
        self._row = max(last or 0, ever or 0)

    def all_of(self, calls: Sequence[Sequence[Publication]]) -> list[list[Published] | Exception]:
        answers: list[list[Published] | Exception] = []
        for publications in calls:
            try:
                # Before anything is written, which would have to be undone.
                were_repeated = self._check(publications)
            except UnknownEndpointError as error:
                answers.append(error)
            else:
                answers.append(list(map(self._publish, publications, were_repeated)))
        return answers

    def _check(self, publications: Sequence[Publication]) -> list[bool]:
        """See that there are the endpoints of what is new; of what was published before, nobody asks.

        Returns:
            For each whether it may have been published before.

        Raises:
            UnknownEndpointError: There is no such endpoint.
        """
        own: set[tuple[str, bytes | None]] = set()  # what is new by then, though it is not written yet
        were_repeated = []
        for event, names, key, _, _ in publications:
            uuid, dedupe_key = event.data[UUID_AT], encoded(key)
            ids = {("uuid", uuid), ("key", dedupe_key)} if key is not None else {("uuid", uuid)}
            is_repeated = not own.isdisjoint(ids) or _known(self._db, uuid, dedupe_key) is not None
            for name in () if is_repeated else names:
                self._endpoint(name)
            own |= ids
            were_repeated.append(is_repeated)
        return were_repeated

    def _endpoint(self, name: str) -> Kept:
        kept = self._endpoints.get(name)
        if kept is None:
            kept = self._endpoints[name] = load(self._db, name)
        return kept

    def _publish(self, publication: Publication, is_repeated: bool) -> Published:
        event, names, key, now, deadline_at = publication
        db = self._db
        uuid, dedupe_key = event.data[UUID_AT], encoded(key)
        known = _known(db, uuid, dedupe_key) if is_repeated else None
        if known is not None:
            return known
        self._event += 1
        number = self._event
        endpoints = [self._endpoint(name) for name in dict.fromkeys(names)]
        name, extra, data, held = pack(event)
        check = checksum(place_of(PAYLOAD_VERSION, number), now, name, extra, data, held)
        db.execute(
            "INSERT INTO published VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (number, uuid, dedupe_key, now, len(endpoints), PAYLOAD_VERSION, held, check, name, extra, data),
        )
        deliveries: dict[str, int] = {}
        for endpoint in endpoints:
            self._row += 1
            row = deliveries[endpoint.info.name] = self._row
            settled = endpoint.info.state is EndpointState.DISABLED
            identity = identity_of(row, number, endpoint.id, now)
            state, reason, due_at, settled_at, room = (
                (_FAILED, _DISABLED, None, now, None) if settled else (_PENDING, None, now, None, ROOM)
            )
            db.execute(
                "INSERT INTO deliveries (id, event, endpoint, checksum, state, reason, created_at, due_at, deadline_at,"
                " settled_at, holder) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (row, number, endpoint.id, identity, state, reason, now, due_at, deadline_at, settled_at, room),
            )
            if not settled:
                self._touched.add(DELIVERIES)
        return Published(event.uuid, deliveries, True)


def _known(db: sqlite3.Connection, uuid: bytes, key: bytes | None) -> Published | None:
    """What was published before under an id, or under a key."""
    found = db.execute("SELECT id, uuid FROM published WHERE uuid = ?", (uuid,)).fetchone()
    if found is None and key is not None:
        found = db.execute("SELECT id, uuid FROM published WHERE dedupe_key = ?", (key,)).fetchone()
    if found is None:
        return None
    rows = db.execute(
        "SELECT e.name, d.id FROM deliveries AS d CROSS JOIN endpoints AS e ON e.id = d.endpoint WHERE d.event = ?"
        " ORDER BY d.id",
        (found[0],),
    )
    return Published(text(found[1]) or "", {text(name) or "": row for name, row in rows}, False)


def event_of(values: tuple[Any, ...], shift: float) -> PublishedEvent:  # Any: whatever a damaged row holds
    """A published event of the columns ``EVENT``; ``shift`` makes a moment on the loop clock of a stamp.

    One that does not pass its checksum, or is of a version that this release does not know, is there without the event.
    """
    number, uuid, key, moment, version, size, check, name, extra, data = values
    event = None
    if number is None:
        fault: str | None = _MISSING
    elif version != PAYLOAD_VERSION:
        fault = f"the published event is packed as version {shown(version)}, and this release reads {PAYLOAD_VERSION}"
    else:
        try:
            is_sound = checksum(place_of(version, number), moment, name, extra, data, size) == check
            fault = None if is_sound and data[UUID_AT] == uuid else _ALTERED
        except (TypeError, struct.error):  # a value has become one of another type
            fault = _ALTERED
        if fault is None:
            try:
                event = unpack(name, extra, data, moment + shift)
            except ValueError as error:
                fault = str(error)
    return _published(uuid, name, moment, key, version, event, fault)


def event(transaction: Transaction, ask: tuple[str, float]) -> PublishedEvent | None:
    """A published event by its id, if there is one, and the shift."""
    uuid, shift = ask
    row = transaction.db.execute(
        f"SELECT {EVENT} FROM published AS p WHERE uuid = ?",  # noqa: S608  # a constant
        (uuid.encode(errors="replace"),),
    ).fetchone()
    return None if row is None else event_of(row, shift)


def events(transaction: Transaction, listing: Listing) -> tuple[list[PublishedEvent], str | None]:
    """Some published events without their data, newest first, and the id behind which to go on; ``None``: nowhere."""
    db = transaction.db
    place = None
    if listing.after is not None:
        after = listing.after.encode(errors="replace")
        place = db.execute("SELECT published_at, uuid FROM published WHERE uuid = ?", (after,)).fetchone()
    step = LIST_STEP if listing.name is not None else min(LIST_STEP, listing.limit)
    candidates = db.execute(
        # Of a row whose data is large, the pages behind the first are read only by who asks for a column there.
        "SELECT uuid, name, published_at, dedupe_key, payload_version FROM published"  # noqa: S608  # constants
        f"{'' if place is None else ' WHERE (published_at, uuid) < (?, ?)'}"
        " ORDER BY published_at DESC, uuid DESC LIMIT ?",
        (*(place or ()), step),
    ).fetchall()
    found: list[PublishedEvent] = []
    for uuid, name, moment, key, version in candidates:
        if listing.name is None or fits(listing.name, text(name) or ""):
            found.append(_published(uuid, name, moment, key, version))
            if len(found) == listing.limit:
                return found, None
    return found, text(candidates[-1][0]) if len(candidates) == step else None


def _published(  # Any: as in event_of()
    uuid: Any, name: Any, moment: Any, key: Any, version: Any,
    event: CapturedEvent | None = None, fault: str | None = None,
) -> PublishedEvent:  # fmt: skip
    published_at = moment if isinstance(moment, float) else 0.0
    return PublishedEvent(text(uuid) or "", text(name) or "", published_at, text(key), whole(version), event, fault)


def purge(transaction: Transaction, ask: tuple[float, int]) -> int:
    """Delete rows that were settled before a moment, so many at most, with all that nobody needs any more."""
    before, limit = ask
    db = transaction.db
    rows = db.execute(
        "SELECT id, event, endpoint FROM deliveries WHERE settled_at IS NOT NULL AND settled_at < ?"
        " ORDER BY settled_at, id LIMIT ?",
        (before, limit),
    ).fetchall()
    numbers = [(row,) for row, _, _ in rows]
    db.executemany("DELETE FROM attempts WHERE delivery = ?", numbers)
    db.executemany("DELETE FROM deliveries WHERE id = ?", numbers)
    db.executemany(
        "DELETE FROM published WHERE id = ? AND NOT EXISTS (SELECT 1 FROM deliveries WHERE event = published.id)",
        [(event,) for event in {event for _, event, _ in rows}],
    )
    forget_removed(db, {endpoint for _, _, endpoint in rows})
    alone = db.execute(
        "DELETE FROM published WHERE id IN"
        " (SELECT id FROM published WHERE deliveries = 0 AND published_at < ? AND NOT EXISTS"
        " (SELECT 1 FROM deliveries WHERE event = published.id) ORDER BY published_at, uuid LIMIT ?)",
        (before, limit - len(rows)),
    )
    return len(rows) + alone.rowcount
