"""A store of deliveries against a dictionary model: whatever is done in whatever order, both say the same."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any, TypeVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from eventpipe.clock import Clock
from eventpipe.errors import UnknownEndpointError
from eventpipe.events import CapturedEvent
from eventpipe.stores.delivery_base import DeliveringStore
from eventpipe.stores.delivery_values import (
    DELIVERIES,
    AttemptRecord,
    Change,
    DeliveryFilter,
    DeliveryRow,
    DeliveryState,
    EndpointInfo,
    EndpointState,
    FailureReason,
    Place,
    Publication,
)
from eventpipe.testing.events import make_event
from tests.stores.delivery_model import ModelDeliveries, ModelEndpoint
from tests.stores.store_machine import HandClock

T = TypeVar("T")
NAMES = ("acme", "other/[%]")
EVENTS = ("paid", "sent")
KEYS = (None, None, None, "k1", "k2")
TTL = 45.0

names = st.sampled_from(NAMES)
delays = st.sampled_from([-7.5, 0.0, 5.0, 40.0, 1000.0])


class DeliveryMachine(RuleBasedStateMachine):
    """What may be done to two endpoints and their rows. A machine of an engine says how its store is made."""

    can_crash = False  # whether there is a crashed()

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = HandClock()
        self.model = ModelDeliveries()
        self.captured: list[CapturedEvent] = []
        self.copies: list[DeliveryRow] = []  # rows as they were claimed, also long ago
        self.numbers = 0  # of attempts, no two the same
        self.store = self.make(self.clock)
        self.run(self.store.open())
        self.seen = self.store.version(DELIVERIES)

    def make(self, clock: Clock) -> DeliveringStore:
        """A new store, not open."""
        raise NotImplementedError

    def crashed(self) -> DeliveringStore:
        """A store over what is there of one that is in use, not open."""
        raise NotImplementedError

    def run(self, step: Coroutine[Any, Any, T]) -> T:  # Any: what a coroutine is sent and yields
        return self.loop.run_until_complete(step)

    def moved(self, is_due: bool) -> None:
        """The version has moved since the last look, exactly if there was something to look at."""
        version = self.store.version(DELIVERIES)
        assert (version != self.seen) == is_due
        self.seen = version

    @initialize()
    def begin(self) -> None:
        for name in NAMES:
            self._put(EndpointInfo(name, "webhook", "https://a.example", created_at=self.clock.now), b"private")

    # -- endpoints ----------------------------------------------------------------------------------------------------

    @rule(name=names, private=st.sampled_from([None, b"p", b"q"]), limit=st.sampled_from([None, 2.5]))
    def put_endpoint(self, name: str, private: bytes | None, limit: float | None) -> None:
        info = EndpointInfo(name, "webhook", "https://b.example", rate_limit=limit, created_at=self.clock.now)
        if self.model.current(name) is not None and limit is None:
            with pytest.raises(ValueError, match="already"):
                self.run(self.store.deliveries.put_endpoint(info, private, replace=False))
            return
        self._put(info, private)

    def _put(self, info: EndpointInfo, private: bytes | None) -> None:
        kept = self.run(self.store.deliveries.put_endpoint(info, private, replace=True))
        assert kept == self.model.put(info, private)
        self.moved(True)

    @rule(name=names, state=st.sampled_from(EndpointState), reason=st.sampled_from([None, "r"]))
    def set_state(self, name: str, state: EndpointState, reason: str | None) -> None:
        call = self.store.deliveries.set_endpoint_state(name, state, reason)
        before = self.model.current(name)
        if before is None:
            with pytest.raises(UnknownEndpointError):
                self.run(call)
            return
        is_another = before.info.state is not state
        assert self.run(call) == self.model.set_state(name, state, reason)
        self.moved(is_another)

    # -- publishing ---------------------------------------------------------------------------------------------------

    @rule(
        data=st.data(),
        count=st.integers(1, 3),
        wanted=st.lists(st.sampled_from([*NAMES, NAMES[0]]), max_size=3),
        again=st.integers(0, 4),
    )
    def publish(self, data: st.DataObject, count: int, wanted: list[str], again: int) -> None:
        publications: list[Publication] = []
        now = self.clock.now
        for number in range(count):
            event = make_event(data.draw(st.sampled_from(EVENTS)))
            if again == number and self.captured:
                event = data.draw(st.sampled_from(self.captured[-8:]))
            self.captured.append(event)
            key = data.draw(st.sampled_from(KEYS))
            publications.append(Publication(event, tuple(wanted[: count - number + 1]), key, now, now + 100.0))
        call = self.store.deliveries.publish(publications)
        if self.model.unknown_endpoint(publications):
            with pytest.raises(UnknownEndpointError):
                self.run(call)
            return
        answers = self.run(call)
        assert answers == [self.model.publish(publication) for publication in publications]
        new = [id_ for answer in answers if answer.is_new for id_ in answer.deliveries.values()]
        self.moved(any(self.model.rows[id_].row.due_at is not None for id_ in new))

    # -- passes -------------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.model.endpoints)
    @rule(data=st.data(), limit=st.sampled_from([1, 2, 100]), early=st.sampled_from([0.0, 0.0, 10.0]))
    def claim(self, data: st.DataObject, limit: int, early: float) -> None:
        endpoint = data.draw(st.sampled_from(self.model.endpoints))
        after = data.draw(st.none() | st.sampled_from(self._places(endpoint)))
        now, cutoff = self.clock.now, self.clock.now - early
        claimed = self.run(
            self.store.deliveries.claim(
                endpoint.info, holder="m", cutoff=cutoff, after=after, now=now, until=now + TTL, limit=limit
            )
        )
        expected = self.model.claim(endpoint, "m", cutoff, after, now, now + TTL, limit)
        assert [one.row for one in claimed] == expected
        assert [one.event.uuid for one in claimed] == [row.event_uuid for row in expected]
        self.copies += expected
        self.moved(False)

    def _places(self, endpoint: ModelEndpoint) -> list[Place | None]:
        rows = [kept.row for kept in self.model.rows.values() if kept.endpoint is endpoint]
        return [None, *(Place(row.due_at, row.id) for row in rows if row.due_at is not None)]

    def _some(self, data: st.DataObject) -> list[DeliveryRow]:
        """Rows as they were claimed at some time, mostly lately; or as they are."""
        rows = [kept.row for kept in self.model.rows.values()]
        return data.draw(st.lists(st.sampled_from([*self.copies[-6:], *self.copies[:1], *rows]), max_size=4))

    @precondition(lambda self: self.model.rows)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        rows = self._some(data)
        assert self.run(self.store.deliveries.release(rows)) == sum([self.model.release(row) for row in rows])
        self.moved(False)

    @precondition(lambda self: self.model.rows)
    @rule(data=st.data(), delay=delays, has_attempt=st.booleans())
    def change(self, data: st.DataObject, delay: float, has_attempt: bool) -> None:
        changes = [
            self._change(data.draw(st.sampled_from(DeliveryState)), row, delay, has_attempt) for row in self._some(data)
        ]
        were_done = self.run(self.store.deliveries.change(changes))
        assert were_done == [self.model.change(change) for change in changes]
        self.moved(any(change.is_resend and was_done for change, was_done in zip(changes, were_done, strict=True)))

    def _change(self, state: DeliveryState, row: DeliveryRow, delay: float, has_attempt: bool) -> Change:
        now, attempt = self.clock.now, None
        if has_attempt:
            self.numbers += 1
            status = 500 + self.numbers if self.numbers % 2 else None
            attempt = AttemptRecord(self.numbers, now, 0.5, "retry", status, f"error {self.numbers}", None)
        if state in (DeliveryState.SUCCESS, DeliveryState.FAILED):
            reason = FailureReason.EXHAUSTED if state is DeliveryState.FAILED else None
            return Change(
                row.id, row.version, state, reason, row.attempts + 1, None, row.deadline_at, now, attempt=attempt
            )
        is_resend = state is DeliveryState.RESENDING
        return Change(
            row.id, row.version, state, None, 0, now + delay, now + 100, None, is_resend=is_resend, attempt=attempt
        )

    @rule(ahead=st.sampled_from([0.0, 20.0, 41.0, 500.0]), unattempted=st.sampled_from([0.0, 5.0, math.inf]))
    def rescue(self, ahead: float, unattempted: float) -> None:
        now = self.clock.now
        bounds = {
            "now": now,
            "claimed_before": now + ahead,
            "due_before": now + 2 * ahead + 1,
            "unattempted_after": now + unattempted,
        }
        count = self.model.rescue(**bounds)
        assert self.run(self.store.deliveries.rescue(**bounds)) == count
        self.moved(count > 0)

    # -- time ---------------------------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.5, 7.5, 45.0, 111.0, -20.0]))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule(age=st.sampled_from([0.0, 10.0, 100.0]), limit=st.sampled_from([1, 3, 100]))
    def purge(self, age: float, limit: int) -> None:
        before = self.clock.now - age
        assert self.run(self.store.deliveries.purge(before=before, limit=limit)) == self.model.purge(before, limit)
        self.moved(False)

    @rule(is_crash=st.booleans())
    def reopen(self, is_crash: bool) -> None:
        before = self.store
        if is_crash and self.can_crash:
            self.store = self.crashed()
            self.run(self.store.open())
            self.run(before.aclose())
        else:
            self.run(before.aclose())
            self.run(before.open())
        self.seen = self.store.version(DELIVERIES)

    # -- what both say ------------------------------------------------------------------------------------------------

    @rule(
        states=st.frozensets(st.sampled_from(DeliveryState), max_size=2),
        endpoint=st.none() | names,
        name=st.none() | st.sampled_from(EVENTS),
        due=st.none() | st.sampled_from([-10.0, 0.0, 41.0]),
        age=st.none() | st.sampled_from([0.0, 50.0]),
        limit=st.sampled_from([1, 3, 100]),
        data=st.data(),
    )
    def look(
        self,
        states: frozenset[DeliveryState],
        endpoint: str | None,
        name: str | None,
        due: float | None,
        age: float | None,
        limit: int,
        data: st.DataObject,
    ) -> None:
        now = self.clock.now
        wanted = DeliveryFilter(states, endpoint, name)
        if due is not None:
            wanted = replace(wanted, due_before=now + due)
        if age is not None:
            is_older = data.draw(st.booleans())
            at = now - age
            wanted = replace(wanted, published_before=at) if is_older else replace(wanted, published_after=at)
        is_one = data.draw(st.booleans())
        if self.captured and is_one:
            wanted = replace(wanted, event_uuid=data.draw(st.sampled_from(self.captured)).uuid)
        after = data.draw(st.none() | st.integers(0, self.model.last_id + 1))
        expected = [row for row in self.model.find(wanted) if after is None or row.id < after]

        assert self.run(self.store.deliveries.rows(wanted, after=after, limit=limit)) == expected[:limit]

    @invariant()
    def rows_are_as_the_model_says(self) -> None:
        kept, model = self.store.deliveries, self.model
        assert self.run(kept.rows(DeliveryFilter(), limit=10_000)) == model.find(DeliveryFilter())
        for id_, row in list(model.rows.items())[-3:]:
            assert self.run(kept.attempts(id_)) == row.attempts
            assert self.run(kept.row(id_)) == row.row
        model.check()

    @invariant()
    def endpoints_are_as_the_model_says(self) -> None:
        kept, model, now = self.store.deliveries, self.model, self.clock.now
        assert self.run(kept.due()) == model.due()
        assert self.run(kept.stats()) == model.stats(now)
        for name in NAMES:
            endpoint = model.current(name)
            assert self.run(kept.endpoints(name)) == ([] if endpoint is None else [endpoint.info])
            if endpoint is not None:
                assert self.run(kept.private(name)) == endpoint.private

    @invariant()
    def events_are_as_the_model_says(self) -> None:
        newest = self.model.newest()
        events = self.run(self.store.deliveries.events(limit=10_000))
        assert [event.uuid for event in events] == newest
        keys = {event.uuid: event.publication.dedupe_key for event in self.model.events}
        assert {event.uuid: event.dedupe_key for event in events} == keys
        if len(newest) > 2:
            page = self.run(self.store.deliveries.events(after=newest[1], limit=1))
            assert [event.uuid for event in page] == newest[2:3]

    def teardown(self) -> None:
        try:
            self.run(self.store.aclose())
        finally:
            self.loop.close()
