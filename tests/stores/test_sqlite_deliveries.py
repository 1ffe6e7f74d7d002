# ruff: noqa: ASYNC221, ASYNC240  # files are what this is about, and nothing else runs in the loop
"""Deliveries in an SQLite file: shared commits, costs that do not grow, full disks, secrets, and files of before."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
import subprocess
import sys
import tracemalloc
import weakref
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest
import pytest_asyncio

from eventpipe.errors import ClosedError, StoreError, StoreFullError, UnknownEndpointError
from eventpipe.stores import SqliteStore, sqlite_delivery_listing, sqlite_published
from eventpipe.stores.delivery_base import DeliveryStore
from eventpipe.stores.delivery_values import (
    DELIVERIES,
    AttemptRecord,
    Change,
    ClaimedRow,
    DeliveryFilter,
    DeliveryRow,
    DeliveryState,
    EndpointInfo,
    EndpointState,
    FailureReason,
    Publication,
)
from eventpipe.stores.sqlite_connection import SqliteConnection
from eventpipe.stores.sqlite_jobs import Job
from eventpipe.stores.sqlite_reserve import RESERVE_BYTES
from eventpipe.stores.sqlite_schema import MIGRATIONS
from eventpipe.testing import make_event
from eventpipe.testing.events import STAMP
from tests.stores.golden_deliveries import ACME, PRIVATE, described_deliveries, settled
from tests.stores.golden_log import GOLDEN, GoldenClock
from tests.stores.places import quick_place
from tests.stores.small_disk import KEY, drained, in_a_disk_of_its_own, until_full
from tests.stores.small_disk_deliveries import Round

pytestmark = pytest.mark.asyncio
ROOT = Path(__file__).parents[2]
AUDIT = EndpointInfo("audit", "sink", created_at=STAMP)
NOBODY = EndpointInfo("nobody", "sink", created_at=STAMP)


@pytest.fixture
def path() -> Iterator[Path]:
    """In memory, as nothing here depends on a disk."""
    with quick_place() as folder:
        yield folder / "log.db"


@pytest_asyncio.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    """One with an endpoint."""
    store = SqliteStore(path, durability="process", clock=GoldenClock())
    await store.open()
    await store.deliveries.put_endpoint(AUDIT, None, replace=False)
    yield store
    await store.aclose()


def publication(name: str = "e", *, to: tuple[str, ...] = ("audit",), text: str = "") -> Publication:
    return Publication(make_event(name, properties={"text": text}), to, None, STAMP, STAMP + 100)


def connection(store: SqliteStore) -> sqlite3.Connection:
    assert store._port is not None
    return store._port._file.connection.db


async def claimed(kept: DeliveryStore, limit: int = 100, *, cutoff: float = STAMP) -> list[ClaimedRow]:
    return await kept.claim(AUDIT, holder="a test", cutoff=cutoff, after=None, now=STAMP, until=STAMP + 60, limit=limit)


async def test_claims_of_many_endpoints_share_a_transaction(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that are asked for at once; each has its own rows, and one that was changed since has none."""
    kept = store.deliveries
    names = [f"e{number}" for number in range(20)]
    infos = [
        await kept.put_endpoint(EndpointInfo(name, "sink", created_at=STAMP), None, replace=False) for name in names
    ]
    published = await kept.publish([publication(to=tuple(names)), publication(to=tuple(names))])
    await kept.set_endpoint_state("e3", EndpointState.PAUSED, None)
    jobs: list[int] = []
    run = SqliteConnection.run

    def counted(self: SqliteConnection, made: Sequence[Job]) -> set[str]:
        jobs.append(len(made))
        return run(self, made)

    monkeypatch.setattr(SqliteConnection, "run", counted)
    pages = await asyncio.gather(
        *(
            kept.claim(info, holder="me", cutoff=STAMP, after=None, now=STAMP, until=STAMP + 60, limit=1)
            for info in [*infos, infos[0]]
        )
    )

    assert jobs == [1]
    first, second = (one.deliveries for one in published)
    expected = [[] if name == "e3" else [first[name]] for name in names] + [[second["e0"]]]
    assert [[row.id for row, _ in page] for page in pages] == expected


def delivered(row: DeliveryRow) -> Change:
    return settled(row, STAMP, AttemptRecord(row.total_attempts + 1, STAMP, 0.1, "delivered", 200, None, "ok"))


# -- files of before --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shared", [False, True], ids=["exclusive", "shared"])
async def test_file_of_version_1_keeps_deliveries_once_it_is_opened(path: Path, shared: bool) -> None:
    """It has none, and takes some; the next open finds them."""
    shutil.copy(GOLDEN / "v1.db", path)
    store = SqliteStore(path, shared=shared, durability="process")
    await store.open()
    assert set(map(len, (await described_deliveries(store.deliveries)).values())) == {0}
    await store.deliveries.put_endpoint(AUDIT, None, replace=False)
    (published,) = await store.deliveries.publish([publication()])
    await store.aclose()

    await store.open()
    ((row, event),) = await claimed(store.deliveries)
    assert (row.id, event.uuid, event.fault) == (1, published.event_uuid, None)
    await store.aclose()


@pytest.mark.parametrize("shared", [False, True], ids=["exclusive", "shared"])
async def test_file_of_version_2_holds_what_it_held(path: Path, shared: bool) -> None:
    """Endpoints, secrets, rules, events to the byte, rows and attempts; and passes go on where they were."""
    shutil.copy(GOLDEN / "v2.db", path)
    clock = GoldenClock()
    clock.now = STAMP + 60
    store = SqliteStore(path, shared=shared, durability="process", clock=clock)
    await store.open()
    kept = store.deliveries

    expected = json.loads((GOLDEN / "v2-deliveries.json").read_text())
    assert json.loads(json.dumps(await described_deliveries(kept))) == expected
    repeated = Publication(make_event(uuid="x" * 36), ("nobody",), "inv-3", STAMP + 60, STAMP + 70)
    (known,) = await kept.publish([repeated])
    assert (known.is_new, known.deliveries["acme"]) == (False, 16)
    now = STAMP + 60
    rows = [
        row.id
        for row, _ in await kept.claim(ACME, holder="a test", cutoff=now, after=None, now=now, until=now + 60, limit=9)
    ]
    assert rows == [11]
    now = STAMP + 90
    rows = [
        row.id
        for row, _ in await kept.claim(ACME, holder="a test", cutoff=now, after=None, now=now, until=now + 60, limit=9)
    ]
    assert rows == [16]
    await store.aclose()


async def test_file_of_a_later_version_is_refused_and_left_as_it_is(path: Path) -> None:
    """To the byte; the message says which release reads it."""
    shutil.copy(GOLDEN / f"v{len(MIGRATIONS)}.db", path)
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version={len(MIGRATIONS) + 1}")
    db.close()
    before = path.read_bytes()

    with pytest.raises(StoreError, match=r"of version 3, and this release knows versions up to 2; use the release"):
        await SqliteStore(path).open()

    assert path.read_bytes() == before
    assert [found.name for found in path.parent.iterdir()] == [path.name]


# -- commits ----------------------------------------------------------------------------------------------------------


async def test_those_who_publish_and_change_at_once_share_a_commit(store: SqliteStore) -> None:
    """Sixteen workers write a row each, in one transaction; and so do sixteen who publish."""
    kept = store.deliveries
    commits: list[str] = []
    connection(store).set_trace_callback(lambda said: commits.append(said) if said == "COMMIT" else None)

    await asyncio.gather(*(kept.publish([publication()]) for _ in range(16)))
    assert commits == ["COMMIT"]
    rows = [row for row, _ in await claimed(kept)]
    commits.clear()
    done = await asyncio.gather(*(kept.change([delivered(row)]) for row in rows))

    assert (commits, done) == (["COMMIT"], [[True]] * 16)


async def test_who_publishes_to_nobody_fails_alone(store: SqliteStore) -> None:
    """All of his events, and nothing of those who publish at the same time."""
    kept = store.deliveries

    answers = await asyncio.gather(
        kept.publish([publication("first")]),
        kept.publish([publication("lost"), publication("lost too", to=("nobody",))]),
        kept.publish([publication("last")]),
        return_exceptions=True,
    )

    assert isinstance(answers[1], UnknownEndpointError)
    assert [row.event_name for row in await kept.rows(DeliveryFilter())] == ["last", "first"]
    assert [event.name for event in await kept.events(name="l*")] == ["last"]


async def test_one_version_of_a_row_is_changed_once_however_many_ask_at_once(store: SqliteStore) -> None:
    """The first who asks wins, and the others are told."""
    kept = store.deliveries
    await kept.publish([publication()])
    ((row, _),) = await claimed(kept)

    answers = await asyncio.gather(*(kept.change([delivered(row)]) for _ in range(10)))

    assert answers == [[True], *[[False]] * 9]
    assert len(await kept.attempts(row.id)) == 1


# -- costs ------------------------------------------------------------------------------------------------------------


async def cost(store: SqliteStore) -> int:
    """Steps of SQLite's machine that a pass over nothing due takes, and the claim of a row after it."""
    kept = store.deliveries
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1

    connection(store).set_progress_handler(step, 1)
    for due in await kept.due():
        assert await kept.claim(
            due.endpoint, holder="h", cutoff=STAMP - 1, after=None, now=STAMP, until=STAMP + 1, limit=16
        ) == []  # fmt: skip
    await kept.rescue(now=STAMP, claimed_before=STAMP + 3600, due_before=STAMP + 3600)
    ((row, _),) = await claimed(kept, 1)
    connection(store).set_progress_handler(None, 1)
    assert await kept.release([row]) == 1
    return steps


@pytest.mark.parametrize("is_settled", [True, False], ids=["settled", "waiting"])
async def test_a_pass_costs_the_same_with_a_thousand_other_rows(store: SqliteStore, is_settled: bool) -> None:
    """Not one step of SQLite more, whether they are settled or wait for their turn."""
    kept = store.deliveries
    await kept.publish([publication()])
    alone = await cost(store)
    await kept.publish([publication() for _ in range(1_000)])
    if is_settled:
        await kept.change([delivered(row) for row, _ in (await claimed(kept, 2_000))[1:]])
        await kept.rescue(now=STAMP, claimed_before=0.0, due_before=STAMP + 3600)

    assert abs(await cost(store) - alone) < 50


async def test_ids_that_no_row_can_have_are_those_of_none(store: SqliteStore) -> None:
    """However large they are: people type them."""
    kept = store.deliveries
    await kept.publish([publication()])

    for number in (-1, 0, 2, 1 << 63, 1 << 80):
        assert await kept.row(number) is None
        assert await kept.attempts(number) == []
    assert await kept.rows(DeliveryFilter(), after=-(1 << 80)) == []
    assert len(await kept.rows(DeliveryFilter(), after=1 << 80)) == 1


async def test_listing_in_steps_finds_what_one_step_finds(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the filter, the page and the size of a step."""
    kept = store.deliveries
    await kept.put_endpoint(NOBODY, None, replace=False)
    for number in range(40):
        await kept.publish([publication(f"e{number}", to=("audit", "nobody") if number % 3 else ("audit",))])
    await kept.change([delivered(row) for row, _ in (await claimed(kept))[::4]])
    await kept.purge(before=STAMP + 1, limit=5)
    filters = [
        DeliveryFilter(),
        DeliveryFilter(states=frozenset({DeliveryState.SUCCESS})),
        DeliveryFilter(states=frozenset({DeliveryState.SUCCESS, DeliveryState.PENDING}), endpoint="audit"),
        DeliveryFilter(endpoint="nobody"),
        DeliveryFilter(endpoint="unknown"),
        DeliveryFilter(event_name="e1*"),
        DeliveryFilter(event_name="e7", due_before=STAMP + 1),
        DeliveryFilter(reason=FailureReason.EXPIRED),
    ]

    async def found() -> list[object]:
        pages = [await kept.rows(one, after=after, limit=limit)
                 for one in filters for after in (None, 30, 10_000) for limit in (3, 1_000)]  # fmt: skip
        events = [*await kept.events(name="*3"), *await kept.events(limit=7)]
        return [*pages, [event.uuid for event in events], await kept.stats()]

    at_once = await found()
    for step in (1, 7):
        monkeypatch.setattr(sqlite_delivery_listing, "LIST_STEP", step)
        monkeypatch.setattr(sqlite_published, "LIST_STEP", step)
        assert await found() == at_once
    assert sum(len(page) for page in at_once if isinstance(page, list)) > 300


async def test_list_of_large_events_reads_little(store: SqliteStore) -> None:
    """A page of ten megabytes of events takes less memory than one of them."""
    kept = store.deliveries
    for _ in range(20):
        await kept.publish([publication(text="x" * 500_000)])

    tracemalloc.start()
    try:
        events = await kept.events(limit=100)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(events) == 20
    assert most < 100_000


# -- full disks -------------------------------------------------------------------------------------------------------


@pytest.mark.wallclock
async def test_real_disk_of_three_mebibytes_is_filled_delivered_from_and_purged(tmp_path: Path) -> None:
    """Again and again: all that was accepted is claimed and settled while it is full, and a purge makes room.

    What attempts came to is in their rows, though there was no room for a record of each.
    """
    attempt = in_a_disk_of_its_own(tmp_path, "true", size="3m")
    if not shutil.which("unshare") or subprocess.run(attempt, capture_output=True, check=False).returncode:
        pytest.skip("no disk of 3 MiB can be mounted here")
    module = "tests.stores.small_disk_deliveries"
    command = in_a_disk_of_its_own(tmp_path, sys.executable, "-m", module, tmp_path, size="3m")
    ran = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True, timeout=50)

    rounds = [Round(*each) for each in json.loads(ran.stdout)]
    assert [each.settled for each in rounds] == [each.accepted for each in rounds]
    assert [each.purged for each in rounds] == [each.accepted for each in rounds]
    assert [each.last_status for each in rounds] == [200] * len(rounds)
    assert [each.reserve for each in rounds] == [RESERVE_BYTES] * len(rounds)
    assert min(each.accepted for each in rounds) > 100
    assert min(each.accepted for each in rounds) > max(each.accepted for each in rounds) / 2


async def test_full_disk_makes_room_for_deliveries_of_what_the_log_can_do_without(store: SqliteStore) -> None:
    """As for an append: what every consumer has settled goes first."""
    connection(store).execute("PRAGMA max_page_count=130")
    await store.add_consumer(KEY, "earliest")
    await until_full(store)
    with pytest.raises(StoreFullError):
        await store.deliveries.publish([publication(text="x" * 30_000)])
    await drained(store)

    (published,) = await store.deliveries.publish([publication(text="x" * 30_000)])
    assert published.is_new


# -- secrets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["removed", "replaced", "without"])
async def test_secret_that_is_deleted_is_nowhere_in_the_file(store: SqliteStore, path: Path, way: str) -> None:
    """Nor in what SQLite does not use any more."""
    kept = store.deliveries
    connection(store).execute("PRAGMA secure_delete = 0")  # as where SQLite was built without it
    await kept.put_endpoint(ACME, PRIVATE, replace=False)
    await kept.publish([publication(to=("acme",))])
    assert await kept.private("acme") == PRIVATE
    if way == "removed":
        await kept.set_endpoint_state("acme", EndpointState.REMOVED, None)
    else:
        await kept.put_endpoint(ACME, b"{}" if way == "replaced" else None, replace=True)
    await store.aclose()

    assert b"acme.example" in path.read_bytes()
    assert b"whsec_golden" not in path.read_bytes()
    assert [found.name for found in path.parent.iterdir() if found.name.endswith("-wal")] == []


# -- life -------------------------------------------------------------------------------------------------------------


async def test_deliveries_of_a_store_that_is_closed_are_closed(store: SqliteStore) -> None:
    """Also those that somebody got while it was open; after another open they can be used again."""
    kept = store.deliveries
    await store.aclose()

    with pytest.raises(ClosedError):
        await kept.due()
    with pytest.raises(ClosedError):
        await store.deliveries.publish([publication()])
    await store.open()
    assert await kept.due() == []


async def test_deliveries_do_not_keep_their_store_alive_once_they_are_forgotten(path: Path) -> None:
    """So that a store that was never closed is noticed at once."""
    store = SqliteStore(path)
    assert store.deliveries is not None
    gone = weakref.ref(store)

    del store

    assert gone() is None


async def test_whoever_waits_is_woken_by_what_becomes_due(store: SqliteStore) -> None:
    """And by nothing that a reconciler does itself."""
    kept = store.deliveries
    seen = store.version(DELIVERIES)
    waiting = asyncio.create_task(store.wait(DELIVERIES, seen))
    await kept.publish([publication()])
    await waiting
    seen = store.version(DELIVERIES)

    (first, second) = [*await claimed(kept), *[]][:1] * 2
    await kept.change([delivered(first.row)])
    assert await kept.change([delivered(second.row)]) == [False]
    await kept.purge(before=STAMP + 1, limit=10)

    assert store.version(DELIVERIES) == seen
