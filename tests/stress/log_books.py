"""What programs that used one log noted in their journals, held against each other and against the log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from eventpipe.events import CapturedEvent
from eventpipe.log.eventlog import EventLog
from eventpipe.stores.sqlite import SqliteStore
from eventpipe.stores.values import Damage
from tests.processes.logged import BATCH, KEYS, TOPIC, made, seal
from tests.processes.nursery import Child

Name = tuple[int, int]
"""An event: its producer and its number."""


def name_of(uuid: str) -> Name:
    return int(uuid[:8], 16), int(uuid[-12:], 16)


class Appended:
    """What producers were about to append, and what was acknowledged.

    Attributes:
        begun: By producer, the number after the last that it was about to append.
        acked: Offsets of acknowledged events.
    """

    def __init__(self) -> None:
        self.begun: Counter[int] = Counter()
        self.acked: dict[Name, int] = {}

    def read(self, child: Child) -> None:
        for entry in child.entries("begun", "acked"):
            producer, first = int(entry[1]), int(entry[2])
            if entry[0] == "begun":
                self.begun[producer] = max(self.begun[producer], int(entry[3]))
                continue
            for number, offset in enumerate(map(int, entry[3:]), first):
                before = self.acked.setdefault((producer, number), offset)
                assert before == offset, f"event {number} of {producer} is at {before} and at {offset}"

    def next_of(self, producer: int) -> int:
        """Where a producer that knows no more than what was acknowledged goes on."""
        number = self.begun[producer]
        while number > 0 and (producer, number - 1) not in self.acked:
            number -= 1
        return number

    def check(self, kept: Sequence[CapturedEvent]) -> None:
        """Nothing acknowledged is lost, nothing is there that nobody appended, nothing is altered or twice."""
        names = [name_of(event.uuid) for event in kept]
        offsets = {name: offset for offset, name in enumerate(names)}
        assert [name for name in self.acked if name not in offsets] == []
        assert [name for name in names if name[1] >= self.begun[name[0]]] == []
        assert len(offsets) == len(names)
        assert {name: offsets[name] for name in self.acked} == self.acked
        assert [name for name, event in zip(names, kept, strict=True) if seal(event) != seal(made(*name))] == []
        for producer in self.begun:
            numbers = [number for name, number in names if name == producer]
            assert numbers == list(range(len(numbers)))


class Handed:
    """What one consumer was handed in its lives.

    Attributes:
        seen: Events, as often as they were handed out.
        duplicates: Hand-outs in one life of what an earlier life had been handed, the most of all lives.
        losses: How often a life began anew, because it was held up and its lease was over.
    """

    def __init__(self) -> None:
        self.seen: Counter[Name] = Counter()
        self.duplicates = 0
        self.losses = 0
        self._settled: set[str] = set()
        self._next_of_key: Counter[tuple[int, int]] = Counter()

    def read(self, child: Child) -> None:
        """Check one life, the lives in their order."""
        last_of_key: dict[tuple[int, int], int] = {}
        again = losses = 0
        for entry in child.entries("handed", "settled", "lost", "logged"):
            if entry[0] == "settled":
                self._settled |= set(entry[1:])
            elif entry[0] == "lost" or "anew:" in entry:
                losses += 1
                last_of_key.clear()
            elif entry[0] == "handed":
                uuid, checksum = entry[2:4]
                producer, number = name = name_of(uuid)
                key = (producer, number % KEYS)
                assert int(checksum) == seal(made(*name)), f"event {name} was altered"
                assert uuid not in self._settled, f"event {name} was handed out after it was settled"
                assert number > last_of_key.get(key, -1), f"event {name} came late in one life"
                last_of_key[key] = number
                again += bool(self.seen[name])
                if not self.seen[name]:  # the first of its key that was not handed out before: none was passed over
                    assert number == self._next_of_key[key] * KEYS + key[1], f"event {name} came before its turn"
                    self._next_of_key[key] += 1
                self.seen[name] += 1
        self.losses += losses
        self.duplicates = max(self.duplicates, again - losses * BATCH)

    def check(self, kept: Sequence[CapturedEvent]) -> None:
        """It was handed everything that is kept, and nothing else."""
        assert sorted(self.seen) == sorted(name_of(event.uuid) for event in kept)


def recovery(child: Child) -> float | None:
    """Seconds from its birth to the first event that it was handed; ``None``: it did not live so long."""
    handed = child.entries("handed")
    return handed[0].at - child.born_at if handed else None


async def keep_all(path: Path, *, shared: bool) -> None:
    """Register somebody who never consumes, so that nothing is trimmed before it was looked at."""
    async with EventLog(SqliteStore(path, shared=shared, durability="process")) as log:
        await log.add_consumer(TOPIC, "reader")


async def kept_in(path: Path, *, shared: bool) -> tuple[list[CapturedEvent], list[Damage]]:
    """What a log keeps in the end, from offset 0 on without a gap, and what is damaged."""
    async with EventLog(SqliteStore(path, shared=shared, durability="process")) as log:
        damages = await log.verify(TOPIC)
        stored = [one async for one in log.read(TOPIC)]
    assert [one.offset for one in stored] == list(range(len(stored)))
    assert [one.offset for one in stored if one.event is None] == []
    return [one.event for one in stored if one.event is not None], damages
