"""A signal handler that captures: it runs between any two steps of whatever its thread is at."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Literal

import pytest

from eventpipe import AsyncClient, Batch
from eventpipe.sinks import CallbackSink, MemorySink
from eventpipe.testing import check_ledger
from eventpipe.transport.intake import Intake
from eventpipe.transport.parking import Parking
from tests.scale import SCALE

EVENTS = 20_000 * SCALE
OnSignal = Callable[[Callable[[], object]], None]


@pytest.fixture
def on_signal() -> Iterator[OnSignal]:
    """Sets what SIGUSR1 does, until the test ends."""
    before = signal.getsignal(signal.SIGUSR1)

    def install(action: Callable[[], object]) -> None:
        def handler(number: int, frame: FrameType | None) -> None:
            action()

        signal.signal(signal.SIGUSR1, handler)

    yield install
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.asyncio
@pytest.mark.parametrize("time", range(1, 7))
@pytest.mark.parametrize(
    ("where", "name"),
    [(Intake, "others_ran"), (Intake, "wake_after"), (Parking, "park")],
    ids=["when it looks", "when it has decided to wait", "when it waits"],
)
async def test_an_event_captured_while_the_dispatcher_goes_to_sleep_leaves_in_its_time(
    where: type, name: str, time: int, on_signal: OnSignal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its batch is no older than ``max_batch_age``, whichever step of the dispatcher it came into, and which time."""
    sent: dict[str, float] = {}

    async def send(batch: Batch) -> None:
        sent.update(dict.fromkeys((event.event for event in batch.events), asyncio.get_running_loop().time()))

    original = getattr(where, name)
    calls = itertools.count(1)

    def interrupted(*arguments: Any) -> Any:  # Any: those of any method
        found = original(*arguments)
        if next(calls) == time:
            signal.raise_signal(signal.SIGUSR1)
        return found

    async with AsyncClient(CallbackSink(send), max_batch_age=0.2) as client:
        captured: list[float] = []

        def capture() -> None:
            captured.append(asyncio.get_running_loop().time())
            client.capture_nowait("of a handler")

        on_signal(capture)
        monkeypatch.setattr(where, name, interrupted)
        while not captured:
            await client.capture("a")
            await asyncio.sleep(1)
        await asyncio.sleep(1)

        assert sent["of a handler"] <= captured[0] + 0.2


@pytest.mark.wallclock
@pytest.mark.asyncio
async def test_an_event_captured_in_a_handler_wakes_a_loop_that_waits_for_sockets(on_signal: OnSignal) -> None:
    """It leaves when its batch is old enough, though nothing else happens in the loop."""
    sent = asyncio.Event()

    async def send(batch: Batch) -> None:
        sent.set()

    async with AsyncClient(CallbackSink(send), max_batch_age=0) as client:
        on_signal(lambda: client.capture_nowait("of a handler"))
        sender = threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGUSR1))
        sender.start()

        async with asyncio.timeout(30):
            await sent.wait()


@pytest.mark.wallclock
@pytest.mark.asyncio
@pytest.mark.parametrize("overflow", ["drop_newest", "drop_oldest"])
async def test_every_event_of_a_handler_that_interrupts_all_the_time_is_accounted_for(
    overflow: Literal["drop_newest", "drop_oldest"],
) -> None:
    """With a signal every 200 µs while the loop captures and sends: each is delivered, or counted as dropped."""
    sink = MemorySink()
    captured: list[str] = []
    client = AsyncClient(sink, overflow=overflow, queue_events=600, batch_events=50)
    signal.signal(signal.SIGALRM, lambda number, frame: captured.append(client.capture_nowait("of a handler").uuid))
    try:
        async with client:
            signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
            for number in range(EVENTS):
                captured.append((await client.capture("of the loop")).uuid)
                if number % 97 == 0:
                    await asyncio.sleep(0)
            signal.setitimer(signal.ITIMER_REAL, 0)
            await client.flush()
            check_ledger(client, received=sink.uuids, captured=captured, drained=True)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)

    assert len(captured) > EVENTS
