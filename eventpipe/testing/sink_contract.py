"""The contract of a sink, as tests: derive a class, give it a fixture ``rig``, and a sink kept elsewhere proves itself.

```python
class TestNatsSink(SinkContract):
    @pytest_asyncio.fixture
    async def rig(self):
        wire = NatsWire()
        sink = NatsSink(wire.address)
        yield SinkRig(sink, wire, retry_after=False)
        await sink.aclose()
```

The tests are ``async`` and marked for pytest-asyncio. They run in virtual and in real time.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from typing import Final

import pytest

from eventpipe.contracts import Sink
from eventpipe.errors import ClosedError, PermanentSinkError, SinkError, TransientSinkError
from eventpipe.events import Batch
from eventpipe.outcomes import OutcomeKind, Verdict
from eventpipe.testing.events import make_batch, make_event
from eventpipe.testing.leaks import Baseline, fail_on
from eventpipe.testing.sink_rig import Refusal, SinkRig

PATIENCE: Final = 5.0  # seconds until a scenario that does not go on is a failure, however slow the machine
_TURNS: Final = 10  # turns of the loop in which what was cancelled has its callbacks run


@pytest.mark.asyncio
class SinkContract:
    """What every sink promises to the driver that sends through it."""

    async def test_an_accepted_batch_arrives_once_and_in_order(self, rig: SinkRig) -> None:
        """``send`` returns ``None``, or one verdict per event, when every event has arrived."""
        batch = make_batch(20)

        await _deliver(rig.sink, batch)

        assert list(rig.wire.received) == _ids(batch)

    async def test_batches_arrive_in_the_order_in_which_they_are_sent(self, rig: SinkRig) -> None:
        """A batch that is sent after another was answered arrives after it."""
        batches = [make_batch(3) for _ in range(5)]

        for batch in batches:
            await _deliver(rig.sink, batch)

        assert list(rig.wire.received) == _ids(*batches)

    async def test_events_of_every_shape_arrive(self, rig: SinkRig) -> None:
        """Text of any kind, nothing at all, a large value, headers and a key are no obstacle."""
        batch = make_batch(
            [
                make_event("näme\n\r\t\"'\\,;\u2028\x00😀", distinct_id="\n,é", properties={"\n": '"', "": [None, {}]}),
                make_event("large", properties={"text": "x" * 100_000}),
                make_event("headers and key", headers={"traceparent": "00-é"}, key="k"),
                make_event("nothing"),
            ]
        )

        await _deliver(rig.sink, batch)

        assert list(rig.wire.received) == _ids(batch)

    async def test_a_send_leaves_its_batch_as_it_was(self, rig: SinkRig) -> None:
        """The driver owns the batch and may send the same object again."""
        batch = make_batch(3, attempt=2)
        before = dataclasses.astuple(dataclasses.replace(batch, events=()))
        events = batch.events

        await _deliver(rig.sink, batch)

        assert dataclasses.astuple(dataclasses.replace(batch, events=())) == before
        assert batch.events is events

    @pytest.mark.parametrize(("kind", "error"), [("transient", TransientSinkError), ("permanent", PermanentSinkError)])
    async def test_a_refusal_is_an_error_that_says_whether_to_try_again(
        self, rig: SinkRig, kind: Refusal, error: type[SinkError]
    ) -> None:
        """A refusal is ``TransientSinkError`` or ``PermanentSinkError`` with a reason, and nothing arrives."""
        rig.need("refuses")
        rig.wire.refuse(kind)

        with pytest.raises(error) as caught:
            await _send(rig.sink, make_batch(3))

        assert caught.value.reason
        assert list(rig.wire.received) == []

    @pytest.mark.parametrize("kind", ["transient", "permanent"])
    async def test_a_refused_batch_can_be_sent_again(self, rig: SinkRig, kind: Refusal) -> None:
        """After a refusal the sink works on, and the same batch arrives once and in order."""
        rig.need("refuses")
        batch = make_batch(5)
        rig.wire.refuse(kind)
        with pytest.raises(SinkError):
            await _send(rig.sink, batch)

        rig.wire.accept()
        await _deliver(rig.sink, batch)

        assert list(rig.wire.received) == _ids(batch)

    async def test_retry_after_is_in_seconds(self, rig: SinkRig) -> None:
        """The wait that the far end asks for reaches the driver as seconds, whatever unit the far end uses."""
        rig.need("refuses", "retry_after")
        rig.wire.refuse("transient", retry_after=7)

        with pytest.raises(TransientSinkError) as caught:
            await _send(rig.sink, make_batch(2))

        assert caught.value.retry_after == pytest.approx(7, abs=1)  # a far end may name a moment, to the second

    async def test_a_partial_refusal_gives_one_verdict_per_event(self, rig: SinkRig) -> None:
        """Verdicts come one per event and in order, so that the neighbours of a refused event are delivered."""
        rig.need("partial")
        batch = make_batch(4)
        rig.wire.refuse("partial")

        verdicts = await _send(rig.sink, batch)

        assert verdicts is not None
        delivered, dropped = OutcomeKind.DELIVERED, OutcomeKind.DROPPED
        assert [verdict.kind for verdict in verdicts] == [delivered, dropped, delivered, delivered]
        ids = _ids(batch)
        assert list(rig.wire.received) == [ids[0], *ids[2:]]

    async def test_sends_at_once_do_not_mix(self, rig: SinkRig) -> None:
        """Batches that are sent at the same time arrive once each, whole, and each in its own order."""
        batches = [make_batch(10) for _ in range(8)]

        async with asyncio.TaskGroup() as group:
            for batch in batches:
                group.create_task(_deliver(rig.sink, batch))

        _check_whole(list(rig.wire.received), arrived=batches)

    async def test_a_hanging_far_end_ends_at_the_timeout(self, rig: SinkRig) -> None:
        """A far end that never answers costs ``timeout`` seconds and is worth another attempt."""
        rig.need("hangs", "timeout")
        assert rig.timeout is not None
        rig.wire.hang()
        loop = asyncio.get_running_loop()
        began = loop.time()

        with pytest.raises(TransientSinkError):
            await _send(rig.sink, make_batch(2), patience=rig.timeout + PATIENCE)

        assert rig.timeout * 0.9 <= loop.time() - began <= rig.timeout + 1

    async def test_a_cancelled_send_leaves_no_task_and_no_connection(self, rig: SinkRig) -> None:
        """Cancelled while the far end is mute, ``send`` ends as cancelled and lets go of everything."""
        rig.need("hangs")
        baseline = Baseline.take()
        rig.wire.hang()

        await _cancel_when_stuck(rig, make_batch(3))

        await _check_left(rig, baseline)

    async def test_a_sink_works_after_a_cancelled_send(self, rig: SinkRig) -> None:
        """What was cancelled takes no slot, lock or connection along; its batch arrived whole or not at all."""
        rig.need("hangs")
        cancelled, batch = make_batch(3), make_batch(3)
        rig.wire.hang()
        await _cancel_when_stuck(rig, cancelled)

        rig.wire.accept()
        await _deliver(rig.sink, batch)

        _check_whole(list(rig.wire.received), arrived=[batch], may_have=[cancelled])

    async def test_cancelling_some_sends_leaves_the_others_whole(self, rig: SinkRig) -> None:
        """Of sends at once, those cancelled at any moment arrive whole or not at all, the others whole."""
        kept: list[Batch] = []
        cancelled: list[Batch] = []
        baseline = Baseline.take()

        for turns in range(12):
            pairs = [(make_batch(4), make_batch(4)) for _ in range(2)]
            tasks = [[asyncio.create_task(_send(rig.sink, batch)) for batch in pair] for pair in pairs]
            await _turns(turns)
            for task, _ in tasks:
                task.cancel()
            async with asyncio.timeout(PATIENCE):
                ends = [await asyncio.gather(*pair, return_exceptions=True) for pair in tasks]
            for pair, (end, end_of_other) in zip(pairs, ends, strict=True):
                assert not isinstance(end_of_other, BaseException)
                assert not isinstance(end, Exception)
                (cancelled if isinstance(end, asyncio.CancelledError) else kept).append(pair[0])
                kept.append(pair[1])

        await rig.sink.aclose()
        await _check_left(rig, baseline)
        _check_whole(list(rig.wire.received), arrived=kept, may_have=cancelled)

    async def test_aclose_may_come_twice(self, rig: SinkRig) -> None:
        """A second ``aclose``, after the first or beside it, is as good as one; what was sent stays sent."""
        batch = make_batch(3)
        await _deliver(rig.sink, batch)

        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
            for _ in range(2):
                group.create_task(rig.sink.aclose())
        await rig.sink.aclose()

        assert list(rig.wire.received) == _ids(batch)

    async def test_aclose_may_come_before_the_first_send(self, rig: SinkRig) -> None:
        """A sink that was never used ends without having touched its far end."""
        baseline = Baseline.take()

        async with asyncio.timeout(PATIENCE):
            await rig.sink.aclose()

        baseline.check()
        assert list(rig.wire.received) == []

    async def test_use_after_close_is_an_error_and_sends_nothing(self, rig: SinkRig) -> None:
        """After ``aclose`` a ``send`` raises ``ClosedError``: nobody is left to release what it would open."""
        batch = make_batch(2)
        await _deliver(rig.sink, batch)
        await rig.sink.aclose()

        with pytest.raises(ClosedError):
            await _send(rig.sink, make_batch(2))

        assert list(rig.wire.received) == _ids(batch)


def _ids(*batches: Batch) -> list[str]:
    return [event.uuid for batch in batches for event in batch.events]


async def _send(sink: Sink, batch: Batch, *, patience: float = PATIENCE) -> Sequence[Verdict] | None:
    async with asyncio.timeout(patience):
        return await sink.send(batch)


async def _deliver(sink: Sink, batch: Batch) -> None:
    verdicts = await _send(sink, batch)
    if verdicts is not None:
        assert [verdict.kind for verdict in verdicts] == [OutcomeKind.DELIVERED] * len(batch.events)


async def _turns(turns: int) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)


async def _cancel_when_stuck(rig: SinkRig, batch: Batch) -> None:
    """Send ``batch`` to a mute far end, cancel it there, and check that it ends as cancelled."""
    task = asyncio.create_task(rig.sink.send(batch))
    async with asyncio.timeout(PATIENCE):
        await rig.wire.reached()
    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=PATIENCE)
    assert done, "send did not end when it was cancelled"
    assert task.cancelled(), "send turned its cancellation into something else"


async def _check_left(rig: SinkRig, baseline: Baseline) -> None:
    """Check that no connection and no task is left; tasks of a far end in this loop end with its connections."""
    async with asyncio.timeout(PATIENCE):
        await rig.wire.left()
    await _turns(_TURNS)
    fail_on(baseline.tasks_left())


def _check_whole(received: list[str], *, arrived: Sequence[Batch], may_have: Sequence[Batch] = ()) -> None:
    """Check that batches are at the far end once and in one piece, and nothing else is."""
    for batch in arrived:
        assert batch.events[0].uuid in received, "a batch that was accepted is not at the far end"
    known = 0
    for batch in (*arrived, *may_have):
        ids = _ids(batch)
        if not set(ids).isdisjoint(received):
            start = received.index(ids[0]) if ids[0] in received else 0
            assert received[start : start + len(ids)] == ids, "a batch is torn or mixed with another"
            known += len(ids)
    assert len(received) == known, "an event arrived twice, or one that nobody sent"
