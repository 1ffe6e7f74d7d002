# ruff: noqa: ASYNC221, ASYNC240, S608, PT017  # files are what this is about, and nothing else runs in the loop
"""Damaged files and full disks: nothing altered is handed out, what is lost is listed, and consumers go on."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import sqlite3
import subprocess
import sys
import tracemalloc
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest
import pytest_asyncio

from eventpipe.errors import StoreError, StoreFullError, UnknownConsumerError
from eventpipe.events import CapturedEvent
from eventpipe.stores import SqliteStore
from eventpipe.stores.packing import checksum
from eventpipe.stores.sqlite_reserve import RESERVE_BYTES
from eventpipe.stores.sqlite_schema import place_of
from eventpipe.stores.values import Claims, Damage, Disposal, Disposition
from eventpipe.testing import make_event
from eventpipe.testing.store_rig import MUCH, attempts_of, offsets_of
from tests.scale import SCALE
from tests.stores.places import quick_place
from tests.stores.small_disk import KEY, Round, drained, in_a_disk_of_its_own, new_store, until_full

pytestmark = pytest.mark.asyncio
ROOT = Path(__file__).parents[2]


@pytest.fixture
def path() -> Iterator[Path]:
    """In memory: what disks do to files is done to them here by hand."""
    with quick_place() as folder:
        yield folder / "log.db"


async def filled(path: Path, count: int) -> list[CapturedEvent]:
    """A closed file with a consumer and so many events."""
    events = [make_event(f"e{number}", properties={"text": "x" * (number % 700)}) for number in range(count)]
    store = new_store(path)
    await store.open()
    await store.add_consumer(KEY, "earliest")
    await store.append("orders", events)
    await store.aclose()
    return events


def alter(path: Path, statement: str) -> None:
    db = sqlite3.connect(path)
    with db:
        db.execute(statement)
    db.close()


async def test_altered_and_missing_events_are_set_aside_and_listed(path: Path) -> None:
    """Never handed out, told once with the claim that met them, counted, and passed by the cursor."""
    events = await filled(path, 10)
    alter(path, f"UPDATE events SET name = 'other' WHERE place = {place_of(1, 2)}")
    alter(path, f"UPDATE events SET data = NULL OR 7 WHERE place = {place_of(1, 5)}")
    alter(path, f"DELETE FROM events WHERE place = {place_of(1, 9)}")
    alter(path, f"UPDATE events SET place = {place_of(1, 30)} WHERE place = {place_of(1, 0)}")
    store = new_store(path)
    await store.open()

    assert offsets_of(await store.read("orders", 0, max_events=100, max_bytes=MUCH)) == [1, 3, 4, 6, 7, 8]
    handed, damaged = await drained(store)
    assert [event.event.uuid for event in handed if event.event] == [events[n].uuid for n in (1, 3, 4, 6, 7, 8)]
    assert damaged == [0, 2, 5, 9]
    lost = [Damage("orders", number, "it is missing") for number in (0, 9)]
    altered = [Damage("orders", number, "it does not pass its checksum") for number in (2, 5)]
    assert await store.verify() == sorted([*lost, *altered])
    assert await store.verify("other") == []
    (topic,) = await store.topics()
    (consumer,) = await store.consumers()
    assert (topic.damaged, topic.end) == (4, 10)
    assert (consumer.position, consumer.pending, consumer.claimed) == (10, 0, 0)
    await store.aclose()


async def test_event_whose_place_is_altered_where_it_lies_is_missing(path: Path) -> None:
    """It is no reason to look for half a trillion events before it."""
    await filled(path, 10)
    # The place of the event at offset 5, as SQLite writes it; then that of one at 2**39 + 5 of a topic before it.
    was, now = bytes([0xA0, 0x80, 0x80, 0x80, 0x80, 5]), bytes([0x90, 0x80, 0x80, 0x80, 0x80, 5])
    content = path.read_bytes()
    assert content.count(was) == 1
    path.write_bytes(content.replace(was, now))
    store = new_store(path)
    await store.open()

    handed, damaged = await drained(store)
    assert (offsets_of(handed), damaged) == ([0, 1, 2, 3, 4, 6, 7, 8, 9], [5])
    assert await store.verify() == [Damage("orders", 5, "it is missing")]
    await store.aclose()


async def test_verify_finds_what_nobody_has_met(path: Path) -> None:
    """And sets it aside; a consumer that comes later passes it without a word of it being handed out."""
    await filled(path, 5)
    alter(path, f"UPDATE events SET appended_at = 1 WHERE place = {place_of(1, 3)}")
    store = new_store(path)
    await store.open()

    found = await store.verify("orders")
    assert found == [Damage("orders", 3, "it does not pass its checksum")]
    assert await store.verify() == found
    (consumer,) = await store.consumers()
    assert consumer.pending == 4
    handed, damaged = await drained(store)
    assert (offsets_of(handed), damaged) == ([0, 1, 2, 4], [3])
    (topic,) = await store.topics()
    assert (topic.events, topic.damaged) == (4, 1)
    await store.aclose()


async def test_event_that_is_damaged_after_it_was_given_back_counts_as_settled(path: Path) -> None:
    """It was intact when it was handed out first."""
    await filled(path, 2)
    store = new_store(path)
    await store.open()
    token = await store.acquire(KEY.lease, "a test", None)
    claims = await store.claim(KEY, token, max_events=9, max_bytes=MUCH)
    await store.settle(KEY, token, [Disposition(event, Disposal.NACK) for event in claims.events])
    await store.aclose()
    alter(path, f"UPDATE events SET size = 1 WHERE place = {place_of(1, 0)}")
    await store.open()
    token = await store.acquire(KEY.lease, "a test", None)

    claims = await store.claim(KEY, token, max_events=9, max_bytes=MUCH)

    assert (attempts_of(claims.events), list(claims.damaged)) == ([(1, 2)], [0])
    await store.settle(KEY, token, [Disposition(event, Disposal.ACK) for event in claims.events])
    (consumer,) = await store.consumers()
    assert (consumer.position, consumer.pending) == (2, 0)
    await store.aclose()


async def test_event_of_no_known_form_surfaces_with_its_offset(path: Path) -> None:
    """It passes its checksum, and cannot be decoded: it is handed out with what is kept, and why."""
    await filled(path, 1)
    place, extra = place_of(1, 0), b'{"later":1}'
    db = sqlite3.connect(path)
    (moment, name, data, size) = db.execute("SELECT appended_at, name, data, size FROM events").fetchone()
    with db:
        check = checksum(place, moment, name, extra, data, size)
        db.execute("UPDATE events SET extra = ?, checksum = ?", (extra, check))
    db.close()
    store = new_store(path)
    await store.open()

    (read,) = await store.read("orders", 0, max_events=1, max_bytes=MUCH)
    (handed,), damaged = await drained(store)

    for event in (read, handed):
        assert (event.offset, event.event, event.raw) == (0, None, data)
        assert event.fault is not None
        assert "version" in event.fault
    assert damaged == []
    await store.aclose()


@pytest.mark.parametrize("count", [1, 99, 100, 101, 250])
async def test_one_damaged_event_among_many_costs_none_of_the_others(path: Path, count: int) -> None:
    """Wherever it is among those that are read at once: first, last, or at either end of the claim."""
    events = await filled(path, count)
    for bad in sorted({0, 15, 31, 32, 98, 99, 100, count - 1}):
        if bad >= count:
            continue
        copy = path.with_name(f"{bad}.db")
        shutil.copy(path, copy)
        alter(copy, f"UPDATE events SET checksum = checksum + 1 WHERE place = {place_of(1, bad)}")
        store = new_store(copy)
        await store.open()
        token = await store.acquire(KEY.lease, "a test", None)

        claims = await store.claim(KEY, token, max_events=count, max_bytes=MUCH)

        assert list(claims.damaged) == [bad]
        found = [(event.offset, event.event.uuid) for event in claims.events if event.event]
        assert found == [(offset, event.uuid) for offset, event in enumerate(events) if offset != bad]
        await store.aclose()


async def test_large_events_beyond_what_is_asked_for_are_not_read(path: Path) -> None:
    """However many are asked for: what is in memory at once is bounded by the bytes that are, and not by the number."""
    store = new_store(path)
    await store.open()
    large = [make_event(f"e{number}", properties={"text": "x" * 400_000}) for number in range(80)]
    await store.append("orders", [*(make_event() for _ in range(40)), *large])
    del large
    tracemalloc.start()
    try:
        read = await store.read("orders", 40, max_events=500, max_bytes=1 << 20)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert offsets_of(read) == [40, 41]
    assert peak < 5 << 20  # all of them are 32 MB
    await store.aclose()


def pages_of_rows(path: Path) -> list[int]:
    """Where the pages are that say how topics, consumers and leases stand."""
    db = sqlite3.connect(path)
    wanted = "tbl_name IN ('topics', 'consumers', 'leases')"
    roots = [root for (root,) in db.execute(f"SELECT rootpage FROM sqlite_master WHERE {wanted}")]
    db.close()
    return [(root - 1) * 4096 for root in roots]


def flip(content: bytearray, chance: random.Random, places: Sequence[int]) -> None:
    content[chance.choice(places)] ^= 1 << chance.randrange(8)


@pytest.mark.seeds
@pytest.mark.parametrize("seed", range(12 * SCALE))
@pytest.mark.parametrize("kind", ["flip", "flip of rows", "truncate"])
async def test_every_event_that_was_appended_is_handed_out_as_it_was_or_listed(
    path: Path, kind: str, seed: int
) -> None:
    """Whatever happens to the bytes of a file that is closed; or an error names the file, or whose name is lost.

    Some bits flip anywhere, one flips in the rows of topics, consumers and leases, or an end is cut off. The consumer
    has had nothing yet; one that is paused by that has all of it pending.
    """
    events = await filled(path, 300)
    chance = random.Random(seed)
    content = bytearray(path.read_bytes())
    if kind == "flip":
        for _ in range(chance.choice([1, 3, 20])):
            flip(content, chance, range(len(content)))
    elif kind == "flip of rows":
        rows = [place for page in pages_of_rows(path) for place in range(page, page + 4096) if content[place]]
        flip(content, chance, rows)
    else:
        del content[chance.randrange(len(content)) :]
    path.write_bytes(content)
    originals = {event.uuid: (event.name, event.data) for event in events}
    store = new_store(path)

    try:
        await store.open()
        handed, _ = await drained(store)
        listed = {damage.offset for damage in await store.verify()}
        pending = sum(info.pending for info in await store.consumers() if info.is_paused)
    except UnknownConsumerError as error:
        assert kind != "truncate", error
    except StoreError as error:
        assert str(path) in str(error)
    else:
        for event in handed:
            assert event.event is not None
            assert originals[event.event.uuid] == (event.event.name, event.event.data)
        assert {event.offset for event in handed} | listed >= set(range(300)) or pending == 300
    finally:
        await store.aclose()


@pytest_asyncio.fixture
async def full(path: Path) -> AsyncIterator[SqliteStore]:
    """A store whose file can grow by some pages only, as a disk that is nearly full."""
    store = new_store(path)
    await store.open()
    assert store._port is not None
    db = store._port._file.connection.db
    db.execute("PRAGMA max_page_count=80")
    yield store
    await store.aclose()


async def test_full_disk_refuses_appends_and_drains(full: SqliteStore) -> None:
    """An append finds no room, twice; consumers settle all, which makes room, and it accepts again."""
    await full.add_consumer(KEY, "earliest")
    accepted, _ = await until_full(full)
    with pytest.raises(StoreFullError):
        await full.append("other", [make_event(properties={"text": "x" * 5_000})])

    handed, _ = await drained(full)

    assert offsets_of(handed) == list(range(accepted))
    assert accepted > 100
    assert (await until_full(full))[0] > accepted / 2


async def test_full_disk_knows_the_ids_of_what_it_made_room_of(full: SqliteStore) -> None:
    """What was settled a moment ago goes at once for what comes; who appends it again gets its offset."""
    await full.add_consumer(KEY, "earliest")
    first = make_event()
    await full.append("orders", [first])
    await until_full(full)
    await drained(full)

    assert (await until_full(full))[0] > 50
    (topic,) = await full.topics()
    assert topic.first > 0
    await drained(full)
    assert await full.append("orders", [first]) == [0]


async def test_full_disk_is_never_full_of_ids_alone(full: SqliteStore) -> None:
    """Where no event is left to make room of, the oldest ids are forgotten before their time."""
    await full.add_consumer(KEY, "earliest")
    for _ in range(30):
        accepted, _ = await until_full(full)
        assert accepted > 0
        await drained(full)


async def test_full_disk_makes_no_room_of_what_somebody_has_not_settled(full: SqliteStore) -> None:
    """However often it is asked for room, and whoever else has settled it."""
    slow = KEY._replace(name="slow")
    await full.add_consumer(KEY, "earliest")
    await full.add_consumer(slow, "earliest")
    accepted, _ = await until_full(full)
    await drained(full)

    assert [(await until_full(full))[0] for _ in range(3)] == [0, 0, 0]
    assert [(info.name, info.pending) for info in await full.consumers()] == [("billing", 0), ("slow", accepted)]
    assert len(await full.read("orders", 0, max_events=9_999, max_bytes=MUCH)) == accepted


async def test_appends_at_once_on_a_full_disk_are_refused_each(full: SqliteStore) -> None:
    """Together with what consumers ask for, which is done."""
    await full.add_consumer(KEY, "earliest")
    accepted, _ = await until_full(full)
    big = {"text": "x" * 5_000}
    token = await full.acquire(KEY.lease, "a test", None)

    answers = await asyncio.gather(
        *(full.append("orders", [make_event(properties=big)]) for _ in range(20)),
        full.claim(KEY, token, max_events=5, max_bytes=MUCH),
        *(full.append("orders", [make_event(properties=big)]) for _ in range(20)),
        return_exceptions=True,
    )

    claims = answers.pop(20)
    assert isinstance(claims, Claims)
    assert len(claims.events) == 5
    assert [type(answer) for answer in answers] == [StoreFullError] * 40
    assert [info.events for info in await full.topics()] == [accepted]


@pytest.mark.wallclock
async def test_real_disk_of_a_mebibyte_is_filled_and_drained_again_and_again(tmp_path: Path) -> None:
    """All that was accepted is handed out, the reserve is there again, and it accepts as much as the first time.

    An append that finds no room is told so within 50 ms.
    """
    attempt = in_a_disk_of_its_own(tmp_path, "true")
    if not shutil.which("unshare") or subprocess.run(attempt, capture_output=True, check=False).returncode:
        pytest.skip("no disk of 1 MiB can be mounted here")
    command = in_a_disk_of_its_own(tmp_path, sys.executable, "-m", "tests.stores.small_disk", tmp_path)
    ran = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True, timeout=50)

    rounds = [Round(*each) for each in json.loads(ran.stdout)]
    assert [each.drained for each in rounds] == [each.accepted for each in rounds]
    assert [each.reserve for each in rounds] == [RESERVE_BYTES] * len(rounds)
    assert min(each.accepted for each in rounds) > 100
    assert min(each.accepted for each in rounds) > max(each.accepted for each in rounds) / 2
    # All but one: another process may have had the processor meanwhile.
    refusals = sorted(seconds for each in rounds for seconds in each.refusals)
    assert refusals[-2] < 0.05
    assert list(tmp_path.iterdir()) == []
