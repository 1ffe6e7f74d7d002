"""A pipeline with deliveries: started, drained in order, declared anew at each start."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from eventpipe import AsyncClient, Event
from eventpipe.delivery import Deliveries, DeliveryPolicy, DeliveryState, Endpoint, EndpointState, Reconciler, Rule
from eventpipe.errors import TransientSinkError, UnknownEndpointError
from eventpipe.log.consumer import Consumer
from eventpipe.log.eventlog import EventLog
from eventpipe.pipeline import Pipeline
from eventpipe.sinks import CallbackSink, DeliverySink, LogSink, MemorySink
from eventpipe.stores.memory import MemoryStore
from eventpipe.testing.clock import LoopClock

ALL = Rule("all", ("*",), ("far",))
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # of the examples of Standard Webhooks


def pipeline(far: Any, clock: LoopClock, **more: Any) -> Pipeline:  # Any: sinks and keywords
    """A client and a consumer that publish to one endpoint."""
    log = EventLog(MemoryStore(clock=clock), clock=clock)
    deliveries = Deliveries(MemoryStore(clock=clock), policy=DeliveryPolicy(), clock=clock)
    return Pipeline(
        client=AsyncClient(LogSink(log, "orders"), clock=clock),
        log=log,
        consumers=[Consumer(log, "orders", "hooks", DeliverySink(deliveries))],
        deliveries=deliveries,
        reconciler=Reconciler(deliveries, workers=2),
        endpoints=[Endpoint("far", sink=far)],
        rules=[ALL],
        **more,
    )


@pytest.mark.asyncio
async def test_what_was_captured_last_is_delivered_before_the_stop(clock: LoopClock) -> None:
    """Client, consumer, reconciler: each is drained into the next, and nothing is left."""
    far = MemorySink()
    async with pipeline(far, clock) as running:
        await running.client.capture_many([Event(f"paid {number}") for number in range(50)])
        report = await running.stop()

    assert report
    assert report.deliveries is not None
    assert (report.deliveries.delivered, report.deliveries.pending, report.deliveries.is_behind) == (50, 0, False)
    assert sorted(event.name for event in far.events) == sorted(f"paid {number}" for number in range(50))


@pytest.mark.asyncio
async def test_what_waits_for_a_retry_is_told_and_not_waited_for(clock: LoopClock) -> None:
    """A far end that is away for hours holds up no stop, and is no failure of it."""

    async def refuse(_: object) -> None:
        raise TransientSinkError("away")

    running = pipeline(CallbackSink(refuse), clock)
    async with running:
        await running.client.capture("paid")
        report = await running.stop()

    assert report.deliveries is not None
    assert (report.deliveries.delivered, report.deliveries.pending, report.deliveries.is_behind) == (0, 1, False)
    assert report.deliveries.retried == 1
    assert report.is_drained


@pytest.mark.asyncio
async def test_a_far_end_that_hangs_is_cut_off_at_the_deadline_and_what_is_due_is_told(clock: LoopClock) -> None:
    """What was being attempted is given back, and the report says that something due is left."""

    async def hang(_: object) -> None:
        await asyncio.sleep(3600)

    running = pipeline(CallbackSink(hang), clock)
    async with running:
        await running.client.capture("paid")
        began = asyncio.get_running_loop().time()
        report = await running.stop(timeout=4)
        elapsed = asyncio.get_running_loop().time() - began

    assert elapsed <= 4.25
    assert not report
    assert report.deliveries is not None
    assert (report.deliveries.pending, report.deliveries.is_behind) == (1, True)


@pytest.mark.asyncio
async def test_endpoints_and_rules_are_put_once(clock: LoopClock) -> None:
    """A start that finds them as declared changes nothing; one that differs is put, and its state stays."""
    deliveries = Deliveries(MemoryStore(clock=clock), clock=clock)
    log = EventLog(MemoryStore(clock=clock), clock=clock)
    first = Endpoint("acme", "https://acme.example/", SECRET, headers={"X-Team": "a"})
    other = Endpoint("acme", "https://acme.example/", SECRET, headers={"X-Team": "b"})

    async def start(endpoint: Endpoint) -> tuple[int, EndpointState, int]:
        running = Pipeline(log=log, deliveries=deliveries, endpoints=[endpoint], rules=[Rule("all", ("*",), ("acme",))])
        await running.start()
        (info,), version = await deliveries.endpoints(), deliveries.store.version("deliveries:")
        await deliveries.pause_endpoint("acme")
        await running.stop()
        return info.version, info.state, version

    assert [(await start(one))[:2] for one in (first, first, other)] == [
        (1, EndpointState.ACTIVE),
        (2, EndpointState.PAUSED),
        (3, EndpointState.PAUSED),
    ]


@pytest.mark.asyncio
async def test_a_rule_for_an_endpoint_that_is_none_ends_the_start(clock: LoopClock) -> None:
    """And everything that was started."""
    running = Pipeline(
        log=EventLog(MemoryStore(clock=clock), clock=clock),
        deliveries=Deliveries(MemoryStore(clock=clock), clock=clock),
        rules=[Rule("all", ("*",), ("acme",))],
    )

    with pytest.raises(UnknownEndpointError, match="there is no endpoint 'acme'"):
        await running.start()

    assert running.log.state in ("idle", "stopped")


@pytest.mark.asyncio
async def test_without_a_reconciler_rows_are_kept_for_others(clock: LoopClock) -> None:
    """What is published is left as it is, which is no fault."""
    deliveries = Deliveries(MemoryStore(clock=clock), clock=clock)
    log = EventLog(MemoryStore(clock=clock), clock=clock)
    far = MemorySink()
    running = Pipeline(log=log, deliveries=deliveries, endpoints=[Endpoint("far", sink=far)], rules=[ALL])
    async with running:
        await deliveries.publish("paid")
        (row,) = await deliveries.rows()
        report = await running.stop()

    assert row.state is DeliveryState.PENDING
    assert (bool(report), report.deliveries, far.events) == (True, None, [])


def test_parts_of_deliveries_belong_together(clock: LoopClock) -> None:
    """What belongs to others, or is there twice, is refused at construction."""
    log = EventLog(MemoryStore(clock=clock))
    one, other = Deliveries(MemoryStore()), Deliveries(MemoryStore())

    with pytest.raises(ValueError, match="is one of other deliveries"):
        Pipeline(log=log, deliveries=one, reconciler=Reconciler(other))
    with pytest.raises(ValueError, match="deliveries must be given with a reconciler"):
        Pipeline(log=log, rules=[ALL])
    with pytest.raises(ValueError, match="rule 'all' is there twice"):
        Pipeline(log=log, deliveries=one, rules=[ALL, ALL])
    with pytest.raises(TypeError, match="endpoints must be Endpoints"):
        Pipeline(log=log, deliveries=one, endpoints=["acme"])  # type: ignore[list-item]  # that is the point
