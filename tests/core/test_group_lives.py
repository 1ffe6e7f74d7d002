"""Whole groups, started and stopped many times, in one loop after the other, and at the end of a program."""

from __future__ import annotations

import asyncio
import random

import pytest

from eventpipe.core.channel import Channel
from eventpipe.core.group import ServiceGroup
from eventpipe.core.service import Service, ServiceState
from eventpipe.options import RetryPolicy
from eventpipe.testing.leaks import no_leaks
from eventpipe.testing.loop import VirtualTimeLoop
from tests.core.grouped import Listener, Member, Numbers, check_nothing_is_lost

ROUNDS = 50
RESTART = RetryPolicy(max_attempts=1000, initial=0.2, max_delay=1, jitter=0.5)


def pipeline(chance: random.Random, capacity: int = 5) -> tuple[list[Service], Numbers, Listener]:
    """A writer and a reader, in an order of chance, perhaps in groups of their own."""
    channel: Channel[int] = Channel(capacity)
    numbers, listener = Numbers(channel), Listener(channel)
    parts: list[Service] = [numbers, listener]
    if chance.random() < 0.5:
        parts = [ServiceGroup(part, restart=RESTART) for part in parts]
    chance.shuffle(parts)
    return parts, numbers, listener


@pytest.mark.asyncio
async def test_fifty_groups_lose_nothing_whenever_they_stop() -> None:
    """Three pipelines each, in every order, stopped at a random moment: what was sent was heard, nothing stays."""
    chance = random.Random(6)
    for _ in range(ROUNDS):
        made = [pipeline(chance, chance.randrange(1, 9)) for _ in range(3)]
        group = ServiceGroup(*(part for parts, _, _ in made for part in parts), stop_timeout=1000)
        with no_leaks():
            async with group:
                await asyncio.sleep(chance.uniform(0, 10))
                report = await group.stop()

        assert report
        for _, numbers, listener in made:
            assert listener.heard == numbers.sent
            assert len(numbers.sent) >= 10


@pytest.mark.asyncio
async def test_one_group_lives_fifty_times() -> None:
    """Each life has channels that work, and hears what was sent in it."""
    chance = random.Random(7)
    parts, numbers, listener = pipeline(chance)
    group = ServiceGroup(*parts)
    with no_leaks():
        for _ in range(ROUNDS):
            async with group:
                await asyncio.sleep(chance.uniform(0, 5))
            assert listener.heard == numbers.sent


@pytest.mark.asyncio
@pytest.mark.parametrize("who", ["the reader", "the writer", "the group"])
async def test_fifty_groups_that_crash_lose_nothing_uncounted(who: str) -> None:
    """Somebody cancels a main task at a random moment; what comes back goes on, and the next life is as good."""
    chance = random.Random(8)
    for _ in range(ROUNDS):
        parts, numbers, listener = pipeline(chance)
        group = ServiceGroup(*parts, name="group", restart=RESTART)
        victim = {"the reader": "listener", "the writer": "numbers", "the group": "group"}[who]
        with no_leaks():
            await group.start()
            await asyncio.sleep(chance.uniform(0, 5))
            next(task for task in asyncio.all_tasks() if task.get_name() == victim).cancel()
            await asyncio.sleep(chance.uniform(0, 5))
            await group.stop()
            before = len(numbers.sent)
            async with group:
                await asyncio.sleep(chance.uniform(0, 5))

        check_nothing_is_lost((numbers, listener))
        assert listener.heard[before - len(numbers.sent) :] == numbers.sent[before:]
        assert (group.state, group.error, group.crashed) == (ServiceState.STOPPED, None, ())


@pytest.mark.asyncio
async def test_a_reader_that_crashes_again_and_again_loses_what_it_had_in_hand_alone() -> None:
    """Ten errors of its own, in a group that brings it back each time."""
    channel: Channel[int] = Channel(100)
    numbers, listener = Numbers(channel), Listener(channel)
    async with ServiceGroup(numbers, listener, restart=RESTART) as group:
        for error_at in range(0, 100, 10):
            listener.error_at = error_at
            await asyncio.sleep(10)
        assert group.crashed == ()

    assert listener.cut_off == list(range(0, 100, 10))
    assert sorted(listener.heard + listener.cut_off) == numbers.sent


def test_a_group_lives_in_one_loop_after_the_other() -> None:
    """After a stop, after a crash, and after the end of a program that stopped nothing."""
    a, b = Member("a"), Member("b")
    group = ServiceGroup(a, b, restart=RESTART)
    for member in (a, b):
        member.drain = 0

    async def live(end: str) -> None:
        await group.start()
        assert [service.state for service in (group, a, b)] == ["running"] * 3
        if end == "crash":
            a.crash(OSError())
            await asyncio.sleep(1.05)
            assert group.crashed == (a,)
        elif end == "stop":
            assert await group.stop()

    for end in ("stop", "crash", "stop", "forgotten", "stop"):
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            runner.run(live(end))

    assert [service.state for service in (group, a, b)] == ["stopped"] * 3


def test_a_group_whose_loop_was_closed_under_it_starts_in_the_next() -> None:
    """Nothing of the old loop is waited for: no timer, no member."""
    a, b = Service("a"), Service("b")
    group = ServiceGroup(a, b)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(group.start())
    tasks = asyncio.all_tasks(loop)
    loop.close()
    assert [service.state for service in (group, a, b)] == ["stopped"] * 3

    async def again() -> None:
        assert await group.stop()
        other = ServiceGroup(a, name="other")
        async with other:
            assert a.state == "running"
        async with group:
            assert [service.state for service in (group, a, b)] == ["running"] * 3

    asyncio.run(again())

    for task in tasks:
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # a loop closed under its tasks is the point
        task.get_coro().close()


@pytest.mark.asyncio
async def test_ten_tasks_may_start_and_stop_and_break_a_pipeline_fifty_times() -> None:
    """In whatever order, with members that are stopped, cut off and cancelled one by one: it ends as one is used to."""
    parts, numbers, listener = pipeline(random.Random(1))
    group = ServiceGroup(*parts, name="group", restart=RESTART)

    async def disturb(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(ROUNDS):
            member = chance.choice((numbers, listener))
            match chance.randrange(8):
                case 0:
                    await group.stop(chance.choice((None, 0, 0.5)))
                case 1:
                    group.request_stop()
                case 2:
                    member.cancel()
                case 3:
                    await member.stop()
                case 4:
                    for task in asyncio.all_tasks():
                        if task.get_name() == member.name and member.state is ServiceState.RUNNING:
                            task.cancel()
                case _:
                    await asyncio.gather(group.start(), return_exceptions=True)
            await asyncio.sleep(chance.uniform(0, 1))

    with no_leaks():
        await asyncio.gather(*(disturb(seed) for seed in range(10)))
        await group.stop()
        check_nothing_is_lost((numbers, listener))
        before = len(numbers.sent)
        async with group:
            await asyncio.sleep(5)

    check_nothing_is_lost((numbers, listener))
    assert listener.heard[before - len(numbers.sent) :] == numbers.sent[before:]
    assert (group.state, group.error) == (ServiceState.STOPPED, None)
