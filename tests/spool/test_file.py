"""One file of a spool: what is written is read back, until every sink has settled it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from eventpipe.clock import Clock
from eventpipe.encoding import Encoder
from eventpipe.events import CapturedEvent
from eventpipe.spool import folder
from eventpipe.spool.file import SpoolFile, open_file
from eventpipe.spool.values import Written

pytestmark = pytest.mark.asyncio


def an_event(number: int = 0) -> CapturedEvent:
    """An event of some bytes."""
    return Encoder().encode("signed_up", f"u{number}", {"number": number}, None, None, {"trace": "t"}, "k", None)


async def kept(file: SpoolFile, *events: CapturedEvent, sinks: tuple[str, ...] = ("sink",)) -> list[int]:
    """Write events; their numbers."""
    owed = sum(file.bits[sink] for sink in sinks)
    ids = file.next_ids(len(events))
    await file.write(Written(ids, events, owed, 1000.0), is_synced=False)
    return [*ids]


@pytest_asyncio.fixture
async def file(tmp_path: Path) -> AsyncIterator[SpoolFile]:
    place = folder.check(tmp_path / "spool")
    made = await open_file(folder.own_new(place), ["sink", "other"], Clock())
    yield made
    await made.aclose()
    made.owned.release()


async def read_all(file: SpoolFile, sink: str = "sink") -> list[tuple[int, CapturedEvent]]:
    """All that a sink is owed."""
    page = await file.read(file.bits[sink], after=0, held=set(), max_events=100, max_bytes=1 << 20)
    return page.events


async def test_what_is_written_is_read_back_in_its_order(file: SpoolFile) -> None:
    """Every part of an event comes back as it was."""
    events = [an_event(number) for number in range(5)]
    ids = await kept(file, *events)

    found = await read_all(file)

    assert [number for number, _ in found] == ids
    assert [(one.name, one.data, one.extra, one.lane) for _, one in found] == [
        (one.name, one.data, one.extra, one.lane) for one in events
    ]


async def test_event_goes_when_every_sink_has_settled_it_in_any_order(file: SpoolFile) -> None:
    """Of two sinks, each has it until it has settled it itself."""
    first, second, third = await kept(file, an_event(), an_event(), an_event(), sinks=("sink", "other"))

    await file.settle(file.bits["sink"], [third, first])
    assert [number for number, _ in await read_all(file)] == [second]
    assert [number for number, _ in await read_all(file, "other")] == [first, second, third]

    await asyncio.gather(file.settle(file.bits["other"], [first]), file.settle(file.bits["sink"], [second]))
    holding = await file.hold()
    assert (holding.rows, holding.events) == (2, {"sink": 0, "other": 2})


async def test_page_leaves_out_what_is_in_memory_and_keeps_its_bounds(file: SpoolFile) -> None:
    """By events and by bytes; one that is larger than the bound comes alone."""
    ids = await kept(file, *(an_event(number) for number in range(6)))
    bit, held = file.bits["sink"], an_event().held

    page = await file.read(bit, after=ids[0], held={ids[2]}, max_events=2, max_bytes=1 << 20)
    assert [number for number, _ in page.events] == [ids[1], ids[3]]
    page = await file.read(bit, after=ids[3], held=set(), max_events=9, max_bytes=2 * held - 1)
    assert [number for number, _ in page.events] == [ids[4]]
    page = await file.read(bit, after=ids[4], held=set(), max_events=9, max_bytes=1)
    assert [number for number, _ in page.events] == [ids[5]]
    page = await file.read(bit, after=ids[5], held=set(), max_events=9, max_bytes=1)
    assert page.events == []


async def test_number_is_never_given_twice(tmp_path: Path) -> None:
    """Also after a life in which all events were settled."""
    place = folder.check(tmp_path / "spool")
    owned = folder.own_new(place)
    first = await open_file(owned, ["sink"], Clock())
    ids = await kept(first, an_event(), an_event())
    await first.settle(first.bits["sink"], ids)
    await first.aclose()

    again = await open_file(owned, ["sink"], Clock())
    assert again.holding.rows == 0
    assert min(again.next_ids(2)) > max(ids)
    await again.aclose()
    owned.release()


@pytest.mark.parametrize(
    "change",
    [
        "data = cast(data || 'x' as blob)",
        "data = substr(data, 2)",
        "name = cast('x' || name as blob)",
        "extra = NULL",
        "owed = owed + (1 << 35)",
        "owed = owed | 2",  # to another sink
        "owed = owed & ~1",  # to nobody
        "owed = 'text'",
        "size = size + 1",
        "captured_at = captured_at + 1",
        "captured_at = 'text'",
    ],
)
async def test_altered_row_is_set_aside_and_its_neighbours_are_read(tmp_path: Path, change: str) -> None:
    """Whatever was altered of it; it is never handed out, and is to be found in quarantine."""
    place = folder.check(tmp_path / "spool")
    owned = folder.own_new(place)
    first = await open_file(owned, ["sink"], Clock())
    ids = await kept(first, *(an_event(number) for number in range(3)))
    await first.aclose()
    with sqlite3.connect(owned.path) as db:
        db.execute(f"UPDATE events SET {change} WHERE id = ?", (ids[1],))  # noqa: S608  # as listed above
    db.close()

    again = await open_file(owned, ["sink"], Clock())
    page = await again.read(again.bits["sink"], after=0, held=set(), max_events=9, max_bytes=1 << 20)
    assert [number for number, _ in page.events] == [ids[0], ids[2]]
    holding = await again.hold()
    assert (holding.rows, holding.damaged) == (2, 1)
    await again.aclose()
    owned.release()
