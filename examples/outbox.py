"""Events that are captured if, and only if, a transaction of your own database is committed.

``python -m examples.outbox order alice 19.90`` writes an order and its event in one transaction; both are there or
neither. ``python -m examples.outbox relay`` moves events from that table to the log, every second until it is ended.

What this is: at least once, with the events of a crash told apart by their ids. The relay dies after an append and
before its delete, and the next one appends the same events; the log knows their ids for ``dedupe_window`` seconds, here
a week, and keeps them once. A relay that comes back later than that appends them again. It is not one transaction over
two databases, and an event is in the log up to a second after its order.
"""

import asyncio
import datetime
import json
import signal
import sqlite3
import sys
import uuid
from contextlib import closing, suppress

from eventpipe import Event, EventLog
from eventpipe.stores import SqliteStore

PAGE = 500  # events that are moved at once
WEEK = 7 * 86_400.0

TABLES = """
CREATE TABLE IF NOT EXISTS orders (number INTEGER PRIMARY KEY, customer TEXT NOT NULL, total REAL NOT NULL);
CREATE TABLE IF NOT EXISTS outbox (
    place INTEGER PRIMARY KEY AUTOINCREMENT,  -- so that no place is used again, and order is kept
    uuid TEXT NOT NULL, happened_at TEXT NOT NULL, event TEXT NOT NULL, customer TEXT NOT NULL, properties TEXT NOT NULL
);
"""


def connect(path: str) -> sqlite3.Connection:
    db = sqlite3.connect(path)
    db.executescript(TABLES)
    return db


def place_order(db: sqlite3.Connection, customer: str, total: float) -> int | None:
    """What a web handler does: its own row, and the event's, in one transaction."""
    with db:
        number = db.execute("INSERT INTO orders (customer, total) VALUES (?, ?)", (customer, total)).lastrowid
        db.execute(
            "INSERT INTO outbox (uuid, happened_at, event, customer, properties) VALUES (?, ?, 'ordered', ?, ?)",
            (
                str(uuid.uuid4()),  # made here, once: by it the log knows the event when it comes again
                datetime.datetime.now(datetime.UTC).isoformat(),
                customer,
                json.dumps({"number": number, "total": total}),
            ),
        )
    return number


async def relay(db: sqlite3.Connection, log: EventLog) -> int:
    """Move what is in the outbox to the log, in order; how many events."""
    moved = 0
    while rows := db.execute("SELECT * FROM outbox ORDER BY place LIMIT ?", (PAGE,)).fetchall():
        await log.append_many(
            "orders",
            [
                Event(
                    event,
                    uuid=id_,
                    timestamp=datetime.datetime.fromisoformat(happened_at),
                    distinct_id=customer,
                    properties=json.loads(properties),
                )
                for _, id_, happened_at, event, customer, properties in rows
            ],
        )
        with db:  # after the append: a crash between the two repeats an append, and loses no event
            db.execute("DELETE FROM outbox WHERE place <= ?", (rows[-1][0],))
        moved += len(rows)
    return moved


async def run_relay(db: sqlite3.Connection) -> None:
    is_terminated = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, is_terminated.set)
    async with EventLog(SqliteStore("orders-log.db", dedupe_window=WEEK)) as log:
        while not is_terminated.is_set():
            if moved := await relay(db, log):
                sys.stdout.write(f"{moved} events moved\n")
                sys.stdout.flush()
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await is_terminated.wait()


def main(*arguments: str) -> None:
    with closing(connect("shop.db")) as db:
        match arguments:
            case ["order", customer, total]:
                sys.stdout.write(f"order {place_order(db, customer, float(total))}\n")
            case ["relay"]:
                asyncio.run(run_relay(db))
            case _:
                sys.exit("say order CUSTOMER TOTAL, or relay")


if __name__ == "__main__":
    main(*sys.argv[1:])
