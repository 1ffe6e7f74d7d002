"""Resending and cancelling, while a worker delivers: it holds for a delivery, or is reported."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from eventpipe import Batch, DropReason, Outcome, OutcomeKind, Verdict
from eventpipe.delivery.deliveries import Deliveries
from eventpipe.delivery.endpoint import Endpoint
from eventpipe.delivery.machine import DeliveryOutcome
from eventpipe.delivery.policy import DeliveryPolicy
from eventpipe.delivery.reconciler import Reconciler
from eventpipe.delivery.requests import PAGE, Asked, Requests
from eventpipe.errors import (
    PermanentSinkError,
    StoreError,
    TransientSinkError,
    UnknownDeliveryError,
    UnknownEndpointError,
)
from eventpipe.stores.delivery_base import DeliveringStore
from eventpipe.stores.delivery_values import (
    DELIVERIES,
    Change,
    DeliveryFilter,
    DeliveryRow,
    DeliveryState,
    FailureReason,
)
from eventpipe.testing.clock import LoopClock
from eventpipe.testing.recording import RecordingSink
from eventpipe.testing.sinks import GatedSink
from tests.delivery.facade import ENGINES, attempted, claimed, deliver, engine, settle

pytestmark = pytest.mark.asyncio

PENDING, SENDING, SUCCESS, FAILED, RESENDING = DeliveryState
UNKNOWN = "019b7777-0000-7000-8000-000000000001"


@pytest.fixture(params=ENGINES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> DeliveringStore:
    return engine(request.param, tmp_path, LoopClock())


@pytest.fixture
def sink() -> GatedSink:
    """Where deliveries to ``acme`` go; open until the test holds it."""
    made = GatedSink()
    made.release()
    return made


@pytest_asyncio.fixture
async def deliveries(store: DeliveringStore, sink: GatedSink) -> AsyncIterator[Deliveries]:
    policy = DeliveryPolicy(delays=[50], pending=100, sending=1000, attempts=3)
    async with Deliveries(store, clock=LoopClock(), policy=policy) as running:
        await running.add_endpoint(Endpoint("acme", sink=sink))
        await running.add_endpoint(Endpoint("other", sink=RecordingSink()))
        yield running


async def row_of(deliveries: Deliveries, uuid: str, endpoint: str = "acme") -> DeliveryRow:
    (row,) = await deliveries.rows(DeliveryFilter(event_uuid=uuid, endpoint=endpoint))
    return row


async def brought_to(deliveries: Deliveries, sink: GatedSink, state: DeliveryState) -> str:
    """An event whose delivery to ``acme`` has come to a state."""
    uuid = (await deliveries.publish("paid", endpoints=["acme", "other"])).event_uuid
    if state is not PENDING:
        sink.hold()
        errors = {FAILED: PermanentSinkError("no"), SENDING: TransientSinkError("later")}
        sink.release(error=errors.get(state))
        await deliver(deliveries)
        sink.release()
    if state is RESENDING:
        await deliveries.resend(uuid, ["acme"])
    assert (await row_of(deliveries, uuid)).state is state
    return uuid


# -- resend ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", list(DeliveryState))
async def test_a_resend_begins_anew(deliveries: Deliveries, sink: GatedSink, state: DeliveryState) -> None:
    """At once, with all attempts and deadlines, whatever state it was in; the attempts that were made stay."""
    uuid = await brought_to(deliveries, sink, state)
    before = await row_of(deliveries, uuid)
    await asyncio.sleep(20)
    now = deliveries.clock.time()

    asked = await deliveries.resend(uuid, ["acme"])

    row = await row_of(deliveries, uuid)
    assert asked == Asked((row.id,))
    assert (row.state, row.reason, row.settled_at) == (PENDING if state is PENDING else RESENDING, None, None)
    assert (row.attempts, row.total_attempts, row.resends) == (0, before.total_attempts, before.resends + 1)
    assert row.due_at == pytest.approx(now, abs=1)
    assert row.deadline_at == (row.due_at or 0) + 100
    sent = len(sink.attempts)
    await deliver(deliveries)
    assert len(sink.attempts) == sent + 1
    row = await row_of(deliveries, uuid)
    assert (row.state, row.total_attempts) == (SUCCESS, before.total_attempts + 1)
    assert [one.number for one in await deliveries.attempts(row.id)] == [*range(1, row.total_attempts + 1)]


async def test_a_resend_goes_to_all_endpoints_or_to_some(deliveries: Deliveries) -> None:
    """Those that are named, else all that the event was published to."""
    published = await deliveries.publish("paid", endpoints=["acme", "other"])
    await deliver(deliveries)

    some = await deliveries.resend(published.event_uuid, (name for name in ["other", "other"]))
    every = await deliveries.resend(published.event_uuid)

    assert some.done == (published.deliveries["other"],)
    assert sorted(every.done) == sorted(published.deliveries.values())
    assert [(row.endpoint, row.resends) for row in await deliveries.rows()] == [("other", 2), ("acme", 1)]


async def test_a_resend_wakes_whoever_delivers(deliveries: Deliveries) -> None:
    """The version of deliveries moves."""
    uuid = (await deliveries.publish("paid", endpoints=["acme"])).event_uuid
    await deliver(deliveries)
    before = deliveries.store.version(DELIVERIES)

    await deliveries.resend(uuid)

    assert deliveries.store.version(DELIVERIES) > before


@pytest.mark.parametrize("ask", ["resend", "cancel_deliveries"])
async def test_what_is_unknown_is_said(deliveries: Deliveries, ask: str) -> None:
    """An event, an endpoint, or a delivery of one to the other; nothing is asked for."""
    asking = getattr(deliveries, ask)
    uuid = (await deliveries.publish("paid", endpoints=["acme"])).event_uuid

    with pytest.raises(UnknownDeliveryError, match=rf"^there is no event '{UNKNOWN}'") as event:
        await asking(UNKNOWN)
    with pytest.raises(UnknownEndpointError, match=r"^there is no endpoint 'acmee'; .*'acme'"):
        await asking(uuid, ["acme", "acmee"])
    with pytest.raises(UnknownDeliveryError, match=rf"^there is no delivery to endpoint 'other' of event '{uuid}'"):
        await asking(uuid, ["acme", "other"])
    with pytest.raises(ValueError, match=r"^endpoints must name at least one"):
        await asking(uuid, [])

    assert event.value.id == UNKNOWN
    row = await row_of(deliveries, uuid)
    assert (row.state, row.resends) == (PENDING, 0)


async def test_an_event_that_went_nowhere_can_be_asked_for(deliveries: Deliveries) -> None:
    """There is nothing to send again, and that is no error."""
    uuid = (await deliveries.publish("paid")).event_uuid

    assert await deliveries.resend(uuid) == Asked()


async def test_a_resend_in_the_middle_of_an_attempt_sends_once_more(deliveries: Deliveries, sink: GatedSink) -> None:
    """What the worker wants to write is not written, and the far end gets the event again."""
    uuid = (await deliveries.publish("paid", endpoints=["acme"])).event_uuid
    sink.hold()
    (one,) = await claimed(deliveries)
    attempt = asyncio.create_task(attempted(deliveries, one))
    await sink.reached()

    asked = await deliveries.resend(uuid)
    sink.release()
    was_written = await settle(deliveries, one, await attempt)
    await deliver(deliveries)

    assert (asked.done, was_written, len(sink.attempts)) == ((one.row.id,), False, 2)
    row = await row_of(deliveries, uuid)
    assert (row.state, row.resends, row.total_attempts) == (SUCCESS, 1, 1)


class Slow(RecordingSink):
    """Takes some time over each attempt."""

    async def send(self, batch: Batch) -> Sequence[Verdict] | None:
        answer = await super().send(batch)
        await asyncio.sleep(len(self.attempts) % 7 / 200)
        return answer


async def test_of_a_thousand_resends_that_race_reconcilers_each_wins_or_is_reported(deliveries: Deliveries) -> None:
    """From four sides, at any moment of an attempt; the store has counted exactly those that were said to hold."""
    sink = Slow()
    await deliveries.add_endpoint(Endpoint("acme", sink=sink), replace=True)
    uuid = (await deliveries.publish("paid", endpoints=["acme"])).event_uuid
    asked: list[Asked] = []

    async def ask(chance: random.Random) -> None:
        for _ in range(250):
            await asyncio.sleep(chance.random() / 50)
            asked.append(await deliveries.resend(uuid))

    async with Reconciler(deliveries, workers=2), Reconciler(deliveries, workers=2, name="second"):
        await asyncio.gather(*(ask(random.Random(seed)) for seed in range(4)))
        last_asked = len(sink.attempts)
        await asyncio.sleep(1)

    row = await row_of(deliveries, uuid)
    done, missed = (sum(map(len, ids)) for ids in ([one.done for one in asked], [one.missed for one in asked]))
    assert (done + missed, row.resends, row.state) == (1000, done, SUCCESS)
    assert done > 500
    assert 100 < last_asked <= len(sink.attempts) <= done + 1


async def test_of_resends_that_race_reconcilers_each_wins_or_is_reported(deliveries: Deliveries) -> None:
    """With two of them, and a cancel now and then: no attempt that was not asked for, and none too few."""
    sink = Slow()
    await deliveries.add_endpoint(Endpoint("acme", sink=sink), replace=True)
    uuid = (await deliveries.publish("paid", endpoints=["acme"])).event_uuid
    done = 0
    async with Reconciler(deliveries, workers=2), Reconciler(deliveries, workers=2, name="second"):
        for number in range(200):
            await asyncio.sleep(number % 11 / 200)
            if number % 10 == 9:
                await deliveries.cancel_deliveries(uuid)
            before = len(sink.attempts)
            asked = await deliveries.resend(uuid)
            done += len(asked.done)
            assert len(asked.done) + len(asked.missed) == 1
            if asked.done:
                async with asyncio.timeout(1):
                    await sink.reached(before + 1)
        await asyncio.sleep(1)

    row = await row_of(deliveries, uuid)
    assert (row.state, row.resends) == (SUCCESS, done)
    assert done > 150
    assert len(sink.attempts) <= done + 1


async def test_a_row_that_never_holds_still_is_reported(
    deliveries: Deliveries, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody is always quicker: it is missed, and the others are done."""
    uuid = (await deliveries.publish("paid", endpoints=["acme", "other"])).event_uuid
    stubborn = (await row_of(deliveries, uuid)).id
    kind = type(deliveries.kept)
    change = kind.change

    async def slower(kept: Any, changes: Sequence[Change]) -> list[bool]:
        done = await change(kept, [one for one in changes if one.id != stubborn])
        answers = iter(done)
        return [False if one.id == stubborn else next(answers) for one in changes]

    monkeypatch.setattr(kind, "change", slower)
    asked = await deliveries.resend(uuid)

    assert asked == Asked(((await row_of(deliveries, uuid, "other")).id,), (), (stubborn,))
    assert ((await row_of(deliveries, uuid)).resends, (await row_of(deliveries, uuid, "other")).resends) == (0, 1)


# -- cancel ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", list(DeliveryState))
async def test_a_cancel_fails_what_is_open(deliveries: Deliveries, sink: GatedSink, state: DeliveryState) -> None:
    """As ``cancelled``, and nothing is sent any more; of what is final nothing is changed, which is said."""
    uuid = await brought_to(deliveries, sink, state)
    before = await row_of(deliveries, uuid)

    asked = await deliveries.cancel_deliveries(uuid, ["acme"])

    row = await row_of(deliveries, uuid)
    if state in (SUCCESS, FAILED):
        assert (asked, row) == (Asked((), (row.id,)), before)
    else:
        assert asked == Asked((row.id,))
        assert (row.state, row.reason, row.due_at) == (FAILED, FailureReason.CANCELLED, None)
        assert row.settled_at == pytest.approx(deliveries.clock.time(), abs=1)
    sent = len(sink.attempts)
    await asyncio.sleep(2000)
    await deliver(deliveries)
    assert len(sink.attempts) == sent


async def test_a_cancel_in_the_middle_of_an_attempt_holds(deliveries: Deliveries, sink: GatedSink) -> None:
    """The event may have arrived; what came of it is not written, and it is not sent again."""
    uuid = (await deliveries.publish("paid", endpoints=["acme"])).event_uuid
    (one,) = await claimed(deliveries)
    made = await attempted(deliveries, one)

    asked = await deliveries.cancel_deliveries(uuid)

    assert (asked.done, await settle(deliveries, one, made)) == ((one.row.id,), False)
    assert (await row_of(deliveries, uuid)).reason is FailureReason.CANCELLED


async def test_what_is_cancelled_is_told(deliveries: Deliveries) -> None:
    """Once a delivery, as dropped because it was abandoned; with its event, where one was asked for."""
    subscription = deliveries.subscribe(OutcomeKind.DROPPED)
    first = (await deliveries.publish("paid", endpoints=["acme", "other"])).event_uuid
    await deliveries.publish("sold", endpoints=["acme"])

    await deliveries.cancel_deliveries(first, ["acme"])
    await deliveries.cancel_deliveries(first, ["acme"])
    await deliveries.cancel_all(DeliveryFilter())
    await deliveries.stop()

    told = [outcome async for outcome in subscription if isinstance(outcome, Outcome)]
    assert [(one.kind, one.sink, one.reason, one.error, [event.name for event in one.captured]) for one in told] == [
        (OutcomeKind.DROPPED, "acme", DropReason.ABANDONED, "cancelled", ["paid"]),
        (OutcomeKind.DROPPED, "acme", DropReason.ABANDONED, "cancelled", []),
        (OutcomeKind.DROPPED, "other", DropReason.ABANDONED, "cancelled", []),
    ]


# -- many -----------------------------------------------------------------------------------------------------------


async def test_all_that_a_filter_wants_is_sent_again(
    deliveries: Deliveries, sink: GatedSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over pages, each once, and nothing else."""
    monkeypatch.setattr("eventpipe.delivery.requests.PAGE", 50)
    sink.hold()
    sink.release(error=PermanentSinkError("no"))
    number = 102
    for _ in range(3):
        await deliveries.publish_many(["paid"] * (number // 3), endpoints=["acme", "other"])
    await deliver_all(deliveries)

    asked = await deliveries.resend_all(DeliveryFilter(states=frozenset({FAILED}), event_name="pai*"))

    rows = await deliveries.rows(limit=5000)
    assert (len(asked.done), asked.refused, asked.missed) == (number // 3 * 3, (), ())
    assert list(asked.done) == [row.id for row in rows if row.endpoint == "acme"]
    assert {(row.endpoint, row.state, row.resends) for row in rows} == {("acme", RESENDING, 1), ("other", SUCCESS, 0)}


async def test_a_request_with_a_limit_ends_there_and_says_how_to_go_on(
    deliveries: Deliveries, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each delivery is asked for once, whatever it fits afterwards; the last answer says that there are no more."""
    monkeypatch.setattr("eventpipe.delivery.requests.PAGE", 4)
    await deliveries.publish_many(["paid"] * 22, endpoints=["acme"])
    answers = [await deliveries.resend_all(DeliveryFilter(endpoint="acme"), limit=11)]
    while answers[-1].next is not None:
        answers.append(await deliveries.resend_all(DeliveryFilter(endpoint="acme"), after=answers[-1].next, limit=11))

    assert [(len(asked.done), asked.next) for asked in answers] == [(11, 12), (11, None)]
    assert {row.resends for row in await deliveries.rows()} == {1}
    assert (await deliveries.cancel_all(DeliveryFilter(), limit=3)).next == 20


async def deliver_all(deliveries: Deliveries) -> None:
    while await deliver(deliveries):
        pass


async def test_what_is_published_meanwhile_is_not_asked_for(
    deliveries: Deliveries, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that a filter wants when the asking begins, and none that come while it goes on."""
    await deliveries.publish_many(["paid"] * (PAGE + 1), endpoints=["acme"])
    kind = type(deliveries.kept)
    change = kind.change

    async def more(kept: Any, changes: Sequence[Change]) -> list[bool]:
        monkeypatch.setattr(kind, "change", change)
        await deliveries.publish("late", endpoints=["acme"])
        return await change(kept, changes)

    monkeypatch.setattr(kind, "change", more)
    asked = await deliveries.cancel_all(DeliveryFilter())

    assert len(asked.done) == PAGE + 1
    (late,) = await deliveries.rows(DeliveryFilter(event_name="late"))
    assert late.state is PENDING


@pytest.mark.parametrize("ask", ["resend_all", "cancel_all"])
async def test_what_does_not_fit_a_filter_any_more_is_left_alone(
    deliveries: Deliveries, sink: GatedSink, ask: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A delivery that failed, and arrives while all that failed are asked for, is not sent a second time."""
    state = FAILED if ask == "resend_all" else SENDING
    uuids = [await brought_to(deliveries, sink, state) for _ in range(2)]
    kind = type(deliveries.kept)
    change = kind.change

    async def after_somebody_else(kept: Any, changes: Sequence[Change]) -> list[bool]:
        monkeypatch.setattr(kind, "change", change)
        await deliveries.resend(uuids[0], ["acme"])
        await deliver(deliveries)
        return await change(kept, changes)

    monkeypatch.setattr(kind, "change", after_somebody_else)
    asked = await getattr(deliveries, ask)(DeliveryFilter(states=frozenset({state}), endpoint="acme"))

    arrived, wanted = [await row_of(deliveries, uuid) for uuid in uuids]
    assert asked == Asked((wanted.id,))
    assert (arrived.state, arrived.resends) == (SUCCESS, 1)
    assert (wanted.state, wanted.resends) == ((RESENDING, 1) if ask == "resend_all" else (FAILED, 0))


async def test_what_fits_no_more_is_not_asked_for_in_the_place_of_another(
    deliveries: Deliveries, sink: GatedSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two deliveries of one event, the older goes on to fit, and is sent again once."""
    sink.hold()
    sink.release(error=PermanentSinkError("no"))
    await deliveries.add_endpoint(Endpoint("other", sink=sink), replace=True)
    published = await deliveries.publish("paid", endpoints=["acme", "other"])
    await deliver(deliveries)
    sink.release()
    kind = type(deliveries.kept)
    change = kind.change

    async def after_somebody_else(kept: Any, changes: Sequence[Change]) -> list[bool]:
        monkeypatch.setattr(kind, "change", change)
        await deliveries.resend(published.event_uuid, ["other"])
        await deliver(deliveries)
        return await change(kept, changes)

    monkeypatch.setattr(kind, "change", after_somebody_else)
    monkeypatch.setattr("eventpipe.delivery.requests.PAGE", 1)
    asked = await deliveries.resend_all(DeliveryFilter(states=frozenset({FAILED, RESENDING})))

    assert asked == Asked((published.deliveries["acme"],))
    assert [(row.endpoint, row.resends) for row in await deliveries.rows()] == [("other", 1), ("acme", 1)]


async def test_one_that_changed_and_still_fits_is_asked_for(
    deliveries: Deliveries, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A claim changes it, and no filter minds."""
    await deliveries.publish("paid", endpoints=["acme"])
    kind = type(deliveries.kept)
    change = kind.change

    async def after_a_claim(kept: Any, changes: Sequence[Change]) -> list[bool]:
        monkeypatch.setattr(kind, "change", change)
        await claimed(deliveries)
        return await change(kept, changes)

    monkeypatch.setattr(kind, "change", after_a_claim)
    asked = await deliveries.resend_all(DeliveryFilter(states=frozenset({PENDING})))

    (row,) = await deliveries.rows()
    assert (asked, row.resends, row.claimed_until) == (Asked((row.id,)), 1, None)


async def test_a_deleted_row_is_in_no_answer(deliveries: Deliveries, monkeypatch: pytest.MonkeyPatch) -> None:
    """Retention took it between the look and the change."""
    await deliveries.publish("paid", endpoints=["acme"])
    await deliver(deliveries)
    await asyncio.sleep(1)
    kind = type(deliveries.kept)
    change = kind.change

    async def after_a_purge(kept: Any, changes: Sequence[Change]) -> list[bool]:
        monkeypatch.setattr(kind, "change", change)
        assert await deliveries.purge(before=deliveries.clock.time()) == 1
        return await change(kept, changes)

    monkeypatch.setattr(kind, "change", after_a_purge)

    assert await deliveries.resend_all(DeliveryFilter()) == Asked()


async def test_an_engine_that_fails_leaves_what_was_asked_for(
    deliveries: Deliveries, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error leaves, and the first page stays asked for."""
    await deliveries.publish_many(["paid"] * (PAGE + 1), endpoints=["acme"])
    kind = type(deliveries.kept)
    rows = kind.rows

    async def fails(
        kept: Any, wanted: DeliveryFilter, *, after: int | None = None, limit: int = 100
    ) -> list[DeliveryRow]:
        if after is not None:
            raise StoreError("the engine failed")
        return await rows(kept, wanted, after=after, limit=limit)

    monkeypatch.setattr(kind, "rows", fails)
    with pytest.raises(StoreError, match=r"^the engine failed$"):
        await deliveries.cancel_all(DeliveryFilter())
    monkeypatch.undo()

    states = [row.state for row in await deliveries.rows(limit=PAGE + 1)]
    assert states == [FAILED] * PAGE + [PENDING]


async def test_asking_lets_others_run(deliveries: Deliveries) -> None:
    """Between two pages, also where the store is in memory and never waits."""
    await deliveries.publish_many(["paid"] * (3 * PAGE), endpoints=["acme"])
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    counting = asyncio.create_task(count())
    requests = Requests(deliveries.kept, deliveries.policy, deliveries.clock, deliveries.outcomes)
    asked = await requests.ask_of_all(DeliveryFilter(), DeliveryOutcome.RESEND)
    counting.cancel()

    assert len(asked.done) == 3 * PAGE
    assert turns >= 2
