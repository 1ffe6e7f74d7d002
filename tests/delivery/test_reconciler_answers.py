"""What a store did and did not say, what attempts may take, and what a pass leaves behind when it is cut off."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Sequence
from typing import Any

import pytest

from eventpipe.delivery.deliveries import Deliveries
from eventpipe.delivery.endpoint import Endpoint
from eventpipe.delivery.judging import Judgement
from eventpipe.delivery.machine import DeliveryOutcome
from eventpipe.delivery.reconciler import Reconciler
from eventpipe.delivery.sending import Attempted
from eventpipe.errors import StoreError
from eventpipe.outcomes import Outcome, OutcomeKind
from eventpipe.stores.delivery_values import AttemptRecord, DeliveryState, EndpointState
from eventpipe.testing import HangingSink
from eventpipe.testing.recording import RecordingSink
from tests.delivery.conftest import Faults, locked
from tests.delivery.test_reconciler_passes import add, publish, states

pytestmark = pytest.mark.asyncio


def lose_answers(faults: Faults, calls: int) -> None:
    """Have so many calls of ``change()`` be done, and fail all the same."""
    real, left = faults.kept.change, [None] * calls

    class Losing:
        def __getattr__(self, name: str) -> Any:  # Any: each method is handed through as it is
            return getattr(kept, name)

        async def change(self, changes: Sequence[Any]) -> Any:  # Any: as above
            done = await real(changes)
            if left:
                left.pop()
                raise StoreError("disk I/O error")
            return done

    kept = faults.kept
    faults.kept = Losing()


@pytest.mark.parametrize("is_disabled", [False, True], ids=["attempted", "refused"])
async def test_what_was_written_counts_though_the_answer_was_lost(
    deliveries: Deliveries, faults: Faults, is_disabled: bool
) -> None:
    """And whoever listens is told, once each."""
    kind = OutcomeKind.DROPPED if is_disabled else OutcomeKind.DELIVERED
    await add(deliveries, "acme", RecordingSink())
    uuids = await publish(deliveries, 5, "acme")
    if is_disabled:
        await deliveries.disable_endpoint("acme")
    lose_answers(faults, 2)
    async with deliveries.subscribe(kind) as told:
        reconciler = Reconciler(deliveries, workers=4)
        report = await reconciler.reconcile()
        outcomes = [outcome for _ in range(5) if isinstance(outcome := await told.receive(1), Outcome)]

    assert (report.claimed, report.skipped, report.errors) == (5, 0, ())
    assert (report.failed if is_disabled else report.succeeded) == 5
    assert sorted(outcome.uuids[0] for outcome in outcomes) == sorted(uuids)
    assert reconciler.statistics().unwritten == 0


async def test_what_was_written_as_its_pass_was_cancelled_is_told_by_the_next(
    deliveries: Deliveries, faults: Faults
) -> None:
    """The write was under way, and done all the same."""
    sink = RecordingSink()
    await add(deliveries, "acme", sink)
    await publish(deliveries, 1, "acme")
    lose_answers(faults, 100)
    reconciler = Reconciler(deliveries, workers=1)
    pass_ = asyncio.create_task(reconciler.reconcile())
    while "change" not in faults.calls:  # noqa: ASYNC110  # time is virtual
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.01)
    pass_.cancel()
    await asyncio.gather(pass_, return_exceptions=True)
    assert await states(deliveries) == [DeliveryState.SUCCESS]
    faults.kept = deliveries.store.deliveries
    async with deliveries.subscribe(OutcomeKind.DELIVERED) as told:
        await reconciler.reconcile()
        outcome = await told.receive(1)

    assert isinstance(outcome, Outcome)
    assert (reconciler.statistics().succeeded, reconciler.statistics().unwritten) == (1, 0)
    assert len(sink.attempts) == 1


@pytest.mark.parametrize("fault", ["removed", "locked"])
async def test_row_whose_endpoint_cannot_be_disabled_counts_as_what_it_came_to(
    deliveries: Deliveries, faults: Faults, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """The far end is gone, which is written and told; where the endpoint is gone as well, nobody waits for that."""

    async def gone(endpoint: object, event: object, number: int, *, timeout: float) -> Attempted:
        del endpoint, event, timeout
        record = AttemptRecord(number, 0.0, 0.0, DeliveryOutcome.GONE, 410)
        return Attempted(Judgement(DeliveryOutcome.GONE, 410, "gone"), record)

    monkeypatch.setattr(deliveries.senders, "attempt", gone)
    await add(deliveries, "acme", RecordingSink())
    await publish(deliveries, 1, "acme")

    async def remove(number: int) -> None:
        if number == 1:
            await faults.kept.set_endpoint_state("acme", EndpointState.REMOVED, None)

    if fault == "removed":
        faults.before("set_endpoint_state", remove)
    else:
        faults.fail("set_endpoint_state", lambda *_: locked())
    began = asyncio.get_running_loop().time()
    async with deliveries.subscribe(OutcomeKind.DROPPED) as told:
        report = await Reconciler(deliveries, workers=1).reconcile()
        outcome = await told.receive(1)

    assert isinstance(outcome, Outcome)
    assert (report.claimed, report.failed, report.errors) == (1, 1, ())
    assert await states(deliveries) == [DeliveryState.FAILED]
    if fault == "removed":
        assert asyncio.get_running_loop().time() - began < 0.1


@pytest.mark.parametrize("fault", ["change", "attempt", "refuse"])
async def test_listed_errors_hold_no_events(
    deliveries: Deliveries, faults: Faults, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """Whatever the report is kept for: an error comes without the frames it was raised in, nor those of its cause."""
    held: list[weakref.ref[object]] = []

    class Held:
        pass

    def raised() -> BaseException:
        large = Held()
        held.append(weakref.ref(large))
        try:
            try:
                raise ValueError(id(large))
            except ValueError as cause:
                raise StoreError("database is locked") from cause
        except StoreError as error:
            return error

    async def fails(*_: object, **__: object) -> Attempted:
        raise raised()

    await add(deliveries, "acme", RecordingSink())
    await publish(deliveries, 3, "acme")
    if fault == "attempt":
        monkeypatch.setattr(deliveries.senders, "attempt", fails)
    else:
        faults.fail("change", lambda *_: raised())
    if fault == "refuse":
        await deliveries.disable_endpoint("acme")
    report = await Reconciler(deliveries, workers=2).reconcile()
    gc.collect()

    assert len(report.errors) == 3
    assert {str(error) for _, error in report.errors} == {"database is locked"}
    assert all(isinstance(error.__cause__, ValueError) for _, error in report.errors)
    assert held
    assert [ref() for ref in held if ref() is not None] == []


async def test_claim_outlasts_the_longest_attempt(deliveries: Deliveries) -> None:
    """So that nobody else attempts the row meanwhile, also where ``claim_ttl`` is hardly longer than ``timeout``."""
    sink = HangingSink()
    await add(deliveries, "acme", sink)
    await publish(deliveries, 1, "acme")
    options: dict[str, Any] = {"workers": 1, "claim_ttl": 2, "timeout": 1.9, "interval": 0.1}  # Any: of several types
    began = asyncio.get_running_loop().time()
    async with Reconciler(deliveries, **options), Reconciler(deliveries, **options):
        while not await deliveries.attempts(1):
            assert asyncio.get_running_loop().time() < began + 10
            await asyncio.sleep(0.01)
        took = asyncio.get_running_loop().time() - began
        running = len(sink.attempts)

    assert took == pytest.approx(2.9, abs=0.1)
    assert running == 1


@pytest.mark.parametrize("is_removed", [False, True], ids=["disabled", "removed"])
async def test_stop_gives_back_what_is_being_refused(deliveries: Deliveries, faults: Faults, is_removed: bool) -> None:
    """Nothing stays claimed, though the store does not answer before the deadline."""
    await add(deliveries, "acme", RecordingSink())
    await publish(deliveries, 50, "acme")
    if is_removed:
        await deliveries.remove_endpoint("acme")
    else:
        await deliveries.disable_endpoint("acme")
    faults.fail("change", lambda *_: locked())
    reconciler = Reconciler(deliveries, workers=2)
    await reconciler.start()
    while "change" not in faults.calls:  # noqa: ASYNC110  # time is virtual
        await asyncio.sleep(0.01)
    await reconciler.stop(0.5)

    assert [row.claimed_until for row in await deliveries.rows()] == [None] * 50
    assert await states(deliveries) == [DeliveryState.PENDING] * 50


class ClosingSink(RecordingSink):
    """Counts how often it is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = 0

    async def aclose(self) -> None:
        self.closed += 1
        await super().aclose()


async def test_sinks_of_an_endpoint_that_is_removed_are_closed(deliveries: Deliveries) -> None:
    """Those that were lent, unless another endpoint has them; and those that were made, with what they sign with."""
    alone, shared = ClosingSink(), ClosingSink()
    for name, sink in (("alone", alone), ("one", shared), ("other", shared)):
        await add(deliveries, name, sink)
    await deliveries.add_endpoint(Endpoint("web", "http://127.0.0.1:9/", allow_private=True))
    await publish(deliveries, 1, "web")
    await Reconciler(deliveries, workers=1, timeout=1).reconcile()
    assert len(deliveries.senders._made) == 1
    for name in ("alone", "one", "web"):
        await deliveries.remove_endpoint(name)
    await asyncio.sleep(0.1)

    assert (alone.closed, shared.closed) == (1, 0)
    assert list(deliveries.senders._lent) == ["other"]
    assert not deliveries.senders._made
