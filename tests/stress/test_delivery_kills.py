"""Programs that publish and deliver, and are killed between sending and writing, with one file between them."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from eventpipe.delivery import DeliveryState
from tests.processes.delivery_places import Place
from tests.processes.logged import made
from tests.processes.nursery import Child, Nursery, nursery
from tests.processes.webhooks import FarEnd, Seen, far_end
from tests.scale import SCALE

KILLS = 50 * SCALE
EVENTS = 6  # that a program publishes, at least, so that it always has one to send
# A claim of the dead; an attempt takes milliseconds, and one that was cut off by its timeout would be one copy more.
LIFE = {"timeout": 1.9, "claim_ttl": 2.0, "interval": 0.2}

pytestmark = [pytest.mark.stress, pytest.mark.wallclock, pytest.mark.timeout(60 + KILLS)]


class Ground:
    """Programs on one file, and what they said they did.

    Attributes:
        kills: Programs that were killed with something sent and not written.
    """

    def __init__(self, children: Nursery, place: Place, chance: random.Random, workers: int) -> None:
        self.kills = 0
        self._begun: set[tuple[int, int]] = set()
        self._acked: set[tuple[int, int]] = set()
        self._cut_off: Counter[int] = Counter()  # by delivery, programs that died with it in their hands
        self._next = 0
        self._nursery = children
        self._place = place
        self._chance = chance
        self._workers = workers

    def born(self) -> Child:
        """A program that publishes a few events, delivers, and stops before it writes one of its first attempts."""
        first, self._next = self._next, self._next + EVENTS
        return self._place.fork(
            self._nursery,
            "run",
            producer=0,
            first=first,
            last=self._next,
            halts_at=self._chance.randint(1, EVENTS),
            workers=self._workers,
            **LIFE,
        )

    def kill(self, child: Child) -> None:
        """End a program between send and write."""
        child.await_entry("halts")
        child.kill()
        self.kills += 1
        self._read(child)

    def end(self) -> None:
        """Let a program do what is left."""
        last: dict[str, Any] = {"workers": self._workers, "is_last": True, **LIFE}
        assert self._place.fork(self._nursery, "run", **last).wait() == 0

    def check(self, seen: Seen) -> None:
        """Hold against each other what was acknowledged, what arrived, and what is kept; and print the figures."""
        copies = seen.copies
        again = copies.total() - len(copies)
        print(  # noqa: T201
            f"{self.kills} kills, {len(self._acked)} events acknowledged, {len(copies)} arrived, {again} of them again,"
            f" one of them at most {max(copies.values())} times"
        )
        rows = {row.event_uuid: row for row in self._place.rows()}
        assert {row.state for row in rows.values()} == {DeliveryState.SUCCESS}
        assert {made(*name).uuid for name in self._acked} <= copies.keys()
        assert copies.keys() == rows.keys()  # what was kept though nobody was told of it, too
        assert copies.keys() <= {made(*name).uuid for name in self._begun}
        assert {uuid for uuid, row in rows.items() if copies[uuid] > 1 + self._cut_off[row.id]} == set()
        if self._workers == 1:
            assert again == self.kills  # each of them between send and write

    def _read(self, child: Child) -> None:
        for word, names in (("begun", self._begun), ("acked", self._acked)):
            for entry in child.entries(word):
                names |= {(int(entry[1]), int(number)) for number in entry[2:]}
        claimed, written = (
            {id_ for entry in child.entries(word) for id_ in entry[1:]} for word in ("claimed", "written")
        )
        self._cut_off.update(map(int, claimed - written))


def test_kills_between_send_and_write_lose_nothing_and_cost_one_copy_each(folder: Path, chance: random.Random) -> None:
    """One worker in a file of its own: nothing acknowledged is lost, and each kill is one more copy of one id."""
    with far_end() as far, nursery(folder, "delivering") as children:
        ground = ruin(children, far, folder, chance, workers=1, at_once=1)

    assert ground.kills == KILLS


def test_kills_beside_programs_that_go_on_lose_nothing(folder: Path, chance: random.Random) -> None:
    """Two programs with four workers share a file, and one dies, by turns; a kill costs what it had one copy each."""
    with far_end() as far, nursery(folder, "delivering") as children:
        ground = ruin(children, far, folder, chance, workers=4, at_once=2)

    assert ground.kills >= KILLS


def ruin(children: Nursery, far: FarEnd, folder: Path, chance: random.Random, *, workers: int, at_once: int) -> Ground:
    """Kill the programs of a place one after the other, let the last one finish, and check."""
    place = Place(folder / "events.db", far.url, shared=at_once > 1)
    ground = Ground(children, place, chance, workers)
    living = [ground.born() for _ in range(at_once)]
    while ground.kills < KILLS:
        number = chance.randrange(at_once)
        ground.kill(living[number])
        if ground.kills + at_once <= KILLS:
            living[number] = ground.born()
        else:
            del living[number]
            at_once -= 1
    ground.end()
    ground.check(far.seen())
    return ground
