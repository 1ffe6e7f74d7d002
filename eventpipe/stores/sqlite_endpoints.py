"""Endpoints, their secrets, and rules in SQLite; plain functions of a transaction.

What is kept of each passes a checksum, or it is not used: an event that went to another address than its own would be
worse than one that waits.
"""

from __future__ import annotations

import contextlib
import math
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from functools import lru_cache
from typing import Any, Final, NamedTuple

import orjson

from eventpipe.errors import EndpointExistsError, StoreError, UnknownEndpointError
from eventpipe.stores.delivery_values import DELIVERIES, EndpointInfo, EndpointState, Rule
from eventpipe.stores.packing import checksum
from eventpipe.stores.sqlite_delivery_rows import text, whole
from eventpipe.stores.sqlite_jobs import Transaction

# Endpoints that are known as they were read last: each claim reads its own, and to decode it costs as much as a row.
_KNOWN: Final = 1_024

_DAMAGED: Final = "what is kept of it does not pass its checksum; add it anew with replace=True, or remove it"


class Kept(NamedTuple):
    """An endpoint with its number.

    Attributes:
        id: Its number, never that of another.
        info: It; paused, and without an address, where it does not pass its checksum.
        is_sound: Whether it does.
    """

    id: int
    info: EndpointInfo
    is_sound: bool


def put(transaction: Transaction, ask: tuple[EndpointInfo, bytes | None, bool]) -> EndpointInfo:
    """Keep an endpoint: it, what is private of it, and whether it may take the place of another.

    Raises:
        EndpointExistsError: There is one already, and it may not.
    """
    info, private, may_replace = ask
    db = transaction.db
    old = _find(db, info.name)
    if old is None:
        taken = {kept.info.created_at for kept in _named(db, info.name)}
        while info.created_at in taken:  # of one that was removed, and is told from this one by that moment
            info = replace(info, created_at=math.nextafter(info.created_at, math.inf))
        (number,) = db.execute(
            "INSERT INTO endpoints (name, version, info, checksum) VALUES (?, 0, x'', 0) RETURNING id",
            (info.name.encode(),),
        ).fetchone()
    elif not may_replace:
        raise EndpointExistsError(info.name)
    else:
        number = old.id
        was = old.info
        info = replace(info, version=was.version + 1)
        if old.is_sound:
            info = replace(info, created_at=was.created_at, state=was.state, state_reason=was.state_reason)
    _save(db, number, info)
    with _wiping(db):
        db.execute("DELETE FROM endpoint_secrets WHERE endpoint = ?", (number,))
    if private is not None:
        check = _check_of_private(number, private)
        db.execute("INSERT INTO endpoint_secrets VALUES (?, ?, ?)", (number, private, check))
    transaction.touched.add(DELIVERIES)
    return info


def change(transaction: Transaction, ask: tuple[EndpointInfo, bytes | None]) -> EndpointInfo | None:
    """Keep an endpoint in place of the one that it was made of, if that is as it was.

    Raises:
        StoreError: It does not pass its checksum.
    """
    info, private = ask
    old = _find(transaction.db, info.name)
    if old is None:
        return None
    if not old.is_sound:
        raise StoreError(f"endpoint {info.name!r} cannot be changed: {_DAMAGED}")
    if (old.info.created_at, old.info.version) != (info.created_at, info.version):
        return None
    return put(transaction, (info, private, True))


def set_state(transaction: Transaction, ask: tuple[str, EndpointState, str | None]) -> EndpointInfo:
    """Pause, resume, disable or remove an endpoint: its name, the state and the reason.

    Raises:
        StoreError: It does not pass its checksum, and is not to be removed.
        UnknownEndpointError: There is none.
    """
    name, state, reason = ask
    db = transaction.db
    kept = load(db, name)
    info = kept.info
    if not kept.is_sound and state is not EndpointState.REMOVED:
        raise StoreError(f"endpoint {name!r} cannot be {state}: {_DAMAGED}")
    if kept.is_sound and info.state is state:
        return info
    info = replace(info, state=state, state_reason=reason, version=info.version + 1)
    if state is EndpointState.REMOVED:
        with _wiping(db):
            db.execute("DELETE FROM endpoint_secrets WHERE endpoint = ?", (kept.id,))
    _save(db, kept.id, info)
    if state is EndpointState.REMOVED:
        forget_removed(db, [kept.id])
    transaction.touched.add(DELIVERIES)
    return info


def endpoints(transaction: Transaction, name: str | None) -> list[EndpointInfo]:
    """Those that were not removed, by name, or the one of a name."""
    db = transaction.db
    if name is not None:
        kept = _find(db, name)
        return [] if kept is None else [kept.info]
    rows = db.execute("SELECT id, name, is_removed, version, info, checksum FROM endpoints WHERE NOT is_removed")
    return sorted((_kept(*row).info for row in rows), key=lambda info: info.name)


def private(transaction: Transaction, name: str) -> bytes | None:
    """The private bytes of an endpoint, if it has any.

    Raises:
        StoreError: They do not pass their checksum.
        UnknownEndpointError: There is no such endpoint.
    """
    kept = load(transaction.db, name)
    row = transaction.db.execute(
        "SELECT private, checksum FROM endpoint_secrets WHERE endpoint = ?", (kept.id,)
    ).fetchone()
    if row is None:
        return None
    if not isinstance(row[0], bytes) or _check_of_private(kept.id, row[0]) != row[1]:
        raise StoreError(
            f"the secrets of endpoint {name!r} are damaged, and nothing is sent to it; add it anew with replace=True"
        )
    return row[0]


def put_rule(transaction: Transaction, rule: Rule) -> None:
    """Keep a rule, in place of the one of that name."""
    name = rule.name.encode()
    said = orjson.dumps({"events": rule.events, "endpoints": rule.endpoints, "where": dict(rule.where)})
    transaction.db.execute(
        "INSERT OR REPLACE INTO rules VALUES (?, ?, ?)", (name, said, checksum(0, 0.0, name, None, said, 0))
    )
    transaction.touched.add(DELIVERIES)


def remove_rule(transaction: Transaction, name: str) -> bool:
    """Forget a rule; whether there was one."""
    is_gone = transaction.db.execute("DELETE FROM rules WHERE name = ?", (name.encode(),)).rowcount > 0
    if is_gone:
        transaction.touched.add(DELIVERIES)
    return is_gone


def rules(transaction: Transaction, _: None) -> list[Rule]:
    """Every rule, by name.

    Raises:
        StoreError: One does not pass its checksum. Without it, events would go to fewer endpoints than they are meant
            for, and nobody would know.
    """
    found: list[Rule] = []
    for name, said, check in transaction.db.execute("SELECT name, rule, checksum FROM rules ORDER BY name"):
        if not (isinstance(name, bytes) and isinstance(said, bytes)) or checksum(0, 0.0, name, None, said, 0) != check:
            raise StoreError(f"rule {text(name)!r} is damaged; remove it, and add the one that was meant anew")
        members = orjson.loads(said)
        found.append(Rule(name.decode(), tuple(members["events"]), tuple(members["endpoints"]), members["where"]))
    return found


def load(db: sqlite3.Connection, name: str) -> Kept:
    """An endpoint that was not removed.

    Raises:
        UnknownEndpointError: There is none.
    """
    kept = _find(db, name)
    if kept is None:
        names = db.execute("SELECT name FROM endpoints WHERE NOT is_removed").fetchall()
        raise UnknownEndpointError(name, [text(known) or "" for (known,) in names])
    return kept


def numbered(db: sqlite3.Connection, numbers: Iterable[int]) -> list[Kept]:
    """Endpoints by their numbers, removed ones as well; those that are there."""
    found = []
    for number in numbers:
        row = db.execute(
            "SELECT id, name, is_removed, version, info, checksum FROM endpoints WHERE id = ?", (number,)
        ).fetchone()
        if row is not None:
            found.append(_kept(*row))
    return found


def find_same(db: sqlite3.Connection, info: EndpointInfo) -> Kept | None:
    """The endpoint that somebody was told of, removed since or not: that with the name and the moment it was made."""
    return next((kept for kept in _named(db, info.name) if kept.info.created_at == info.created_at), None)


def forget_removed(db: sqlite3.Connection, numbers: Iterable[int]) -> None:
    """Delete those of some endpoints that were removed and have no row."""
    db.executemany(
        "DELETE FROM endpoints WHERE id = ? AND is_removed"
        " AND NOT EXISTS (SELECT 1 FROM deliveries WHERE endpoint = endpoints.id)",
        [(number,) for number in numbers],
    )


def _named(db: sqlite3.Connection, name: str) -> list[Kept]:
    """All that have, or had, a name."""
    rows = db.execute(
        "SELECT id, name, is_removed, version, info, checksum FROM endpoints WHERE name = ?", (name.encode(),)
    )
    return [_kept(*row) for row in rows]


def _find(db: sqlite3.Connection, name: str) -> Kept | None:
    row = db.execute(
        "SELECT id, name, is_removed, version, info, checksum FROM endpoints WHERE name = ? AND NOT is_removed",
        (name.encode(),),
    ).fetchone()
    return None if row is None else _kept(*row)


def _save(db: sqlite3.Connection, number: int, info: EndpointInfo) -> None:
    name, said = info.name.encode(), orjson.dumps(asdict(info))
    is_removed = info.state is EndpointState.REMOVED
    db.execute(
        "UPDATE endpoints SET is_removed = ?, version = ?, info = ?, checksum = ? WHERE id = ?",
        (int(is_removed), info.version, said, _check_of(number, name, int(is_removed), said), number),
    )


@lru_cache(_KNOWN, typed=True)  # what damage made of a number may equal it
def _kept(
    number: int, name: Any, is_removed: Any, version: Any, said: Any, check: Any
) -> Kept:  # Any: damaged, perhaps
    is_sound = (
        isinstance(name, bytes)
        and isinstance(said, bytes)
        and isinstance(is_removed, int)
        and _check_of(number, name, is_removed, said) == check
    )
    if is_sound:
        members = orjson.loads(said)
        members["headers"] = tuple(members["headers"])
        members["state"] = EndpointState(members["state"])
        return Kept(number, EndpointInfo(**members), True)
    state = EndpointState.REMOVED if is_removed else EndpointState.PAUSED
    return Kept(
        number,
        EndpointInfo(text(name) or "", "sink", state=state, state_reason=_DAMAGED, version=whole(version)),
        False,
    )


def _check_of(number: int, name: bytes, is_removed: int, said: bytes) -> int:
    return checksum(number, 0.0, name, None, said, is_removed)


def _check_of_private(number: int, private: bytes) -> int:
    return checksum(number, 0.0, b"", None, private, 0)


@contextlib.contextmanager
def _wiping(db: sqlite3.Connection) -> Iterator[None]:
    """Have what is deleted in this block overwritten, so that no secret stays in unused parts of the file."""
    (was,) = db.execute("PRAGMA secure_delete").fetchone()
    db.execute("PRAGMA secure_delete = 1").fetchone()
    try:
        yield
    finally:
        db.execute(f"PRAGMA secure_delete = {'FAST' if was == 2 else was}").fetchone()  # 2 is what it answers for it
