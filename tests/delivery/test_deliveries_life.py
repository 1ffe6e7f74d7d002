"""The life of deliveries: what they open they close, what was settled long ago is deleted, and each call knows."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from eventpipe import OutcomeKind, ServiceState
from eventpipe.delivery.deliveries import Deliveries
from eventpipe.delivery.endpoint import Endpoint
from eventpipe.errors import ClosedError, StoreError, UnknownDeliveryError
from eventpipe.stores.delivery_base import DeliveringStore
from eventpipe.stores.delivery_values import DeliveryFilter, DeliveryState, FailureReason, Rule
from eventpipe.stores.memory import MemoryStore
from eventpipe.testing.clock import LoopClock
from eventpipe.testing.leaks import no_leaks
from eventpipe.testing.recording import RecordingSink
from tests.delivery.facade import ENGINES, SECRET, URL, deliver, engine

pytestmark = pytest.mark.asyncio

DAY = 24 * 3600.0
ID = "019b7777-0000-7000-8000-000000000001"


@pytest.fixture(params=ENGINES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> DeliveringStore:
    return engine(request.param, tmp_path, LoopClock())


@pytest_asyncio.fixture
async def deliveries(store: DeliveringStore) -> AsyncIterator[Deliveries]:
    async with Deliveries(store, clock=LoopClock()) as running:
        await running.add_endpoint(Endpoint("acme", sink=RecordingSink()))
        yield running


CALLS: dict[str, Callable[[Deliveries], Any]] = {
    "publish": lambda d: d.publish("paid", endpoints=["acme"]),
    "publish by rules": lambda d: d.publish("paid"),
    "publish_many": lambda d: d.publish_many(["paid"]),
    "resend": lambda d: d.resend(ID),
    "cancel_deliveries": lambda d: d.cancel_deliveries(ID),
    "resend_all": lambda d: d.resend_all(DeliveryFilter()),
    "cancel_all": lambda d: d.cancel_all(DeliveryFilter()),
    "test_endpoint": lambda d: d.test_endpoint("acme"),
    "rows": lambda d: d.rows(),
    "row": lambda d: d.row(1),
    "attempts": lambda d: d.attempts(1),
    "event": lambda d: d.event(ID),
    "events": lambda d: d.events(),
    "stats": lambda d: d.stats(),
    "purge": lambda d: d.purge(before=0.0),
    "add_endpoint": lambda d: d.add_endpoint(Endpoint("acme", URL)),
    "rotate_secret": lambda d: d.rotate_secret("acme", SECRET),
    "set_rate_limit": lambda d: d.set_rate_limit("acme", 5),
    "pause_endpoint": lambda d: d.pause_endpoint("acme"),
    "resume_endpoint": lambda d: d.resume_endpoint("acme"),
    "disable_endpoint": lambda d: d.disable_endpoint("acme"),
    "remove_endpoint": lambda d: d.remove_endpoint("acme"),
    "endpoints": lambda d: d.endpoints(),
    "endpoint": lambda d: d.endpoint("acme"),
    "add_rule": lambda d: d.add_rule(Rule("all", ("*",), ("acme",))),
    "remove_rule": lambda d: d.remove_rule("all"),
    "rules": lambda d: d.rules(),
}


async def test_every_call_is_among_those_that_are_tried() -> None:
    """What is public and async, and no part of being a service."""
    public = {
        name
        for kind in Deliveries.__mro__
        if kind.__module__.startswith("eventpipe.delivery")
        for name, value in vars(kind).items()
        if not name.startswith("_") and asyncio.iscoroutinefunction(value)
    }

    assert public - {"aclose"} == {name.partition(" ")[0] for name in CALLS}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_before_the_start_and_after_the_stop_each_call_says_so(
    store: DeliveringStore, call: Callable[[Deliveries], Any]
) -> None:
    """Whether they never ran or were stopped, and what to do; no call opens anything."""
    with no_leaks():
        deliveries = Deliveries(store, clock=LoopClock())
        with pytest.raises(ClosedError, match=r"^eventpipe-deliveries has not started; use `async with`, or await"):
            await call(deliveries)
        async with deliveries:
            pass
        with pytest.raises(ClosedError, match=r"^eventpipe-deliveries is stopped; await start\(\) opens it again$"):
            await call(deliveries)


async def test_everything_stays_over_a_stop(store: DeliveringStore) -> None:
    """A second life has what the first had kept, and the sink that it was given."""
    sink = RecordingSink()
    deliveries = Deliveries(store, clock=LoopClock(), sinks={"acme": sink})
    with no_leaks():
        await deliveries.start()
        await deliveries.add_endpoint(Endpoint("acme", sink=sink))
        uuid = (await deliveries.publish("paid", endpoints=["acme"])).event_uuid
        await deliveries.stop()
        was_closed = [sink.is_closed]

        async with deliveries:
            assert await deliver(deliveries) == 1
            assert sink.uuids == [uuid]
        was_closed.append(sink.is_closed)
        await deliveries.aclose()

    assert was_closed == [False, True]
    assert deliveries.state is ServiceState.STOPPED


async def test_sinks_that_were_closed_are_not_used_again(store: DeliveringStore) -> None:
    """After ``aclose()`` an endpoint has none, until it is given one; what is published meanwhile is not lost."""
    deliveries = Deliveries(store, clock=LoopClock())
    async with deliveries:
        await deliveries.add_endpoint(Endpoint("acme", sink=RecordingSink()))
    sink = RecordingSink()
    async with deliveries:
        await deliveries.publish("paid", endpoints=["acme"])
        assert not deliveries.senders.has(await deliveries.endpoint("acme"))
        await deliveries.add_endpoint(Endpoint("acme", sink=sink), replace=True)
        await deliver(deliveries)

    assert len(sink.events) == 1


class Stubborn(RecordingSink):
    """Takes longer to close than anybody waits."""

    async def aclose(self) -> None:
        await asyncio.sleep(1e6)


async def test_a_sink_that_does_not_close_keeps_nothing_open(store: DeliveringStore) -> None:
    """The others are closed beside it, and it is left after five seconds."""
    others = [RecordingSink(), RecordingSink()]
    deliveries = Deliveries(store, sinks={"a": others[0], "b": Stubborn(), "c": others[1]}, clock=LoopClock())
    await deliveries.start()
    began = asyncio.get_running_loop().time()

    await deliveries.aclose()

    assert [sink.is_closed for sink in others] == [True, True]
    assert asyncio.get_running_loop().time() - began < 6
    await store.open()  # which it would refuse if it were open
    await store.aclose()


async def test_an_idle_service_costs_nothing(store: DeliveringStore) -> None:
    """Where nothing is ever deleted it wakes never."""
    async with Deliveries(store, clock=LoopClock(), retention=None):
        loop: Any = asyncio.get_running_loop()
        await asyncio.sleep(1)  # the file's thread hands over what it opened
        steps = loop.steps
        await asyncio.sleep(DAY)
        assert loop.steps - steps < 10


# -- retention ------------------------------------------------------------------------------------------------------


async def test_what_was_settled_long_ago_is_deleted(store: DeliveringStore) -> None:
    """Within an hour, with its event; what is open stays, however old it is, and so does what was settled since."""
    async with Deliveries(store, clock=LoopClock(), retention=2 * DAY) as deliveries:
        await deliveries.add_endpoint(Endpoint("acme", sink=RecordingSink()))
        await deliveries.add_endpoint(Endpoint("paused", sink=RecordingSink()))
        await deliveries.pause_endpoint("paused")
        old = await deliveries.publish("old", endpoints=["acme"])
        nowhere = await deliveries.publish("nowhere")
        waiting = await deliveries.publish("open", endpoints=["paused", "acme"])
        await deliver(deliveries)
        await asyncio.sleep(DAY)
        recent = await deliveries.publish("recent", endpoints=["acme"])
        await deliver(deliveries)
        assert len(await deliveries.rows()) == 4

        await asyncio.sleep(DAY + 3601)

        kept = {event.uuid for event in await deliveries.events()}
        rows = [(row.event_name, row.endpoint) for row in await deliveries.rows()]
        for gone in (old, nowhere):
            with pytest.raises(UnknownDeliveryError):
                await deliveries.event(gone.event_uuid)
    assert kept == {waiting.event_uuid, recent.event_uuid}
    assert rows == [("recent", "acme"), ("open", "paused")]


async def test_without_retention_nothing_is_deleted(store: DeliveringStore) -> None:
    """For ever."""
    async with Deliveries(store, clock=LoopClock(), retention=None) as deliveries:
        await deliveries.add_endpoint(Endpoint("acme", sink=RecordingSink()))
        await deliveries.publish("old", endpoints=["acme"])
        await deliver(deliveries)
        await asyncio.sleep(400 * DAY)
        assert len(await deliveries.rows()) == 1


async def test_purge_deletes_by_steps_and_says_how_much(deliveries: Deliveries) -> None:
    """Whatever the number, what was settled before the moment and nothing else; events without rows count."""
    for _ in range(5):
        await deliveries.publish_many(["paid"] * 500, endpoints=["acme"])
    await deliveries.publish("nowhere")
    await deliveries.cancel_all(DeliveryFilter())
    await deliveries.publish("open", endpoints=["acme"])
    await asyncio.sleep(5)

    counts = [await deliveries.purge(before=deliveries.clock.time() + offset) for offset in (-100, 0, 0)]

    assert counts == [0, 2501, 0]
    assert [event.name for event in await deliveries.events()] == ["open"]


async def test_purge_lets_others_run(deliveries: Deliveries, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two steps, also where the store is in memory and never waits."""
    monkeypatch.setattr("eventpipe.delivery.running._PURGE_STEP", 10)
    await deliveries.publish_many(["paid"] * 45, endpoints=["acme"])
    await deliveries.cancel_all(DeliveryFilter())
    await asyncio.sleep(5)
    loop: Any = asyncio.get_running_loop()
    steps = loop.steps

    assert await deliveries.purge(before=deliveries.clock.time()) == 45

    assert loop.steps - steps >= 4


@pytest.mark.parametrize("before", [float("nan"), float("inf"), None, "yesterday", True])
async def test_purge_needs_a_moment(deliveries: Deliveries, before: Any) -> None:
    """Else it would delete who knows what."""
    with pytest.raises(ValueError, match=r"^before must be a moment, in seconds since 1970, not "):
        await deliveries.purge(before=before)


async def test_an_engine_that_fails_is_asked_again(
    store: DeliveringStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An hour later; the failure is one line in the log, and ends nothing."""
    async with Deliveries(store, clock=LoopClock(), retention=DAY) as deliveries:
        await deliveries.add_endpoint(Endpoint("acme", sink=RecordingSink()))
        await deliveries.publish("old", endpoints=["acme"])
        await deliver(deliveries)
        await asyncio.sleep(DAY - 1800)

        async def fails(kept: object, *, before: float, limit: int) -> int:
            raise StoreError("the engine failed")

        with monkeypatch.context() as patch:
            patch.setattr(type(deliveries.kept), "purge", fails)
            await asyncio.sleep(3600)
        assert len(await deliveries.rows()) == 1
        await asyncio.sleep(3600)
        assert await deliveries.rows() == []

    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (
            logging.WARNING,
            "eventpipe-deliveries could not delete old deliveries, and tries again later: the engine failed",
        )
    ]


# -- subscriptions --------------------------------------------------------------------------------------------------


async def test_a_subscription_is_for_one_life(store: DeliveringStore) -> None:
    """One that was made before the start, or between two lives, has what happens in the next, and ends with it."""
    deliveries = Deliveries(store, clock=LoopClock())
    told = []
    for _ in range(2):
        subscription = deliveries.subscribe(OutcomeKind.DROPPED)
        async with deliveries:
            await deliveries.add_endpoint(Endpoint("acme", URL), replace=True)
            await deliveries.publish("paid", endpoints=["acme"])
            await deliveries.cancel_all(DeliveryFilter(states=frozenset({DeliveryState.PENDING})))
        told.append([getattr(one, "error", None) async for one in subscription])

    assert told == [[FailureReason.CANCELLED], [FailureReason.CANCELLED]]


# -- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"store": object()}, TypeError, r"^store must be one that keeps deliveries, such as SqliteStore, not object$"),
        ({"store": None}, TypeError, r"^store must be one that keeps deliveries"),
        ({"policy": {"attempts": 5}}, TypeError, r"^policy must be a DeliveryPolicy or None, not dict$"),
        ({"secrets": SECRET}, TypeError, r"^secrets must be a function of an endpoint's name, or None, not str$"),
        ({"secrets": {"acme": SECRET}}, TypeError, r"^secrets must be a function .* not dict$"),
        ({"retention": 0}, ValueError, r"^retention must be a finite number of seconds above 0, or None, not 0$"),
        ({"retention": float("nan")}, ValueError, r"^retention must be .*, not nan$"),
        ({"retention": True}, ValueError, r"^retention must be .*, not True$"),
        ({"sinks": {"a b": RecordingSink()}}, ValueError, r"^the name of an endpoint must have no white space"),
        ({"sinks": {"acme": print}}, TypeError, r"^a sink must be an object with async send\(batch\) and aclose\(\)"),
    ],
)
async def test_an_option_that_means_nothing_is_refused(
    options: dict[str, Any], error: type[Exception], text: str
) -> None:
    """By the constructor, which opens nothing."""
    with no_leaks(), pytest.raises(error, match=text):
        Deliveries(**{"store": MemoryStore(), **options})
