"""``MemorySink`` keeps what it is sent, and no more of it than asked."""

from __future__ import annotations

from typing import Any

import pytest

from eventpipe.sinks import MemorySink
from eventpipe.testing.events import make_batch

pytestmark = pytest.mark.asyncio


async def test_keeps_batches_and_events_in_order() -> None:
    """Batches, events and ids are those that were sent, in the order in which they were."""
    sink = MemorySink()
    first, second = make_batch(2), make_batch(3)

    await sink.send(first)
    await sink.send(second)

    assert [batch.id for batch in sink.batches] == [first.id, second.id]
    assert sink.events == [*first.events, *second.events]
    assert sink.uuids == [event.uuid for event in (*first.events, *second.events)]


async def test_keeps_the_attempt_of_that_time() -> None:
    """A batch that is sent again with a higher attempt does not change what is kept of the first."""
    sink = MemorySink()
    batch = make_batch(1, attempt=1)

    await sink.send(batch)
    batch.attempt = 2
    await sink.send(batch)

    assert [kept.attempt for kept in sink.batches] == [1, 2]


@pytest.mark.parametrize(
    ("sizes", "events", "batches"),
    [
        pytest.param([3], 3, 1, id="below"),
        pytest.param([2, 2], 4, 2, id="exactly"),
        pytest.param([2, 2, 1], 4, 3, id="the oldest batch in part"),
        pytest.param([2, 2, 2], 4, 2, id="the oldest batch whole"),
        pytest.param([1, 9], 4, 1, id="a batch larger than all"),
    ],
)
async def test_holds_the_last_events(sizes: list[int], events: int, batches: int) -> None:
    """With ``max_events`` the last events are kept, and the batches they came in."""
    sink = MemorySink(max_events=4)
    sent = [make_batch(size) for size in sizes]

    for batch in sent:
        await sink.send(batch)

    assert sink.events == [event for batch in sent for event in batch.events][-events:]
    assert [batch.id for batch in sink.batches] == [batch.id for batch in sent][-batches:]


async def test_forgets_when_asked() -> None:
    """``clear()`` leaves nothing, and the bound counts from zero again."""
    sink = MemorySink(max_events=2)
    await sink.send(make_batch(2))

    sink.clear()
    again = make_batch(2)
    await sink.send(again)

    assert sink.events == list(again.events)
    assert len(sink.batches) == 1


async def test_is_readable_after_the_end() -> None:
    """``aclose()`` takes nothing away from a test that looks afterwards."""
    sink = MemorySink()
    batch = make_batch(2)
    await sink.send(batch)

    await sink.aclose()

    assert sink.events == list(batch.events)


@pytest.mark.parametrize("max_events", [0, -1, 1.5, True, "2"], ids=repr)
async def test_refuses_a_bound_without_meaning(max_events: Any) -> None:
    """``max_events`` is a whole number from 1."""
    with pytest.raises(ValueError, match=r"^max_events must be a whole number of events, at least 1, or None, not "):
        MemorySink(max_events)
