"""A store against a dictionary model: whatever is done to it in whatever order, both say the same."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from eventpipe.clock import Clock
from eventpipe.errors import CursorError, LeaseHeldError, LeaseLostError, StoreFullError
from eventpipe.events import CapturedEvent
from eventpipe.retention import Retention
from eventpipe.stores.base import Store
from eventpipe.stores.values import DEAD_SUFFIX, ConsumerKey, Disposal, Disposition, Start
from eventpipe.testing.events import STAMP, make_event
from eventpipe.testing.store_rig import MUCH
from tests.scale import SCALE
from tests.stores.store_model import Copy, ModelConsumer, ModelTopic

T = TypeVar("T")
TOPIC = "orders/eu[1]"
RIVALS = "billing/[%]"  # a consumer for whose events several compete, as a rule
NAMES = ("audit", RIVALS)
WINDOW = 100.0  # a dedupe window; the steps of time below never add up to it, or to a delay, exactly
TTL = 45.0
LEASE = 70.0
MOST = 14  # events that the topic keeps
DELAYS = (0.0, 5.0, 40.0)

names = st.sampled_from(NAMES)
counts = st.sampled_from([1, 2, 3, 100])


class HandClock(Clock):
    """Shows what it was set to."""

    now = STAMP

    def time(self) -> float:
        return self.now


class StoreMachine(RuleBasedStateMachine):
    """What may be done to one topic with two consumers, each of them held by lease or competed for, in turns.

    A machine of an engine says how its store is made, and reopened where it keeps things.
    """

    keeps = True  # what it has over a restart
    can_crash = False  # whether there is a crashed()

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = HandClock()
        self.captured: list[CapturedEvent] = []
        self.tokens: dict[str, list[int]] = {name: [] for name in NAMES}
        self.leases_end: dict[str, float] = dict.fromkeys(NAMES, -math.inf)
        self.store = self.make(self.clock, WINDOW)
        self.run(self.store.open())

    def make(self, clock: Clock, dedupe_window: float) -> Store:
        """A new store, not open."""
        raise NotImplementedError

    def remake(self) -> Store:
        """The store over what a closed one kept, not open."""
        return self.store

    def crashed(self) -> Store:
        """A store over what is there of one that is in use, not open."""
        raise NotImplementedError

    def run(self, step: Coroutine[Any, Any, T]) -> T:  # Any: what a coroutine is sent and yields
        return self.loop.run_until_complete(step)

    @initialize(on_full=st.sampled_from(["reject", "wait", "drop_oldest"]))
    def declare(self, on_full: str) -> None:
        retention = Retention(max_events=MOST, on_full=on_full)  # type: ignore[arg-type]  # one of them
        self.drops = on_full == "drop_oldest"
        self.model = ModelTopic(WINDOW, MOST)
        self.run(self.store.declare(TOPIC, retention))
        for name in NAMES:
            self._add(name, "earliest")
        self.append(5)

    # -- the topic ---------------------------------------------------------------------------------------------------

    @rule(count=st.integers(1, 5))
    def append(self, count: int) -> None:
        events = [make_event() for _ in range(count)]
        self.captured += events
        self._append(events, is_replay=False)

    @precondition(lambda self: self.captured)
    @rule(data=st.data(), count=st.integers(1, 3), is_replay=st.booleans())
    def append_again(self, data: st.DataObject, count: int, is_replay: bool) -> None:
        latest = st.sampled_from(self.captured[-20:])
        self._append([*data.draw(st.lists(latest, min_size=count, max_size=count)), make_event()], is_replay=is_replay)

    def _append(self, events: list[CapturedEvent], *, is_replay: bool) -> None:
        model, now = self.model, self.clock.now
        uuids = [event.uuid for event in events]
        count = len(uuids) if is_replay else len({uuid for uuid in uuids if model.place_of(uuid, now) is None})
        needed = max(model.first, model.end + count - MOST)
        may_drop = self.drops and not is_replay
        try:
            offsets = self.run(self.store.append(TOPIC, events, is_replay=is_replay))
        except StoreFullError:
            assert not may_drop
            assert needed > model.settled_before()
            return
        assert may_drop or needed <= model.settled_before()
        for uuid, offset in zip(uuids, offsets, strict=True):
            place = None if is_replay else model.place_of(uuid, now)
            assert offset == (model.append(uuid, now, is_replay=is_replay) if place is None else place)
        self._see_what_was_dropped(needed)

    def _see_what_was_dropped(self, needed: int) -> None:
        """More than was needed may have made room, if it was settled."""
        (first,) = [info.first for info in self.run(self.store.topics()) if info.name == TOPIC]
        assert needed <= first <= max(needed, self.model.settled_before())
        self.model.drop(first)

    @rule(seconds=st.sampled_from([0.5, 7.25, 31.125, 111.0625]))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule(data=st.data())
    def trim(self, data: st.DataObject) -> None:
        before = data.draw(st.none() | st.integers(self.model.first, self.model.end))
        goal = self.model.trimmable(self.clock.now)
        if before is not None:
            goal = max(self.model.first, min(goal, before))

        assert self.run(self.store.trim(TOPIC, before)) == goal - self.model.first
        self.model.drop(goal)

    @rule(data=st.data(), count=counts)
    def read(self, data: st.DataObject, count: int) -> None:
        start = data.draw(st.integers(0, self.model.end + 1))
        kept = range(max(start, self.model.first), self.model.end)

        read = self.run(self.store.read(TOPIC, start, max_events=count, max_bytes=MUCH))

        assert [event.offset for event in read] == list(kept[:count])
        assert [event.appended_at for event in read] == [self.model.stamps[offset] for offset in kept[:count]]

    # -- consumers ---------------------------------------------------------------------------------------------------

    def _add(self, name: str, start: Start) -> None:
        self.run(self.store.add_consumer(ConsumerKey(TOPIC, name), start))
        place = {"earliest": self.model.first, "latest": self.model.end}.get(str(start), start)
        self.model.consumers.setdefault(name, ModelConsumer(int(place)))

    @rule(name=names)
    def take_the_lease(self, name: str) -> None:
        lease = ConsumerKey(TOPIC, name).lease
        now, tokens = self.clock.now, self.tokens[name]
        try:
            token = self.run(self.store.acquire(lease, "machine", LEASE))
        except LeaseHeldError:
            assert now < self.leases_end[name]
            return
        assert now >= self.leases_end[name]
        assert token == (tokens[-1] + 1 if tokens else token)
        tokens.append(token)
        self.leases_end[name] = now + LEASE

    @rule(data=st.data(), name=names, count=counts, mode=st.integers(0, 7), bound=st.sampled_from([1, MUCH, MUCH]))
    def claim(self, data: st.DataObject, name: str, count: int, mode: int, bound: int) -> None:
        key, consumer, now = ConsumerKey(TOPIC, name), self.model.consumers[name], self.clock.now
        tokens = self.tokens[name]
        # Mostly as is usual for the consumer: audit by lease, the others competing; now and then with an old token.
        is_competing = (name == RIVALS) == (mode > 0)
        token = None if is_competing or not tokens else tokens[0 if mode == 1 else -1]
        call = self.store.claim(key, token, max_events=count, max_bytes=bound, ttl=TTL)
        if token is not None and token != tokens[-1]:
            self._must_be_lost(call)
            return

        claims = self.run(call)

        consumer.come(token)
        if consumer.is_paused:
            assert (claims.events, claims.gap, claims.due_in) == ([], 0, None)
            return
        due = consumer.due(self.model.first, self.model.end, now)
        expected = due[: min(count, bound)]
        consumer.serial += 1
        until = now + TTL if token is None else math.inf
        attempts = [(offset, consumer.hand_out(offset, until)) for offset in expected]
        assert [(event.offset, event.attempt) for event in claims.events] == attempts
        consumer.copies += [Copy(token, consumer.serial, event) for event in claims.events]
        assert claims.gap == consumer.gap
        consumer.gap = 0
        if expected == due:
            next_due = consumer.next_due()
            assert (math.inf if claims.due_in is None else now + claims.due_in) == next_due
        if claims.events and mode % 2:
            self.settle(data, data.draw(st.sampled_from(Disposal)), data.draw(st.sampled_from(DELAYS)))

    @precondition(lambda self: any(consumer.copies for consumer in self.model.consumers.values()))
    @rule(data=st.data(), disposal=st.sampled_from(Disposal), delay=st.sampled_from(DELAYS))
    def settle(self, data: st.DataObject, disposal: Disposal, delay: float) -> None:
        held = {name for name, consumer in self.model.consumers.items() if consumer.copies}
        name = data.draw(st.sampled_from(sorted(held)))
        consumer, now = self.model.consumers[name], self.clock.now
        token = data.draw(st.sampled_from(consumer.copies)).token
        chosen = self._choose(data, [copy for copy in consumer.copies if copy.token == token])
        reason = f"{disposal} at {now}" if disposal in (Disposal.NACK, Disposal.DEAD) else None
        call = self.store.settle(
            ConsumerKey(TOPIC, name),
            token,
            [
                Disposition(copy.event, disposal, delay, reason, copy.event.event if disposal == "dead" else None)
                for copy in chosen
            ],
        )
        is_stale = token is not None and token != self.tokens[name][-1]
        if is_stale or any(consumer.is_lost(copy) for copy in chosen):
            self._must_be_lost(call)
            return
        self.run(call)
        count = sum(consumer.settle(copy, disposal, now, delay, reason) for copy in chosen)
        self.model.letters += count if disposal is Disposal.DEAD else 0

    def _choose(self, data: st.DataObject, copies: list[Copy]) -> list[Copy]:
        """Some of the claimed events in any order, each of them once, mostly of the last claim."""
        serial = data.draw(st.sampled_from([copies[-1].serial, copies[-1].serial, copies[0].serial]))
        of_claim = [copy for copy in copies if copy.serial == serial]
        few = data.draw(st.lists(st.sampled_from(of_claim), min_size=1, max_size=5, unique_by=id))
        extra = data.draw(st.none() | st.sampled_from(copies))
        if extra is not None and extra.event.offset not in {copy.event.offset for copy in few}:
            few.append(extra)
        return few if data.draw(st.booleans()) else of_claim

    @precondition(lambda self: any(consumer.copies for consumer in self.model.consumers.values()))
    @rule(data=st.data())
    def extend(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(name for name, one in self.model.consumers.items() if one.copies)))
        consumer = self.model.consumers[name]
        copy = data.draw(st.sampled_from(consumer.copies))
        entry = consumer.handed.get(copy.event.offset)
        is_held = entry is not None and entry.state == "held" and entry.due < math.inf
        call = self.store.extend(ConsumerKey(TOPIC, name), [copy.event], TTL)
        if entry is None or not is_held or consumer.is_lost(copy):
            self._must_be_lost(call)
            return
        self.run(call)
        entry.due = self.clock.now + TTL

    @rule(data=st.data(), name=names)
    def disturb(self, data: st.DataObject, name: str) -> None:
        """What is done to a consumer, or to the store, from outside: rare in life, and one rule of many here."""
        steps = [self._seek, self._pause, self._remove, self._give_the_lease_back, self._reopen]
        steps = [*steps[: None if self.keeps else -1], *([self._crash] if self.can_crash else [])]
        data.draw(st.sampled_from(steps))(data, name)

    def _seek(self, data: st.DataObject, name: str) -> None:
        offset = data.draw(st.integers(self.model.first - 1, self.model.end + 1))
        call = self.store.seek(ConsumerKey(TOPIC, name), offset)
        if self.model.first <= offset <= self.model.end:
            self.run(call)
            self.model.consumers[name].seek(offset)
            return
        with pytest.raises(CursorError) as caught:
            self.run(call)
        assert (caught.value.first, caught.value.last) == (self.model.first, self.model.end)

    def _pause(self, data: st.DataObject, name: str) -> None:
        is_paused = data.draw(st.booleans()) and not self.model.consumers[name].is_paused
        self.run(self.store.pause(ConsumerKey(TOPIC, name), is_paused))
        self.model.consumers[name].is_paused = is_paused

    def _remove(self, data: st.DataObject, name: str) -> None:
        """Forget it, and register it anew; nobody who consumed it before has any right then."""
        offsets = st.integers(self.model.first, self.model.end)
        start: Start = data.draw(st.sampled_from(["earliest", "latest"]) | offsets)  # type: ignore[arg-type]
        copies, tokens = self.model.consumers[name].copies, self.tokens[name]
        self.run(self.store.remove_consumer(ConsumerKey(TOPIC, name)))
        del self.model.consumers[name]
        self.tokens[name] = []
        self.leases_end[name] = -math.inf
        self._add(name, start)
        for token in {None, *tokens}:
            dispositions = [Disposition(copy.event, Disposal.ACK) for copy in copies if copy.token == token]
            if dispositions:
                self._must_be_lost(self.store.settle(ConsumerKey(TOPIC, name), token, dispositions))

    def _give_the_lease_back(self, data: st.DataObject, name: str) -> None:
        del data
        if self.tokens[name]:
            self.run(self.store.release(ConsumerKey(TOPIC, name).lease, self.tokens[name][-1]))
            self.leases_end[name] = -math.inf

    def _reopen(self, data: st.DataObject, name: str) -> None:
        """Close the store and open it again, without leases: whether one outlives that is the engine's business."""
        del name
        for each in NAMES:
            self._give_the_lease_back(data, each)
        self.run(self.store.aclose())
        self.store = self.remake()
        self.run(self.store.open())

    def _crash(self, data: st.DataObject, name: str) -> None:
        """End in the middle of everything: what was done is done, and leases go on until their time is over."""
        del data, name
        before, self.store = self.store, self.crashed()
        self.run(self.store.open())
        self.run(before.aclose())

    def _must_be_lost(self, call: Coroutine[Any, Any, object]) -> None:  # Any: what a coroutine is sent and yields
        with pytest.raises(LeaseLostError):
            self.run(call)

    # -- what both say -----------------------------------------------------------------------------------------------

    @invariant()
    def topics_are_as_the_model_says(self) -> None:
        model = self.model
        topics = {info.name: info for info in self.run(self.store.topics())}
        info = topics[TOPIC]
        assert (info.first, info.end, info.events) == (model.first, model.end, model.end - model.first)
        assert info.dropped == model.dropped
        assert (info.bytes > 0) == (info.events > 0)
        assert info.oldest_at == model.stamps.get(model.first)
        letters = topics.get(TOPIC + DEAD_SUFFIX)
        assert (letters.events if letters else 0) == model.letters

    @invariant()
    def consumers_are_as_the_model_says(self) -> None:
        now, end = self.clock.now, self.model.end
        infos = self.run(self.store.consumers(TOPIC))
        assert [info.name for info in infos] == sorted(self.model.consumers)
        for info in infos:
            consumer = self.model.consumers[info.name]
            pending = [offset for offset in range(consumer.start, end) if not consumer.is_done(offset)]
            entries = [consumer.handed[offset] for offset in pending if offset in consumer.handed]
            assert info.position == consumer.position
            assert info.cursor == (consumer.position if consumer.has_cursor else None)
            assert (info.pending, info.skipped, info.dead) == (len(pending), consumer.skipped, consumer.dead)
            assert (info.dropped, info.is_paused) == (consumer.dropped, consumer.is_paused)
            assert info.last_error == consumer.last_error
            assert info.oldest_at == (self.model.stamps[pending[0]] if pending else None)
            assert info.waiting == sum(entry.state == "back" and entry.due > now for entry in entries)
            if all(entry.state == "back" or (entry.state == "held" and entry.due > now) for entry in entries):
                assert info.claimed == sum(entry.state == "held" for entry in entries)

    def teardown(self) -> None:
        try:
            self.run(self.store.aclose())
        finally:
            self.loop.close()


def machine_settings(examples: int = 60) -> settings:
    """How long a machine runs; ``EVENTPIPE_TEST_SCALE`` makes it longer."""
    return settings(
        max_examples=examples * SCALE,
        stateful_step_count=50,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    )
