"""What other threads leave: bounded, in order, and never left lying."""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from eventpipe.events import CapturedEvent
from eventpipe.outcomes import DropReason, Outcome
from eventpipe.testing.events import make_event
from eventpipe.transport.inbox import Entry, Inbox
from eventpipe.transport.receipts import ForeignReceipt


class Nowhere:
    """A home that nobody runs anything at."""

    has_loop = False

    async def run(self, work: object) -> Outcome:
        raise AssertionError("nobody waits for an outcome here")


def entry(event: CapturedEvent | None = None, *, reason: DropReason | None = None) -> Entry:
    event = event or make_event()
    return Entry(event, ForeignReceipt(event, Nowhere()), "drop_newest", reason)


class Rig:
    """An inbox, and how often it asked to be drained."""

    def __init__(self, max_events: int = 3, *, has_loop: bool = True) -> None:
        self.requests = 0
        self.has_loop = has_loop
        self.inbox = Inbox(max_events, self._request)

    def _request(self) -> bool:
        self.requests += 1
        return self.has_loop


def test_an_empty_inbox_has_nothing() -> None:
    """And asks for nothing."""
    rig = Rig()

    assert (len(rig.inbox), rig.inbox.drain(), rig.inbox.refused, rig.inbox.take_refused()) == (0, [], 0, 0)
    assert rig.requests == 0


def test_entries_are_drained_in_the_order_in_which_they_were_put() -> None:
    """Once."""
    rig = Rig()
    entries = [entry() for _ in range(3)]

    assert [rig.inbox.put(one) for one in entries] == [True, True, True]
    assert len(rig.inbox) == 3

    assert rig.inbox.drain() == entries
    assert (len(rig.inbox), rig.inbox.drain()) == (0, [])


def test_one_drain_is_asked_for_however_many_are_put() -> None:
    """The next one after it asks again."""
    rig = Rig()

    rig.inbox.put(entry())
    rig.inbox.put(entry())
    assert rig.requests == 1

    rig.inbox.drain()
    rig.inbox.put(entry())
    assert rig.requests == 2


def test_without_a_loop_the_box_holds_and_each_entry_asks_again() -> None:
    """Whoever starts a loop drains first; from then on the loop is asked."""
    rig = Rig(has_loop=False)

    rig.inbox.put(entry())
    rig.inbox.put(entry())
    assert (rig.requests, len(rig.inbox)) == (2, 2)

    rig.has_loop = True
    rig.inbox.put(entry())
    assert (rig.requests, len(rig.inbox)) == (3, 3)


def test_a_full_box_refuses_and_counts() -> None:
    """It still asks for a drain, which makes room and takes the count along."""
    rig = Rig(2)
    assert [rig.inbox.put(entry()) for _ in range(5)] == [True, True, False, False, False]

    assert (len(rig.inbox), rig.inbox.refused, rig.requests) == (2, 3, 1)
    assert len(rig.inbox.drain()) == 2
    assert (rig.inbox.take_refused(), rig.inbox.take_refused(), rig.inbox.refused) == (3, 0, 0)

    assert rig.inbox.put(entry())


def test_a_box_is_full_at_its_bytes_as_well() -> None:
    """Large events of many threads cannot make a full box a full memory; one that is too large by itself gets in."""
    size = make_event().size
    inbox = Inbox(100, lambda: True, max_bytes=3 * size)
    assert [inbox.put(entry()) for _ in range(5)] == [True, True, True, False, False]

    assert (len(inbox.drain()), inbox.take_refused()) == (3, 2)

    large = entry(make_event(properties={"text": "x" * 10 * size}))
    assert [inbox.put(large), inbox.put(large)] == [True, False]


def test_a_refusal_asks_for_the_drain_that_counts_it() -> None:
    """Also when nothing else did."""
    rig = Rig(0)

    assert not rig.inbox.put(entry())

    assert rig.requests == 1


class Watched(deque[Entry]):
    """Calls a function once, in the middle of an operation of the box."""

    def __init__(
        self, *, at_len: Callable[[], object] | None = None, at_popleft: Callable[[], object] | None = None
    ) -> None:
        super().__init__()
        self._at_len = at_len
        self._at_popleft = at_popleft

    def __len__(self) -> int:
        length = super().__len__()
        call, self._at_len = self._at_len, None
        if call is not None:
            call()
        return length

    def popleft(self) -> Entry:
        one = super().popleft()
        call, self._at_popleft = self._at_popleft, None
        if call is not None:
            call()
        return one


def test_what_is_put_while_the_box_is_emptied_asks_for_another_drain() -> None:
    """The drain clears the request before it empties the box, so that nothing is left lying without one."""
    rig = Rig()
    late = entry()
    rig.inbox._entries = Watched(at_popleft=lambda: rig.inbox.put(late))
    first = entry()
    rig.inbox.put(first)

    assert rig.inbox.drain() == [first, late]

    assert rig.requests == 2


def test_two_threads_that_find_the_last_place_do_not_both_get_it() -> None:
    """The other one comes between the question and the answer, and is refused."""
    rig = Rig(1)
    other = threading.Thread(target=lambda: rig.inbox.put(entry()))

    def let_in() -> None:
        other.start()
        other.join(0.01)  # it waits for this one; without the lock it would be in by now

    rig.inbox._entries = Watched(at_len=let_in)

    assert rig.inbox.put(entry())
    other.join()

    assert (len(rig.inbox), rig.inbox.refused) == (1, 1)


def test_a_refusal_in_the_middle_of_another_does_not_lock_the_thread() -> None:
    """A signal handler, or a finalizer, may capture while its own thread is being refused."""
    rig = Rig(0)

    class Interrupted(int):
        def __add__(self, other: int) -> int:
            if rig.inbox.refused is self:
                rig.inbox.refused = 0
                rig.inbox.put(entry())
            return int(self) + other

    rig.inbox.refused = Interrupted(0)
    done = threading.Event()

    def put() -> None:
        rig.inbox.put(entry())
        done.set()

    thread = threading.Thread(target=put, daemon=True)
    thread.start()

    assert done.wait(5)
    thread.join()


@contextmanager
def hurried_threads() -> Iterator[None]:
    """Have threads take turns as often as the interpreter can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)


def run_in_threads(count: int, work: Callable[[int], None]) -> None:
    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("max_events", [50, 10_000], ids=["often full", "never full"])
def test_every_event_of_many_threads_is_drained_or_counted(max_events: int) -> None:
    """Eight threads put, a ninth drains when asked: nothing is lost or doubled, and each thread's order is kept."""
    threads, each = 8, 300
    is_asked = threading.Event()

    def request() -> bool:
        is_asked.set()
        return True

    inbox = Inbox(max_events, request)
    drained: list[Entry] = []
    refused = most = 0
    is_over = threading.Event()
    events = [[entry(make_event(f"{thread}-{number}")) for number in range(each)] for thread in range(threads)]
    accepted: list[list[Entry]] = [[] for _ in range(threads)]

    def drain() -> None:
        nonlocal refused, most
        while True:
            is_last = is_over.is_set()
            if is_asked.wait(0.001):
                is_asked.clear()
                most = max(most, len(inbox))
                drained.extend(inbox.drain())
                refused += inbox.take_refused()
            elif is_last:
                return

    def put(thread: int) -> None:
        for one in events[thread]:
            if inbox.put(one):
                accepted[thread].append(one)

    with hurried_threads():
        drainer = threading.Thread(target=drain)
        drainer.start()
        run_in_threads(threads, put)
        is_over.set()
        drainer.join()

    assert (len(inbox), inbox.refused) == (0, 0)
    assert len(drained) + refused == threads * each
    assert most <= max_events
    names = [one.event.event for one in drained]
    for thread in range(threads):
        own = [name for name in names if name.startswith(f"{thread}-")]
        assert own == [one.event.event for one in accepted[thread]]
