# ruff: noqa: ASYNC110, ASYNC240  # threads bring about what is waited for, and nothing else runs in the loop
"""A closed file of a spool is damaged: nothing altered is sent, what is lost has its number, and work goes on."""

from __future__ import annotations

import asyncio
import logging
import random
import re
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import pytest
import pytest_asyncio

from eventpipe import AsyncClient, RetryPolicy, TransientSinkError
from eventpipe.clock import Clock
from eventpipe.errors import StoreError
from eventpipe.sinks import MemorySink
from eventpipe.spool.file import open_file
from eventpipe.spool.folder import check, orphans, own_new
from eventpipe.spool.values import Written
from eventpipe.testing import check_ledger, make_event
from eventpipe.testing.recording import RecordingSink
from tests.processes.spooling import properties, seal
from tests.scale import SCALE
from tests.spool.test_flips import EVENTS as EVENTS_OF_A_PAGE
from tests.spool.test_flips import filled as filled_evenly
from tests.spool.test_flips import twin_of

EVENTS = 200
PAGE = 4096
ROUNDS = 4 * SCALE  # of each kind of damage
BULK = 100_000 if SCALE > 1 else 20_000  # events of a kilobyte, in the file that is opened on time
START_PER_BYTE = 1.0 / 100e6

pytestmark = [pytest.mark.asyncio, pytest.mark.wallclock, pytest.mark.timeout(60 + 60 * SCALE)]

Damage = Callable[[bytearray, random.Random], bytearray]


def flipped(bits: int) -> Damage:
    def damage(content: bytearray, chance: random.Random) -> bytearray:
        for _ in range(bits):
            place = chance.randrange(8 * len(content))
            content[place // 8] ^= 1 << place % 8
        return content

    return damage


def cut(share: float) -> Damage:
    return lambda content, _: content[: round(len(content) * (1 - share))]


def with_a_page_of_zeros(content: bytearray, chance: random.Random) -> bytearray:
    first = PAGE * chance.randrange(len(content) // PAGE)
    content[first : first + PAGE] = bytes(PAGE)
    return content


DAMAGES: dict[str, Damage] = {
    **{f"{bits} bits flipped": flipped(bits) for bits in (1, 4, 16, 64)},
    **{f"{share:.1%} cut off": cut(share) for share in (0.5, 0.9, 0.999)},
    "a page of zeros": with_a_page_of_zeros,
}


class DownSink(RecordingSink):
    """A far end that is down."""

    async def _answer(self, batch: object) -> None:
        raise TransientSinkError("down")


async def fill(folder: Path, events: Sequence[Mapping[str, object]]) -> None:
    """A closed file with events of these properties."""
    async with AsyncClient(
        DownSink(name="far"), spool=folder, close_timeout=0.1, retry=RetryPolicy(max_attempts=1000)
    ) as client:
        for said in events:
            await client.capture("e", properties=said)


async def drained(client: AsyncClient) -> None:
    """Wait until nothing is left, neither in memory nor on disk."""
    async with asyncio.timeout(20):
        while (left := check_ledger(client)).pending or left.spooled:
            await asyncio.sleep(0.005)


@pytest_asyncio.fixture
async def filled(tmp_path: Path) -> Path:
    """A closed file."""
    await fill(tmp_path / "filled", [properties(number) for number in range(EVENTS)])
    (path,) = (tmp_path / "filled").glob("*.db")
    return path


@pytest.mark.parametrize("kind", DAMAGES)
async def test_nothing_altered_is_sent_and_what_is_lost_has_its_number(
    filled: Path, tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever the file looks like the client starts, sends what it can read, and works.

    What it cannot read it counts as damaged, or says how much of it is kept or missing, or leaves the file as it was.
    """
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")  # noqa: T201  # to repeat a failure
    chance = random.Random(seed)
    for turn in range(ROUNDS):
        caplog.clear()
        folder = tmp_path / f"turn-{turn}"
        folder.mkdir(mode=0o700)
        path = folder / filled.name
        content = DAMAGES[kind](bytearray(filled.read_bytes()), chance)
        path.write_bytes(content)

        sink = MemorySink(name="far")
        async with AsyncClient(sink, spool=folder, durability="process", max_batch_age=0.01) as client:
            fresh = await client.capture("e", properties=properties(EVENTS))
            await drained(client)
        numbers = check_ledger(client, received=sink.uuids, drained=True)

        told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
        kept = [int(found[1]) for line in told if (found := re.search(r"keeps (\d+) events that do not pass", line))]
        missing = [
            int(found[1]) for line in told if (found := re.match(r"(\d+) more events of .* cannot be found", line))
        ]
        arrived = [event.properties["n"] for event in sink.events]
        assert fresh.uuid in sink.uuids
        assert [
            event for event in sink.events if seal(event.properties) != seal(properties(event.properties["n"]))
        ] == []
        assert len(set(arrived)) == len(arrived) == numbers.recovered - numbers.dropped + 1
        assert set(numbers.dropped_by_reason) <= {"damaged"}
        if any("cannot be read, and is left as it is" in line for line in told):
            assert numbers.recovered == 0
            assert path.read_bytes() == content
        else:
            # A damaged file may show an event twice.
            assert numbers.recovered + sum(kept) + sum(missing) >= EVENTS


async def test_file_that_is_damaged_where_it_is_read_is_set_aside(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What waited there is counted as damaged, the file stays for whoever repairs it, and another takes what is new."""
    folder = tmp_path / "spool"
    await fill(folder, [{"n": number, "text": "x" * 5 * PAGE} for number in range(5)])
    (path,) = folder.glob("*.db")
    content = bytearray(path.read_bytes())
    inside = next(at for at in range(0, len(content), PAGE) if content[at + 4 : at + PAGE] == b"x" * (PAGE - 4))
    content[inside : inside + 4] = b"\x7f\xff\xff\xff"  # where the event goes on
    path.write_bytes(content)

    sink = MemorySink(name="far")
    async with AsyncClient(sink, spool=folder, durability="process", max_batch_age=0.01) as client:
        assert client.statistics().recovered == 5
        await drained(client)
        fresh = await client.capture("e")
        assert fresh.durability == "process"
        assert len([*folder.glob("*.db")]) == 2
    numbers = check_ledger(client, received=sink.uuids, drained=True)
    assert (numbers.delivered, numbers.dropped_by_reason) == (1, {"damaged": 5})
    assert [*folder.glob("*.db")] == [path]
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert told[1].startswith("a file of the spool is set aside as it is, with 5 events that waited there: ")
    assert len(told) == 2  # and that events are dropped


@pytest.mark.parametrize(
    "altered",
    [
        "data = CAST(x'7bff7d' AS TEXT)",
        "name = CAST(x'ff' AS TEXT)",
        "owed = owed + 0.5",
        "owed = x'01'",
        "captured_at = 'yesterday'",
        "size = x'00'",
        "checksum = 1.5",
    ],
)
async def test_row_that_holds_something_else_costs_itself(filled: Path, altered: str) -> None:
    """Whatever stands where a number or bytes were: the row is damaged, and all others are sent."""
    with closing(sqlite3.connect(filled)) as db:
        db.execute(f"UPDATE events SET {altered} WHERE id = 7")  # noqa: S608
        db.commit()

    sink = MemorySink(name="far")
    async with AsyncClient(sink, spool=filled.parent, max_batch_age=0.01) as client:
        await drained(client)
    check_ledger(client, received=sink.uuids, drained=True)
    assert sorted(event.properties["n"] for event in sink.events) == [*range(6), *range(7, EVENTS)]


async def test_file_that_cannot_be_opened_is_left_as_it_is_whatever_could_have_been_written(filled: Path) -> None:
    """Not even the name of a sink that is new to it is added."""
    content = bytearray(filled.read_bytes())
    for at in range(0, len(content), PAGE):
        if content[at] == 0x0D and b'"properties"' in content[at : at + PAGE]:  # a page of events
            content[at + 3 : at + 5] = b"\xff\xff"  # so many
    filled.write_bytes(content)
    (owned,) = orphans(filled.parent)
    with pytest.raises(StoreError, match="damaged"):
        await open_file(owned, ["far", "new"], Clock())
    owned.release()
    assert filled.read_bytes() == content
    assert [path.stat().st_size for path in filled.parent.glob("*-wal")] == [0]


async def test_event_that_a_page_does_not_show_any_more_is_counted_when_nothing_else_is_left(tmp_path: Path) -> None:
    """One row stands where another began, and is shown twice: one is sent, the other has its number, and none waits."""
    written, whole = await filled_evenly(tmp_path)
    at, flipped_bit = twin_of(whole)
    content = bytearray(whole)
    content[at] ^= flipped_bit
    (check(tmp_path / "spool") / "20260131T090500-00000000.db").write_bytes(content)

    sink = MemorySink(name="sink")
    async with AsyncClient(sink, spool=tmp_path / "spool", max_batch_age=0.01) as client:
        assert client.statistics().recovered == EVENTS_OF_A_PAGE
        await drained(client)
    numbers = check_ledger(client, received=sink.uuids, drained=True)
    assert (numbers.delivered, numbers.dropped_by_reason) == (EVENTS_OF_A_PAGE - 1, {"damaged": 1})
    assert set(sink.uuids) < {event.uuid for event in written}


async def test_file_is_opened_in_a_second_for_100_megabytes(tmp_path: Path) -> None:
    """Every row is looked at in that time."""
    folder = check(tmp_path / "bulk")
    owned = own_new(folder)
    clock = Clock()
    file = await open_file(owned, ["far"], clock)
    event = make_event(properties={"text": "x" * 900})
    for _ in range(BULK // 1000):
        await file.write(Written(file.next_ids(1000), [event] * 1000, 1, clock.time()), is_synced=False)
    await file.aclose()
    size = owned.path.stat().st_size
    took = []
    for _ in range(3):
        began = time.perf_counter()
        file = await open_file(owned, ["far"], clock)
        took.append(time.perf_counter() - began)
        assert file.holding.events == {"far": BULK}
        await file.aclose()
    owned.release()
    assert min(took) <= max(size * START_PER_BYTE, 0.05)
