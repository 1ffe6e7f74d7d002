"""The line of producers: first come first served, exact grants, and nothing lost when one of them leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventpipe.core.room import SLACK, Room, Waiter
from eventpipe.testing.sweep import Swept, cancellation_sweep
from tests.scale import SCALE

pytestmark = pytest.mark.asyncio


class Rig:
    """A room over a count of free bytes; remembers who came in, and how often it was asked."""

    def __init__(self, free: int = 0) -> None:
        self.free = free
        self.admitted: list[str] = []
        self.questions = 0
        self.room: Room[str] = Room(self._fits, self._admit)
        self.sizes: dict[str, int] = {}

    def join(self, item: str, size: int = 1) -> Waiter[str]:
        self.sizes[item] = size
        return self.room.join(item, size, epoch=0)

    def join_all(self, items: str, size: int = 1) -> list[Waiter[str]]:
        return [self.join(item, size) for item in items]

    def give(self, size: int) -> None:
        self.free += size
        self.room.grant()

    async def put(self, item: str, size: int = 1) -> bool:
        """Wait for room as a producer does."""
        waiter = self.join(item, size)
        try:
            return await waiter.future
        finally:
            if self.room.leave(waiter):
                self.room.grant()

    def _fits(self, size: int) -> bool:
        self.questions += 1
        return size <= self.free

    def _admit(self, item: str) -> None:
        self.free -= self.sizes[item]
        self.admitted.append(item)


async def test_a_waiter_keeps_what_it_joined_with() -> None:
    """Item, size and epoch are the caller's; it is in line and not in."""
    room: Room[str] = Room(lambda size: False, lambda item: None)

    waiter = room.join("a", 7, epoch=3)

    assert (waiter.item, waiter.size, waiter.epoch) == ("a", 7, 3)
    assert (waiter.in_line, waiter.is_admitted, waiter.future.done()) == (True, False, False)
    assert room.waiting == 1


async def test_room_is_given_in_the_order_of_the_line() -> None:
    """Two places for three producers go to the first two, and only they are told."""
    rig = Rig()
    waiters = rig.join_all("abc")

    rig.give(2)

    assert rig.admitted == ["a", "b"]
    assert [waiter.future.done() for waiter in waiters] == [True, True, False]
    assert [waiter.is_admitted for waiter in waiters] == [True, True, False]
    assert [waiter.in_line for waiter in waiters] == [False, False, True]
    assert waiters[0].future.result() is True
    assert rig.room.waiting == 1


async def test_a_small_item_does_not_overtake_a_large_one() -> None:
    """What fits behind a head that does not fit waits with it."""
    rig = Rig()
    rig.join("large", 5)
    rig.join("small", 1)

    rig.give(4)
    assert rig.admitted == []

    rig.give(1)
    assert rig.admitted == ["large"]

    rig.give(1)
    assert rig.admitted == ["large", "small"]


async def test_the_item_is_in_before_its_producer_runs() -> None:
    """The grant puts it in, so that nobody gets between the grant and the wake-up."""
    rig = Rig()
    producer = asyncio.create_task(rig.put("a"))
    await asyncio.sleep(0)

    rig.give(1)

    assert (rig.admitted, rig.free) == (["a"], 0)
    assert await producer is True


async def test_a_granted_room_cannot_be_left() -> None:
    """Leaving after the grant says that the item is in, and takes nothing out."""
    rig = Rig(free=1)
    (waiter,) = rig.join_all("a")
    rig.room.grant()

    assert rig.room.leave(waiter) is False
    assert (rig.admitted, rig.room.waiting) == (["a"], 0)


async def test_who_left_gets_nothing_and_leaves_once() -> None:
    """The next in line gets the room; a second leave is none."""
    rig = Rig()
    first, second = rig.join_all("ab")

    assert rig.room.leave(first) is True
    assert rig.room.leave(first) is False
    assert rig.room.waiting == 1
    rig.give(1)

    assert rig.admitted == ["b"]
    assert (first.future.done(), first.is_admitted, first.in_line) == (False, False, False)
    assert (second.future.done(), rig.room.waiting) == (True, 0)


async def test_a_producer_cancelled_in_the_step_of_its_grant_is_in() -> None:
    """Its future was cancelled before the grant reached it: the item is in, and nobody else is held up."""
    rig = Rig()
    first, second = rig.join_all("ab")
    first.future.cancel()

    rig.give(2)

    assert rig.admitted == ["a", "b"]
    assert (first.is_admitted, second.is_admitted) == (True, True)
    assert rig.room.leave(first) is False


async def test_turning_away_tells_everybody_in_order() -> None:
    """Each future is resolved with ``False``, nothing is put in, and the line is empty."""
    rig = Rig(free=9)
    waiters = rig.join_all("abc")
    rig.room.leave(waiters[1])

    turned = rig.room.turn_away()

    assert [waiter.item for waiter in turned] == ["a", "c"]
    assert [waiter.future.result() for waiter in turned] == [False, False]
    assert [(waiter.is_admitted, waiter.in_line) for waiter in turned] == [(False, False)] * 2
    assert [rig.room.leave(waiter) for waiter in waiters] == [False] * 3
    assert (rig.admitted, rig.room.waiting, rig.room.turn_away()) == ([], 0, [])


async def test_a_mark_with_nobody_in_line_is_reached_at_once() -> None:
    """There is nothing before it."""
    reached: list[str] = []

    Rig().room.mark(lambda: reached.append("now"))

    assert reached == ["now"]


@pytest.mark.parametrize("end", ["grant", "leave", "turn_away"])
async def test_a_mark_is_reached_when_all_before_it_are_gone(end: str) -> None:
    """Whether they came in, left or were turned away; those behind it do not matter."""
    rig = Rig()
    reached: list[str] = []
    waiters = rig.join_all("ab")
    rig.room.mark(lambda: reached.append("after b"))
    waiters += rig.join_all("c")
    rig.room.mark(lambda: reached.append("after c"))

    rig.room.leave(waiters[1])
    assert reached == []

    if end == "grant":
        rig.give(1)
    elif end == "leave":
        rig.room.leave(waiters[0])
    else:
        rig.room.turn_away()
        assert reached == ["after b", "after c"]
        return
    assert (reached, rig.room.waiting) == (["after b"], 1)

    rig.give(1)
    assert reached == ["after b", "after c"]


async def test_a_mark_is_reached_between_the_item_before_it_and_the_one_behind() -> None:
    """One grant for all: the order of marks and items is the order of the line."""
    rig = Rig()
    rig.join_all("ab")
    rig.room.mark(lambda: rig.admitted.append("|"))
    rig.room.mark(lambda: rig.admitted.append("||"))
    rig.join_all("c")

    rig.give(9)

    assert rig.admitted == ["a", "b", "|", "||", "c"]


async def test_the_line_is_closed_up_when_more_have_left_than_wait() -> None:
    """With some slack, so that a short line is never walked: exactly then, and each time anew."""
    rig = Rig()
    for item in "abc":  # they leave as heads, and are forgotten at once
        rig.join(item)
    for waiter in rig.join_all("de"):
        rig.room.leave(waiter)
    for entry in list(rig.room._line)[:3]:
        assert isinstance(entry, Waiter)
        rig.room.leave(entry)
    assert len(rig.room._line) == 0

    head, second = rig.join_all("hs")
    lengths = []
    for _ in range(2 * (SLACK + 3)):
        rig.room.leave(rig.join("gone"))
        lengths.append(len(rig.room._line))

    assert lengths == [*range(3, SLACK + 5), 2] * 2
    rig.give(2)
    assert (head.is_admitted, second.is_admitted) == (True, True)


async def test_a_producer_whose_loop_is_gone_is_answered_without_an_error() -> None:
    """Its event is in; there is nobody to wake, and the others are woken."""
    rig = Rig()

    def join_elsewhere() -> Waiter[str]:
        async def join() -> Waiter[str]:
            return rig.join("gone")

        return asyncio.run(join())

    gone = await asyncio.to_thread(join_elsewhere)
    (here,) = rig.join_all("h")

    rig.give(2)

    assert rig.admitted == ["gone", "h"]
    assert (gone.is_admitted, gone.future.done()) == (True, False)
    assert await here.future is True


async def test_a_producer_cancelled_anywhere_is_in_or_has_left() -> None:
    """Swept: its item is in or it is out of the line, and the one behind it gets the room that is left."""

    @asynccontextmanager
    async def waiting() -> AsyncIterator[Swept]:
        rig = Rig()
        behind: list[Waiter[str]] = []
        loop = asyncio.get_running_loop()
        loop.call_later(1, lambda: behind.append(rig.join("behind")))
        loop.call_later(2, rig.give, 1)

        async def ahead() -> None:
            await asyncio.sleep(0)  # another place to be cancelled at: before it got in line
            await rig.put("ahead")

        yield ahead()

        await asyncio.sleep(3)
        assert len(rig.admitted) == 1
        assert behind[0].is_admitted is (rig.admitted == ["behind"])
        rig.give(1)
        assert await behind[0].future is True
        assert rig.room.waiting == 0

    assert await cancellation_sweep(waiting) == 6


async def test_a_cancelled_producer_passes_its_room_on() -> None:
    """Room for one, and a line of three in which the first is cancelled: the second gets it."""
    rig = Rig()
    tasks = [asyncio.create_task(rig.put(item, size)) for item, size in (("a", 5), ("b", 1), ("c", 1))]
    await asyncio.sleep(0)
    rig.give(1)
    assert rig.admitted == []

    tasks[0].cancel()
    await asyncio.wait(tasks[:2])

    assert (rig.admitted, rig.room.waiting) == (["b"], 1)
    rig.give(1)
    assert await tasks[2] is True


async def wake_ups(producers: int, *, cancelled: int = 0) -> tuple[int, int]:
    """Let ``producers`` in one at a time; callbacks that the loop was given, and questions that the room asked."""
    rig = Rig()
    tasks = [asyncio.create_task(rig.put(str(number))) for number in range(producers)]
    await asyncio.sleep(0)
    loop = asyncio.get_running_loop()
    call_soon, calls = loop.call_soon, 0

    def counting(*args: object, **kwargs: object) -> asyncio.Handle:
        nonlocal calls
        calls += 1
        return call_soon(*args, **kwargs)  # type: ignore[arg-type]  # handed through as they come

    loop.call_soon = counting  # type: ignore[method-assign]
    try:
        for task in tasks[:cancelled]:
            task.cancel()
        await asyncio.sleep(0)
        for _ in range(producers):
            rig.give(1)
            await asyncio.sleep(0)
        await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        del loop.call_soon
    assert len(rig.admitted) == producers - cancelled
    return calls, rig.questions


async def test_those_who_left_are_forgotten_behind_a_head_that_stays() -> None:
    """However many come and go, the line keeps hold of no more of their items than of those who wait."""
    rig = Rig()
    rig.join("head")
    rig.room.mark(lambda: rig.admitted.append("|"))
    for number in range(1_000):
        rig.room.leave(rig.join(f"gone {number}"))
    rig.join("tail")

    assert len(rig.room._line) < 100
    rig.give(2)
    assert rig.admitted == ["head", "|", "tail"]


async def test_wake_ups_of_a_thousand_producers_grow_with_their_number() -> None:
    """Each is woken once and asked about at most twice, where waking all at each grant would take half a million."""
    few, _ = await wake_ups(100)
    many, questions = await wake_ups(1_000)

    assert many <= 10 * few + 100
    assert many <= 6 * 1_000
    assert questions <= 2 * 1_000


async def test_a_thousand_leaving_at_once_cost_no_more() -> None:
    """Nine in ten are cancelled while they wait, from the front, and the rest gets in."""
    calls, questions = await wake_ups(1_000, cancelled=900)

    assert calls <= 6 * 1_000
    assert questions <= 3 * 1_000


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("join"), st.integers(1, 5)),
        st.tuples(st.just("leave"), st.integers(0, 30)),
        st.tuples(st.just("cancel"), st.integers(0, 30)),
        st.tuples(st.just("give"), st.integers(0, 8)),
        st.tuples(st.just("mark"), st.just(0)),
        st.tuples(st.just("turn_away"), st.just(0)),
    ),
    max_size=40,
)


@settings(max_examples=150 * SCALE, deadline=None)
@given(STEPS)
async def test_any_order_of_joining_leaving_and_granting_is_that_of_a_list(steps: list[tuple[str, int]]) -> None:
    """A plain list from which the head is taken while it fits says who is in, and when each mark is reached."""
    rig = Rig()
    line: list[tuple[str, int]] = []  # items with their sizes, marks with 0
    waiters: dict[str, Waiter[str]] = {}
    expected: list[str] = []
    free = 0

    def mark(name: str) -> Callable[[], None]:
        return lambda: rig.admitted.append(name)

    def reach_marks() -> None:
        while line and line[0][1] == 0:
            expected.append(line.pop(0)[0])

    for number, (what, value) in enumerate(steps):
        present = [item for item, size in line if size]
        if what == "join":
            waiters[f"i{number}"] = rig.join(f"i{number}", value)
            line.append((f"i{number}", value))
        elif what == "mark":
            line.append((f"m{number}", 0))
            rig.room.mark(mark(f"m{number}"))
        elif what == "turn_away":
            assert [waiter.item for waiter in rig.room.turn_away()] == present
            line = [entry for entry in line if not entry[1]]
        elif what == "give":
            free += value
            rig.give(value)
            reach_marks()
            while line and line[0][1] <= free:
                free -= line[0][1]
                expected.append(line.pop(0)[0])
                reach_marks()
        elif what == "cancel" and value < len(waiters):
            list(waiters.values())[value].future.cancel()  # not left yet: a grant that comes first stands
        elif what == "leave" and value < len(waiters):
            item, waiter = list(waiters.items())[value]
            assert rig.room.leave(waiter) is (item in present)
            line = [entry for entry in line if entry[0] != item]
        reach_marks()

        assert rig.admitted == expected
        assert rig.room.waiting == sum(1 for _, size in line if size)
    assert {item for item, waiter in waiters.items() if waiter.is_admitted} == {
        item for item in expected if item[0] == "i"
    }
