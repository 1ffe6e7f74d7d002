"""Which claimed events may be handed out, by order, batch, age, failure and pause."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any
from unittest import mock

import pytest

from eventpipe.log import fresh
from eventpipe.log.away import GRACE
from eventpipe.log.filling import Rules
from eventpipe.log.fresh import Run, captured_of, claimed_of, ids_of
from eventpipe.log.lines import Held
from eventpipe.log.window import MAX_HELD, Window
from eventpipe.stores.values import ClaimedEvent
from eventpipe.testing import make_event

WALL = 1_000.0


def _window(**changes: Any) -> Window:  # Any: of the fields of Rules
    rules = Rules(
        ordered_by="topic",
        batch_events=3,
        batch_bytes=1 << 20,
        max_batch_age=0.0,
        delay=0.0,
        target=6,
        target_bytes=1 << 20,
        max_attempts=10,
    )
    return Window(rules._replace(**changes))


def _claimed(offset: int, *, key: str | None = None, attempt: int = 1, at: float = WALL, size: int = 0) -> ClaimedEvent:
    event = make_event(key=key, distinct_id=None, properties={"fill": "x" * size})
    return ClaimedEvent(offset, at, event, None, b"", attempt, 1)


def _offsets(events: Sequence[Held]) -> list[int]:
    return [held.offset for held in events]


def _settle(window: Window, events: Sequence[Held]) -> None:
    window.handled(events)
    window.settled(events)


class TestOrder:
    def test_one_batch_of_a_topic_is_out_at_a_time(self) -> None:
        """Nothing leaves behind a batch before that was handled."""
        window = _window()
        for offset in range(5):
            window.add(_claimed(offset), 0.0, WALL)

        first = window.take(0.0)
        assert (_offsets(first), window.take(0.0)) == ([0, 1, 2], [])
        _settle(window, first)

        assert _offsets(window.take(0.0)) == [3, 4]

    def test_a_failed_event_holds_up_its_own_key_only(self) -> None:
        """Events of its key wait until it came again; those of others leave."""
        window = _window(ordered_by="key", batch_events=1)
        for offset, key in enumerate("aab"):
            window.add(_claimed(offset, key=key), 0.0, WALL)
        (failed,) = window.take(0.0)
        window.given_back([failed], 5.0)

        assert (_offsets(window.take(0.0)), window.take(9.0)) == ([2], [])
        window.add(_claimed(0, key="a", attempt=2), 5.0, WALL)

        assert _offsets(window.take(5.0)) == [0]

    def test_a_batch_is_in_order_over_all_keys(self) -> None:
        """By offset, and not key by key."""
        window = _window(ordered_by="key", batch_events=4)
        window.add_fresh([_claimed(offset, key=key) for offset, key in enumerate("abbaab")], 0.0, WALL)

        assert _offsets(window.take(0.0)) == [0, 1, 2, 3]

    def test_nothing_passes_a_failed_event_in_one_batch(self) -> None:
        """An event before it leaves; those behind it wait until it came again."""
        window = _window(batch_events=2)
        window.add_fresh([_claimed(offset) for offset in range(4)], 0.0, WALL)
        first, failed = window.take(0.0)
        window.put_back([first])
        window.given_back([failed], 5.0)

        assert _offsets(window.take(0.0)) == [0]

    def test_without_an_order_nothing_waits(self) -> None:
        """Every event leaves while others are out or failed."""
        window = _window(ordered_by=None, batch_events=1)
        for offset in range(3):
            window.add(_claimed(offset, key="a"), 0.0, WALL)
        window.given_back(window.take(0.0)[:1], 5.0)

        assert [_offsets(window.take(0.0)), _offsets(window.take(0.0))] == [[1], [2]]

    def test_events_without_a_key_have_no_order(self) -> None:
        """One that failed does not hold up another."""
        window = _window(ordered_by="key", batch_events=1)
        for offset in range(2):
            window.add(_claimed(offset), 0.0, WALL)
        window.given_back(window.take(0.0)[:1], 5.0)

        assert _offsets(window.take(0.0)) == [1]

    def test_what_was_put_back_leaves_first_and_in_order(self) -> None:
        """A batch that was not begun with is as it was."""
        window = _window()
        for offset in range(4):
            window.add(_claimed(offset), 0.0, WALL)
        window.put_back(window.take(0.0))

        assert (_offsets(window.take(0.0)), window.out) == ([0, 1, 2], 3)

    @pytest.mark.parametrize("ordered_by", ["topic", "key", None])
    def test_every_event_leaves_once_handled_and_in_its_order(self, ordered_by: Any) -> None:  # Any: a word or None
        """Whatever fails, comes again, is put back or dies: no event is out twice at once, left over, or overtaken."""
        seed = 20_261_122
        chance = random.Random(seed)
        window = _window(ordered_by=ordered_by, batch_events=4, max_attempts=None)
        events = {offset: _claimed(offset, key=chance.choice("abc")) for offset in range(400)}
        fresh = list(events.values())
        out: list[Sequence[Held]] = []
        away: list[tuple[float, ClaimedEvent]] = []
        ended: list[int] = []
        now = 0.0
        while len(ended) < len(events):
            now += 0.1
            for entry in [entry for entry in away if entry[0] <= now]:
                away.remove(entry)
                old = entry[1]
                again = ClaimedEvent(old.offset, old.appended_at, old.event, None, b"", old.attempt + 1, 2)
                window.add(again, now, WALL)
            for _ in range(chance.randrange(5)):
                if fresh:
                    window.add(fresh.pop(0), now, WALL)
            if batch := window.take(now):
                out.append(batch)
            if out and chance.random() < 0.7:
                batch = out.pop(chance.randrange(len(out)))
                match chance.randrange(4):
                    case 0:
                        window.put_back(batch)
                    case 1:
                        due = now + 0.1
                        window.given_back(batch, due)
                        away += [(due, held.claimed) for held in batch]
                    case _:
                        _settle(window, batch)
                        ended += _offsets(batch)

        assert sorted(ended) == list(events), f"seed {seed}"
        assert (window.held, window.out, window.held_bytes, window.take(now)) == (0, 0, 0, [])
        if ordered_by == "topic":
            assert ended == sorted(ended)
        if ordered_by == "key":
            for key in "abc":
                of_key = [offset for offset in ended if events[offset].event.key == key]  # type: ignore[union-attr]
                assert of_key == sorted(of_key)


class TestAddingMany:
    @pytest.mark.parametrize("ordered_by", ["topic", "key", None])
    @pytest.mark.parametrize("delay", [0.0, 2.0])
    def test_many_fresh_events_are_added_as_one_by_one(self, ordered_by: Any, delay: float) -> None:  # Any: as above
        """Whatever is in hand, out, given back or too young: batches, counts and moments are the same."""
        seed = 20_261_122
        chance = random.Random(seed)
        for _ in range(60):
            windows = [_window(ordered_by=ordered_by, delay=delay, max_batch_age=1.0, batch_events=4) for _ in range(2)]
            out: list[list[Sequence[Held]]] = []
            offset, now = 0, 0.0
            for _ in range(12):
                now += chance.choice([0.0, 0.5, 3.0])
                wall = WALL + now + chance.choice([-5.0, 0.0])  # set back meanwhile
                fresh = []
                for _ in range(chance.randrange(1, 6)):
                    key, age, size = chance.choice("ab"), chance.choice([0.0, 0.5, 4.0]), chance.randrange(50)
                    fresh.append(_claimed(offset, key=key, at=wall - age, size=size))
                    offset += chance.choice([1, 1, 2])
                windows[0].add_fresh(fresh, now, wall)
                for claimed in fresh:
                    windows[1].add(claimed, now, wall)
                if batch := [window.take(now) for window in windows]:
                    out.append(batch)
                if out and chance.random() < 0.7:
                    ended = out.pop(chance.randrange(len(out)))
                    way = chance.randrange(3)
                    for window, events in zip(windows, ended, strict=True):
                        if way == 0:
                            window.given_back(events, now + 1.0)
                        elif way == 1:
                            window.put_back(events)
                        else:
                            _settle(window, events)

                one, other = (
                    (
                        [_offsets(batch[number]) for batch in out],
                        (window.held, window.held_bytes, window.out, window.is_careful),
                        (window.appetite(now), window.due_at(), window.due_back_at(now)),
                        window.held_of(range(offset)),
                    )
                    for number, window in enumerate(windows)
                )
                assert one == other, f"seed {seed}"

    @pytest.mark.parametrize("is_overdue", [False, True])
    @pytest.mark.parametrize("events", [1, 3])
    def test_what_comes_again_as_if_it_were_new_leaves_first(self, events: int, is_overdue: bool) -> None:
        """After a seek an event that was given back is at its first attempt again, and stands before the others."""
        window = _window(batch_events=1)
        window.add_fresh([_claimed(offset) for offset in range(events)], 0.0, WALL)
        window.given_back(window.take(0.0), 5.0)
        if is_overdue:
            window.expire(5.0 + GRACE)

        window.add_fresh([_claimed(0)], 5.0, WALL)

        assert (_offsets(window.take(5.0)), window.due_back_at(5.0)) == ([0], None)

    def test_an_event_that_is_in_the_batch_already_waits_for_the_next(self) -> None:
        """A replay has the id of what it repeats; no batch has one twice, and what is behind it waits too."""
        window = _window(batch_events=10)
        events = [_claimed(offset) for offset in range(4)]
        events[2].event = events[0].event
        window.add_fresh(events, 0.0, WALL)

        first = window.take(0.0)
        _settle(window, first)

        assert (_offsets(first), _offsets(window.take(0.0))) == ([0, 1], [2, 3])


class TestBatches:
    def test_a_batch_leaves_when_it_is_full_or_old(self) -> None:
        """Fewer wait for the age of the first, counted from its append; ``due_at()`` says when."""
        window = _window(max_batch_age=1.0)
        window.add(_claimed(0, at=WALL - 0.4), 0.0, WALL)
        window.add(_claimed(1), 0.0, WALL)

        assert window.take(0.5) == []
        assert window.due_at() == pytest.approx(0.6)
        assert _offsets(window.take(0.61)) == [0, 1]
        window = _window(max_batch_age=1.0)
        for offset in range(3):
            window.add(_claimed(offset), 0.0, WALL)
        assert _offsets(window.take(0.0)) == [0, 1, 2]

    def test_a_batch_has_no_more_bytes_than_it_may(self) -> None:
        """One that is larger by itself travels alone."""
        window = _window(batch_bytes=1_000)
        for offset, size in enumerate([300, 300, 300, 5_000, 10]):
            window.add(_claimed(offset, size=size), 0.0, WALL)
        batches = []
        while batch := window.take(0.0):
            batches.append(_offsets(batch))
            _settle(window, batch)

        assert batches == [[0, 1], [2], [3], [4]]

    def test_later_attempts_leave_with_fewer_and_the_last_alone(self) -> None:
        """A fault that nobody puts down to one event ends with that event."""
        window = _window(batch_events=8, max_attempts=3)
        for offset in range(8):
            window.add(_claimed(offset, attempt=2), 0.0, WALL)
        batch = window.take(0.0)
        assert _offsets(batch) == [0, 1, 2, 3]
        _settle(window, batch)

        window = _window(batch_events=8, max_attempts=3)
        for offset in range(8):
            window.add(_claimed(offset, attempt=3), 0.0, WALL)
        assert _offsets(window.take(0.0)) == [0]

    def test_a_batch_has_one_lane_and_no_id_twice(self) -> None:
        """Events of another lane, or with the same id, leave in another batch."""
        window = _window(ordered_by=None, batch_events=10, lane_of=lambda event: event.lane)
        twin = make_event(uuid="01890000-0000-7000-8000-000000000001")
        for offset, event in enumerate([make_event(lane="ai"), make_event(), make_event(lane="ai"), twin, twin]):
            window.add(ClaimedEvent(offset, WALL, event, None, b"", 1, 1), 0.0, WALL)

        assert [_offsets(window.take(0.0)) for _ in range(4)] == [[0, 2], [1, 3], [4], []]

    def test_no_event_leaves_before_its_delay(self) -> None:
        """It is counted from the append; what comes behind a young event waits behind it."""
        window = _window(delay=10.0)
        window.add(_claimed(0, at=WALL - 4.0), 0.0, WALL)
        window.add(_claimed(1, at=WALL), 0.0, WALL)

        assert (window.take(5.9), window.due_at()) == ([], 6.0)
        batch = window.take(6.0)
        assert _offsets(batch) == [0]
        _settle(window, batch)
        assert _offsets(window.take(10.0)) == [1]


class TestPauses:
    def test_a_pause_ends_with_one_probe(self) -> None:
        """Nothing leaves before it; then one batch, and all others once that arrived."""
        window = _window(ordered_by=None, batch_events=1)
        for offset in range(3):
            window.add(_claimed(offset), 0.0, WALL)
        window.pause(60.0)
        assert (window.take(59.0), window.due_at()) == ([], 60.0)

        (probe,) = window.take(60.0)
        assert window.take(60.0) == []
        window.handled([probe])
        assert window.succeeded()

        assert [_offsets(window.take(60.0)) for _ in range(3)] == [[1], [2], []]


class TestAppetite:
    def test_the_first_claim_is_one_event(self) -> None:
        """What may have ended the process twice is claimed alone, until an event comes that cannot have."""
        window = _window()
        assert window.appetite(0.0)[0] == 1
        suspect = window.add(_claimed(0, attempt=3), 0.0, WALL)
        assert window.appetite(0.0)[0] == 0

        _settle(window, window.take(0.0))
        assert (window.appetite(0.0)[0], suspect.offset) == (1, 0)
        window.add(_claimed(1), 0.0, WALL)
        assert window.appetite(0.0)[0] == 5

    def test_a_blocked_topic_claims_no_more_than_its_target(self) -> None:
        """Behind an event that failed there is nothing to win; the event itself is claimed when it is due."""
        window = _window()
        for offset in range(6):
            window.add(_claimed(offset), 0.0, WALL)
        window.given_back(window.take(0.0)[:1], 5.0)

        assert window.appetite(0.0)[0] <= 1
        assert window.appetite(5.0)[0] == 1

    def test_blocked_keys_fill_no_more_than_the_window(self) -> None:
        """Others go on while there is room; what failed is claimed even if there is none."""
        window = _window(ordered_by="key", batch_events=1)
        window.add(_claimed(0, key="a"), 0.0, WALL)
        window.given_back(window.take(0.0)[:1], 5.0)
        for offset in range(1, MAX_HELD - 2):
            window.add(_claimed(offset, key="a"), 0.0, WALL)
        assert window.appetite(0.0)[0] == 2
        for offset in range(MAX_HELD - 2, MAX_HELD):
            window.add(_claimed(offset, key="a"), 0.0, WALL)

        assert (window.appetite(0.0)[0], window.appetite(5.0)[0]) == (0, 1)

    def test_what_comes_for_the_last_time_is_claimed_when_somebody_can_begin_with_it(self) -> None:
        """One at a time, and only while nothing else is ready and not all are at work."""
        window = _window(ordered_by=None, batch_events=1, max_attempts=2, concurrency=2)
        window.add_fresh([_claimed(offset) for offset in range(4)], 0.0, WALL)
        window.given_back([*window.take(0.0), *window.take(0.0)], 5.0)
        assert window.appetite(4.8)[0] > 1

        assert window.appetite(5.0)[0] == 0  # two are ready
        out = window.take(5.0)
        assert window.appetite(5.0)[0] == 0
        out = [*out, *window.take(5.0)]
        assert window.appetite(5.0)[0] == 0  # two are at work
        _settle(window, out[:1])
        assert window.appetite(5.0)[0] == 1
        assert window.together([_claimed(0, attempt=2), _claimed(1, attempt=2)], 5.0) == 1

    def test_what_does_not_come_again_is_not_waited_for(self) -> None:
        """An event that was trimmed while it waited holds nothing up for ever."""
        window = _window(batch_events=1)
        for offset in range(2):
            window.add(_claimed(offset), 0.0, WALL)
        window.given_back(window.take(0.0)[:1], 5.0)
        assert (window.due_back_at(0.0), window.due_back_at(5.0), window.is_overdue(5.0)) == (5.0, 5.0 + GRACE, False)

        window.expire(5.0 + GRACE)

        assert _offsets(window.take(6.0)) == [1]


class TestRuns:
    def test_fresh_events_of_a_topic_leave_as_runs(self) -> None:
        """Nobody looks at each of them while all are delivered, whatever the claims were that brought them."""
        window = _window(batch_events=4)
        with mock.patch.object(fresh, "_held_of", side_effect=AssertionError):
            for first, count in ((0, 1), (1, 6), (7, 3), (10, 2)):
                window.add_fresh([_claimed(offset) for offset in range(first, first + count)], 0.0, WALL)
            left = []
            while batch := window.take(0.0):
                assert isinstance(batch, Run)
                left.append([claimed.offset for claimed in batch.claimed])
                _settle(window, batch)

        assert left == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
        assert (window.held, window.held_bytes, window.out, window.held_of(range(12))) == (0, 0, 0, set())

    def test_after_a_batch_that_was_put_back_fresh_events_leave_as_runs_again(self) -> None:
        """What needs a look at each event costs that for its own batch, and not for all that come after it."""
        window = _window(batch_events=4)
        window.add_fresh([_claimed(offset) for offset in range(20)], 0.0, WALL)
        window.put_back(list(window.take(0.0)))

        again = window.take(0.0)
        assert (_offsets(again), isinstance(again, Run)) == ([0, 1, 2, 3], False)
        _settle(window, again)
        assert isinstance(window.take(0.0), Run)

    def test_after_events_that_failed_came_again_fresh_events_leave_as_runs_again(self) -> None:
        """They leave first, with as many of the others as there is room for beside them."""
        window = _window(batch_events=4)
        window.add_fresh([_claimed(offset) for offset in range(20)], 0.0, WALL)
        failed, *others = window.take(0.0)
        window.given_back([failed], 5.0)
        _settle(window, others)
        window.add(_claimed(0, attempt=2), 5.0, WALL)

        first = window.take(5.0)
        assert (_offsets(first), isinstance(first, Run)) == ([0, 4], False)
        _settle(window, first)
        second = window.take(5.0)
        assert (_offsets(second), isinstance(second, Run)) == ([5, 6, 7, 8], False)
        _settle(window, second)
        third = window.take(5.0)
        assert (_offsets(third), isinstance(third, Run)) == ([9, 10, 11, 12], True)

    @pytest.mark.parametrize("twice", [1, 3])
    def test_run_has_no_event_twice(self, twice: int) -> None:
        """A replay has the id of what it repeats: it leaves with the next batch."""
        window = _window(batch_events=4)
        claimed = [_claimed(offset) for offset in range(8)]
        claimed[twice].event = claimed[0].event
        window.add_fresh(claimed, 0.0, WALL)

        first = window.take(0.0)
        _settle(window, first)

        assert _offsets(first) == list(range(twice))
        assert _offsets(window.take(0.0)) == list(range(twice, twice + 4))

    def test_run_is_within_the_bytes_of_a_batch(self) -> None:
        """Also where as many events as a batch takes are at hand."""
        window = _window(batch_events=4, batch_bytes=1_000)
        window.add_fresh([_claimed(offset, size=200) for offset in range(8)], 0.0, WALL)

        batch = window.take(0.0)

        assert (0 < len(batch) < 4, sum(held.size for held in batch) <= 1_000) == (True, True)
        assert sum(held.size for held in batch) + batch[0].size > 1_000

    def test_run_shows_each_event_as_it_would_be_in_hand_by_itself(self) -> None:
        """With its size, line and moment, and the same one to all who look."""
        window, other = (_window(batch_events=4) for _ in range(2))
        for first, now in ((0, 1.0), (2, 2.0)):  # appended in the future, as far as the wall clock says
            claimed = [_claimed(offset, at=WALL + 50) for offset in range(first, first + 2)]
            window.add_fresh(claimed, now, WALL)
            for one in claimed:
                other.add(one, now, WALL)

        run, batch = window.take(2.0), other.take(2.0)

        assert isinstance(run, Run)
        assert [(held.claimed.event, held.size, held.since, held.fault, held.key) for held in run] == [
            (held.claimed.event, held.size, held.since, held.fault, held.key) for held in batch
        ]
        assert [held.since for held in run] == [1.0, 1.0, 2.0, 2.0]
        assert all(one is other for one, other in zip(run, run[:], strict=True))
        places = [(claimed.offset, claimed.claim, claimed.attempt) for claimed in claimed_of(run)]
        assert (run[0].line.out, places) == (4, [(held.offset, held.claimed.claim, 1) for held in batch])

    def test_run_is_captured_as_its_events_are_one_by_one(self) -> None:
        """So a batch has the same id whether it is handed out as a run or, after a crash, event by event."""
        window, other = (_window(batch_events=3) for _ in range(2))
        claimed = [_claimed(offset) for offset in range(5)]
        window.add_fresh(claimed, 0.0, WALL)
        for one in claimed:
            other.add(one, 0.0, WALL)

        run, batch = window.take(0.0), other.take(0.0)

        assert (isinstance(run, Run), isinstance(batch, Run)) == (True, False)
        assert captured_of(run) == captured_of(batch) == tuple(one.event for one in claimed[:3])
        assert ids_of(run) == ids_of(batch) == b"".join(one.event.uuid.encode() for one in claimed[:3] if one.event)

    def test_event_by_itself_leaves_behind_the_fresh_ones_before_it(self) -> None:
        """Nothing overtakes what waits already."""
        window = _window(batch_events=4)
        window.add_fresh([_claimed(offset) for offset in range(5)], 0.0, WALL)
        window.add(_claimed(5), 0.0, WALL)
        window.add_fresh([_claimed(offset) for offset in range(6, 8)], 0.0, WALL)

        left: list[int] = []
        while batch := window.take(0.0):
            left += _offsets(batch)
            _settle(window, batch)

        assert left == list(range(8))

    def test_fresh_events_that_are_not_handed_out_are_let_go(self) -> None:
        """What is out stays in hand; the rest is given up, and nothing of it leaves later."""
        window = _window(batch_events=4)
        window.add_fresh([_claimed(offset) for offset in range(7)], 0.0, WALL)
        out = window.take(0.0)

        assert sorted(_offsets(window.let_go())) == [4, 5, 6]
        assert (window.held, window.held_of(range(7))) == (4, {0, 1, 2, 3})
        _settle(window, out)
        assert (window.take(0.0), window.held, window.held_bytes) == ([], 0, 0)

    def test_fresh_events_of_lanes_leave_each_with_its_own(self) -> None:
        """A batch has one lane, also where all that is in it came at once."""
        window = _window(batch_events=4, lane_of=lambda event: event.properties["fill"])
        window.add_fresh([_claimed(offset, size=size) for offset, size in enumerate([0, 0, 9, 9, 0])], 0.0, WALL)

        left = []
        while batch := window.take(0.0):
            left.append(_offsets(batch))
            _settle(window, batch)

        assert left == [[0, 1], [2, 3], [4]]
