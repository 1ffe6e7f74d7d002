"""What wakes a reconciler: rings, moments, and the last one."""

from __future__ import annotations

import asyncio

import pytest

from eventpipe.delivery.alarm import Alarm

pytestmark = pytest.mark.asyncio


def _alarm() -> Alarm:
    alarm = Alarm(15.0)
    alarm.open()
    alarm.last_at = asyncio.get_running_loop().time() + 15.0
    return alarm


async def _rings_at(alarm: Alarm) -> float:
    await alarm.wait()
    alarm.clear()
    return asyncio.get_running_loop().time()


async def test_it_rings_at_each_moment_in_order_and_then_at_the_last() -> None:
    """Each at most two milliseconds late and never early, whatever the order in which they were told."""
    alarm = _alarm()
    for moment in (7.0, 3.0, 5.00025):
        alarm.ring_at(moment)

    rings = [await _rings_at(alarm) for _ in range(4)]
    alarm.close()

    for ring, moment in zip(rings, (3.0, 5.00025, 7.0, 15.0), strict=True):
        assert moment <= ring <= moment + 0.0021


async def test_a_moment_told_while_somebody_waits_for_a_later_one_is_kept() -> None:
    """The timer is brought forward."""
    alarm = _alarm()
    waiting = asyncio.create_task(_rings_at(alarm))
    await asyncio.sleep(1)
    alarm.ring_at(2.0)
    ring = await waiting
    alarm.close()

    assert 2.0 <= ring <= 2.0021


async def test_a_ring_before_the_wait_is_not_lost() -> None:
    """Who comes to wait is woken at once."""
    alarm = _alarm()
    alarm.ring()
    ring = await _rings_at(alarm)
    alarm.close()

    assert ring == 0.0


async def test_moments_that_have_come_let_time_go_on() -> None:
    """Somebody who is told again and again that something is due now is woken a thousand times a second, no more."""
    alarm = _alarm()
    rings = 0
    while asyncio.get_running_loop().time() < 0.1:
        alarm.ring_at(0.0)
        await _rings_at(alarm)
        rings += 1
    alarm.close()

    assert rings <= 101


async def test_however_many_moments_there_are_few_are_kept() -> None:
    """A million rows that are due within the horizon cost a bounded number of entries; those beyond it cost none."""
    alarm = _alarm()
    for number in range(100_000):
        alarm.ring_at(number / 5000)
    kept = len(alarm._moments)
    alarm.close()

    assert kept <= 15_001


async def test_closed_it_has_no_timer() -> None:
    """Nothing is left in the loop, and moments that come late make no new one."""
    alarm = _alarm()
    waiting = asyncio.create_task(alarm.wait())
    await asyncio.sleep(0)
    alarm.close()
    alarm.ring_at(1.0)
    waiting.cancel()

    assert alarm._timer is not None
    assert alarm._timer.cancelled()
