"""The fakes do what the tests that use them rely on."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest

from eventpipe.errors import PermanentSinkError, TransientSinkError
from eventpipe.outcomes import DELIVERED, OutcomeKind, Verdict
from eventpipe.testing import FlakySink, GatedSink, HangingSink, RecordingSink, make_batch

pytestmark = pytest.mark.asyncio


async def settle() -> None:
    """Let everything that is ready run."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_records_attempts_and_what_was_accepted() -> None:
    """Every attempt is kept with its number, an accepted batch is kept beside."""
    sink = RecordingSink()
    batch = make_batch(2, attempt=1)

    await sink.send(batch)
    batch.attempt = 2
    await sink.send(batch)

    assert [attempt.attempt for attempt in sink.attempts] == [1, 2]
    assert sink.uuids == [event.uuid for event in batch.events] * 2


async def test_holds_attempts_until_released() -> None:
    """An attempt at the gate goes on when the test says so, the oldest first, and not before."""
    sink = GatedSink()
    batches = [make_batch() for _ in range(3)]
    tasks = [asyncio.create_task(sink.send(batch)) for batch in batches]

    await sink.reached(3)
    assert (sink.held, sink.running, sink.most_running, sink.batches) == (3, 3, 3, [])
    sink.release(1)
    await settle()
    assert [batch.id for batch in sink.batches] == [batches[0].id]
    sink.release()
    await asyncio.gather(*tasks)

    assert [batch.id for batch in sink.batches] == [batch.id for batch in batches]
    assert (sink.held, sink.running, sink.most_running) == (0, 0, 3)
    await sink.send(make_batch())


async def test_reached_counts_from_the_beginning() -> None:
    """``reached(n)`` returns when the n-th attempt has begun, at once when it has; a cancelled wait does no harm."""
    sink = GatedSink()
    sink.release()
    waiting = [asyncio.create_task(sink.reached(n)) for n in (1, 2, 2)]
    await settle()

    await sink.send(make_batch())
    await settle()
    assert [task.done() for task in waiting] == [True, False, False]
    waiting[2].cancel()
    await asyncio.wait({waiting[2]})
    await sink.send(make_batch())
    await waiting[1]
    await sink.reached(2)


async def test_a_release_ahead_of_its_attempt_counts() -> None:
    """``release(2)`` before any attempt lets two through, and holds the third."""
    sink = GatedSink()
    sink.release(2)

    await sink.send(make_batch())
    await sink.send(make_batch())
    third = asyncio.create_task(sink.send(make_batch()))
    await sink.reached(3)
    assert sink.held == 1
    sink.release()
    await third


async def test_hold_shuts_the_gate_again() -> None:
    """After ``hold()`` attempts wait, those for which a release was left over too."""
    sink = GatedSink()
    sink.release()
    sink.hold()
    sink.release(1)
    sink.hold()

    task = asyncio.create_task(sink.send(make_batch()))
    await settle()
    assert not task.done()
    sink.release(1)
    await task


async def test_a_release_can_refuse() -> None:
    """The test says what an attempt ends with: an error, or verdicts, of which only the delivered events are kept."""
    sink = GatedSink()
    error = PermanentSinkError(scope="size")
    verdicts = [DELIVERED, Verdict(OutcomeKind.DROPPED), Verdict(OutcomeKind.RETRY)]
    batch = make_batch(3)
    sink.release(1, error=error)
    sink.release(1, verdicts=verdicts)

    with pytest.raises(PermanentSinkError) as caught:
        await sink.send(batch)
    assert await sink.send(batch) == verdicts

    assert caught.value is error
    assert sink.uuids == [batch.events[0].uuid]


async def test_a_cancelled_attempt_takes_nobody_elses_turn() -> None:
    """A release goes to an attempt that still waits."""
    sink = GatedSink()
    first, second = (asyncio.create_task(sink.send(make_batch())) for _ in range(2))
    await sink.reached(2)

    first.cancel()
    await asyncio.wait({first})
    sink.release(1)
    await second

    assert (len(sink.batches), sink.running) == (1, 0)


async def outcomes(sink: FlakySink, attempts: int) -> list[str]:
    """What each of so many attempts ends with, and when."""
    loop = asyncio.get_running_loop()
    ends = []
    for _ in range(attempts):
        began = loop.time()
        try:
            await sink.send(make_batch())
        except Exception as error:  # noqa: BLE001  # errors of any kind are what is compared
            ends.append(f"{type(error).__name__} {loop.time() - began:.6f}")
        else:
            ends.append(f"accepted {loop.time() - began:.6f}")
    return ends


async def test_the_same_seed_fails_the_same_attempts() -> None:
    """A run is repeated by its seed, latency and errors included; another seed gives another run."""
    options: dict[str, Any] = {
        "failure_rate": 0.5,
        "latency": (1.0, 2.0),
        "errors": [TransientSinkError, PermanentSinkError, KeyError],
    }

    first, again, other = [await outcomes(FlakySink(seed, **options), 100) for seed in (1, 1, 2)]

    assert first == again != other
    assert {end.split()[0] for end in first} == {"accepted", "TransientSinkError", "PermanentSinkError", "KeyError"}
    assert 30 < sum(end.startswith("accepted") for end in first) < 70
    assert all(1.0 <= float(end.split()[1]) <= 2.0 for end in first)


@pytest.mark.parametrize(("rate", "accepted"), [(0.0, 20), (1.0, 0)])
async def test_fails_as_often_as_told(rate: float, accepted: int) -> None:
    """At 0 nothing fails, at 1 everything; what failed is not kept."""
    sink = FlakySink(seed=7, failure_rate=rate)

    await outcomes(sink, 20)

    assert (len(sink.attempts), len(sink.batches)) == (20, accepted)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"failure_rate": 1.1}, "failure_rate must be between 0 and 1, not 1.1"),
        ({"failure_rate": math.nan}, "failure_rate must be between 0 and 1, not nan"),
        ({"latency": (2.0, 1.0)}, "latency must be two finite times, shortest first"),
        ({"latency": (0.0, math.inf)}, "latency must be two finite times, shortest first"),
        ({"errors": ()}, "errors must name at least one error when failure_rate is above 0"),
    ],
)
async def test_refuses_odd_randomness(options: dict[str, Any], message: str) -> None:
    """A wrong option is a ``ValueError``."""
    with pytest.raises(ValueError, match=f"^{message}"):
        FlakySink(1, **options)


async def test_hangs_until_it_is_cancelled() -> None:
    """It never answers, and ends as cancelled at the first cancellation unless told otherwise."""
    sink = HangingSink()
    task = asyncio.create_task(sink.send(make_batch()))
    await sink.reached()
    await asyncio.sleep(3600)
    assert not task.done()

    task.cancel()
    await asyncio.wait({task})

    assert task.cancelled()
    assert (sink.batches, sink.running, sink.swallowed) == ([], 0, 0)


async def test_swallows_so_many_cancellations() -> None:
    """``swallows=1`` ignores one cancellation of each attempt and obeys the next."""
    sink = HangingSink(swallows=1)
    tasks = [asyncio.create_task(sink.send(make_batch())) for _ in range(2)]
    await sink.reached(2)

    for task in tasks:
        task.cancel()
    await settle()
    assert [task.done() for task in tasks] == [False, False]
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)

    assert all(task.cancelled() for task in tasks)
    assert sink.swallowed == 2


async def test_release_ends_what_cannot_be_cancelled() -> None:
    """However many cancellations are ignored, ``release()`` leaves no attempt running."""
    sink = HangingSink(swallows=math.inf)
    task = asyncio.create_task(sink.send(make_batch()))
    await sink.reached()
    for _ in range(3):
        task.cancel()
        await settle()
    assert sink.swallowed == 3

    await sink.release()

    with pytest.raises(TransientSinkError):
        await task
    assert sink.running == 0


@pytest.mark.parametrize("swallows", [-1, math.nan])
async def test_refuses_odd_stubbornness(swallows: float) -> None:
    """A number of cancellations is at least 0."""
    with pytest.raises(ValueError, match=r"^swallows must be at least 0, not "):
        HangingSink(swallows=swallows)
