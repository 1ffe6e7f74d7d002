"""The floor of a log: bare loops over the same rows in the same tables, which promise nothing.

The file is set up as the log's own, with the same journal, durability and checkpoints. The rows are ready-made: nothing
is encoded, no id is looked up, no checksum is made or compared, nobody is answered, and no event is made of what is
read. There is no thread but the caller's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from eventpipe.events import UUID_AT, CapturedEvent
from eventpipe.stores.sqlite_opening import SqliteDurability, connect
from eventpipe.stores.sqlite_reserve import Reserve
from eventpipe.stores.sqlite_schema import SCHEME, place_of

Row = tuple[int, int, bytes, float, int, int, bytes, None, bytes]

_TOPIC = 1


class Bare:
    """A file that rows are written to, and read from, by hand."""

    def __init__(self, path: Path, durability: SqliteDurability) -> None:
        self.db = connect(str(path), SCHEME, is_shared=False, durability=durability, reserve=Reserve(str(path)))

    def write(self, rows: Sequence[Row], group: int) -> None:
        """Commit rows, so many at a time."""
        db = self.db
        for first in range(0, len(rows), group):
            db.execute("BEGIN IMMEDIATE")
            db.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows[first : first + group])
            db.execute("COMMIT")

    def read(self, events: int, batch: int) -> int:
        """Read the first so many, a batch at a time, and keep after each how far this is; how many were read."""
        db = self.db
        (consumer,) = db.execute(
            "INSERT INTO consumers (topic, name, position, next, handed, claims, fence)"
            " VALUES (0, 'bare', 0, 0, 0, 0, 0) RETURNING id"
        ).fetchone()
        found = 0
        for offset in range(0, events, batch):
            rows = db.execute(
                "SELECT place, appended_at, name, extra, data, size, checksum FROM events"
                " WHERE place >= ? AND place < ? ORDER BY place LIMIT ?",
                (place_of(_TOPIC, offset), place_of(_TOPIC, events), batch),
            ).fetchall()
            found += len(rows)
            db.execute("BEGIN IMMEDIATE")
            db.execute("UPDATE consumers SET position = ? WHERE id = ?", (offset + len(rows), consumer))
            db.execute("COMMIT")
        db.execute("DELETE FROM consumers WHERE id = ?", (consumer,))
        return found


@contextmanager
def bare(path: Path, durability: SqliteDurability) -> Iterator[Bare]:
    """A file, until the end of the block."""
    path.touch(0o600)
    opened = Bare(path, durability)
    try:
        yield opened
    finally:
        opened.db.close()


def rows_of(events: Sequence[CapturedEvent], first: int) -> list[Row]:
    """Events as rows, from an offset on."""
    return [
        (
            place_of(_TOPIC, offset),
            _TOPIC,
            event.data[UUID_AT],
            0.0,
            len(event.data),
            0,
            event.name.encode(),
            None,
            event.data,
        )
        for offset, event in enumerate(events, first)
    ]
