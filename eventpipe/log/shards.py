"""One consumer divided among several: each event belongs to one shard, by its key."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from eventpipe.checked import shown

Key = str | int | None

_UNSHARDED: Final = 0  # where events without a key go: the one shard that there always is

# Python refuses to write an int of too many digits, and the limit can be set, but never below 640.
_MAX_DECIMAL_BITS: Final = 2048

_MULTIPLIER: Final = 2862933555777941757
_64_BITS: Final = (1 << 64) - 1

_SHARD_NAME: Final = re.compile(r"(?P<name>.+)\[(?P<index>0|[1-9][0-9]{0,8})/(?P<count>[1-9][0-9]{0,8})\]", re.DOTALL)

_SHOWN: Final = 5  # names in a message


def shard_of(key: Key, shards: int) -> int:
    """Which of ``shards`` shards a key belongs to; the same in every process, on every machine and Python.

    With another number of shards as few keys as possible move: growing from m to n moves the share 1 - m/n, all of
    them to new shards; shrinking moves those of the shards that are gone.

    Args:
        key: Any text, lone surrogates included, or any int, which belongs where its decimal digits do. ``None``:
            events without a key have no order to keep among themselves or with others, and all go to shard 0.
        shards: How many there are, at least 1.

    Returns:
        A number from 0 to ``shards - 1``.

    Raises:
        ValueError: ``shards`` is below 1.
        TypeError: An argument is of another type.

    Source:
        Lamping and Veach, "A Fast, Minimal Memory, Consistent Hash Algorithm", arXiv:1406.2294, over the first 64 bits
        of BLAKE2b (RFC 7693) of the key in UTF-8.
    """
    _check_count(shards)
    if not isinstance(key, Key):
        raise TypeError(f"a key must be text, a whole number or None, not {shown(key)}")
    return _shard_of(key, shards)


@dataclass(frozen=True, slots=True)
class Shard:
    """One of several parts of what a consumer is handed.

    Attributes:
        index: Which, counted from 0.
        count: Of how many.

    Raises:
        ValueError: ``count`` is below 1, or there is no such index.
        TypeError: One of them is no whole number.
    """

    index: int
    count: int

    def __post_init__(self) -> None:
        _check_count(self.count)
        if isinstance(self.index, bool) or not isinstance(self.index, int):
            raise TypeError(f"the index of a shard must be a whole number, not {shown(self.index)}")
        if not 0 <= self.index < self.count:
            raise ValueError(f"the index of a shard of {self.count} must be 0 to {self.count - 1}, not {self.index}")

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def holds(self, key: Key) -> bool:
        """Whether events of that key belong to it."""
        return _shard_of(key, self.count) == self.index


def shard_name(name: str, shard: Shard) -> str:
    """What the consumer of a shard is called: ``"billing[2/8]"``; the only shard there is has the name itself."""
    return name if shard.count == 1 else f"{name}[{shard}]"


def read_shard_name(consumer: str) -> tuple[str, Shard]:
    """The name and the shard that ``shard_name()`` made ``consumer`` of; a name without a shard is the only one."""
    found = _SHARD_NAME.fullmatch(consumer)
    if found is not None and 1 < (count := int(found["count"])) > (index := int(found["index"])):
        return found["name"], Shard(index, count)
    return consumer, Shard(0, 1)


def check_shards(consumers: Iterable[str], name: str, count: int) -> None:
    """Refuse to divide a consumer among ``count`` shards while a topic has it divided in another way.

    Two ways at once would hand every event out twice, and to start anew would lose the cursors.

    Args:
        consumers: The names of all consumers of the topic.
        name: The one that is divided, without a shard.
        count: Among how many.

    Raises:
        ValueError: There are consumers of that name with another count; it names some of them, and the ways out.
    """
    _check_count(count)
    others = []
    for consumer in sorted(consumers):
        base, shard = read_shard_name(consumer)
        if base == name and shard.count != count:
            others.append(consumer)
    if others:
        names = ", ".join(others[:_SHOWN]) + (f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else "")
        raise ValueError(
            f"consumer {name!r} cannot have {count} shard{'s' * (count > 1)} while the topic has {names}: reshard() of"
            " the log moves their cursors, or eventpipe reshard FILE TOPIC NAME COUNT; or let them finish, and remove"
            " them"
        )


def migration(cursors: Mapping[int, int], old_count: int, new_count: int) -> list[int]:
    """Where the shards of a new count begin, so that no event is lost that a shard of the old count has not settled.

    A shard begins at the lowest cursor of the old shards that its keys come from. Those that are there before and after
    keep their keys: growing, each begins where it was, and each new one at the lowest cursor of all; shrinking, each
    that stays begins at its own cursor or at the lowest of those that are gone, whichever is lower.

    Events may be handed out again, and are as many as lie between the start of a new shard and the cursor of the old
    one they were of: at most the highest cursor less the lowest, none where all are level; and beyond its cursor, what
    an old shard had settled out of order. So let the old shards come level before, and nothing run meanwhile.

    Args:
        cursors: Of each old shard by its index: ``ConsumerInfo.position``, which is also there before it has settled
            anything.
        old_count: How many old shards there are.
        new_count: How many there are to be.

    Returns:
        Offsets, one per new shard.

    Raises:
        ValueError: A count is below 1, or ``cursors`` are not those of the old shards; of one that was never registered
            nobody knows what it has settled.
    """
    _check_count(old_count)
    _check_count(new_count)
    if set(cursors) != set(range(old_count)):
        given = ", ".join(str(index) for index in sorted(cursors)) or "none"
        raise ValueError(f"cursors must be those of the shards 0 to {old_count - 1}, each of them, not of {given}")
    # Keys move only to shards that were not there, or from shards that will not be: a property of the hash.
    if new_count >= old_count:
        return [*(cursors[index] for index in range(old_count)), *[min(cursors.values())] * (new_count - old_count)]
    leaving = min(cursors[index] for index in range(new_count, old_count))
    return [min(cursors[index], leaving) for index in range(new_count)]


def _shard_of(key: Key, shards: int) -> int:
    if key is None:
        return _UNSHARDED
    if not isinstance(key, str):
        key = int.__format__(key, "d" if key.bit_length() <= _MAX_DECIMAL_BITS else "#x")
    digest = blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8, usedforsecurity=False).digest()
    return _jump(int.from_bytes(digest, "big"), shards)


def _jump(state: int, buckets: int) -> int:
    """Jump from bucket to bucket, as the key does when they become more, until the next would be too far."""
    bucket, following = -1, 0
    while following < buckets:
        bucket = following
        state = (state * _MULTIPLIER + 1) & _64_BITS
        following = int((bucket + 1) * ((1 << 31) / ((state >> 33) + 1)))
    return bucket


def _check_count(count: object) -> None:
    if isinstance(count, bool) or not isinstance(count, int):
        raise TypeError(f"the number of shards must be a whole number, not {shown(count)}")
    if count < 1:
        raise ValueError(f"the number of shards must be at least 1, not {count}")
