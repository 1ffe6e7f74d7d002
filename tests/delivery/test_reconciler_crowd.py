"""More endpoints than workers: they take turns, and what many of them have due is claimed at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from types import SimpleNamespace
from typing import cast

import pytest

from eventpipe import TransientSinkError
from eventpipe.delivery.common import Common
from eventpipe.delivery.deliveries import Deliveries
from eventpipe.delivery.lane import LINE_TIME
from eventpipe.delivery.lanes import Lanes
from eventpipe.delivery.pacing import MAX_AHEAD
from eventpipe.delivery.reconciler import Reconciler
from eventpipe.errors import StoreError
from eventpipe.stores.delivery_values import DeliveryState
from eventpipe.testing import GatedSink
from eventpipe.testing.recording import RecordingSink
from tests.delivery.conftest import Faults, locked
from tests.delivery.test_reconciler_lines import TimedSink, claimed
from tests.delivery.test_reconciler_passes import add, publish, states

pytestmark = pytest.mark.asyncio

WORKERS = 4
ENDPOINTS = tuple(f"e{number:02}" for number in range(5 * WORKERS))


async def crowd(
    deliveries: Deliveries,
    rows: int,
    sink: RecordingSink | None = None,
    others: Mapping[str, RecordingSink] | None = None,
) -> dict[str, RecordingSink]:
    """Endpoints, each with so many rows, and what sends to each; ``None``: quick ones, and some others."""
    sinks = {name: sink or TimedSink(0.002) for name in ENDPOINTS} | dict(others or {})
    for name, one in sinks.items():
        await add(deliveries, name, one)
    await publish(deliveries, rows, *ENDPOINTS)
    return sinks


async def test_many_endpoints_are_claimed_for_at_once(deliveries: Deliveries, faults: Faults) -> None:
    """Few rows each, and the store is asked at few moments; every row is sent once, by no more than the workers."""
    sink = TimedSink(0.002)
    await crowd(deliveries, 10, sink)
    moments: set[float] = set()

    def note(*_: object) -> None:
        moments.add(asyncio.get_running_loop().time())

    faults.fail("claim", note)
    report = await Reconciler(deliveries, workers=WORKERS).reconcile()

    rows = 10 * len(ENDPOINTS)
    assert (report.claimed, report.succeeded, report.skipped) == (rows, rows, 0)
    assert (sink.most_running, len(sink.attempts)) == (WORKERS, rows)
    assert len(moments) < rows / WORKERS


async def test_each_gets_its_turn_before_another_gets_two_more(deliveries: Deliveries) -> None:
    """Whatever was claimed first, and for whom: no endpoint is ever more than two attempts before another."""
    sinks = await crowd(deliveries, 10)
    pass_ = asyncio.create_task(Reconciler(deliveries, workers=WORKERS).reconcile())
    apart: list[int] = []
    while not pass_.done():
        begun = [len(sink.attempts) + sink.running for sink in sinks.values()]
        apart.append(max(begun) - min(begun))
        await asyncio.sleep(0.001)

    assert (await pass_).succeeded == 10 * len(ENDPOINTS)
    assert 0 < max(apart) <= 2


async def test_an_endpoint_that_hangs_holds_up_no_other(deliveries: Deliveries) -> None:
    """It has one of the slots while others have something due, and they go on in turn with the rest."""
    sinks = await crowd(deliveries, 10, others={ENDPOINTS[0]: (hanging := GatedSink())})
    pass_ = asyncio.create_task(Reconciler(deliveries, workers=WORKERS).reconcile())
    running: list[int] = []
    while any(len(sinks[name].attempts) < 9 for name in ENDPOINTS[1:]):
        running.append(hanging.running)
        await asyncio.sleep(0.001)
    hanging.release()

    assert max(running) == 1
    assert len(running) < 1000
    assert (await pass_).succeeded == 10 * len(ENDPOINTS)


async def test_no_more_is_claimed_ahead_than_eight_rows_a_worker(deliveries: Deliveries) -> None:
    """Of all endpoints together; and before the first answer, nothing."""
    await crowd(deliveries, 10, sink := GatedSink())
    pass_ = asyncio.create_task(Reconciler(deliveries, workers=2).reconcile())
    await sink.reached(2)
    await asyncio.sleep(0.01)
    first = await claimed(deliveries)
    sink.release(6)
    await sink.reached(8)
    await asyncio.sleep(0.1)
    then = await claimed(deliveries)
    sink.release()

    assert first == 2
    assert 4 < then <= 2 + 2 * MAX_AHEAD
    assert (await pass_).succeeded == 10 * len(ENDPOINTS)


async def test_slow_ones_are_claimed_for_when_there_are_slots(deliveries: Deliveries) -> None:
    """Where it takes too long until a slot is free, nothing waits claimed."""
    sink = TimedSink(0.5)
    await crowd(deliveries, 2, sink)
    pass_ = asyncio.create_task(Reconciler(deliveries, workers=WORKERS).reconcile())
    seen: list[int] = []
    while not pass_.done():
        seen.append(await claimed(deliveries))
        await asyncio.sleep(0.1)

    assert (await pass_).succeeded == 2 * len(ENDPOINTS)
    assert max(seen) == WORKERS


async def test_endpoints_that_have_nothing_more_are_left_without_a_look_at_all(
    deliveries: Deliveries, faults: Faults
) -> None:
    """Each is looked at by itself: once for all of them is when the pass begins."""
    await crowd(deliveries, 2, TimedSink(0.5))
    report = await Reconciler(deliveries, workers=WORKERS).reconcile()
    first = faults.calls.index("claim")

    assert report.succeeded == 2 * len(ENDPOINTS)
    assert "due" not in faults.calls[first : len(faults.calls) - faults.calls[::-1].index("change")]
    assert faults.calls.count("endpoints") == len(ENDPOINTS)


async def test_what_waits_is_given_back_when_all_slots_hang(deliveries: Deliveries) -> None:
    """A second after it was claimed; it is claimed again, and sent once, when they go on."""
    await crowd(deliveries, 10, sink := GatedSink())
    pass_ = asyncio.create_task(Reconciler(deliveries, workers=WORKERS).reconcile())
    sink.release(2 * WORKERS)
    await sink.reached(3 * WORKERS)
    await asyncio.sleep(0.1)
    before = await claimed(deliveries)
    await asyncio.sleep(LINE_TIME + 0.5)  # claims that a busy thread answered late are of a later moment
    after = await claimed(deliveries)
    sink.release()
    report = await pass_

    rows = 10 * len(ENDPOINTS)
    assert (before > WORKERS, after) == (True, WORKERS)
    assert (report.claimed, report.succeeded, report.skipped) == (rows, rows, 0)
    assert (len(sink.attempts), await claimed(deliveries)) == (rows, 0)


async def test_dead_ones_get_what_ran_and_one_probe(deliveries: Deliveries) -> None:
    """Each by itself, and those among them that are well get everything."""
    dead = {name: GatedSink() for name in ENDPOINTS[::2]}
    sinks = await crowd(deliveries, 10, others=dead)
    for sink in dead.values():
        sink.release(error=TransientSinkError("status 503", status=503))
    report = await Reconciler(deliveries, workers=WORKERS).reconcile()

    assert [len(sink.attempts) for sink in dead.values()] == [2] * len(dead)
    assert [len(sinks[name].attempts) for name in ENDPOINTS if name not in dead] == [10] * (len(ENDPOINTS) - len(dead))
    assert (report.retried, report.succeeded) == (2 * len(dead), 10 * (len(ENDPOINTS) - len(dead)))
    assert await claimed(deliveries) == 0


async def test_a_claim_that_fails_takes_no_other_with_it(deliveries: Deliveries, faults: Faults) -> None:
    """What was granted beside it is attempted and written; the pass ends with the error, and nobody has a row."""
    sinks = await crowd(deliveries, 2)
    asked: Counter[str] = Counter()

    def fail(_: int, args: tuple[object, ...]) -> StoreError | None:
        name = getattr(args[0], "name", "")
        asked[name] += 1
        return locked() if name == ENDPOINTS[1] else None

    faults.fail("claim", fail)
    with pytest.raises(StoreError, match="locked"):
        await Reconciler(deliveries, workers=WORKERS).reconcile()

    assert set(asked) == set(ENDPOINTS[:WORKERS])
    assert [len(sinks[name].attempts) for name in ENDPOINTS[:WORKERS]] == [1, 0, 1, 1]
    assert (await states(deliveries)).count(DeliveryState.SUCCESS) == WORKERS - 1
    assert await claimed(deliveries) == 0


async def test_claims_that_are_cut_off_are_given_back(deliveries: Deliveries, faults: Faults) -> None:
    """All of those that were asked for at once; and their slots are free."""
    sinks = await crowd(deliveries, 2)
    gate = faults.hold("claim")
    reconciler = Reconciler(deliveries, workers=WORKERS)
    pass_ = asyncio.create_task(reconciler.reconcile())
    while faults.calls.count("claim") < WORKERS:  # noqa: ASYNC110  # time is virtual
        await asyncio.sleep(0.01)
    asyncio.get_running_loop().call_later(0.05, gate.set)
    pass_.cancel()
    await asyncio.gather(pass_, return_exceptions=True)

    assert await claimed(deliveries) == 0
    assert [sink.attempts for sink in sinks.values()] == [[]] * len(sinks)
    assert (await reconciler.reconcile()).succeeded == 2 * len(ENDPOINTS)
    assert max(sink.most_running for sink in sinks.values()) == 1


async def test_another_pass_gets_slots_beside_the_crowd_of_the_first(deliveries: Deliveries) -> None:
    """What is published meanwhile for an endpoint that had nothing due does not wait for the backlog of the others."""
    sinks = await crowd(deliveries, 40)
    await add(deliveries, "late", late := TimedSink(0.002))
    async with Reconciler(deliveries, workers=WORKERS):
        await sinks[ENDPOINTS[-1]].reached(3)
        await publish(deliveries, 5, "late")
        await late.reached(5)
        sent = sum(len(sink.attempts) for sink in sinks.values())

        assert sent < 20 * len(ENDPOINTS)
        for sink in sinks.values():
            await sink.reached(40)


async def test_what_became_late_between_a_look_and_the_wait_is_looked_at_at_once() -> None:
    """Nothing else would tell of it: all slots may hang for as long as their attempts may."""
    common = cast("Common", SimpleNamespace(pacing=SimpleNamespace(free=0)))
    lanes = Lanes(common, is_asked=False, on_due=repr, on_probe=repr, on_skipped=list)
    lanes._late_at = 5.0
    assert [lanes.ready_at(now) for now in (4.0, 5.0, 6.0)] == [5.0, 5.0, 6.0]
