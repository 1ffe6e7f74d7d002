"""Leases in SQLite; plain functions of a transaction."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

from eventpipe.errors import LeaseHeldError, LeaseLostError
from eventpipe.stores.sqlite_jobs import Transaction


class Hold(NamedTuple):
    """What is asked of a lease.

    Attributes:
        name: Its name.
        token: The token of the owner; 0 of one who wants to be it.
        holder: Who asks, for the eyes of people.
        ttl: Seconds that it lasts; ``None``: until it is released.
        now: Wall clock.
    """

    name: str
    token: int
    holder: str
    ttl: float | None
    now: float

    @property
    def ends_at(self) -> float | None:
        """When it ends."""
        return None if self.ttl is None else self.now + self.ttl


def acquire(transaction: Transaction, ask: Hold) -> int:
    """Take a lease that nobody has; its token.

    Raises:
        LeaseHeldError: Somebody has it.
    """
    holder, remaining = state(transaction.db, ask.name, ask.now)
    if holder is not None:
        raise LeaseHeldError(f"the lease {ask.name!r}", holder=holder, remaining=remaining)
    (token,) = transaction.db.execute(
        "INSERT INTO leases (name, token, holder, ends_at) VALUES (?, 1, ?, ?) ON CONFLICT (name) DO UPDATE"
        " SET token = token + 1, holder = excluded.holder, ends_at = excluded.ends_at RETURNING token",
        (ask.name, ask.holder, ask.ends_at),
    ).fetchone()
    return int(token)


def renew(transaction: Transaction, ask: Hold) -> None:
    """Make it last from now on.

    Raises:
        LeaseLostError: There is a newer owner, or it was released.
    """
    check(transaction.db, ask.name, ask.token, ask.now)
    renewed = transaction.db.execute(
        "UPDATE leases SET ends_at = ? WHERE name = ? AND holder IS NOT NULL", (ask.ends_at, ask.name)
    )
    if not renewed.rowcount:
        raise LeaseLostError(f"the lease {ask.name!r} was released; acquire it anew")


def release(transaction: Transaction, ask: tuple[str, int]) -> None:
    """Give it back, if it is held under this token."""
    released = transaction.db.execute(
        "UPDATE leases SET holder = NULL WHERE name = ? AND token = ? AND holder IS NOT NULL", ask
    )
    if released.rowcount:
        transaction.touched.add(ask[0])


def release_all(transaction: Transaction, held: list[tuple[str, int]]) -> None:
    """Give back those of a store that is closed: name and token of each."""
    for ask in held:
        release(transaction, ask)


def revoke(transaction: Transaction, name: str) -> None:
    """Take it from whoever has it, or had it last: the token counts no more."""
    revoked = transaction.db.execute("UPDATE leases SET token = token + 1, holder = NULL WHERE name = ?", (name,))
    if revoked.rowcount:
        transaction.touched.add(name)


def check(db: sqlite3.Connection, name: str, token: int, now: float) -> None:
    """See that a token is the newest, whether its lease is held or not.

    Raises:
        LeaseLostError: It is not.
    """
    row = db.execute("SELECT token FROM leases WHERE name = ?", (name,)).fetchone()
    if row is None or row[0] != token:
        raise LeaseLostError(
            f"the lease {name!r} was lost: token {token} is not the newest; acquire it anew",
            holder=state(db, name, now)[0],
        )


def state(db: sqlite3.Connection, name: str, now: float) -> tuple[str | None, float | None]:
    """Who holds it, and for how many seconds it goes on; ``None``: nobody, and without an end."""
    row = db.execute("SELECT holder, ends_at FROM leases WHERE name = ?", (name,)).fetchone()
    if row is None or row[0] is None or (row[1] is not None and row[1] <= now):
        return None, None
    return row[0], None if row[1] is None else row[1] - now
