"""Typed events on their way through a client."""

from __future__ import annotations

import asyncio
import datetime
import traceback
from collections.abc import Callable
from typing import Any, Literal

import pytest

from eventpipe import AsyncClient, ClosedError, DeliveryError, DropReason, Event, InvalidEventError, Receipt, scope
from eventpipe.models import EventModel
from eventpipe.outcomes import Outcome
from eventpipe.sinks import MemorySink
from eventpipe.testing import check_ledger

pytestmark = pytest.mark.asyncio

NOON = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.UTC)


class SignedUp(EventModel, version=2):
    plan: Literal["free", "pro"]


class Opened(EventModel):
    at: datetime.datetime = NOON


PRO = SignedUp(plan="pro")
WRONG: dict[str, Any] = {"plan": "hunter2"}
WHY = "SignedUp does not validate: plan (literal_error)"

FORMS: dict[str, Callable[[AsyncClient], Any]] = {
    "capture": lambda client: client.capture(PRO, distinct_id="u1"),
    "capture of the class": lambda client: client.capture(SignedUp, distinct_id="u1", properties={"plan": "pro"}),
    "capture with a key": lambda client: client.capture(PRO, distinct_id="u1", key="k"),
    "capture of an Event": lambda client: client.capture(Event(PRO, distinct_id="u1")),
    "capture_nowait": lambda client: asyncio.sleep(0, client.capture_nowait(PRO, distinct_id="u1")),
    "capture_nowait of the class": lambda client: asyncio.sleep(
        0, client.capture_nowait(SignedUp, distinct_id="u1", properties={"plan": "pro"})
    ),
    "capture_nowait in a thread": lambda client: asyncio.to_thread(client.capture_nowait, PRO, distinct_id="u1"),
    "capture_ai": lambda client: client.capture_ai(PRO, distinct_id="u1"),
    "capture_ai of an Event": lambda client: client.capture_ai(Event(PRO, distinct_id="u1")),
    "capture_many": lambda client: client.capture_many([Event(PRO, distinct_id="u1")]),
    "deliver": lambda client: client.deliver(Event(PRO, distinct_id="u1")),
}


def same(event: Event) -> Event:
    return event


@pytest.mark.parametrize("hook", [None, same], ids=["no hook", "hook"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.wallclock
async def test_each_form_of_capture_takes_a_typed_event(form: str, hook: Callable[[Event], Event] | None) -> None:
    """It arrives as an event of its name, with its fields and version as properties."""
    sink = MemorySink()

    async with AsyncClient(sink, before_send=hook, strict=True) as client:
        await client.capture("first")  # the client is at home on this loop from now on
        await FORMS[form](client)
        await client.flush()
        check_ledger(client)

    _, event = sink.events
    assert (event.event, event.distinct_id) == ("signed_up", "u1")
    assert event.properties == {"plan": "pro", "event_version": 2}


async def test_one_or_several_without_more_words() -> None:
    """``capture_many()`` and ``deliver()`` take instances and classes; ``deliver()`` takes one for one."""
    sink = MemorySink()

    async with AsyncClient(sink, strict=True) as client:
        receipts = await client.capture_many([PRO, Opened, "plain", Event("event")])
        alone = await client.deliver(PRO)
        outcomes = await client.deliver([PRO, Opened])
        of_class = await client.deliver(Opened)

    assert [receipt.accepted for receipt in receipts] == [True] * 4
    assert [len(alone), len(outcomes), len(of_class)] == [1, 2, 1]
    assert [event.event for event in sink.events] == [
        *("signed_up", "opened", "plain", "event"),
        *("signed_up", "signed_up", "opened", "opened"),
    ]
    assert sink.events[1].properties == {"at": "2026-01-01T12:00:00Z"}


INVALID: dict[str, Callable[[AsyncClient], Any]] = {
    "capture": lambda client: client.capture(SignedUp, properties=WRONG),
    "capture of an Event": lambda client: client.capture(Event(SignedUp, properties=WRONG)),
    "capture_nowait": lambda client: asyncio.sleep(0, client.capture_nowait(SignedUp, properties=WRONG)),
    "capture_nowait in a thread": lambda client: asyncio.to_thread(client.capture_nowait, SignedUp, properties=WRONG),
    "capture_ai": lambda client: client.capture_ai(SignedUp, properties=WRONG),
    "made past validation": lambda client: client.capture(SignedUp.model_construct(**WRONG)),
}


@pytest.mark.parametrize("form", INVALID)
@pytest.mark.wallclock
async def test_invalid_event_is_dropped_with_its_reason(form: str) -> None:
    """It is counted, under the name of its class; nothing is raised, no hook is called, its neighbours arrive."""
    sink, drops, seen = MemorySink(), list[Outcome](), list[str]()

    def hook(event: Event) -> Event:
        seen.append(event.event)
        return event

    async with AsyncClient(sink, before_send=hook, on_drop=drops.append) as client:
        await client.capture("before")
        receipt: Receipt = await INVALID[form](client)
        await client.capture("after")
        report = await client.flush()
        check_ledger(client)
        statistics = client.statistics()

    assert (receipt.accepted, receipt.reason) == (False, DropReason.INVALID)
    assert [(drop.events, drop.reason, drop.error) for drop in drops] == [(("signed_up",), DropReason.INVALID, WHY)]
    assert statistics.dropped_by_reason[DropReason.INVALID] == 1
    assert seen == ["before", "after"]
    assert [event.event for event in sink.events] == seen
    assert report.pending == 0


@pytest.mark.parametrize("form", INVALID)
@pytest.mark.wallclock
async def test_strict_mode_raises_for_an_invalid_event(form: str) -> None:
    """With the same words, and no value in the traceback."""
    async with AsyncClient(MemorySink(), strict=True) as client:
        with pytest.raises(InvalidEventError) as raised:
            await INVALID[form](client)
        await client.flush()
        check_ledger(client)

    assert (str(raised.value), raised.value.path) == (WHY, "properties")
    assert "hunter2" not in "".join(traceback.format_exception(raised.value))


async def test_deliver_tells_of_an_invalid_event() -> None:
    """By the error that it raises for any drop; the others are delivered."""
    sink = MemorySink()

    async with AsyncClient(sink) as client:
        with pytest.raises(DeliveryError) as raised:
            await client.deliver([PRO, Event(SignedUp, properties=WRONG)])

    good, bad = raised.value.outcomes
    assert (bad.reason, bad.error) == (DropReason.INVALID, WHY)
    assert [event.uuid for event in sink.events] == list(good.uuids)


async def test_scope_adds_what_is_no_field() -> None:
    """A scope may say more than the model has, and the model's own value wins."""
    sink = MemorySink()

    async with AsyncClient(sink, strict=True) as client:
        with scope(distinct_id="u1", properties={"tenant": "acme", "plan": "free", "event_version": 9}):
            await client.capture(PRO)
            await client.capture(SignedUp, properties={"plan": "pro"})

    for event in sink.events:
        assert event.distinct_id == "u1"
        assert event.properties == {"tenant": "acme", "plan": "pro", "event_version": 2}


async def test_hook_sees_a_name_and_properties() -> None:
    """A scrubber finds a typed event as it finds others."""
    seen: list[tuple[object, object]] = []

    def scrub(event: Event) -> Event:
        seen.append((event.event, event.properties))
        return Event(event.event, event.distinct_id, {"plan": "hidden"})

    sink = MemorySink()
    async with AsyncClient(sink, before_send=scrub) as client:
        await client.capture(PRO)

    assert seen == [("signed_up", {"plan": "pro", "event_version": 2})]
    assert sink.events[0].properties == {"plan": "hidden"}


@pytest.mark.parametrize("first", ["plain", PRO], ids=["plain", "typed"])
async def test_hook_may_return_a_typed_event(first: str | EventModel) -> None:
    """One that does not validate is dropped for that."""
    sink, drops = MemorySink(), list[Outcome]()
    plans = ["pro", "hunter2"]

    def typed(event: Event) -> Event:
        return Event(SignedUp, event.distinct_id, {"plan": plans.pop(0)})

    async with AsyncClient(sink, before_send=typed, on_drop=drops.append) as client:
        await client.capture(first, distinct_id="u1")
        await client.capture(first, distinct_id="u1")

    assert [(event.event, event.distinct_id, event.properties["plan"]) for event in sink.events] == [
        ("signed_up", "u1", "pro")
    ]
    assert [(drop.events, drop.reason, drop.error) for drop in drops] == [(("signed_up",), DropReason.INVALID, WHY)]


async def test_closed_and_disabled_clients_say_what_they_always_say() -> None:
    """Whether the event would have been valid does not matter there."""
    client = AsyncClient(MemorySink(), strict=True)
    await client.aclose()
    for properties in ({"plan": "pro"}, WRONG):
        with pytest.raises(ClosedError):
            await client.capture(SignedUp, properties=properties)
    assert client.statistics().dropped_by_reason == {DropReason.CLOSED: 2}

    async with AsyncClient(enabled=False) as disabled:
        receipt = await disabled.capture(SignedUp, properties=WRONG)
        outcomes = await disabled.deliver(PRO)
    assert (receipt.accepted, receipt.reason, len(outcomes)) == (False, None, 1)


async def test_invalid_event_counts_once_at_each_sink() -> None:
    """Nothing was routed yet."""
    async with AsyncClient(MemorySink(), MemorySink()) as client:
        await client.capture(SignedUp, properties=WRONG)
        check_ledger(client)
        by_sink = client.statistics().by_sink

    assert [sink.dropped_by_reason for sink in by_sink.values()] == [{DropReason.INVALID: 1}] * 2


async def test_an_event_has_all_arguments_already() -> None:
    """An ``Event`` of a model is an ``Event``: arguments beside it are a mistake in the program."""
    async with AsyncClient(MemorySink()) as client:
        with pytest.raises(TypeError, match="an Event has all arguments"):
            await client.capture(Event(PRO), distinct_id="u1")


async def test_model_that_a_hook_put_in_place_of_a_name_is_refused() -> None:
    """An ``Event`` becomes a name and properties when it is made, and not later."""
    drops = list[Outcome]()

    def put(event: Event) -> Event:
        event.event = PRO  # type: ignore[assignment]  # it is wrong
        return event

    async with AsyncClient(MemorySink(), before_send=put, on_drop=drops.append) as client:
        await client.capture("plain")

    assert [drop.error for drop in drops] == ["event must be a text that is not empty, not a value of type SignedUp"]
