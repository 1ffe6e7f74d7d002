"""A reconciler that dies, stalls or finds its store locked, and what becomes of its deliveries and of those after."""

from __future__ import annotations

import signal
import time

import pytest

from eventpipe.delivery import DeliveryRow, DeliveryState
from tests.processes.delivery_places import Place
from tests.processes.nursery import Child, Nursery
from tests.processes.webhooks import FarEnd

TTL, INTERVAL = 1.2, 0.2
BRIEF = {"claim_ttl": TTL, "interval": INTERVAL, "timeout": 1.0}
SLACK = 0.6  # seconds that a busy machine may add
EVENTS = 6

pytestmark = [pytest.mark.wallclock, pytest.mark.timeout(60)]


def ids_of(child: Child, word: str, *, after: float = 0.0) -> list[int]:
    """Deliveries that it noted with a word, after a moment."""
    return [int(id_) for entry in child.entries(word) if entry.at > after for id_ in entry[1:]]


def end(child: Child) -> None:
    child.signal(signal.SIGTERM)
    assert child.wait() == 0


def test_publish_of_another_process_wakes_one_that_is_idle(place: Place, far: FarEnd, children: Nursery) -> None:
    """It goes out at once, and not when the interval is over."""
    reconciler = place.fork(children, "run", interval=30.0)
    reconciler.await_entry("runs")
    time.sleep(0.3)  # its first pass has found nothing
    began = time.monotonic()
    place.publish(1)
    took = far.await_requests(1).times[0] - began
    end(reconciler)

    assert took < SLACK


def test_killed_holder_of_the_lock_is_followed_within_its_ttl_and_one_interval(
    place: Place, far: FarEnd, children: Nursery
) -> None:
    """And not before its ttl: until then it may be alive. What it had claimed is delivered too."""
    uuids = place.publish(EVENTS)
    holder = place.fork(children, "run", lock="deliveries", halts_at=1, **BRIEF)
    holder.await_entry("halts")
    heir = place.fork(children, "run", lock="deliveries", **BRIEF)
    heir.await_entry("runs")
    time.sleep(2 * INTERVAL)  # while the holder is alive
    waited = heir.entries("claimed")
    killed_at = holder.kill()
    took_over = heir.await_entry("claimed").at - killed_at
    place.settled()
    end(heir)

    assert waited == []
    assert TTL / 2 < took_over <= TTL + INTERVAL + SLACK  # counted from its last heartbeat, a quarter of the ttl before
    assert set(far.seen().ids) == set(uuids)
    assert sum(far.seen().copies.values()) == EVENTS + 1  # the one between send and write


@pytest.mark.parametrize("lock", [None, "deliveries"], ids=["claims alone", "with a lock"])
def test_stalled_reconciler_writes_nothing_over_its_heir(
    place: Place, far: FarEnd, children: Nursery, lock: str | None
) -> None:
    """It is stopped between send and write for longer than its claim lasts: what the heir wrote stays as it is."""
    (uuid,) = place.publish(1)
    stalled, heir, woken_at, written = stall(place, children, gap=0.3, lock=lock)
    if lock is None:
        stalled.await_entry("refused", after=woken_at)
    time.sleep(0.5)  # as long as what it had begun would take
    for child in (stalled, heir):
        child.kill()

    assert ids_of(stalled, "written", after=woken_at) == []
    assert place.row(uuid) == written
    assert (written.state, written.attempts) == (DeliveryState.SUCCESS, 1)
    assert len(place.attempts(written)) == 1
    assert far.seen().copies == {uuid: 2}


def test_answer_that_comes_after_the_claim_is_over_changes_nothing(
    place: Place, far: FarEnd, children: Nursery
) -> None:
    """It is stopped while the far end answers, and goes on when another has delivered the same."""
    (uuid,) = place.publish(1)
    far.hold(0.3)
    stalled, heir, woken_at, written = stall(place, children, word="claimed", asked=far)
    stalled.await_entry("refused", after=woken_at)
    for child in (stalled, heir):
        child.kill()

    assert ids_of(stalled, "written") == []
    assert place.row(uuid) == written
    assert written.state is DeliveryState.SUCCESS
    assert len(place.attempts(written)) == 1
    assert far.seen().copies[uuid] <= 2


def test_stalled_holder_of_the_lock_begins_with_nothing_more(place: Place, far: FarEnd, children: Nursery) -> None:
    """Its heir makes the pass; when it goes on it claims nothing, while the heir has the lock."""
    uuids = place.publish(EVENTS)
    stalled = place.fork(children, "run", lock="deliveries", gap=0.1, **BRIEF)
    stalled.await_entry("sent")
    stalled.signal(signal.SIGSTOP)
    heir = place.fork(children, "run", lock="deliveries", gap=0.4, **BRIEF)
    heir.await_entry("claimed")
    woken_at = time.monotonic()
    stalled.signal(signal.SIGCONT)
    heir.await_entry("written")
    still_going = any(row.state is not DeliveryState.SUCCESS for row in place.rows())
    claimed, written = (ids_of(stalled, word, after=woken_at) for word in ("claimed", "written"))
    end(stalled)
    place.settled()
    end(heir)

    assert still_going  # else there was nothing to claim
    assert (claimed, written) == ([], [])
    assert set(far.seen().ids) == set(uuids)


def test_stalled_reconciler_goes_on_with_what_comes_next(place: Place, far: FarEnd, children: Nursery) -> None:
    """What it lost is lost to it alone: it delivers what is due then."""
    place.publish(1)
    stalled, heir, woken_at, _ = stall(place, children, gap=0.1, lock="deliveries")
    end(heir)
    place.publish(2)  # the first is known already
    place.settled()
    end(stalled)

    assert len(ids_of(stalled, "written", after=woken_at)) == 1
    assert sorted(far.seen().copies.values()) == [1, 2]


def stall(
    place: Place, children: Nursery, *, word: str = "sent", asked: FarEnd | None = None, **arguments: object
) -> tuple[Child, Child, float, DeliveryRow]:
    """One that was stopped when it had noted a word, and goes on; its heir; when; and what the heir wrote before.

    With ``asked`` it is not stopped before that far end has read its request.
    """
    stalled = place.fork(children, "run", **BRIEF, **arguments)
    stalled.await_entry(word)
    if asked is not None:
        asked.await_requests(1)
    stalled.signal(signal.SIGSTOP)
    heir = place.fork(children, "run", **BRIEF, lock=arguments.get("lock"))
    heir.await_entry("written")
    (written,) = place.rows()
    woken_at = time.monotonic()
    stalled.signal(signal.SIGCONT)
    return stalled, heir, woken_at, written


def test_store_that_is_locked_for_5_s_costs_time_and_nothing_else(place: Place, far: FarEnd, children: Nursery) -> None:
    """Another program locks it while attempts are on their way: each is written afterwards, and none is sent again."""
    far.hold(0.3)
    uuids = place.publish(2 * EVENTS)
    reconciler = place.fork(children, "run", workers=EVENTS)
    far.await_requests(EVENTS)
    locker = place.fork(children, "lock", seconds=5.0)
    locked_at = locker.await_entry("locked").at
    unlocked_at = locker.await_entry("unlocked").at
    rows = place.settled()
    end(reconciler)

    assert unlocked_at - locked_at >= 5.0
    assert [entry for entry in reconciler.entries("written") if locked_at < entry.at < unlocked_at] == []
    assert sorted(far.seen().ids) == sorted(uuids)
    assert {(row.state, row.attempts, row.claimed_until) for row in rows} == {(DeliveryState.SUCCESS, 1, None)}
