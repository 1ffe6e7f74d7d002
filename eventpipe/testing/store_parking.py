"""Scenarios of the store contract: what moves a version, who is woken, and how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import pytest

from eventpipe.errors import ClosedError, StoreFullError
from eventpipe.retention import Retention
from eventpipe.stores.values import ConsumerKey, Disposal
from eventpipe.testing.store_rig import MUCH, TOPIC, Hand, StoreRig, some_events

PATIENCE: Final = 5.0  # seconds until a wait that does not end is a failure, however slow the machine
_TURNS: Final = 10  # turns of the loop in which who was woken has run


async def _settle(hand: Hand, disposal: Disposal) -> None:
    await hand.settle(await hand.claimed(), disposal)


async def _resume(hand: Hand) -> None:
    await hand.rig.store.pause(hand.key, True)
    await hand.rig.store.pause(hand.key, False)


async def _seek(hand: Hand) -> None:
    await hand.rig.store.seek(hand.key, (await hand.rig.topic()).first)


CHANGES: Final[dict[str, Callable[[Hand], Awaitable[object]]]] = {
    "append": lambda hand: hand.rig.fill(1),
    "nack": lambda hand: _settle(hand, Disposal.NACK),
    "release": lambda hand: _settle(hand, Disposal.RELEASE),
    "seek": _seek,
    "resume": _resume,
    "remove": lambda hand: hand.rig.store.remove_consumer(hand.key),
}


class ParkingScenarios:
    """What ``version()``, ``wait()`` and ``aclose()`` promise."""

    @pytest.mark.parametrize("change", CHANGES)
    async def test_version_moves_and_wakes_all_who_wait(self, rig: StoreRig, change: str) -> None:
        """When there may be something for somebody to look at."""
        await rig.fill(2)
        hand = await rig.hand()
        seen = rig.store.version(TOPIC)
        waits = [asyncio.create_task(rig.store.wait(TOPIC, seen)) for _ in range(3)]
        await _turns()
        parked = [wait for wait in waits if not wait.done()]

        await CHANGES[change](hand)

        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*waits)
        assert parked == waits
        assert rig.store.version(TOPIC) != seen

    async def test_what_concerns_nobody_else_moves_no_version(self, rig: StoreRig) -> None:
        """Fifty consumers do not wake each other by what they settle, nor by looking."""
        await rig.fill(4)
        hand, _ = await rig.hand(), await rig.fill(1, "other")
        seen = rig.store.version(TOPIC)

        events = await hand.claimed()
        await hand.settle(events[:1])
        await hand.settle(events[1:2], Disposal.SKIP)
        await hand.settle(events[2:3], Disposal.DEAD)
        await rig.store.read(TOPIC, 0, max_events=1, max_bytes=MUCH)
        await rig.store.add_consumer(ConsumerKey(TOPIC, "another"), "latest")
        await rig.store.pause(hand.key, True)
        await rig.fill(1, "other")
        await rig.store.topics()
        await rig.store.consumers()

        assert rig.store.version(TOPIC) == seen

    async def test_letter_moves_the_version_of_the_dead_letters(self, rig: StoreRig) -> None:
        """They are a topic, and may have consumers."""
        await rig.fill(1)
        hand = await rig.hand()
        seen = rig.store.version(f"{TOPIC}.dead")

        await _settle(hand, Disposal.DEAD)

        assert rig.store.version(f"{TOPIC}.dead") != seen

    @pytest.mark.parametrize("maker", ["settle", "trim", "remove", "declare"])
    async def test_version_moves_when_a_full_topic_has_room(self, rig: StoreRig, maker: str) -> None:
        """Whoever was refused can try again, and succeeds."""
        await rig.store.declare(TOPIC, Retention(max_events=2, max_age=rig.dedupe_window, on_full="wait"))
        await rig.fill(2)
        hand = await rig.hand()
        other = await rig.hand("other")
        await other.settle(await other.claimed())
        with pytest.raises(StoreFullError):
            await rig.fill(1)
        seen = rig.store.version(TOPIC)

        if maker == "settle":
            await hand.settle((await hand.claimed())[:1])
        elif maker == "trim":
            await rig.advance(rig.dedupe_window + 1)
            await rig.store.trim(TOPIC)
        elif maker == "remove":
            await rig.store.remove_consumer(hand.key)
        else:
            await rig.store.declare(TOPIC, Retention(max_events=3))

        async with asyncio.timeout(PATIENCE):
            await rig.store.wait(TOPIC, seen)
        await rig.fill(1)

    async def test_wait_returns_at_once_when_something_moved(self, rig: StoreRig) -> None:
        """What came between the look and the wait is not missed."""
        seen = rig.store.version(TOPIC)
        await rig.fill(1)

        async with asyncio.timeout(PATIENCE):
            await rig.store.wait(TOPIC, seen)

    async def test_cancelled_wait_takes_no_wake_up(self, rig: StoreRig) -> None:
        """Cancelled before the append and in the same step: the others are woken."""
        await rig.fill(1)
        seen = rig.store.version(TOPIC)
        waits = [asyncio.create_task(rig.store.wait(TOPIC, seen)) for _ in range(6)]
        await _turns()
        waits[0].cancel()
        await _turns()

        waits[1].cancel()
        await rig.fill(1)
        waits[2].cancel()

        async with asyncio.timeout(PATIENCE):
            results = await asyncio.gather(*waits, return_exceptions=True)
        assert isinstance(results[0], asyncio.CancelledError)
        assert results[3:] == [None] * 3
        assert all(result is None or isinstance(result, asyncio.CancelledError) for result in results)

    async def test_close_ends_every_wait(self, rig: StoreRig) -> None:
        """With ``ClosedError``, for those who wait and for those who come."""
        seen = rig.store.version(TOPIC)
        waits = [asyncio.create_task(rig.store.wait(TOPIC, seen)) for _ in range(3)]
        await _turns()

        async with asyncio.timeout(PATIENCE):
            await rig.store.aclose()
            results = await asyncio.gather(*waits, return_exceptions=True)

        assert [type(result) for result in results] == [ClosedError] * 3
        with pytest.raises(ClosedError):
            await rig.store.wait(TOPIC, seen)

    async def test_closed_store_takes_and_hands_out_nothing(self, rig: StoreRig) -> None:
        """Every call is ``ClosedError``."""
        await rig.fill(1)
        hand = await rig.hand()
        events = await hand.claimed()
        await rig.store.aclose()

        for call in (
            rig.store.append(TOPIC, some_events(1)),
            rig.store.read(TOPIC, 0, max_events=1, max_bytes=MUCH),
            rig.store.topics(),
            rig.store.trim(TOPIC),
            hand.claim(),
            hand.settle(events),
            hand.info(),
            rig.store.acquire("a", "b", None),
        ):
            with pytest.raises(ClosedError):
                await call

    async def test_aclose_may_come_twice_and_before_open(self, rig: StoreRig) -> None:
        """A second one, after the first or beside it, is as good as one; one that came early spoils nothing."""
        async with asyncio.timeout(PATIENCE):
            async with asyncio.TaskGroup() as group:
                group.create_task(rig.store.aclose())
                group.create_task(rig.store.aclose())
            await rig.store.aclose()

            store = rig.unopened()
            await store.aclose()
            await store.open()
            await store.append(TOPIC, some_events(1))
            await store.aclose()

    async def test_store_says_what_it_is(self, rig: StoreRig) -> None:
        """A name for messages, and whether other processes use it."""
        assert rig.store.name
        assert rig.store.is_shared in (True, False)


async def _turns() -> None:
    for _ in range(_TURNS):
        await asyncio.sleep(0)
