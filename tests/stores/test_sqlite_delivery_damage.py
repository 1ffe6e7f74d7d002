# ruff: noqa: ASYNC240, PT017, S608  # files are what this is about, and nothing else runs in the loop
"""Deliveries in damaged files: nothing altered is handed out, nobody gets what is another's, and nothing crashes."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventpipe.errors import StoreError
from eventpipe.events import CapturedEvent
from eventpipe.stores import SqliteStore
from eventpipe.stores.delivery_base import DeliveryStore
from eventpipe.stores.delivery_values import (
    OPEN,
    AttemptRecord,
    Change,
    ClaimedRow,
    DeliveryFilter,
    DeliveryState,
    EndpointInfo,
    EndpointState,
    FailureReason,
    Publication,
    Rule,
)
from eventpipe.stores.packing import checksum
from eventpipe.testing import make_event
from eventpipe.testing.events import STAMP
from tests.scale import SCALE
from tests.stores.places import quick_place

pytestmark = pytest.mark.asyncio
ACME = EndpointInfo("acme", "webhook", "https://acme.example/hooks", created_at=STAMP)
AUDIT = EndpointInfo("audit", "sink", created_at=STAMP)
RULE = Rule("invoices", ("invoice.*",), ("acme",), {"plan": "pro"})
PRIVATE = b'{"secrets":["whsec_1"],"headers":{}}'


@pytest.fixture
def path() -> Iterator[Path]:
    """In memory: what disks do to files is done to them here by hand."""
    with quick_place() as folder:
        yield folder / "log.db"


async def opened(path: Path) -> SqliteStore:
    store = SqliteStore(path, durability="process")
    await store.open()
    return store


async def filled(path: Path, count: int = 1) -> list[CapturedEvent]:
    """A closed file with so many events, each for both endpoints; every third row of ``acme`` was attempted."""
    events = [make_event(f"e{number}", properties={"text": "x" * (number % 700)}) for number in range(count)]
    store = await opened(path)
    kept = store.deliveries
    await kept.put_endpoint(ACME, PRIVATE, replace=False)
    await kept.put_endpoint(AUDIT, None, replace=False)
    await kept.put_rule(RULE)
    await kept.publish([Publication(event, ("acme", "audit"), None, STAMP, STAMP + 100) for event in events])
    for row, _ in (await claimed(kept, ACME, limit=count))[1::3]:
        attempt = AttemptRecord(1, STAMP, 0.1, "retry", 503, "unavailable", "no")
        await kept.change(
            [Change(row.id, row.version, DeliveryState.SENDING, None, 1, STAMP, STAMP + 100, None, attempt=attempt)]
        )
    await kept.rescue(now=STAMP, claimed_before=0.0, due_before=STAMP + 1)
    await store.aclose()
    return events


async def claimed(kept: DeliveryStore, endpoint: EndpointInfo, *, limit: int = 100) -> list[ClaimedRow]:
    return await kept.claim(
        endpoint, holder="a test", cutoff=STAMP, after=None, now=STAMP, until=STAMP + 60, limit=limit
    )


def alter(path: Path, statement: str) -> None:
    db = sqlite3.connect(path)
    with db:
        db.execute(statement)
    db.close()


@pytest.mark.parametrize(
    "change",
    [
        "name = CAST('other' AS BLOB)",
        "data = CAST(replace(CAST(data AS TEXT), 'u1', 'u2') AS BLOB)",
        "extra = x'7b7d'",
        "published_at = published_at + 1",
        "uuid = CAST(replace(CAST(uuid AS TEXT), '-', '+') AS BLOB)",
        "id = 7",
        "size = size + 1",
        "checksum = 'none'",
        "data = 7",
        "published_at = x'00'",
    ],
)
async def test_altered_event_is_handed_out_without_it(path: Path, change: str) -> None:
    """With the reason, so that its row can fail; whoever looks at the event is told the same."""
    await filled(path)
    alter(path, f"UPDATE published SET {change}")
    store = await opened(path)
    kept = store.deliveries

    ((row, event),) = await claimed(kept, ACME)

    assert event.event is None
    assert event.fault is not None
    assert event.fault.startswith("the published event ")
    assert (row.id, row.endpoint, row.state) == (1, "acme", DeliveryState.PENDING)
    (listed,) = await kept.events()
    looked_at = await kept.event(listed.uuid)
    assert (looked_at is None or looked_at.event is None) is (
        change != "id = 7" or (looked_at is not None and looked_at.fault is not None)
    )
    failed = Change(row.id, row.version, DeliveryState.FAILED, FailureReason.UNREADABLE, 0, None, STAMP, STAMP)
    assert await kept.change([failed]) == [True]
    await store.aclose()


async def test_event_of_an_unknown_payload_version_is_kept_and_handed_out_as_a_fault(path: Path) -> None:
    """A later release may read it: it stays as it is."""
    await filled(path)
    alter(path, "UPDATE published SET payload_version = 2")
    store = await opened(path)
    kept = store.deliveries

    ((_, event),) = await claimed(kept, ACME)
    looked_at = await kept.event(event.uuid)

    fault = "the published event is packed as version 2, and this release reads 1"
    for one in (event, looked_at):
        assert one is not None
        assert (one.name, one.payload_version, one.event, one.fault) == ("e0", 2, None, fault)
    await store.aclose()


async def test_event_that_passes_and_is_of_no_known_form_says_so(path: Path) -> None:
    """As an event of the log does."""
    await filled(path)
    db = sqlite3.connect(path)
    (moment, name, data, size) = db.execute("SELECT published_at, name, data, size FROM published").fetchone()
    extra = b'{"later":1}'
    with db:
        check = checksum((1 << 40) | 1, moment, name, extra, data, size)
        db.execute("UPDATE published SET extra = ?, checksum = ?", (extra, check))
    db.close()
    store = await opened(path)

    ((_, event),) = await claimed(store.deliveries, ACME)

    assert (event.event, event.fault) == (None, "what is kept beside the event is of no version that is known here")
    await store.aclose()


@pytest.mark.parametrize("change", ["event = 2", "created_at = created_at + 1", "checksum = NULL OR 1", "event = 99"])
async def test_row_that_came_to_another_event_is_handed_out_without_it(path: Path, change: str) -> None:
    """The event is intact, and not meant for that endpoint."""
    await filled(path, 2)
    alter(path, "DELETE FROM deliveries WHERE id > 1")
    alter(path, f"UPDATE deliveries SET {change} WHERE id = 1")
    store = await opened(path)

    ((row, event),) = await claimed(store.deliveries, ACME)

    assert (row.id, event.event) == (1, None)
    assert event.fault == "the row of the delivery does not pass its checksum, and may be of another event or endpoint"
    await store.aclose()


async def test_row_that_came_to_another_endpoint_is_handed_out_without_its_event(path: Path) -> None:
    """It was never meant for that one."""
    await filled(path)
    alter(path, "DELETE FROM deliveries WHERE id = 1")
    alter(path, "UPDATE deliveries SET endpoint = 1")
    store = await opened(path)

    ((row, event),) = await claimed(store.deliveries, ACME)

    assert (row.id, row.endpoint, event.event) == (2, "acme", None)
    assert event.fault is not None
    await store.aclose()


@pytest.mark.parametrize(
    "change",
    [
        "state = 2",
        "state = 9",
        "state = x'00'",
        "reason = 'odd'",
        "attempts = -5",
        "total_attempts = 0.5",
        "version = 'v'",
        "version = -1",
        "version = 9223372036854775807",
        "attempts = 9223372036854775807",
        "deadline_at = x'ff'",
        "claimed_until = NULL, settled_at = x'ff'",
        "last_status = 'x'",
    ],
)
async def test_row_that_says_what_cannot_be_is_failed_by_whoever_claims_it(path: Path, change: str) -> None:
    """It is handed out once, without its event, in a state and of a version in which it can be changed."""
    await filled(path)
    alter(path, f"UPDATE deliveries SET {change} WHERE id = 1")
    store = await opened(path)
    kept = store.deliveries
    assert len(await kept.rows(DeliveryFilter(event_uuid=(await kept.events())[0].uuid))) == 2

    ((row, event),) = await claimed(kept, ACME)

    assert row.state in OPEN
    assert (event.event, event.fault is not None) == (None, True)
    failed = Change(row.id, row.version, DeliveryState.FAILED, FailureReason.UNREADABLE, 0, None, STAMP, STAMP)
    assert await kept.change([failed]) == [True]
    assert await claimed(kept, ACME) == []
    looked_at = await kept.row(1)
    assert looked_at is not None
    assert (looked_at.state, looked_at.reason) == (DeliveryState.FAILED, FailureReason.UNREADABLE)
    await store.aclose()


@pytest.mark.parametrize("table", ["published", "deliveries"])
@pytest.mark.parametrize("number", [(1 << 63) - 2, (1 << 63) - 1], ids=["nearly last", "last"])
async def test_number_beyond_all_others_is_in_nobodys_way(path: Path, table: str, number: int) -> None:
    """What is published gets the numbers that follow, and looking at what there is comes to an end."""
    await filled(path, 2)
    alter(path, f"UPDATE {table} SET id = {number} WHERE id = (SELECT max(id) FROM {table})")
    store = await opened(path)
    kept = store.deliveries

    published = await kept.publish([Publication(make_event(), ("audit",), None, STAMP, STAMP) for _ in range(2)])

    assert [one.deliveries for one in published] == [{"audit": 5}, {"audit": 6}]
    assert len(await kept.rows(DeliveryFilter())) == 6
    assert sum(sum(one.rows.values()) for one in await kept.stats()) == 6
    assert len(await kept.events()) == 4
    await store.aclose()


@pytest.mark.parametrize(
    "change", ["due_at = 'soon'", "claimed_until = x'01'", "due_at = 9e99", "claimed_until = 9e99"]
)
async def test_row_whose_moment_is_none_is_freed_by_a_rescue(path: Path, change: str) -> None:
    """It is due at no time, or somebody's for ever, until then."""
    await filled(path)
    alter(path, f"UPDATE deliveries SET {change} WHERE id = 1")
    store = await opened(path)
    kept = store.deliveries
    assert await claimed(kept, ACME) == []
    assert [due.endpoint.name for due in await kept.due()] == ["acme", "audit"]

    assert await kept.rescue(now=STAMP, claimed_before=STAMP + 3600, due_before=STAMP + 1e6) == 1

    assert [row.id for row, event in await claimed(kept, ACME) if event.event is not None] == [1]
    await store.aclose()


@pytest.mark.parametrize(
    "change",
    [
        "info = CAST(replace(CAST(info AS TEXT), 'acme.example', 'acmd.example') AS BLOB)",
        "info = 7",
        "version = 'v', checksum = 0",
        "checksum = checksum + 1",
    ],
)
async def test_endpoint_that_was_altered_is_paused(path: Path, change: str) -> None:
    """Its address may be another's: nothing is sent to it, and nothing fails, until it is added anew."""
    await filled(path)
    alter(path, f"UPDATE endpoints SET {change} WHERE id = 1")
    store = await opened(path)
    kept = store.deliveries

    (info,) = await kept.endpoints("acme")
    assert (info.url, info.state) == (None, EndpointState.PAUSED)
    said = "what is kept of it does not pass its checksum; add it anew with replace=True, or remove it"
    assert info.state_reason == said
    assert [due.endpoint for due in await kept.due()] == [info, AUDIT]
    with pytest.raises(StoreError, match=r"endpoint 'acme' cannot be active: what is kept of it"):
        await kept.set_endpoint_state("acme", EndpointState.ACTIVE, None)

    mended = await kept.put_endpoint(ACME, PRIVATE, replace=True)
    assert (mended.url, mended.state) == (ACME.url, EndpointState.ACTIVE)
    assert mended.version > info.version
    assert [event.event is not None for _, event in await claimed(kept, mended)] == [True]
    await store.aclose()


async def test_endpoint_that_was_altered_can_be_removed(path: Path) -> None:
    """And its name is free then."""
    await filled(path)
    alter(path, "UPDATE endpoints SET checksum = 0 WHERE id = 1")
    store = await opened(path)
    kept = store.deliveries

    await kept.set_endpoint_state("acme", EndpointState.REMOVED, None)

    assert await kept.endpoints("acme") == []
    assert [due.endpoint.state for due in await kept.due()] == [EndpointState.REMOVED, EndpointState.ACTIVE]
    assert await kept.put_endpoint(ACME, None, replace=False) == ACME
    await store.aclose()


async def test_secret_that_was_altered_is_an_error_that_says_the_way_out(path: Path) -> None:
    """A signature with it would be none; the message shows nothing of it."""
    await filled(path)
    alter(path, "UPDATE endpoint_secrets SET private = CAST(replace(CAST(private AS TEXT), '1', '2') AS BLOB)")
    store = await opened(path)

    with pytest.raises(StoreError, match=r"secrets of endpoint 'acme' are damaged.*replace=True") as caught:
        await store.deliveries.private("acme")
    assert "whsec" not in str(caught.value)
    await store.aclose()


async def test_rule_that_was_altered_is_an_error_until_it_is_removed(path: Path) -> None:
    """Left out in silence, events would go to nobody."""
    await filled(path)
    alter(path, "UPDATE rules SET rule = CAST(replace(CAST(rule AS TEXT), 'pro', 'prp') AS BLOB)")
    store = await opened(path)
    kept = store.deliveries

    with pytest.raises(StoreError, match="rule 'invoices' is damaged; remove it"):
        await kept.rules()
    assert await kept.remove_rule("invoices")
    assert await kept.rules() == []
    await store.aclose()


def pages_of_deliveries(path: Path) -> list[int]:
    """Where the pages are that keep something of deliveries."""
    db = sqlite3.connect(path)
    tables = "'endpoints', 'endpoint_secrets', 'rules', 'published', 'deliveries', 'attempts'"
    roots = {root for (root,) in db.execute(f"SELECT rootpage FROM sqlite_master WHERE tbl_name IN ({tables})")}
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    db.close()
    return sorted(roots | set(range(max(roots) + 1, pages + 1)))


@pytest.mark.seeds
@pytest.mark.parametrize("seed", range(40 * SCALE))
async def test_whatever_bits_flip_an_event_is_handed_out_as_it_was_and_to_whom_it_was_meant_for(
    path: Path, seed: int
) -> None:
    """Or without itself, or not at all; and an error names the file, the endpoint or the rule."""
    events = await filled(path, 60)
    chance = random.Random(seed)
    content = bytearray(path.read_bytes())
    for _ in range(chance.choice([1, 3, 20])):
        page = chance.choice(pages_of_deliveries(path))
        used = [place for place in range((page - 1) * 4096, page * 4096) if content[place]]
        if used:
            content[chance.choice(used)] ^= 1 << chance.randrange(8)
    path.write_bytes(content)
    originals = {event.uuid: (event.name, event.data) for event in events}
    store = SqliteStore(path, durability="process")

    try:
        await store.open()
        await all_used(store.deliveries, originals)
    except StoreError as error:
        assert any(word in str(error) for word in (str(path), "endpoint", "rule"))
    finally:
        await store.aclose()


async def all_used(kept: DeliveryStore, originals: dict[str, tuple[str, bytes]]) -> None:
    await kept.rows(DeliveryFilter(), limit=1_000)
    await kept.stats()
    for row in await kept.rows(DeliveryFilter(event_name="e*"), limit=1_000):
        await kept.attempts(row.id)
    for info in await kept.endpoints():
        # Under its name there is what it was, or nothing that anybody could send to.
        assert (info.name, info.url) in {("acme", ACME.url), ("audit", None)} or info.state is EndpointState.PAUSED
    await kept.rescue(now=STAMP, claimed_before=STAMP + 3600, due_before=STAMP + 3600)
    for due in await kept.due():
        handed = await claimed(kept, due.endpoint, limit=1_000)
        for row, event in handed:
            assert (event.event is None) is (event.fault is not None)
            if event.event is not None:
                assert originals[event.event.uuid] == (event.event.name, event.event.data)
                # Rows come in pairs, and who has which number was decided when they were published.
                assert originals[event.event.uuid] == list(originals.values())[(row.id - 1) // 2]
                assert due.endpoint.name == ("acme", "audit")[(row.id - 1) % 2] or due.endpoint.url is None
        failed = [
            Change(row.id, row.version, DeliveryState.FAILED, FailureReason.UNREADABLE, 0, None, STAMP, STAMP)
            for row, _ in handed
        ]
        assert all(await kept.change(failed))
    await kept.publish([Publication(make_event(), ("audit",), None, STAMP, STAMP)])
    assert await kept.purge(before=STAMP + 1, limit=1_000) >= 0
    await kept.events(name="e1*", limit=1_000)
    for name in ("acme", "audit"):
        assert await kept.private(name) in (PRIVATE, None)
    assert await kept.rules() in ([RULE], [])
