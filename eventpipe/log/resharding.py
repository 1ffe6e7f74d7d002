"""Another number of shards for a consumer that exists: their cursors move over, and no event is lost on the way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from typing import Final, NamedTuple

from eventpipe.core.lease import Lease
from eventpipe.errors import CursorError, LeaseHeldError, StoreError, UnknownConsumerError
from eventpipe.log.shards import Shard, check_shards, migration, read_shard_name, shard_name
from eventpipe.stores.base import Store
from eventpipe.stores.names import check_name
from eventpipe.stores.values import ConsumerInfo, ConsumerKey

# Seconds. A process that dies meanwhile keeps others from the shards for so long, in a store that is shared.
_TTL: Final = 15.0
_HEARTBEAT: Final = 3.0

_Shards = Mapping[int, ConsumerInfo]  # by index


class _Change(NamedTuple):
    """What is to be done.

    Attributes:
        old: The shards that there were, which go.
        new: The shards of the new count that there are already; all of them, where nothing else is to be done.
        starts: Where those of the new count begin; ``None``: they did, and only some of the old ones went.
    """

    old: _Shards
    new: _Shards
    starts: list[int] | None


async def reshard(store: Store, topic: str, name: str, count: int) -> list[ConsumerInfo]:
    """Divide a consumer among ``count`` shards; the new shards, by index.

    All new ones are there before the first old one goes. So wherever this ends early nothing is lost, no consumer of
    either count starts, and the same call again does the rest.

    Raises:
        ValueError: ``count`` is below 1, or the names of so many shards are too long.
        UnknownConsumerError: The topic has no such consumer, divided or not.
        LeaseHeldError: Somebody runs one of the shards. Nothing was changed.
        StoreError: Some of the shards were never registered, or there are shards of several counts.
    """
    check_shards((), name, count)
    keys = [ConsumerKey(topic, shard_name(name, Shard(index, count))) for index in range(count)]
    check_name("consumer", keys[-1].name)
    before = await store.consumers(topic)
    async with AsyncExitStack() as held:
        for info in before:
            if read_shard_name(info.name)[0] == name:
                await _hold(held, store, info.key)
        # Read again under the leases: now nobody settles anything.
        change = _change(await store.consumers(topic), topic, name, count)
        if change.starts is not None:
            is_paused = any(info.is_paused for info in change.old.values())
            for index, (key, start) in enumerate(zip(keys, change.starts, strict=True)):
                await _begin(store, key, start, is_there=index in change.new)
                if is_paused:
                    await store.pause(key, True)
        for info in change.old.values():
            await store.remove_consumer(info.key)
    infos = {info.name: info for info in await store.consumers(topic)}
    return [infos[key.name] for key in keys]


def _change(consumers: Iterable[ConsumerInfo], topic: str, name: str, count: int) -> _Change:
    """Say what is to be done."""
    found: dict[int, dict[int, ConsumerInfo]] = {}
    names = set()
    for info in consumers:
        base, shard = read_shard_name(info.name)
        names.add(base)
        if base == name:
            found.setdefault(shard.count, {})[shard.index] = info
    if not found:
        raise UnknownConsumerError(topic, name, sorted(names))
    new = found.pop(count, {})
    if len(found) > 1:
        counts = " and of ".join(map(str, sorted(found)))
        raise StoreError(
            f"consumer {name!r} of topic {topic!r} has shards of {counts}; remove_consumer() those that nobody runs"
        )
    [(old_count, old)] = found.items() or [(count, new)]
    if old_count == count:
        _check_complete(new, count, topic, name)
        return _Change({}, new, None)
    if len(old) < old_count and _are_heirs(new, count, old, old_count):
        return _Change(old, new, None)
    _check_complete(old, old_count, topic, name)
    return _Change(old, new, migration({index: info.position for index, info in old.items()}, old_count, count))


def _are_heirs(new: _Shards, count: int, old: _Shards, old_count: int) -> bool:
    """Whether the new shards are all there, and begin where nothing is lost that these old ones have not settled."""
    return len(new) == count and all(
        new[heir].position <= info.position
        for index, info in old.items()
        for heir in ((index, *range(old_count, count)) if index < count else range(count))
    )


def _check_complete(shards: _Shards, count: int, topic: str, name: str) -> None:
    missing = [shard_name(name, Shard(index, count)) for index in range(count) if index not in shards]
    if missing:
        raise StoreError(
            f"topic {topic!r} has no consumer {missing[0]!r}, and without it nobody knows what it has still to do;"
            " add_consumer() registers it, at the place where it is to begin"
        )


async def _hold(held: AsyncExitStack, store: Store, key: ConsumerKey) -> None:
    lease = Lease(store, key.lease, ttl=_TTL, heartbeat=_HEARTBEAT)
    try:
        await lease.try_acquire()
    except LeaseHeldError as error:
        raise LeaseHeldError(f"consumer {key}", holder=error.holder, remaining=error.remaining) from error
    held.push_async_callback(lease.release)


async def _begin(store: Store, key: ConsumerKey, start: int, *, is_there: bool) -> None:
    """Have a shard begin at an offset, or where retention has come to meanwhile."""
    while True:
        try:
            await (store.seek(key, start) if is_there else store.add_consumer(key, start))
            return
        except CursorError as error:
            if start >= error.first:
                raise
            start = error.first
