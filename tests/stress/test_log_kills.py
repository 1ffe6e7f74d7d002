"""Producers and consumers that are killed at random moments, with one log between them."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.processes.logged import BATCH
from tests.processes.nursery import Child, Nursery, nursery
from tests.scale import SCALE
from tests.stress.log_books import Appended, Handed, keep_all, kept_in, recovery

KILLS = 100 if SCALE == 1 else 200 * SCALE  # 2 000 in `nox -s stress`
PRODUCERS = (0, 1)
CONSUMERS = ("audit", "billing")
SLOTS = (*PRODUCERS, *CONSUMERS)
KINDS = ("receiver", "batches", "handler", "sink")
LEASE = {"ttl": 0.3, "heartbeat": 0.05}
MANY = 1_000_000  # events, before which a producer is killed
PAUSE = 0.004  # seconds at most between its appends
LIFE = 0.03  # seconds that a program lives at most, from its first event or from its birth
YOUNG = 0.25  # of the programs are killed before they are under way
LIMIT = 1.0  # seconds from the start of a program to its first event

Slot = int | str
"""A producer, or a consumer: programs come and go in its place."""

pytestmark = [pytest.mark.stress, pytest.mark.wallclock, pytest.mark.timeout(60 + KILLS)]


class Ground:
    """Programs on one file that are killed and come back, and what they said they did."""

    def __init__(self, children: Nursery, path: Path, chance: random.Random, *, shared: bool) -> None:
        self.kills = 0
        self._appended = Appended()
        self._handed = {name: Handed() for name in CONSUMERS}
        self._recoveries: list[float] = []
        self._nursery = children
        self._path = path
        self._chance = chance
        self._is_shared = shared
        asyncio.run(keep_all(path, shared=shared))

    def producer(self, number: int, *, is_last: bool = False) -> dict[str, Any]:
        """The arguments of a producer that goes on behind what was acknowledged to it."""
        first = self._appended.next_of(number)
        last = self._appended.begun[number] if is_last else first + MANY
        return {"producer": number, "first": first, "last": last, "seed": self._chance.random()}

    def fork(self, role: str, **arguments: Any) -> Child:
        return self._nursery.fork(
            role,
            path=str(self._path),
            shared=self._is_shared,
            kind=self._chance.choice(KINDS),
            work=0.0,
            pause=PAUSE,
            **LEASE,
            **arguments,
        )

    def kill(self, child: Child, slot: Slot) -> None:
        """End a program at a random moment: on its way to its first event, or after it."""
        if self._chance.random() >= YOUNG:
            child.await_entry("acked" if isinstance(slot, int) else "handed")
        time.sleep(self._chance.random() * LIFE)
        child.kill()
        self.kills += 1
        self._read(child, slot)

    def end(self, child: Child, slot: Slot) -> None:
        """Let a program do what is left."""
        assert child.wait() == 0
        self._read(child, slot)

    def check(self, consumers: Sequence[str]) -> None:
        """Hold against each other what was said, and what is there; and print the figures."""
        kept, damages = asyncio.run(kept_in(self._path, shared=self._is_shared))
        handed = [self._handed[name] for name in consumers]
        recoveries = sorted(self._recoveries)
        print(  # noqa: T201
            f"{self.kills} kills, {len(kept)} events, {len(self._appended.acked)} acknowledged,"
            f" {sum(one.seen.total() - len(one.seen) for one in handed)} handed out again,"
            f" at most {max(one.duplicates for one in handed)} after a kill,"
            f" {sum(one.losses for one in handed)} leases lost;"
            f" first event after {recoveries[len(recoveries) // 2]:.3f} s, at most {recoveries[-1]:.3f} s"
        )
        self._appended.check(kept)
        assert damages == []
        for one in handed:
            one.check(kept)
            assert one.duplicates <= BATCH
        assert recoveries[-1] < LIMIT

    def _read(self, child: Child, slot: Slot) -> None:
        """Book what a program did that has ended."""
        self._appended.read(child)
        if isinstance(slot, str):
            self._handed[slot].read(child)
            took = recovery(child)
            self._recoveries += [] if took is None else [took]


def test_kills_of_programs_that_share_a_file_lose_nothing(folder: Path, chance: random.Random) -> None:
    """Two producers and two consumers, each in a process of its own; the others go on while one dies.

    No acknowledged event is lost and none is invented, altered or kept twice; each consumer gets every event, those of
    a key in order, nothing again that it had settled, and after a kill at most the batch that was in hand.
    """
    with nursery(folder) as children:
        ground = Ground(children, folder / "log.db", chance, shared=True)

        def born(slot: int | str) -> Child:
            if isinstance(slot, int):
                return ground.fork("produce", **ground.producer(slot))
            return ground.fork("follow", consumer=slot)

        living = {slot: born(slot) for slot in SLOTS}
        while ground.kills < KILLS:
            slot = chance.choice(SLOTS)
            ground.kill(living[slot], slot)
            living[slot] = born(slot)
        for slot in SLOTS:  # producers first
            ground.kill(living[slot], slot)
            if isinstance(slot, int):
                ground.end(ground.fork("produce", **ground.producer(slot, is_last=True)), slot)
            else:
                ground.end(ground.fork("follow", consumer=slot, is_last=True), slot)

    ground.check(CONSUMERS)


def test_kills_of_a_program_with_a_file_of_its_own_lose_nothing(folder: Path, chance: random.Random) -> None:
    """Two producers and a consumer in one process, which is killed again and again; as above."""
    (name, _) = CONSUMERS
    with nursery(folder) as children:
        ground = Ground(children, folder / "log.db", chance, shared=False)
        while ground.kills < KILLS:
            producers = [ground.producer(number) for number in PRODUCERS]
            ground.kill(ground.fork("both", consumer=name, producers=producers), name)
        producers = [ground.producer(number, is_last=True) for number in PRODUCERS]
        ground.end(ground.fork("both", consumer=name, producers=producers, is_last=True), name)

    ground.check([name])
