"""A consumer that is divided among another number of shards: no event is lost, whatever happens in between."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest

from eventpipe.errors import LeaseHeldError, PermanentSinkError, StoreError, UnknownConsumerError
from eventpipe.events import Event
from eventpipe.log.consumer import Consumer
from eventpipe.log.eventlog import EventLog
from eventpipe.log.handling import ConsumedEvent
from eventpipe.log.shards import Shard, read_shard_name, shard_of
from eventpipe.stores.base import Store
from eventpipe.stores.values import ConsumerKey
from eventpipe.testing.clock import LoopClock

pytestmark = pytest.mark.asyncio

EVENTS = 60
Seen = list[tuple[str, int]]  # the key of an event that was handled, and its offset


def handler(seen: Seen) -> Callable[[ConsumedEvent], Awaitable[None]]:
    async def handle(consumed: ConsumedEvent) -> None:
        seen.append((consumed.event.key or "", consumed.offset))

    return handle


async def append(log: EventLog, first: int = 0) -> None:
    await log.append_many("orders", [Event("paid", str(number)) for number in range(first, first + EVENTS)])


async def run(log: EventLog, count: int, seen: Seen, shards: set[int] | None = None) -> None:
    """A pass of some shards, or of all."""
    for index in range(count):
        if shards is None or index in shards:
            await Consumer(log, "orders", "billing", handler(seen), shard=Shard(index, count)).process()


async def names(log: EventLog) -> list[str]:
    return [info.name for info in await log.consumers("orders")]


async def registered(log: EventLog, count: int, name: str = "billing") -> None:
    for index in range(count):
        await log.add_consumer("orders", name if count == 1 else f"{name}[{index}/{count}]")


@pytest.mark.parametrize(("old", "new"), [(2, 5), (5, 2), (1, 3), (3, 1)])
async def test_a_changed_count_loses_no_event(log: EventLog, old: int, new: int) -> None:
    """What the old shards had not settled is handed to the new ones, each event to the shard of its key."""
    seen: Seen = []
    await registered(log, old)
    await append(log)
    await run(log, old, seen, {0})  # the others are behind
    await append(log, EVENTS)

    made = await log.reshard("orders", "billing", new)

    assert [read_shard_name(info.name) for info in made] == [("billing", Shard(index, new)) for index in range(new)]
    assert await names(log) == sorted(info.name for info in made)
    for index in range(new):
        shard: Seen = []
        await run(log, new, shard, {index})
        assert {shard_of(key, new) for key, _ in shard} <= {index}
        seen += shard
    assert {offset for _, offset in seen} == set(range(2 * EVENTS))


async def test_shards_that_are_level_repeat_no_event(log: EventLog) -> None:
    """Each event is handed out once, before the change or after it."""
    seen: Seen = []
    await registered(log, 2)
    await append(log)
    await run(log, 2, seen)

    await log.reshard("orders", "billing", 4)
    await append(log, EVENTS)
    await run(log, 4, seen)

    assert Counter(offset for _, offset in seen) == Counter(range(2 * EVENTS))


async def test_the_error_of_a_changed_count_names_the_way_which_works(log: EventLog) -> None:
    """A consumer of the new count is refused until the cursors have moved."""
    seen: Seen = []
    await append(log)
    await run(log, 2, seen)
    with pytest.raises(ValueError, match=r"reshard\(\) of the log moves their cursors"):
        await run(log, 3, seen)

    await log.reshard("orders", "billing", 3)

    await run(log, 3, seen)


async def test_the_same_count_changes_nothing(log: EventLog) -> None:
    """The shards are as they were."""
    await registered(log, 2)
    before = await log.consumers("orders")

    assert await log.reshard("orders", "billing", 2) == before


async def test_other_consumers_stay_as_they_are(log: EventLog) -> None:
    """Also those whose name begins the same."""
    await registered(log, 2)
    for other in ("audit", "billing2", "xbilling[0/2]"):
        await log.add_consumer("orders", other)

    await log.reshard("orders", "billing", 1)

    assert await names(log) == ["audit", "billing", "billing2", "xbilling[0/2]"]


async def test_a_paused_consumer_stays_paused(log: EventLog) -> None:
    """One of its shards that is paused is enough."""
    await registered(log, 2)
    await log.pause("orders", "billing[1/2]")

    assert [info.is_paused for info in await log.reshard("orders", "billing", 3)] == [True] * 3


@pytest.mark.parametrize("held", ["billing[1/2]", "billing[2/3]"], ids=["old", "new"])
async def test_a_shard_that_runs_refuses_the_change(log: EventLog, held: str) -> None:
    """Nothing is changed, and the other shards are free again."""
    await registered(log, 2)
    await log.add_consumer("orders", "billing[2/3]")
    before = await names(log)
    token = await log.store.acquire(ConsumerKey("orders", held).lease, "worker 7", None)

    with pytest.raises(LeaseHeldError, match=r"'billing\[\d/\d\]' of topic 'orders' is held by worker 7"):
        await log.reshard("orders", "billing", 3)

    assert await names(log) == before
    await log.store.release(ConsumerKey("orders", held).lease, token)
    assert len(await log.reshard("orders", "billing", 3)) == 3


async def test_shards_are_free_after_the_change(log: EventLog) -> None:
    """Nobody holds the lease of a shard that was there already, or is new."""
    await registered(log, 2)
    await log.reshard("orders", "billing", 4)

    assert [info.holder for info in await log.consumers("orders")] == [None] * 4


class EndsError(Exception):
    """The process ends."""


def ending(store: Store, steps: int) -> None:
    """Let a store do so many changes more, and then nothing."""
    left = steps

    def counted(change: Callable[..., Awaitable[object]]) -> Callable[..., Awaitable[object]]:
        async def call(*arguments: object) -> object:
            nonlocal left
            if not left:
                raise EndsError
            left -= 1
            return await change(*arguments)

        return call

    for name in ("add_consumer", "seek", "pause", "remove_consumer"):
        setattr(store, name, counted(getattr(store, name)))


@pytest.mark.parametrize("then", [2, 3, 5], ids=["back", "on", "elsewhere"])
@pytest.mark.parametrize("steps", range(7))
async def test_a_crash_in_between_loses_no_event(
    make_store: Callable[[], Store], clock: LoopClock, steps: int, then: int
) -> None:
    """Wherever it was: whatever runs at once handles what it may, and a change to any count goes on from there."""
    seen: Seen = []
    store = make_store()
    async with EventLog(store, clock=clock) as log:
        await registered(log, 2)
        await append(log)
        await run(log, 2, seen, {1})
        await log.pause("orders", "billing[0/2]")
        ending(store, steps)
        with pytest.raises(EndsError):
            await log.reshard("orders", "billing", 3)
        for name in ("add_consumer", "seek", "pause", "remove_consumer"):
            delattr(store, name)
        await append(log, EVENTS)

        if then == 5 and {read_shard_name(name)[1].count for name in await names(log)} == {2, 3}:
            with pytest.raises(StoreError, match="has shards of 2 and of 3; remove"):
                await log.reshard("orders", "billing", then)
            then = 3
        for info in await log.reshard("orders", "billing", then):
            await log.resume("orders", info.name)
        await run(log, then, seen)

        assert {offset for _, offset in seen} == set(range(2 * EVENTS))


async def test_a_shard_that_was_never_registered_is_named(log: EventLog) -> None:
    """Nobody knows what it had still to do, so that nothing is changed."""
    for name in ("billing[0/3]", "billing[2/3]"):
        await log.add_consumer("orders", name)

    with pytest.raises(StoreError, match=r"^topic 'orders' has no consumer 'billing\[1/3\]'.*add_consumer\(\)"):
        await log.reshard("orders", "billing", 2)
    with pytest.raises(StoreError, match=r"^topic 'orders' has no consumer 'billing\[1/3\]'"):
        await log.reshard("orders", "billing", 3)

    assert await names(log) == ["billing[0/3]", "billing[2/3]"]


async def test_old_shards_that_are_behind_the_new_ones_are_kept(log: EventLog) -> None:
    """Some old ones are left, and all new ones are there: but not where this would lose events."""
    await append(log)
    await log.add_consumer("orders", "billing[1/2]", 5)
    for index in range(3):
        await log.add_consumer("orders", f"billing[{index}/3]", "latest")

    with pytest.raises(StoreError, match=r"has no consumer 'billing\[0/2\]'"):
        await log.reshard("orders", "billing", 3)


async def test_what_is_not_there_is_named(log: EventLog) -> None:
    """A consumer, a topic, a number of shards."""
    await registered(log, 2)
    with pytest.raises(UnknownConsumerError, match="did you mean 'billing'"):
        await log.reshard("orders", "biling", 2)
    with pytest.raises(StoreError, match=r"there is no topic 'order'.*did you mean 'orders'"):
        await log.reshard("order", "billing", 2)
    with pytest.raises(ValueError, match="the number of shards must be at least 1, not 0"):
        await log.reshard("orders", "billing", 0)
    with pytest.raises(ValueError, match="must have at most 200 characters"):
        await log.reshard("orders", "b" * 200, 2)


async def test_what_was_replayed_to_an_old_shard_reaches_the_new_one(log: EventLog) -> None:
    """Events that are addressed to a shard that is gone are for the shard that has their key, once."""
    seen: Seen = []
    await registered(log, 2)
    await append(log)
    await run(log, 2, [])
    for index in range(2):
        await log.replay("orders", f"billing[{index}/2]", 0, EVENTS)
    of_old = {str(number) for number in range(EVENTS)}

    await log.reshard("orders", "billing", 3)
    await run(log, 3, seen)

    assert {key for key, _ in seen} == of_old


async def test_letters_of_an_old_shard_are_replayed_to_the_new_one(log: EventLog) -> None:
    """Each to the shard that has its key."""

    async def refuse(consumed: ConsumedEvent) -> None:
        raise PermanentSinkError("no")

    seen: Seen = []
    await append(log)
    for index in range(4):
        await Consumer(log, "orders", "billing", refuse, shard=Shard(index, 4)).process()
    await log.reshard("orders", "billing", 1)

    assert len(await log.replay_dead_letters("orders")) == EVENTS
    await Consumer(log, "orders", "billing", handler(seen)).process()

    assert sorted(int(key) for key, _ in seen) == list(range(EVENTS))


async def test_a_cancelled_change_is_done_by_the_next(log: EventLog) -> None:
    """The leases are given back, and nothing is lost."""
    seen: Seen = []
    await registered(log, 3)
    await append(log)
    for turns in range(12):
        change = asyncio.create_task(log.reshard("orders", "billing", 2 if turns % 2 else 3))
        for _ in range(turns):
            await asyncio.sleep(0)
        change.cancel()
        await asyncio.gather(change, return_exceptions=True)

    await log.reshard("orders", "billing", 2)
    await run(log, 2, seen)

    assert {offset for _, offset in seen} == set(range(EVENTS))
