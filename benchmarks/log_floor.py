"""The floor of a log, and of a spool: bare loops over the same rows in the same tables, which promise nothing.

The file is set up as eventpipe's own, with the same journal, durability and checkpoints. The rows are ready-made:
nothing is encoded, no id is looked up, no checksum is made, and nobody is answered. What is read stays a row; where it
is checked, its checksum is compared, and it becomes an event. There is no thread but the caller's, where nobody waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from eventpipe.events import UUID_AT, CapturedEvent
from eventpipe.stores.packing import checksum, unpack
from eventpipe.stores.sqlite_opening import Scheme, SqliteDurability, connect
from eventpipe.stores.sqlite_reserve import Reserve
from eventpipe.stores.sqlite_schema import SCHEME, place_of

Row = tuple[object, ...]
Kept = tuple[int, float, bytes, bytes | None, bytes, int, int]  # the columns of a row that are read

_TOPIC = 1
_INSERT = "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"


class Bare:
    """A file that rows are written to, and read from, by hand; one of the log unless another scheme is named.

    Args:
        path: Where it is.
        durability: What a commit outlives.
        scheme: What tables it has.
        insert: The statement that writes a row.
    """

    def __init__(
        self, path: Path, durability: SqliteDurability, scheme: Scheme = SCHEME, insert: str = _INSERT
    ) -> None:
        self.db = connect(str(path), scheme, is_shared=False, durability=durability, reserve=Reserve(str(path)))
        self._insert = insert

    def write(self, rows: Sequence[Row], group: int) -> None:
        """Commit rows, so many at a time."""
        db = self.db
        for first in range(0, len(rows), group):
            db.execute("BEGIN IMMEDIATE")
            db.executemany(self._insert, rows[first : first + group])
            db.execute("COMMIT")

    async def write_awaited(self, rows: Sequence[Row], producers: int) -> None:
        """Commit rows for so many producers, each of which waits for the commit of one before it has another.

        What is there when a commit ends is committed next, in a thread: the least that any log does for those who wait.
        """
        loop = asyncio.get_running_loop()
        waiting: list[tuple[Row, asyncio.Future[None]]] = []
        stir = asyncio.Event()

        async def produce(share: Sequence[Row]) -> None:
            for row in share:
                future = loop.create_future()
                waiting.append((row, future))
                stir.set()
                await future

        async def commit() -> None:
            while await stir.wait():
                stir.clear()
                taken = waiting[:]
                waiting.clear()
                group = [row for row, _ in taken]
                await loop.run_in_executor(thread, self.write, group, len(group))
                for _, future in taken:
                    future.set_result(None)

        with ThreadPoolExecutor(1) as thread:
            committing = loop.create_task(commit())
            await asyncio.gather(*(produce(rows[number::producers]) for number in range(producers)))
            committing.cancel()

    def read(self, events: int, batch: int, *, checked: bool = False) -> int:
        """Read the first so many, a batch at a time, and keep after each how far this is; how many were read.

        As rows; or, ``checked``, compared with their checksums and made into events, which any reader of the file does
        who is to use them.
        """
        return sum(len(page) for page in self._pages(events, batch, checked=checked))

    async def read_awaited(self, events: int, batch: int) -> int:
        """As ``read(…, checked=True)``, in a thread: an event loop, which must not stand still, waits for each batch.

        The next batch is read while the loop has the one before, as by any reader that does not wait without need.
        """
        loop, found = asyncio.get_running_loop(), 0
        pages = self._pages(events, batch, checked=True)
        with ThreadPoolExecutor(1) as thread:
            reading = loop.run_in_executor(thread, next, pages, None)
            while (page := await reading) is not None:
                reading = loop.run_in_executor(thread, next, pages, None)
                found += len(page)
        return found

    def _pages(self, events: int, batch: int, *, checked: bool) -> Iterator[Sequence[Kept] | Sequence[CapturedEvent]]:
        db = self.db
        (consumer,) = db.execute(
            "INSERT INTO consumers (topic, name, position, next, handed, claims, fence)"
            " VALUES (0, 'bare', 0, 0, 0, 0, 0) RETURNING id"
        ).fetchone()
        for offset in range(0, events, batch):
            rows = db.execute(
                "SELECT place, appended_at, name, extra, data, size, checksum FROM events"
                " WHERE place >= ? AND place < ? ORDER BY place LIMIT ?",
                (place_of(_TOPIC, offset), place_of(_TOPIC, events), batch),
            ).fetchall()
            yield _events_of(rows) if checked else rows
            db.execute("BEGIN IMMEDIATE")
            db.execute("UPDATE consumers SET position = ? WHERE id = ?", (offset + len(rows), consumer))
            db.execute("COMMIT")
        db.execute("DELETE FROM consumers WHERE id = ?", (consumer,))


@contextmanager
def bare(path: Path, durability: SqliteDurability, scheme: Scheme = SCHEME, insert: str = _INSERT) -> Iterator[Bare]:
    """A file, until the end of the block; the arguments are those of ``Bare``."""
    path.touch(0o600)
    opened = Bare(path, durability, scheme, insert)
    try:
        yield opened
    finally:
        opened.db.close()


def _events_of(rows: Sequence[Kept]) -> list[CapturedEvent]:
    """Those that pass their checksums."""
    return [
        unpack(name, extra, data, moment)
        for place, moment, name, extra, data, size, check in rows
        if checksum(place, moment, name, extra, data, size) == check
    ]


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
