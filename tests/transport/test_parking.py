"""Parking: woken by whoever calls, or at a moment, and never for longer than asked."""

from __future__ import annotations

import asyncio
from math import inf
from typing import Any

import anyio
import pytest

from eventpipe.transport.parking import Parking

pytestmark = pytest.mark.asyncio


async def park(parking: Parking, until: float) -> None:
    """Park as the dispatcher does, which looked at everything after the last call."""
    parking.is_awake = False
    await parking.park(until)


async def test_parked_task_goes_on_when_it_is_woken() -> None:
    """Once, however often it was called."""
    parking = Parking()
    parked = asyncio.create_task(park(parking, inf))
    await anyio.wait_all_tasks_blocked()

    parking.wake()
    parking.wake()

    await parked
    assert parking.is_awake


async def test_parked_task_goes_on_at_its_moment() -> None:
    """On the loop clock, exactly."""
    parking, loop = Parking(), asyncio.get_running_loop()
    moment = loop.time() + 5

    await park(parking, moment)

    assert loop.time() == moment


async def test_earlier_moment_replaces_the_timer() -> None:
    """A timer that would come too late is not waited for."""
    parking, loop = Parking(), asyncio.get_running_loop()
    began = loop.time()
    late = asyncio.create_task(park(parking, began + 100))
    await anyio.wait_all_tasks_blocked()
    parking.wake()
    await late

    await park(parking, began + 1)

    assert loop.time() == began + 1


async def test_earlier_timer_is_kept_and_wakes_once() -> None:
    """It costs one look too many; after it the later moment counts."""
    parking, loop = Parking(), asyncio.get_running_loop()
    began = loop.time()
    early = asyncio.create_task(park(parking, began + 1))
    await anyio.wait_all_tasks_blocked()
    parking.wake()
    await early

    await park(parking, began + 100)
    first = loop.time()
    await park(parking, began + 100)

    assert (first, loop.time()) == (began + 1, began + 100)


async def test_left_parking_has_no_timer() -> None:
    """Nothing of it is left in the loop, also after a cancellation."""
    parking = Parking()
    loop: Any = asyncio.get_running_loop()
    parked = asyncio.create_task(park(parking, loop.time() + 100))
    await anyio.wait_all_tasks_blocked()
    parked.cancel()
    await asyncio.gather(parked, return_exceptions=True)

    parking.leave()
    parking.leave()

    assert not [timer for timer in loop._scheduled if not timer.cancelled()]


async def test_whoever_is_awake_does_not_park() -> None:
    """A signal handler that wakes it between the look at ``is_awake`` and the wait is not missed."""
    parking, loop = Parking(), asyncio.get_running_loop()
    began = loop.time()
    parking.wake()

    await parking.park(began + 100)

    assert loop.time() == began


async def test_a_signal_handler_may_wake_what_is_just_being_woken(monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes after the look at the waiter, and resolves it; the first call has nothing left to do."""
    parking = Parking()
    parked = asyncio.create_task(park(parking, inf))
    await anyio.wait_all_tasks_blocked()
    loop: Any = asyncio.get_running_loop()

    def interrupted() -> bool:
        monkeypatch.undo()
        parking.wake()
        return False

    monkeypatch.setattr(loop, "is_closed", interrupted)  # the last thing looked at

    parking.wake()

    await parked
