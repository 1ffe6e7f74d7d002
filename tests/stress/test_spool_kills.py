"""Programs that are killed at random moments while they capture, and while they send, with a spool behind them."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.far_end import FarEnd
from tests.processes.nursery import Child, Nursery, nursery
from tests.processes.spooling import BATCH, WORKERS, files, seal
from tests.scale import SCALE
from tests.stress.spool_books import Books

CAPTURING = 100 if SCALE == 1 else 2_000 * SCALE  # kills: 20 000 in `nox -s stress`
DRAINING = 50 * SCALE
BACKLOG = 600  # events on disk, when programs begin to be killed that send them
MANY = 1_000_000  # events, before which a producer is killed
LIFE = 0.04  # seconds that a program lives at most, from its first event or from its birth
YOUNG = 0.25  # of the programs are killed before they are under way
KINDS = ("up", "up", "down", "mute")
RECOVERS_WITHIN = 1.0  # seconds
FRESH_WITHIN = 5.0

pytestmark = [pytest.mark.stress, pytest.mark.wallclock, pytest.mark.timeout(60 + CAPTURING)]


@pytest.fixture
def children(folder: Path) -> Iterator[Nursery]:
    with nursery(folder, "spooling") as forked:
        yield forked


def test_kills_while_capturing_lose_nothing_that_was_acknowledged(
    children: Nursery, folder: Path, chance: random.Random
) -> None:
    """None is lost, invented or altered, and the next program has all of them before it at once.

    The far end is up, down or mute by turns, so that what is on disk comes from this life and from those before.
    """
    books, spool = Books(), folder / "spool"

    def end(child: Child) -> None:
        owed = len(books.lost)
        assert [recovered for _, _, recovered in child.entries("opened") if int(recovered) < owed] == []
        books.read(child)

    for _ in range(CAPTURING):
        first = books.next
        child = children.fork(
            "produce", path=str(spool), far=chance.choice(KINDS), work=0.001, first=first, last=first + MANY
        )
        if chance.random() >= YOUNG:
            child.await_entry("acked")
        time.sleep(chance.random() * LIFE)
        child.kill()
        end(child)
    last = children.fork("drain", path=str(spool), far="up")
    assert last.wait() == 0
    end(last)

    print(  # noqa: T201
        f"{CAPTURING} kills, {len(books.acked)} events acknowledged, {len(books.lost)} lost, {books.duplicates} sent"
        f" again; open after {max(books.opened):.3f} s at most"
    )
    books.check()
    assert max(books.opened) <= RECOVERS_WITHIN
    assert files(spool) == []


def test_kills_while_sending_lose_nothing_and_cost_what_was_in_hand(
    children: Nursery, folder: Path, chance: random.Random
) -> None:
    """At most a batch of each worker arrives again after a kill, with its ids; what is fresh has no backlog before it.

    The far end is a server in another process, which knows what came, whoever lives.
    """
    books, spool = Books(), folder / "spool"
    fresh: list[float] = []
    with FarEnd() as far:

        def drain(life: int) -> Child:
            return children.fork(
                "drain", path=str(spool), url=f"{far.url}/{life}", fresh=books.next, stays=life < DRAINING
            )

        def end(child: Child) -> None:
            books.read(child)
            fresh.extend(float(seconds) for _, seconds, _ in child.entries("fresh"))

        for life in range(DRAINING):
            if len(books.acked) - len(set(far.ids)) < BACKLOG / 2:
                first = books.next
                child = children.fork("produce", path=str(spool), far="mute", first=first, last=first + BACKLOG)
                child.await_entry("filled")
                child.kill()
                books.read(child)
            child = drain(life)
            if chance.random() >= YOUNG:
                child.await_entry("fresh")
            time.sleep(chance.random() * LIFE)
            child.kill()
            end(child)
        last = drain(DRAINING)
        assert last.wait() == 0
        end(last)
    for uuid, said, life_of in sorted(
        zip(far.ids, far.said, far.paths, strict=True), key=lambda came: int(came[2][1:])
    ):
        books.arrive(life_of, [(uuid, int(str(said["n"])), seal(said))])

    print(  # noqa: T201
        f"{DRAINING} kills, {len(books.sent)} events, {len(books.lost)} lost, {books.duplicates} sent again, at most"
        f" {books.worst} after a kill; {len(fresh)} fresh ones, the slowest out after {max(fresh):.3f} s"
    )
    books.check()
    assert books.worst <= WORKERS * BATCH
    assert max(fresh) <= FRESH_WITHIN
    assert files(spool) == []
