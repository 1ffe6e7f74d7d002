"""Programs that are killed while they capture into a spool or send what is in it, and what the next make of it."""

from __future__ import annotations

import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.processes.nursery import Child, Nursery, nursery
from tests.processes.spooling import BATCH, FAR_END, WORKERS, properties_of, seal, uuid_of
from tests.scale import SCALE

CAPTURE_KILLS = 100 if SCALE == 1 else 2_000 * SCALE  # 20 000 in `nox -s stress`
DRAIN_KILLS = 50 * SCALE
PRODUCERS = 10
MANY = 1_000_000  # events, before which a producer is killed
LIFE = 0.05  # seconds that a program lives at most from its first event, or from its birth
YOUNG = 0.25  # of the programs are killed before they are under way
BACKLOG = 4_000
LIMIT = 1.0  # seconds from the birth of a program to its first event on disk
FRESH_LIMIT = 5.0  # seconds from its birth until a fresh event is out

pytestmark = [pytest.mark.stress, pytest.mark.wallclock, pytest.mark.timeout(60 + CAPTURE_KILLS)]


class Ground:
    """Programs with one spool, one after the other or together, and what they said they did.

    Attributes:
        kills: Programs that were killed.
        again: By program, events that it sent and that another sent once more.
    """

    def __init__(self, children: Nursery, path: Path) -> None:
        self.kills = 0
        self.again: Counter[int] = Counter()
        self.recoveries: list[float] = []
        self.sent: Counter[str] = Counter()
        self._sent_by: dict[str, int] = {}
        self._begun: set[str] = set()
        self._acked: set[str] = set()
        self._altered: list[str] = []
        self._nursery = children
        self._path = path

    def fork(self, **arguments: Any) -> Child:  # Any: JSON
        return self._nursery.fork("run", path=str(self._path), **arguments)

    def kill(self, child: Child) -> None:
        child.kill()
        self.kills += 1
        self.read(child)

    def end(self, child: Child) -> None:
        """Let a program do what is left."""
        assert child.wait() == 0
        self.read(child)

    def read(self, child: Child) -> None:
        """Book what a program did that has ended."""
        assert child.entries("weak") == []
        said = {" ".join(words[1:]) for words in child.entries("logged")}
        assert all(line.startswith(f"sink {FAR_END}: ") for line in said), said  # that it is down
        self._begun.update(uuid for _, uuid in child.entries("begun"))
        acked = child.entries("acked")
        self._acked.update(uuid for _, uuid in acked)
        if acked:
            self.recoveries.append(acked[0].at - child.born_at)
        sent = child.entries("sent")
        self._altered += [uuid for _, uuid, sealed in sent if int(sealed) != seal(properties_of(uuid))]
        for _, uuid, _ in sent:
            if uuid in self.sent:
                self.again[self._sent_by[uuid]] += 1
            self._sent_by[uuid] = child.pid
            self.sent[uuid] += 1

    def check(self) -> None:
        """Hold what arrived against what was acknowledged; and print the figures."""
        lost, invented = self._acked - self.sent.keys(), self.sent.keys() - self._begun
        recoveries = sorted(self.recoveries)
        print(  # noqa: T201
            f"{self.kills} kills, {len(self._acked)} events acknowledged, {len(lost)} lost, {len(invented)} invented,"
            f" {len(self._altered)} altered, {len(self.sent)} arrived, {self.again.total()} again, at most"
            f" {max(self.again.values(), default=0)} of those of one kill; first event on disk after"
            f" {recoveries[len(recoveries) // 2]:.3f} s, at most {recoveries[-1]:.3f} s"
        )
        assert (lost, invented, self._altered) == (set(), set(), [])
        assert all(events <= WORKERS * BATCH for events in self.again.values())
        assert recoveries[-1] < LIMIT
        assert list(self._path.iterdir()) == []


def test_kills_while_capturing_lose_nothing_that_was_acknowledged(folder: Path, chance: random.Random) -> None:
    """Ten producers a program, with a far end that is there, slow or down; the last program sends what is left."""
    with nursery(folder, "spooling") as children:
        ground = Ground(children, folder / "spool")
        for life in range(CAPTURE_KILLS):
            producers = [(life * PRODUCERS + producer, 0, MANY) for producer in range(PRODUCERS)]
            child = ground.fork(
                producers=producers, is_down=chance.random() < 0.5, latency=chance.choice((0.0, 0.001, 0.02))
            )
            if chance.random() >= YOUNG:
                child.await_entry("acked")
            time.sleep(chance.random() * LIFE)
            ground.kill(child)
        ground.end(ground.fork(producers=[(CAPTURE_KILLS * PRODUCERS, 0, 1)], is_last=True))

    ground.check()


def test_kills_while_draining_lose_nothing_and_keep_nothing_fresh_waiting(folder: Path, chance: random.Random) -> None:
    """A backlog, beside which each program captures an event; what was in hand at a kill comes once more."""
    with nursery(folder, "spooling") as children:
        ground = Ground(children, folder / "spool")
        ground.end(ground.fork(producers=[(0, 0, BACKLOG)], is_down=True, ends=True, close_timeout=0.0))
        waits = []
        for life in range(1, DRAIN_KILLS + 1):
            child = ground.fork(producers=[(life, 0, 1)], latency=chance.choice((0.001, 0.005)))
            child.await_entry("done")
            fresh = uuid_of(life, 0)
            while not any(uuid == fresh for _, uuid, _ in child.entries("sent")):
                assert time.monotonic() < child.born_at + FRESH_LIMIT
                time.sleep(0.001)
            waits += [entry.at - child.born_at for entry in child.entries("sent") if entry[1] == fresh]
            time.sleep(chance.random() * 0.01)
            ground.kill(child)
        ground.end(ground.fork(producers=[(DRAIN_KILLS + 1, 0, 1)], is_last=True))

    print(f"a fresh event was out after {max(waits):.3f} s at most")  # noqa: T201
    ground.check()
