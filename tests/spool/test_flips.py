"""One bit of a file of events is flipped, whichever it is: what its rows say then, without a client around them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import combinations, count, product
from pathlib import Path

import pytest

from eventpipe.clock import Clock
from eventpipe.events import CapturedEvent
from eventpipe.spool import rows
from eventpipe.spool.file import open_file
from eventpipe.spool.folder import check, own_new
from eventpipe.spool.values import Ask, Settled, Written
from eventpipe.stores.sqlite_jobs import Transaction
from eventpipe.testing import make_event

EVENTS = 6
PAGE = 4096


def said(event: CapturedEvent) -> tuple[object, ...]:
    return event.uuid, event.name, event.data


def events_of(length: int) -> list[CapturedEvent]:
    """Events with a text of this length."""
    return [
        make_event("e", uuid=f"00000000-0000-7000-8000-{number:012}", properties={"n": number, "text": "x" * length})
        for number in range(EVENTS)
    ]


async def filled(folder: Path) -> tuple[list[CapturedEvent], bytes]:
    """Events, and a file that holds them, in which one bit of where a row begins makes it another row."""
    for length in count(60):
        events = events_of(length)
        content = await content_of(folder / str(length), events)
        if any((one ^ other).bit_count() == 1 for one, other in combinations(cells_of(content, leaf_of(content)), 2)):
            break
    return events, content


async def content_of(folder: Path, events: list[CapturedEvent]) -> bytes:
    """A closed file that holds these events."""
    owned = own_new(check(folder))
    file = await open_file(owned, ["sink"], Clock())
    await file.write(Written(file.next_ids(len(events)), events, 1, 1e9), is_synced=False)
    await file.aclose()
    owned.release()
    return owned.path.read_bytes()


def leaf_of(content: bytes) -> int:
    """Where the page begins that has the rows."""
    (at,) = (
        at for at in range(PAGE, len(content), PAGE) if content[at] == 0x0D and b'"text"' in content[at : at + PAGE]
    )
    return at


def cells_of(content: bytes, leaf: int) -> list[int]:
    """Where the rows of a page begin."""
    cells = int.from_bytes(content[leaf + 3 : leaf + 5])
    return [int.from_bytes(content[at : at + 2]) for at in range(leaf + 8, leaf + 8 + 2 * cells, 2)]


def twin_of(content: bytes) -> tuple[int, int]:
    """Where a bit is flipped, and which, so that a row is shown in the place of another."""
    leaf = leaf_of(content)
    cells = cells_of(content, leaf)
    index, bits = next(
        (index, one ^ other)
        for (index, one), other in product(enumerate(cells), cells)
        if (one ^ other).bit_count() == 1
    )
    return (leaf + 8 + 2 * index, bits >> 8) if bits >> 8 else (leaf + 9 + 2 * index, bits)


def read_all(db: sqlite3.Connection, most: int) -> Iterator[CapturedEvent | None]:
    """What a sink is given, by so many, and a ``None`` for each row that was set aside."""
    after, was_any = 0, False
    done: set[int] = set()
    while True:
        page = rows.read(Transaction(db), Ask(1, after, done, most, 1 << 20, 0.0, 0.0))
        yield from (event for _, event in page.events)
        yield from (None for _ in page.damaged)
        rows.settle(Transaction(db), [Settled(1, [number for number, _ in page.events])])
        done.update(number for number, _ in page.events)
        was_any |= bool(page.events or page.damaged)
        if page.events:
            after = page.events[-1][0]
        elif was_any:
            after, was_any = 0, False  # what was not found before may be found now
        else:
            return


@pytest.mark.asyncio
async def test_flipped_bit_of_a_row_costs_one_event_at_most_and_all_have_a_number(tmp_path: Path) -> None:
    """Nothing altered is read, nothing twice, and no row takes the place of another whose number it bears."""
    written, content = await filled(tmp_path)
    leaf = leaf_of(content)
    cells = cells_of(content, leaf)
    expected = {said(event) for event in written}
    flips = [
        *product(range(leaf, leaf + 8 + 2 * EVENTS), range(8), (1, EVENTS)),
        *product(range(leaf + cells[-1], leaf + PAGE), range(8), (1,)),
    ]
    unreadable = 0
    for at, bit, most in flips:
        altered = bytearray(content)
        altered[at] ^= 1 << bit
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
            db.deserialize(bytes(altered[:18] + b"\1\1" + altered[20:]))  # a file in memory has no write-ahead log
            db.execute("BEGIN")
            try:
                held = rows.hold(Transaction(db), 0.0)
                found = [*read_all(db, most)]
            except sqlite3.DatabaseError:  # the file is set aside as a whole
                unreadable += 1
                continue
            finally:
                db.execute("ROLLBACK")
        events = [said(event) for event in found if event is not None]
        assert len(set(events)) == len(events), (at, bit)
        assert set(events) <= expected, (at, bit)
        assert held.events["sink"] + held.damaged + held.missing >= EVENTS, (at, bit)
        if at >= leaf + cells[-1]:
            assert len(events) >= EVENTS - 1, (at, bit)
    assert unreadable < len(flips) // 10
