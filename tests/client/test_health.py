"""Health tells a probe whether events get in, and a person which far end is in trouble."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from eventpipe import AsyncClient, Batch, PermanentSinkError, ServiceState, TransientSinkError
from eventpipe.sinks import CallbackSink, MemorySink
from eventpipe.testing import GatedSink


@pytest.mark.asyncio
async def test_a_client_is_ready_from_its_making_to_its_close() -> None:
    """It takes events before it has started; not after it was closed."""
    client = AsyncClient(MemorySink(name="far"))
    before = client.health()
    async with client:
        await client.capture("e")
        running = client.health()
    after = client.health()

    assert (bool(before), before.is_open, before.sinks["far"].state) == (True, True, ServiceState.IDLE)
    assert (bool(running), running.sinks["far"].pending, running.crashed) == (True, 1, ())
    assert (bool(after), after.is_open, after.sinks["far"].state) == (False, False, ServiceState.STOPPED)


@pytest.mark.asyncio
async def test_pressure_is_the_fuller_of_events_and_bytes_at_the_fullest_sink() -> None:
    """At 1 nothing gets in, and the client is not ready until something left."""
    full, empty = GatedSink(name="full"), MemorySink(name="empty")
    async with AsyncClient(full, empty, queue_events=4, batch_events=1) as client:
        await client.capture("e")
        await anyio.wait_all_tasks_blocked()
        one = client.health()
        await client.capture_many(["e"] * 3)
        await anyio.wait_all_tasks_blocked()
        all_four = client.health()
        full.release()
        await client.flush()
        none = client.health()

    assert (one.pressure, one.sinks["full"].pressure, one.sinks["empty"].pressure) == (0.25, 0.25, 0.0)
    assert (all_four.pressure, all_four.is_ready) == (1.0, False)
    assert (none.pressure, none.is_ready) == (0.0, True)


@pytest.mark.asyncio
async def test_pressure_counts_bytes() -> None:
    """One large event can fill a queue."""
    async with AsyncClient(GatedSink(), queue_bytes=1000, close_timeout=0.1) as client:
        receipt = await client.capture("e", properties={"text": "x" * 700})
        assert receipt.accepted
        assert 0.7 < client.health().pressure < 1


@pytest.mark.asyncio
async def test_a_sink_in_trouble_says_why_and_leaves_the_client_ready() -> None:
    """Its events wait, which is what the queue is for; a success ends it."""
    is_down = True

    def send(batch: Batch) -> None:
        if is_down:
            raise TransientSinkError("down", reason="status_503", retry_after=60)

    async with AsyncClient(CallbackSink(send, name="far"), MemorySink(name="other")) as client:
        await client.capture("e")
        await client.flush(0.1)
        down = client.health()
        is_down = False
        await client.flush(120)
        up = client.health()

    far = down.sinks["far"]
    assert (down.is_ready, down.paused, far.failing, far.last_success) == (True, ("far",), "status_503", None)
    assert far.paused == {"": pytest.approx(59.9, abs=0.1)}
    assert down.sinks["other"].last_success is not None
    assert down.last_success == down.sinks["other"].last_success
    assert (up.paused, up.sinks["far"].paused, up.sinks["far"].failing) == ((), {}, None)
    assert up.sinks["far"].last_success is not None


@pytest.mark.asyncio
async def test_a_refused_batch_is_told_as_failing() -> None:
    """Whether or not its events are tried again."""

    def send(batch: Batch) -> None:
        raise PermanentSinkError("no", scope="batch")

    async with AsyncClient(CallbackSink(send, name="far")) as client:
        await client.capture("e")
        await client.flush()
        assert client.health().sinks["far"].failing == "rejected"


@pytest.mark.asyncio
async def test_a_crashed_service_makes_the_client_unready_until_it_runs_again() -> None:
    """It is named with what it failed with; the next capture starts it."""
    async with AsyncClient(MemorySink(name="far")) as client:
        await client.capture("e")
        await client.flush()
        await anyio.wait_all_tasks_blocked()
        (task,) = [task for task in asyncio.all_tasks() if task.get_name() == "eventpipe-far"]
        task.cancel()
        await asyncio.wait({task})
        crashed = client.health()
        await client.capture("e")
        await anyio.wait_all_tasks_blocked()
        running = client.health()

    assert (crashed.is_ready, crashed.crashed) == (False, ("eventpipe-far",))
    assert crashed.sinks["far"].state == ServiceState.FAILED
    assert "CancelledError" in (crashed.sinks["far"].error or "")
    assert (running.is_ready, running.crashed, running.sinks["far"].error) == (True, (), None)


@pytest.mark.asyncio
async def test_a_crashed_service_starts_again_by_itself() -> None:
    """A probe that keeps all requests away from a crashed client must not keep it crashed; what was queued is sent."""
    sink = MemorySink(name="far")
    async with AsyncClient(sink) as client:
        await client.capture("e")
        await anyio.wait_all_tasks_blocked()
        (task,) = [task for task in asyncio.all_tasks() if task.get_name() == "eventpipe-far"]
        task.cancel()
        await asyncio.wait({task})
        assert not client.health()
        await asyncio.sleep(1)
        await anyio.wait_all_tasks_blocked()
        assert client.health()
        await asyncio.sleep(1)
        assert [event.event for event in sink.events] == ["e"]


@pytest.mark.asyncio
async def test_a_closed_client_starts_nothing_again() -> None:
    """Whatever crashed just before the close."""
    client = AsyncClient(MemorySink(name="far"))
    async with client:
        await client.capture("e")
        await anyio.wait_all_tasks_blocked()
        (task,) = [task for task in asyncio.all_tasks() if task.get_name() == "eventpipe-far"]
        task.cancel()
        await asyncio.wait({task})
    await asyncio.sleep(3)

    assert [task for task in asyncio.all_tasks() if task.get_name().startswith("eventpipe")] == []


def test_a_loop_that_ends_starts_nothing_again(recwarn: pytest.WarningsRecorder) -> None:
    """Every task is cancelled before a loop is closed; none comes after it, and the events wait for the next loop."""
    sink = MemorySink(name="far")
    client = AsyncClient(sink)

    async def capture() -> None:
        await client.capture("e")
        await anyio.wait_all_tasks_blocked()

    asyncio.run(capture())
    asyncio.run(client.aclose())

    assert [event.event for event in sink.events] == ["e"]
    assert [str(warning.message) for warning in recwarn] == []


@pytest.mark.asyncio
async def test_a_disabled_client_is_ready() -> None:
    """It takes everything and keeps nothing."""
    async with AsyncClient(enabled=False) as client:
        health = client.health()

    assert (bool(health), health.sinks, health.pressure) == (True, {}, 0.0)


@pytest.mark.asyncio
async def test_repr_tells_the_state() -> None:
    """Where events go, whether they get in, how many are pending and were dropped, and what is in trouble."""

    def send(batch: Batch) -> None:
        raise TransientSinkError("down", retry_after=60)

    client = AsyncClient(CallbackSink(send, name="far"), queue_events=1, close_timeout=5)
    seen = [repr(client)]
    await client.capture_many(["a", "b"])
    await client.flush(1)
    seen.append(repr(client))
    sink = GatedSink(name="gate")
    other = AsyncClient(sink)
    await other.capture("c")
    closing = asyncio.create_task(other.aclose())
    await sink.reached(1)
    seen.append(repr(other))
    sink.release()
    await asyncio.gather(closing, client.aclose())
    seen.append(repr(client))

    assert seen == [
        "<AsyncClient to far: open, 0 pending>",
        "<AsyncClient to far: open, 1 pending, 1 dropped, far paused>",
        "<AsyncClient to gate: closing, 1 pending>",
        "<AsyncClient to far: closed, 0 pending, 2 dropped>",
    ]
