"""The books against the events themselves: each event is in one place, by id, at every moment anybody can look."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress

import pytest

from eventpipe import (
    AsyncClient,
    Batch,
    CapturedEvent,
    DeliveryError,
    Event,
    Outcome,
    OutcomeKind,
    PermanentSinkError,
    RetryPolicy,
    TransientSinkError,
    Verdict,
)
from eventpipe.errors import Scope
from eventpipe.events import Overflow
from eventpipe.sinks import CallbackSink
from eventpipe.testing import check_ledger
from eventpipe.transport.dispatcher import Dispatcher
from tests.scale import SCALE

QUEUE_EVENTS = 60
SCOPES: list[Scope] = ["size", "event", "sink", "batch"]

pytestmark = pytest.mark.asyncio


def places(dispatcher: Dispatcher) -> dict[str, list[CapturedEvent]]:
    """The pending events, found one by one where they are; an event that is in two places is found twice."""
    backlog = dispatcher._backlog
    buffers = backlog.batcher._buffers.values()
    heaps = [retry[2] for lane in backlog.schedule._lanes.values() for retry in lane.retries]
    line = [waiter for waiter in backlog.intake.room._line if not callable(waiter)]
    return {
        "waiting_room": [waiter.item for waiter in line if waiter.in_line],
        "queued": list(backlog.intake.queue.events),
        "buffered": [
            event
            for buffer in buffers
            for events in [*(batch.events for batch in buffer.ready), buffer.events]
            for event in events
        ],
        "in_flight": [event for batch in backlog.in_flight for event in batch.events],
        "waiting_retry": [event for batch in heaps for event in batch.events],
    }


class Far:
    """A far end that accepts, refuses, judges and stalls by chance, and remembers whom it accepted."""

    def __init__(self, chance: random.Random, look: Callable[[], None]) -> None:
        self.accepted: list[str] = []
        self.look = look
        self._chance = chance

    async def take(self, batch: Batch) -> list[Verdict] | None:
        self.look()
        await asyncio.sleep(self._chance.choice([0, 0, 0.01, 0.5]))
        self.look()
        kinds = [self._chance.choice(["deliver", "deliver", "deliver", "drop", "retry"]) for _ in batch.events]
        match self._chance.randrange(8):
            case 0:
                raise TransientSinkError(retry_after=self._chance.choice([None, None, 1, 40]))
            case 1:
                raise PermanentSinkError(scope=self._chance.choice(SCOPES))
            case 2:
                raise RuntimeError
            case 3:
                self.accepted += [e.uuid for e, kind in zip(batch.events, kinds, strict=True) if kind == "deliver"]
                verdicts = {"deliver": OutcomeKind.DELIVERED, "drop": OutcomeKind.DROPPED, "retry": OutcomeKind.RETRY}
                return [Verdict(verdicts[kind]) for kind in kinds]
        self.accepted += [event.uuid for event in batch.events]
        return None


class Auditor:
    """Holds the counters against the events, whenever it is asked to look.

    What it finds is kept, too: whoever asked may be a sink or a callback, whose errors are contained.
    """

    def __init__(self) -> None:
        self.client: AsyncClient
        self.far: Far
        self.captured: set[str] = set()
        self.dropped: list[str] = []
        self.looks = 0
        self.findings: list[str] = []

    def on_drop(self, outcome: Outcome) -> None:
        self.dropped += outcome.uuids
        self.look()

    def look(self) -> None:
        self.looks += 1
        try:
            self._compare()
        except AssertionError as error:
            self.findings.append(str(error))

    def _compare(self) -> None:
        statistics = check_ledger(self.client)
        found = places(self.client._dispatchers[0])
        counted = {name: getattr(statistics, name) for name in found}
        assert counted == {name: len(events) for name, events in found.items()}
        pending = [event.uuid for events in found.values() for event in events]
        assert statistics.pending == len(pending) == len(set(pending))
        held = [event for name, events in found.items() if name != "waiting_room" for event in events]
        assert statistics.queue_bytes == sum(
            len(event.data) for event in held
        )  # as they are held: without their closing braces
        assert len(held) <= QUEUE_EVENTS
        # What the far end accepted is booked when send has returned: until then the event is in flight as well.
        settled = {*self.far.accepted, *self.dropped}
        assert settled.isdisjoint(set(pending) - {event.uuid for event in found["in_flight"]})
        # All outcomes of a batch are booked before the first of them is told.
        untold = statistics.dropped - len(self.dropped)
        assert len(self.captured - settled - set(pending)) <= untold


@pytest.mark.seeds
@pytest.mark.parametrize("seed", range(20 * SCALE))
async def test_every_event_is_in_one_place_at_every_moment(seed: int) -> None:
    """Counters, places and the far end agree before and after every await of client, sink and callback."""
    chance = random.Random(seed)
    auditor = Auditor()
    far = auditor.far = Far(chance, auditor.look)
    client = auditor.client = AsyncClient(
        CallbackSink(far.take),
        queue_events=QUEUE_EVENTS,
        batch_events=7,
        workers=3,
        max_event_age=chance.choice([None, 3]),
        retry=RetryPolicy(max_attempts=3),
        on_drop=auditor.on_drop,
    )

    async def produce() -> None:
        policies: list[Overflow] = ["drop_newest", "drop_oldest", "wait"]
        for _ in range(60):
            with suppress(TimeoutError):
                async with asyncio.timeout(chance.choice([None, 0.2])):
                    receipt = await client.capture("e" * chance.choice([1, 300]), overflow=chance.choice(policies))
                    auditor.captured.add(receipt.uuid)
            auditor.look()
            await asyncio.sleep(chance.choice([0, 0, 0.001, 0.3]))

    async def flush() -> None:
        for _ in range(5):
            await asyncio.sleep(chance.random() * 5)
            await client.flush(timeout=chance.choice([0, 0.5, 60]))
            auditor.look()

    await asyncio.gather(*(produce() for _ in range(8)), flush(), flush())
    await client.aclose(chance.choice([0, 1, 600]))

    auditor.look()
    assert auditor.findings == []
    assert auditor.captured <= {*far.accepted, *auditor.dropped}
    assert auditor.looks > 480
    statistics = check_ledger(client, received=far.accepted, drained=True)
    assert statistics.delivered == len(set(far.accepted))
    assert statistics.dropped == len(auditor.dropped) == len(set(auditor.dropped))
    assert statistics.captured == 480


async def test_what_is_told_is_booked_already() -> None:
    """A callback meets numbers that agree and count the outcome it is told of."""
    told: list[tuple[int, int]] = []

    def on_drop(outcome: Outcome) -> None:
        told.append((len(outcome.events), check_ledger(client).dropped))

    def refuse(batch: Batch) -> None:
        raise PermanentSinkError

    client = AsyncClient(CallbackSink(refuse), batch_events=5, on_drop=on_drop)
    async with client:
        await client.capture_many([f"e{number}" for number in range(10)])
        await client.flush()

    assert told == [(5, 5), (5, 10)]


async def test_no_log_line_shows_what_was_captured(caplog: pytest.LogCaptureFixture) -> None:
    """Drops for each reason, a sink and a hook that quote the payload: no log record has it, at any level."""
    secret = "hunter2"
    caplog.set_level("DEBUG")

    def quote(batch: Batch) -> None:
        raise RuntimeError(batch.events[0].json.decode())

    def quote_too(event: Event) -> Event:
        raise ValueError(event.properties)

    for hook in (None, quote_too):
        client = AsyncClient(CallbackSink(quote), before_send=hook, retry=RetryPolicy(max_attempts=2), queue_events=2)
        for _ in range(3):
            await client.capture(secret, distinct_id=secret, properties={secret: secret})
        await client.flush(timeout=60)
        await client.aclose(timeout=0)

    assert caplog.records != []
    assert secret not in caplog.text


async def test_no_repr_shows_what_was_captured() -> None:
    """Whatever a debugger or an error report finds of an event on its way: ids, names and numbers, no content."""
    secret = "hunter2"
    told: list[Outcome] = []
    batches: list[Batch] = []

    def quote(batch: Batch) -> None:
        batches.append(batch)
        raise PermanentSinkError

    client = AsyncClient(CallbackSink(quote), on_drop=told.append)
    async with client:
        receipt = await client.capture(
            "e", distinct_id=secret, properties={secret: secret}, headers={"h": secret}, key=secret
        )
        report = await client.flush()
        with pytest.raises(DeliveryError) as caught:
            await client.deliver(Event("e", distinct_id=secret, properties={secret: secret}))

    outcome = await receipt.outcome()
    described = Event("e", distinct_id=secret, properties={secret: secret}, headers={"h": secret}, key=secret)
    shown = [receipt, outcome, report, client, client.statistics(), *told, *batches, *batches[0].events, caught.value]
    shown.append(described)
    assert len(shown) == 12
    assert [type(thing).__name__ for thing in shown if secret in f"{thing!r} {thing}"] == []
