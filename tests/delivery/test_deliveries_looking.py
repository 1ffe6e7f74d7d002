"""Listing and showing: rows, attempts and events, by filters and pages."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from eventpipe.delivery.deliveries import Deliveries
from eventpipe.delivery.endpoint import Endpoint
from eventpipe.delivery.policy import DeliveryPolicy
from eventpipe.delivery.requests import Asked
from eventpipe.errors import PermanentSinkError, TransientSinkError, UnknownDeliveryError
from eventpipe.stores.delivery_base import DeliveringStore
from eventpipe.stores.delivery_values import DeliveryFilter, DeliveryState, FailureReason
from eventpipe.testing.clock import LoopClock
from eventpipe.testing.recording import RecordingSink
from eventpipe.testing.sinks import GatedSink
from tests.delivery.facade import ENGINES, deliver, engine

pytestmark = pytest.mark.asyncio

PENDING, SENDING, SUCCESS, FAILED, RESENDING = DeliveryState
ID = "019b7777-0000-7000-8000-000000000001"


@pytest.fixture(params=ENGINES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> DeliveringStore:
    return engine(request.param, tmp_path, LoopClock())


@pytest_asyncio.fixture
async def deliveries(store: DeliveringStore) -> AsyncIterator[Deliveries]:
    """One row of each state but ``RESENDING``, a minute apart; oldest first: paid, sold, invoice.made, invoice.sent."""
    refusing, waiting = GatedSink(), GatedSink()
    refusing.release(error=PermanentSinkError("no"))
    waiting.release(error=TransientSinkError("later"))
    async with Deliveries(store, clock=LoopClock(), policy=DeliveryPolicy(delays=[1000], jitter=0)) as running:
        await running.add_endpoint(Endpoint("acme", sink=RecordingSink()))
        await running.add_endpoint(Endpoint("refusing", sink=refusing))
        await running.add_endpoint(Endpoint("waiting", sink=waiting))
        for name, endpoint in (("paid", "acme"), ("sold", "refusing"), ("invoice.made", "waiting")):
            await running.publish(name, endpoints=[endpoint], uuid=ID if name == "sold" else None)
            await deliver(running)
            await asyncio.sleep(60)
        await running.publish("invoice.sent", endpoints=["acme"])
        yield running


START = LoopClock().start


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (None, ["invoice.sent", "invoice.made", "sold", "paid"]),
        (DeliveryFilter(), ["invoice.sent", "invoice.made", "sold", "paid"]),
        (DeliveryFilter(states=[PENDING, SUCCESS]), ["invoice.sent", "paid"]),
        (DeliveryFilter(states=["failed", "sending"]), ["invoice.made", "sold"]),  # type: ignore[list-item]
        (DeliveryFilter(endpoint="acme"), ["invoice.sent", "paid"]),
        (DeliveryFilter(event_name="invoice.*"), ["invoice.sent", "invoice.made"]),
        (DeliveryFilter(event_name="*a*"), ["invoice.made", "paid"]),
        (DeliveryFilter(event_name="sold"), ["sold"]),
        (DeliveryFilter(event_uuid=ID), ["sold"]),
        (DeliveryFilter(reason=FailureReason.REJECTED), ["sold"]),
        (DeliveryFilter(reason=FailureReason.EXPIRED), []),
        (DeliveryFilter(due_before=START + 500), ["invoice.sent"]),
        (DeliveryFilter(due_before=START + 2000), ["invoice.sent", "invoice.made"]),
        (DeliveryFilter(published_after=START + 59), ["invoice.sent", "invoice.made", "sold"]),
        (DeliveryFilter(published_before=START + 59), ["paid"]),
        (DeliveryFilter(endpoint="acme", states=frozenset({SUCCESS}), published_before=START + 59), ["paid"]),
    ],
)
async def test_rows_are_those_that_a_filter_wants(
    deliveries: Deliveries, wanted: DeliveryFilter | None, expected: list[str]
) -> None:
    """Newest first; each part of a filter asks for something, and all must fit."""
    assert [row.event_name for row in await deliveries.rows(wanted)] == expected


async def test_rows_come_in_pages(deliveries: Deliveries) -> None:
    """Each begins behind the last one of the page before, so that all are seen once."""
    seen = []
    after = None
    while page := await deliveries.rows(after=after, limit=3):
        seen.append([row.event_name for row in page])
        after = page[-1].id

    assert seen == [["invoice.sent", "invoice.made", "sold"], ["paid"]]


async def test_events_come_in_pages(deliveries: Deliveries) -> None:
    """Newest first, those of a name, behind an id."""
    first = await deliveries.events(limit=3)
    second = await deliveries.events(after=first[-1].uuid)

    assert [event.name for event in first] == ["invoice.sent", "invoice.made", "sold"]
    assert [event.name for event in second] == ["paid"]
    assert [event.name for event in await deliveries.events(name="invoice.*")] == ["invoice.sent", "invoice.made"]


async def test_one_is_shown_with_its_attempts(deliveries: Deliveries) -> None:
    """A row by its number, an event by its id, which may be a ``UUID``."""
    (row,) = await deliveries.rows(DeliveryFilter(event_uuid=ID))

    assert await deliveries.row(row.id) == row
    (attempt,) = await deliveries.attempts(row.id)
    assert (attempt.number, attempt.outcome, attempt.error) == (1, "rejected", "no")
    assert (await deliveries.event(uuid.UUID(ID))).uuid == (await deliveries.event(ID)).uuid == ID
    assert await deliveries.resend(uuid.UUID(ID)) == Asked((row.id,))


async def test_the_newest_twenty_attempts_are_kept(deliveries: Deliveries) -> None:
    """Counted on over resends."""
    (row,) = await deliveries.rows(DeliveryFilter(event_uuid=ID))
    for _ in range(22):
        await deliveries.resend(ID)
        await deliver(deliveries)

    assert [attempt.number for attempt in await deliveries.attempts(row.id)] == [*range(4, 24)]


async def test_what_is_not_there_is_said(deliveries: Deliveries) -> None:
    """By what it was asked for."""
    missing = "019b7777-0000-7000-8000-00000000ffff"
    for call, text in (
        (deliveries.row(77), "there is no delivery 77; it was never published, or retention deleted it"),
        (deliveries.attempts(77), "there is no delivery 77; it was never published, or retention deleted it"),
        (deliveries.event(missing), f"there is no event '{missing}'; it was never published, or retention deleted it"),
    ):
        with pytest.raises(UnknownDeliveryError) as caught:
            await call
        assert str(caught.value) == text


async def test_stats_say_how_the_rows_of_each_endpoint_stand(deliveries: Deliveries) -> None:
    """By name, with the states that there are."""
    stats = [(one.endpoint.name, dict(one.rows), one.claimed) for one in await deliveries.stats()]

    assert stats == [
        ("acme", {SUCCESS: 1, PENDING: 1}, 0),
        ("refusing", {FAILED: 1}, 0),
        ("waiting", {SENDING: 1}, 0),
    ]


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"limit": 0}, ValueError, r"^limit must be a whole number, at least 1, not 0$"),
        ({"limit": -1}, ValueError, r"^limit must be a whole number, at least 1, not -1$"),
        ({"limit": True}, ValueError, r"^limit must be a whole number, at least 1, not True$"),
        ({"limit": None}, ValueError, r"^limit must be a whole number, at least 1, not NoneType$"),
        ({"after": "7"}, ValueError, r"^after must be the id of a delivery, or None, not '7'$"),
        ({"wanted": {"states": []}}, TypeError, r"^wanted must be a DeliveryFilter, not dict$"),
        ({"wanted": DeliveryFilter(states=FAILED)}, ValueError, r"^states must be a set of pending"),  # type: ignore[arg-type]
        ({"wanted": DeliveryFilter(states=frozenset({"lost"}))}, ValueError, r"^states must be a set of pending"),  # type: ignore[arg-type]
        ({"wanted": DeliveryFilter(reason="lost")}, ValueError, r"^reason must be one of rejected, .*, not 'lost'$"),  # type: ignore[arg-type]
        ({"wanted": DeliveryFilter(endpoint=7)}, ValueError, r"^endpoint must be text or None, not 7$"),  # type: ignore[arg-type]
        ({"wanted": DeliveryFilter(due_before=float("nan"))}, ValueError, r"^due_before must be a moment, .* not nan$"),
    ],
)
async def test_a_question_that_means_nothing_is_refused(
    deliveries: Deliveries, arguments: dict[str, Any], error: type[Exception], text: str
) -> None:
    """The message names the argument, its value and the rule; so it is with what is asked for by a filter."""
    with pytest.raises(error, match=text):
        await deliveries.rows(**arguments)
    if "wanted" in arguments:
        with pytest.raises(error, match=text):
            await deliveries.resend_all(arguments["wanted"])
        with pytest.raises(error, match=text):
            await deliveries.cancel_all(arguments["wanted"])
    if "limit" in arguments:
        with pytest.raises(error, match=text):
            await deliveries.events(**arguments)
    if arguments.get("limit") is not None or "after" in arguments:
        with pytest.raises(error, match=text):
            await deliveries.resend_all(DeliveryFilter(), **arguments)
