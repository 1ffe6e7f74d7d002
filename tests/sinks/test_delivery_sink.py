"""What the sink makes of the errors of deliveries, and a client and a consumer that feed deliveries."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from eventpipe import AsyncClient, Consumer, EventLog, OutcomeKind
from eventpipe.delivery.deliveries import Deliveries
from eventpipe.delivery.endpoint import Endpoint
from eventpipe.errors import (
    ClosedError,
    PermanentSinkError,
    StoreError,
    StoreFullError,
    TransientSinkError,
)
from eventpipe.events import CapturedEvent
from eventpipe.sinks import DeliverySink
from eventpipe.stores import MemoryStore, SqliteStore
from eventpipe.stores.delivery_values import Rule
from eventpipe.testing import RecordingSink, check_ledger
from eventpipe.testing.events import make_batch, make_event

pytestmark = pytest.mark.asyncio


class Raises:
    """Deliveries that fail."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    async def publish_many(
        self, events: Sequence[CapturedEvent], *, endpoints: Iterable[str] | None = None
    ) -> list[object]:
        raise self.error


@pytest_asyncio.fixture(params=["memory", "sqlite"])
async def deliveries(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Deliveries]:
    """With the endpoints ``acme`` and ``other``."""
    path = tmp_path / "deliveries.db"
    store = MemoryStore() if request.param == "memory" else SqliteStore(path, durability="process")
    async with Deliveries(store) as running:
        for name in ("acme", "other"):
            await running.add_endpoint(Endpoint(name, sink=RecordingSink()))
        yield running


async def test_a_batch_is_published_as_it_was_captured(deliveries: Deliveries) -> None:
    """To the endpoints that are named, in the order of the batch."""
    batch = make_batch([make_event(f"e{n}", properties={"n": n}, headers={"a": "b"}, key="k") for n in range(5)])

    assert await DeliverySink(deliveries, ["acme", "other"]).send(batch) is None

    rows = await deliveries.rows()
    assert [(row.event_name, row.endpoint) for row in reversed(rows)] == [
        (f"e{n}", endpoint) for n in range(5) for endpoint in ("acme", "other")
    ]
    for event in batch.events:
        kept = (await deliveries.event(event.uuid)).event
        assert kept is not None
        assert (kept.json, kept.headers, kept.key) == (event.json, {"a": "b"}, "k")


async def test_without_endpoints_the_rules_say_where_to(deliveries: Deliveries) -> None:
    """Each event by itself; one that no rule wants is kept as well."""
    await deliveries.add_rule(Rule("paid", ("paid",), ("acme",)))
    await deliveries.add_rule(Rule("all", ("p*",), ("other",)))

    await DeliverySink(deliveries).send(make_batch([make_event("paid"), make_event("played"), make_event("sold")]))

    assert [(row.event_name, row.endpoint) for row in await deliveries.rows()] == [
        ("played", "other"),
        ("paid", "acme"),
        ("paid", "other"),
    ]
    assert len(await deliveries.events()) == 3


async def test_a_batch_that_is_sent_again_is_published_once(deliveries: Deliveries) -> None:
    """Its events are known by their ids, also in another batch."""
    sink, batch = DeliverySink(deliveries, ["acme"]), make_batch(5)

    await sink.send(batch)
    await sink.send(batch)
    await sink.send(make_batch([*batch.events[:2], make_event("new")]))

    assert len(await deliveries.rows()) == len(await deliveries.events()) == 6


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (StoreFullError("no room", topic="deliveries"), "deliveries_full"),
        (ClosedError("not running"), "deliveries_closed"),
        (StoreError("the engine failed"), "store_error"),
    ],
)
async def test_what_may_pass_is_transient(error: Exception, reason: str) -> None:
    """A full store, deliveries that do not run, and an engine that fails are worth another attempt."""
    with pytest.raises(TransientSinkError, match=str(error)) as caught:
        await DeliverySink(Raises(error)).send(make_batch(2))

    assert (caught.value.reason, caught.value.__cause__) == (reason, error)


async def test_what_can_never_fit_is_halved() -> None:
    """The driver sends the halves."""
    error = StoreFullError("too much", topic="deliveries", can_ever_fit=False)
    with pytest.raises(PermanentSinkError, match=r"^too much$") as caught:
        await DeliverySink(Raises(error)).send(make_batch(2))

    assert caught.value.scope == "size"


async def test_deliveries_that_do_not_run_are_worth_another_attempt() -> None:
    """Before the start and after the stop; nothing is lost when they start."""
    deliveries = Deliveries(MemoryStore())
    sink, batch = DeliverySink(deliveries), make_batch(1)
    with pytest.raises(TransientSinkError, match="has not started") as before:
        await sink.send(batch)
    async with deliveries:
        await sink.send(batch)
        assert len(await deliveries.events()) == 1
    with pytest.raises(TransientSinkError, match="is stopped"):
        await sink.send(batch)

    assert before.value.reason == "deliveries_closed"


@pytest.mark.parametrize(("endpoints", "name"), [(["acme", "gone"], "gone"), (["a b"], "an endpoint")])
async def test_an_endpoint_that_is_not_there_is_the_sinks_fault(
    deliveries: Deliveries, endpoints: list[str], name: str
) -> None:
    """Every batch would fail; the error names it, and nothing is published."""
    with pytest.raises(PermanentSinkError, match=name) as caught:
        await DeliverySink(deliveries, endpoints).send(make_batch(2))

    assert caught.value.scope == "sink"
    assert await deliveries.events() == []


async def test_a_foreign_error_passes_through() -> None:
    """The driver counts it as the sink's own."""
    with pytest.raises(ZeroDivisionError):
        await DeliverySink(Raises(ZeroDivisionError())).send(make_batch(1))


@pytest.mark.parametrize(
    ("deliveries", "endpoints", "text"),
    [
        ("deliveries", None, r"^deliveries must be a Deliveries, not 'deliveries'$"),
        (Deliveries, None, r"^deliveries must be a Deliveries, not type$"),
        (Raises(StoreError()), "acme", r"^endpoints must be a list of names, or None for .*, not 'acme'$"),
        (Raises(StoreError()), 5, r"^endpoints must be a list of names, or None for .*, not 5$"),
        (Raises(StoreError()), [], r"^endpoints must be names of at least one endpoint, or None"),
        (Raises(StoreError()), [" "], r"^endpoints must be names of at least one endpoint, or None"),
        (Raises(StoreError()), [None], r"^endpoints must be names of at least one endpoint, or None"),
    ],
)
async def test_an_option_that_means_nothing_is_refused(deliveries: Any, endpoints: Any, text: str) -> None:
    """By the constructor."""
    with pytest.raises(ValueError, match=text):
        DeliverySink(deliveries, endpoints)


async def test_a_client_feeds_deliveries(deliveries: Deliveries) -> None:
    """Every event once, as it was captured; ``where`` leaves out what is not for it."""
    sink = DeliverySink(deliveries, ["acme"], where=lambda event: event.name != "17", name="hooks")
    async with AsyncClient(sink) as client:
        for number in range(500):
            await client.capture(f"{number}", distinct_id="u1", properties={"n": number})
        report = await client.flush()
        check_ledger(client)

    assert report.delivered == 499
    rows = await deliveries.rows(limit=1000)
    assert sorted(int(row.event_name) for row in rows) == [n for n in range(500) if n != 17]


async def test_a_consumer_feeds_deliveries(deliveries: Deliveries) -> None:
    """Every event of its topic once, also where it is handed out again."""
    async with EventLog(MemoryStore()) as log:
        await log.append_many("orders", [f"{number}" for number in range(50)])
        consumer = Consumer(log, "orders", "hooks", DeliverySink(deliveries, ["acme", "other"]))
        first = await consumer.process()
        await log.seek("orders", "hooks", "earliest")
        second = await consumer.process()
        await consumer.aclose()

    assert (first.delivered, second.delivered) == (50, 50)
    rows = await deliveries.rows(limit=1000)
    assert sorted((int(row.event_name), row.endpoint) for row in rows) == [
        (number, endpoint) for number in range(50) for endpoint in ("acme", "other")
    ]


async def test_a_client_goes_on_when_the_endpoint_is_there(deliveries: Deliveries) -> None:
    """A wrong configuration drops what was captured under it, which is counted, and nothing else."""
    async with AsyncClient(DeliverySink(deliveries, ["late"])) as client:
        await client.capture("early")
        first = await client.flush()
        await deliveries.add_endpoint(Endpoint("late", sink=RecordingSink()))
        await client.capture("later")
        second = await client.flush()
        check_ledger(client)

    assert (first.dropped, second.delivered) == (1, 1)
    assert [row.event_name for row in await deliveries.rows()] == ["later"]


async def test_an_event_is_delivered_once_it_is_kept(deliveries: Deliveries) -> None:
    """Its receipt says so before any reconciler has run."""
    async with AsyncClient(DeliverySink(deliveries, ["acme"])) as client:
        receipt = await client.capture("paid")
        outcome = await receipt.outcome(timeout=5)

    assert outcome.kind is OutcomeKind.DELIVERED
    assert [row.total_attempts for row in await deliveries.rows()] == [0]
