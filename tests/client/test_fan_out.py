"""Several sinks: an event that all of them want gets in everywhere or goes on by itself, and is settled by the last."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from eventpipe import AsyncClient, DropReason, Event, OutcomeKind, PermanentSinkError
from eventpipe.events import CapturedEvent
from eventpipe.sinks import MemorySink
from eventpipe.testing import GatedSink, check_ledger
from eventpipe.transport.receipts import FanIn, Unsettled

pytestmark = pytest.mark.asyncio

EVENTS = [f"e{number}" for number in range(250)]


class LaneSink(MemorySink):
    """Sends each event in a lane of its own choice."""

    def __init__(self) -> None:
        super().__init__()
        self.lanes: dict[str, str | None] = {}

    def lane(self, event: CapturedEvent) -> str | None:
        return event.event[-1]

    async def send(self, batch: Any) -> None:
        self.lanes |= dict.fromkeys((event.event for event in batch.events), batch.lane)
        await super().send(batch)


def names(sink: MemorySink | GatedSink) -> list[str]:
    return [event.event for event in sink.events]


async def capture(client: AsyncClient, form: str, events: list[str]) -> list[Any]:
    """By either call, or by both in turn."""
    receipts = []
    for number, event in enumerate(events):
        if form == "capture" or (form == "both" and number % 2):
            receipts.append(await client.capture(event))
        else:
            receipts.append(client.capture_nowait(event))
    return receipts


@pytest.mark.parametrize("form", ["capture", "capture_nowait", "both"])
@pytest.mark.parametrize("hooked", [False, True])
async def test_every_sink_has_every_event_once_and_in_order(form: str, hooked: bool) -> None:
    """Over many full batches, with and without a hook; the very same event, encoded once."""
    sinks = [MemorySink(), MemorySink(), MemorySink()]
    async with AsyncClient(*sinks, batch_events=10, before_send=(lambda event: event) if hooked else None) as client:
        receipts = await capture(client, form, EVENTS)
        assert {(receipt.accepted, receipt.reason) for receipt in receipts} == {(True, None)}

    assert [names(sink) for sink in sinks] == [EVENTS] * 3
    assert all(len({id(event) for event in same}) == 1 for same in zip(*(sink.events for sink in sinks), strict=True))
    check_ledger(client, drained=True)


@pytest.mark.parametrize("form", ["capture", "both"])
async def test_a_loop_of_captures_lets_every_dispatcher_run(form: str) -> None:
    """Far more events than the queues hold pass, whichever call completes a batch."""
    sinks = [MemorySink(), MemorySink()]
    async with AsyncClient(*sinks, batch_events=10, queue_events=40) as client:
        await capture(client, form, EVENTS)

    assert [names(sink) for sink in sinks] == [EVENTS] * 2
    check_ledger(client, drained=True)


@pytest.mark.parametrize("form", ["capture", "capture_nowait"])
@pytest.mark.parametrize("full", [0, 1, 2])
async def test_a_full_sink_costs_its_own_part_alone(form: str, full: int) -> None:
    """Whichever of them it is: the others have what came after, and it refuses nothing that it has room for."""
    sinks: list[Any] = [MemorySink(), MemorySink(), MemorySink()]
    sinks[full] = GatedSink()
    async with AsyncClient(*sinks, batch_events=5, queue_events=20, max_batch_age=0) as client:
        receipts = []
        for event in EVENTS[:50]:
            receipts += await capture(client, form, [event])
            await asyncio.sleep(0.001)  # the others keep up
        assert {(receipt.accepted, receipt.reason) for receipt in receipts} == {(True, None)}
        statistics = check_ledger(client)
        assert (statistics.delivered, statistics.pending) == (100, 20)
        assert statistics.dropped_by_reason == {DropReason.QUEUE_FULL: 30}

        sinks[full].release()
        outcomes = [await receipt.outcome() for receipt in receipts]

    assert [outcome.kind for outcome in outcomes] == [OutcomeKind.DELIVERED] * 20 + [OutcomeKind.DROPPED] * 30
    assert sorted(names(sinks[full])) == sorted(EVENTS[:20])
    assert [names(sink) for sink in sinks if sink is not sinks[full]] == [EVENTS[:50]] * 2
    check_ledger(client, drained=True)


async def test_bytes_count_at_each_sink() -> None:
    """What has no room in bytes at one of them is in nowhere by the quick way, and at the other by itself."""
    slow, quick = GatedSink(), MemorySink()
    async with AsyncClient(slow, quick, batch_events=2, queue_bytes=2000) as client:
        for number in range(4):
            await client.capture(str(number), properties={"padding": "x" * 700})
            await asyncio.sleep(0.001)
        statistics = check_ledger(client)
        assert (statistics.dropped_by_reason, statistics.delivered) == ({DropReason.QUEUE_FULL: 2}, 4)
        slow.release()
    check_ledger(client, drained=True)


async def test_a_filter_of_one_sink_is_asked_about_every_event() -> None:
    """The others have what it does not want."""
    even = MemorySink(where=lambda event: int(event.event[1:]) % 2 == 0)
    every = MemorySink()
    async with AsyncClient(every, even, batch_events=10) as client:
        await client.capture_many(EVENTS)

    assert (names(every), names(even)) == (EVENTS, EVENTS[::2])
    check_ledger(client, drained=True)


async def test_lanes_of_one_sink_are_its_own() -> None:
    """It names one for each event; the other sink, without lanes, has all in order."""
    lanes, plain = LaneSink(), MemorySink()
    async with AsyncClient(lanes, plain, batch_events=10) as client:
        await client.capture_many(EVENTS)

    assert names(plain) == EVENTS
    assert lanes.lanes == {event: event[-1] for event in EVENTS}
    check_ledger(client, drained=True)


async def test_deliver_waits_for_every_sink() -> None:
    """One outcome per event, when the slowest has answered."""
    slow, quick = GatedSink(), MemorySink()
    async with AsyncClient(slow, quick) as client:
        delivering = asyncio.create_task(client.deliver([Event("a"), Event("b")]))
        await slow.reached(1)
        await asyncio.sleep(0.001)
        assert (names(quick), delivering.done()) == (["a", "b"], False)

        slow.release()
        assert [outcome.kind for outcome in await delivering] == [OutcomeKind.DELIVERED] * 2


@pytest.mark.parametrize("asked", ["before any answer", "between", "after all"])
@pytest.mark.parametrize("refused_by", [None, 0, 1, 2], ids=lambda sink: f"refused-by-{sink}")
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)], ids=str)
async def test_the_outcome_is_the_worst_of_all_sinks(
    order: tuple[int, ...], refused_by: int | None, asked: str
) -> None:
    """Whenever it is asked for, and in whatever order they answer; nothing is kept for an event nobody asks about."""
    sinks = [GatedSink(name=str(number)) for number in range(3)]
    async with AsyncClient(*sinks, max_batch_age=0) as client:
        receipt, unasked = await client.capture("a", properties={}), await client.capture("b", properties={})
        waiting = []
        for number, sink in enumerate(order):
            await sinks[sink].reached(1)
            if (asked, number) in {("before any answer", 0), ("between", 1)}:
                waiting.append(asyncio.create_task(receipt.outcome()))
                await asyncio.sleep(0)
                assert isinstance(receipt._event.settlement, FanIn)
            assert isinstance(unasked._event.settlement, Unsettled)
            sinks[sink].release(error=PermanentSinkError("no") if sink == refused_by else None)
            await asyncio.sleep(0.001)

        outcome = await (waiting[0] if waiting else receipt.outcome())
        dropped = refused_by is not None
        assert outcome.kind is (OutcomeKind.DROPPED if dropped else OutcomeKind.DELIVERED)
        assert outcome.sink == (str(refused_by) if dropped else str(order[-1]))
        assert await unasked.outcome() == outcome.of(outcome, (unasked._event,))
    check_ledger(client, drained=True)


async def test_answers_of_different_attempts_do_not_mix() -> None:
    """Events that share what they had so far part where a sink answers differently."""
    first, second = GatedSink(), GatedSink()
    async with AsyncClient(first, second, batch_events=2, max_batch_age=0, workers=1) as client:
        receipts = [await client.capture(event, properties={}) for event in "abcd"]
        for sink in (first, second):
            await sink.reached(1)
        first.release(1)
        await first.reached(2)
        first.release(1, error=PermanentSinkError("no"))
        second.release()
        outcomes = [await receipt.outcome() for receipt in receipts]

    assert [outcome.kind for outcome in outcomes] == [OutcomeKind.DELIVERED] * 2 + [OutcomeKind.DROPPED] * 2
    check_ledger(client, drained=True)
