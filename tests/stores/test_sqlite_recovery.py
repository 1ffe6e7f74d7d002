# ruff: noqa: ASYNC240, S608  # a file is what this is about, and nothing else runs in the loop
"""Files whose rows contradict one another: no event is passed over in silence, and no offset is given twice."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventpipe.errors import StoreError
from eventpipe.stores import SqliteStore
from eventpipe.stores.sqlite_schema import OFFSET_MASK, place_of
from eventpipe.stores.values import Damage, Disposal, Disposition
from eventpipe.testing import make_event
from eventpipe.testing.store_rig import MUCH, attempts_of, offsets_of, some_events
from tests.stores.places import quick_place
from tests.stores.small_disk import KEY, drained

pytestmark = pytest.mark.asyncio


@pytest.fixture
def path() -> Iterator[Path]:
    with quick_place() as folder:
        yield folder / "log.db"


async def opened(path: Path) -> SqliteStore:
    store = SqliteStore(path, durability="process", dedupe_window=0)
    await store.open()
    return store


async def left_behind(path: Path, *, trimmed: bool = False) -> None:
    """Make a file with 300 events; of the first 170 one consumer settled 100, and another has settled 50.

    With ``trimmed`` both have settled all of them, and none is kept.
    """
    store = await opened(path)
    await store.append("orders", some_events(300))
    for name, claimed, settled in [("billing", 170, 100), ("slow", 50, 50)]:
        key = KEY._replace(name=name)
        await store.add_consumer(key, "earliest")
        token = await store.acquire(key.lease, "a test", None)
        claims = await store.claim(key, token, max_events=300 if trimmed else claimed, max_bytes=MUCH)
        done = claims.events if trimmed else claims.events[:settled]
        await store.settle(key, token, [Disposition(event, Disposal.ACK) for event in done])
    assert await store.trim("orders") == (300 if trimmed else 50)
    await store.aclose()


def alter(path: Path, *statements: str) -> None:
    db = sqlite3.connect(path)
    with db:
        for statement in statements:
            db.execute(statement)
    db.close()


@pytest.mark.parametrize(
    "change",
    [
        '"end" = 300 & ~256',
        '"end" = 300 | 512',
        f'"end" = 300 | {1 << 39}',
        "\"end\" = x'01'",
        '"end" = -300',
        "first = 50 | 128",
        "first = 50 & ~16",
        "first = 0.5",
        "events = 250 | 1024",
        "events = 250 & ~2",
        "events = 'few'",
    ],
)
async def test_topic_whose_counts_do_not_fit_its_events_is_mended(
    path: Path, change: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is passed over or listed as lost, the next event gets the next offset, and a line says so, once."""
    await left_behind(path)
    alter(path, f"UPDATE topics SET {change}")
    with caplog.at_level(logging.WARNING):
        await (await opened(path)).aclose()
        store = await opened(path)

    (topic,) = await store.topics()
    assert (topic.first, topic.end, topic.events) == (50, 300, 250)
    assert await store.append("orders", some_events(1)) == [300]
    handed, damaged = await drained(store)
    assert (offsets_of(handed), damaged) == (list(range(100, 301)), [])
    assert await store.verify() == []
    await store.aclose()
    (line,) = caplog.messages
    assert (
        line == "the row of topic 'orders' was damaged, and is mended: it keeps 250 events, and its next offset is 300"
    )


@pytest.mark.parametrize("change", ['"end" = 300 & ~256', "first = 300 & ~256", '"end" = 300 | 512', "first = -1"])
async def test_topic_that_keeps_nothing_gives_no_offset_twice(path: Path, change: str) -> None:
    """Its consumers know how far it was: what comes next is beyond that, and is handed out."""
    await left_behind(path, trimmed=True)
    alter(path, f"UPDATE topics SET {change}")
    store = await opened(path)

    assert await store.append("orders", some_events(1)) == [300]
    handed, _ = await drained(store)
    assert attempts_of(handed) == [(300, 1)]
    await store.aclose()


@pytest.mark.parametrize(
    "change",
    [
        "position = 100 | 128",
        "position = 100 | 1024",
        "position = 100 & ~64",
        "position = 'far'",
        "next = 170 | 256",
        "next = 170 & ~128",
        "handed = 170 | 512",
        "handed = 170 & ~32",
        "claims = x'00'",
        "dead = x''",
    ],
)
async def test_consumer_whose_row_contradicts_itself_begins_anew(
    path: Path, change: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is handed all that is kept, each event for the first time; its last error and a line say why."""
    await left_behind(path)
    alter(path, f"UPDATE consumers SET {change} WHERE name = 'billing'")
    with caplog.at_level(logging.WARNING):
        store = await opened(path)

    billing, slow = await store.consumers()
    said = "its row was damaged, and it began anew at offset 50"
    assert (billing.position, billing.pending, billing.last_error) == (50, 250, said)
    assert (slow.position, slow.last_error) == (50, None)
    assert caplog.messages == [f"consumer 'billing' of topic 'orders': {said}"]
    handed, _ = await drained(store)
    assert attempts_of(handed) == [(offset, 1) for offset in range(50, 300)]
    await store.aclose()


async def test_owner_of_a_lease_that_lost_its_row_is_handed_what_the_last_one_held(path: Path) -> None:
    """Its token is the first again, and yet not that of who held the events before."""
    await left_behind(path)
    alter(path, "DELETE FROM leases")
    store = await opened(path)

    handed, _ = await drained(store)
    assert attempts_of(handed) == [(offset, 2 if offset < 170 else 1) for offset in range(100, 300)]
    await store.aclose()


async def test_event_that_was_moved_beyond_the_end_is_in_nobodys_way(path: Path) -> None:
    """It is listed where it is missing, and what is appended gets the offsets that follow."""
    await left_behind(path)
    alter(path, *(f"UPDATE events SET place = {place_of(1, to)} WHERE place = {place_of(1, at)}" for at, to in
        [(120, 300), (140, OFFSET_MASK)]))  # fmt: skip
    store = await opened(path)

    assert await store.append("orders", some_events(2)) == [300, 301]
    handed, damaged = await drained(store)
    assert damaged == [120, 140]
    assert offsets_of(handed) == [offset for offset in range(100, 302) if offset not in damaged]
    assert await store.verify() == [Damage("orders", offset, "it is missing") for offset in damaged]
    await store.aclose()


@pytest.mark.parametrize("table", ["topics", "consumers"])
async def test_name_that_is_none_is_an_error_that_says_the_way_out(path: Path, table: str) -> None:
    """Nobody can ask for what has no name."""
    await left_behind(path)
    alter(path, f"UPDATE {table} SET name = x'00ff' WHERE id = 1")

    with pytest.raises(StoreError) as caught:
        await opened(path)
    assert str(path) in str(caught.value)
    assert "restore a copy, or take out what can be read with: sqlite3" in str(caught.value)


async def test_file_in_order_is_left_as_it_is(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With topics that never had an event, events that were set aside, and consumers at every stage."""
    await left_behind(path)
    store = await opened(path)
    await store.add_consumer(KEY._replace(topic="empty"), "earliest")
    await store.append("other", [make_event()])
    await store.seek(KEY, 60)
    await store.aclose()
    alter(path, *(f"DELETE FROM events WHERE place = {place_of(1, offset)}" for offset in (50, 200, 299)))
    store = await opened(path)
    assert [damage.offset for damage in await store.verify()] == [50, 200, 299]
    told = (await store.topics(), await store.consumers())
    await store.aclose()
    before = path.read_bytes()
    caplog.clear()

    store = await opened(path)
    assert (await store.topics(), await store.consumers()) == told
    await store.aclose()
    assert path.read_bytes() == before
    assert caplog.messages == []
