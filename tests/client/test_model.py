"""A whole client against a model of it: any calls in any order, over a far end that may do anything."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from eventpipe import (
    AsyncClient,
    Batch,
    CloseReport,
    DropReason,
    FlushReport,
    Outcome,
    OutcomeKind,
    PermanentSinkError,
    QueueFullError,
    Receipt,
    RetryPolicy,
    TransientSinkError,
    Verdict,
)
from eventpipe.errors import Scope
from eventpipe.events import Overflow
from eventpipe.sinks import CallbackSink
from eventpipe.testing import VirtualTimeLoop, check_ledger
from eventpipe.transport.barrier import Until
from tests.scale import SCALE

T = TypeVar("T")

QUEUE = 8
WORKERS = 2
BATCH = 3
BATCH_AGE = 1.0
ATTEMPTS = 3
BACKOFF = 2.0  # seconds, before every further attempt
SCOPES: list[Scope] = ["size", "event", "sink", "batch"]
GRACE = 0.25

Answer = BaseException | list[Verdict] | None


@dataclass(eq=False)
class Held:
    """An attempt that waits for the model to answer it."""

    batch: Batch
    answer: asyncio.Future[Answer]

    @property
    def uuids(self) -> list[str]:
        return [event.uuid for event in self.batch.events]


@dataclass(eq=False)
class Flush:
    """A call of ``flush()`` that goes on, and the events that it is about."""

    task: asyncio.Task[FlushReport]
    until: Until
    deadline: float
    own: set[str]
    attempted: set[str] = field(default_factory=set)


class Client(RuleBasedStateMachine):
    """What a client may do to events, and what a caller may see of it."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualTimeLoop()
        asyncio.set_event_loop(self.loop)
        self.held: list[Held] = []
        self.attempts = 0
        self.spanning: list[str] = []
        self.captured: list[str] = []
        self.receipts: dict[str, Receipt] = {}
        self.waiting: dict[str, asyncio.Task[Receipt]] = {}
        self.flushes: list[Flush] = []
        self.delivered: list[str] = []
        self.dropped: dict[str, str] = {}
        self.dropped_twice: list[str] = []
        self.closing: asyncio.Task[CloseReport] | None = None
        self.close_deadline = 0.0
        self.report: CloseReport | None = None
        self.asked_to_wait = False

    @initialize(max_event_age=st.sampled_from([None, 7.0]))
    def make(self, max_event_age: float | None) -> None:
        self.client = AsyncClient(
            CallbackSink(self.take),
            queue_events=QUEUE,
            batch_events=BATCH,
            max_batch_age=BATCH_AGE,
            workers=WORKERS,
            max_event_age=max_event_age,
            retry=RetryPolicy(max_attempts=ATTEMPTS, initial=BACKOFF, factor=1, jitter=0),
            on_drop=self.see_drop,
        )
        self.run(self.client.__aenter__())

    # -- the far end, and what is seen of the client -----------------------------------------------------------------

    async def take(self, batch: Batch) -> list[Verdict] | None:
        attempt = Held(batch, self.loop.create_future())
        self.attempts += 1
        for flush in self.flushes:
            if not flush.task.done() and 0 < len(flush.own.intersection(attempt.uuids)) < len(attempt.uuids):
                self.spanning.append(batch.id)
        self.held.append(attempt)
        try:
            answer = await attempt.answer
        finally:
            self.held.remove(attempt)
        for flush in self.flushes:
            flush.attempted.update(attempt.uuids)
        if isinstance(answer, BaseException):
            raise answer
        kinds = [OutcomeKind.DELIVERED] * len(batch.events) if answer is None else [verdict.kind for verdict in answer]
        pairs = zip(attempt.uuids, kinds, strict=True)
        self.delivered += [uuid for uuid, kind in pairs if kind is OutcomeKind.DELIVERED]
        return answer

    def see_drop(self, outcome: Outcome) -> None:
        for uuid in outcome.uuids:
            if uuid in self.dropped:
                self.dropped_twice.append(uuid)
            self.dropped[uuid] = str(outcome.reason)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do ``work``, then let everything happen that can without time going on."""
        try:
            return self.loop.run_until_complete(work)
        finally:
            self.loop.run_until_complete(self.settle())

    async def settle(self) -> None:
        while self.loop._ready:  # type: ignore[attr-defined]  # noqa: ASYNC110  # there is no event for "nothing to do"
            await asyncio.sleep(0)

    @property
    def settled(self) -> set[str]:
        return {*self.delivered, *self.dropped}

    @property
    def is_closed(self) -> bool:
        return self.closing is not None and self.closing.done()

    # -- callers -----------------------------------------------------------------------------------------------------

    @rule(how=st.sampled_from(["capture", "capture_nowait"]), events=st.integers(1, 4))
    def capture(self, how: str, events: int) -> None:
        """The plain path; never waits."""
        before = self.loop.time()
        for _ in range(events):
            receipt = self.run(self.client.capture("e") if how == "capture" else self.at_once())
            self.captured.append(receipt.uuid)
            self.receipts[receipt.uuid] = receipt
        assert self.loop.time() == before

    async def at_once(self) -> Receipt:
        return self.client.capture_nowait("e")

    @rule(overflow=st.sampled_from(["drop_newest", "drop_oldest", "raise"]), events=st.integers(1, 4))
    def capture_with(self, overflow: Overflow, events: int) -> None:
        for _ in range(events):
            uuid = self.new_uuid()
            try:
                self.receipts[uuid] = self.run(self.client.capture("e", uuid=uuid, overflow=overflow))
            except QueueFullError:
                assert overflow == "raise"
                assert self.dropped[uuid] == DropReason.QUEUE_FULL

    @rule(events=st.integers(1, 3))
    def capture_and_wait(self, events: int) -> None:
        for _ in range(events):
            uuid = self.new_uuid()
            self.waiting[uuid] = self.loop.create_task(self.client.capture("e", uuid=uuid, overflow="wait"))
            self.run(self.settle())

    @rule(characters=st.sampled_from([0, 1_000_000]))
    def capture_what_cannot_be_sent(self, characters: int) -> None:
        receipt = self.run(self.client.capture("x" * characters))
        assert not receipt.accepted
        self.captured.append(receipt.uuid)
        self.receipts[receipt.uuid] = receipt

    def new_uuid(self) -> str:
        uuid = f"00000000-0000-7000-8000-{len(self.captured):012x}"
        self.captured.append(uuid)
        return uuid

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def cancel_a_capture(self, data: st.DataObject) -> None:
        uuid = data.draw(st.sampled_from(sorted(self.waiting)))
        self.waiting.pop(uuid).cancel()
        self.run(self.settle())
        assert self.dropped[uuid] == DropReason.ABANDONED

    @precondition(lambda self: self.closing is None)
    @rule(until=st.sampled_from(["settled", "attempted"]), timeout=st.sampled_from([0.0, 0.5, 3.0, 1000.0]))
    def flush(self, until: Until, timeout: float) -> None:
        own = set(self.captured) - self.settled
        task = self.loop.create_task(self.client.flush(timeout, until=until))
        self.flushes.append(Flush(task, until, self.loop.time() + timeout, own))
        self.run(self.settle())

    @precondition(lambda self: self.flushes)
    @rule(data=st.data())
    def cancel_a_flush(self, data: st.DataObject) -> None:
        flush = data.draw(st.sampled_from(self.flushes))
        self.flushes.remove(flush)
        flush.task.cancel()
        self.run(self.settle())
        assert flush.task.cancelled()

    @precondition(lambda self: self.closing is None and len(self.captured) > 10)
    @rule(timeout=st.sampled_from([0.0, 0.5, 3.0, 1000.0]))
    def close(self, timeout: float) -> None:
        self.close_deadline = self.loop.time() + timeout
        self.closing = self.loop.create_task(self.client.aclose(timeout))
        self.run(self.settle())

    # -- the far end's answers, and time -----------------------------------------------------------------------------

    def answer(self, data: st.DataObject, answer: Answer) -> None:
        held = data.draw(st.sampled_from(self.held))
        held.answer.set_result(answer)
        self.run(self.settle())

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def accept(self, data: st.DataObject) -> None:
        self.answer(data, None)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        errors = [TransientSinkError(), RuntimeError(), asyncio.CancelledError()]
        self.answer(data, data.draw(st.sampled_from(errors)))

    @precondition(lambda self: self.held)
    @rule(data=st.data(), retry_after=st.sampled_from([0.5, 5.0, 100.0]))
    def ask_to_wait(self, data: st.DataObject, retry_after: float) -> None:
        self.asked_to_wait = True
        self.answer(data, TransientSinkError(retry_after=retry_after))

    @precondition(lambda self: self.held)
    @rule(data=st.data(), scope=st.sampled_from(SCOPES))
    def refuse(self, data: st.DataObject, scope: Scope) -> None:
        self.answer(data, PermanentSinkError(scope=scope))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def judge(self, data: st.DataObject) -> None:
        held = data.draw(st.sampled_from(self.held))
        kinds = st.sampled_from([OutcomeKind.DELIVERED, OutcomeKind.DROPPED, OutcomeKind.RETRY])
        held.answer.set_result([Verdict(data.draw(kinds)) for _ in held.batch.events])
        self.run(self.settle())

    @rule(seconds=st.sampled_from([0.1, BATCH_AGE, BACKOFF, 10.0, 400.0]))
    def let_time_go_on(self, seconds: float) -> None:
        self.run(asyncio.sleep(seconds))

    # -- what holds at all times -------------------------------------------------------------------------------------

    @invariant()
    def books_agree_with_far_end_and_callback(self) -> None:
        """The identity, by number and by id: each event is in one place, and has left by at most one door."""
        if not self.captured:
            return
        statistics = check_ledger(self.client, received=self.delivered, captured=self.captured)
        assert statistics.captured == len(self.captured)
        assert statistics.delivered == len(self.delivered)
        assert statistics.dropped == len(self.dropped)
        assert self.dropped_twice == []
        assert self.dropped.keys().isdisjoint(self.delivered)
        assert statistics.attempts == self.attempts

    @invariant()
    def bounds_hold(self) -> None:
        if not self.captured:
            return
        statistics = self.client.statistics()
        assert statistics.pending - statistics.waiting_room <= QUEUE
        assert len(self.held) <= WORKERS
        assert statistics.in_flight == sum(len(held.batch.events) for held in self.held)
        assert all(len(held.batch.events) <= BATCH for held in self.held)
        assert all(held.uuids == sorted(held.uuids, key=self.captured.index) for held in self.held)

    @invariant()
    def receipts_say_what_became_of_their_events(self) -> None:
        for uuid, receipt in list(self.receipts.items())[-12:]:
            outcome = self.run(self.outcome_of(receipt))
            if outcome is None:
                assert uuid not in self.settled
            elif outcome.kind is OutcomeKind.DELIVERED:
                assert uuid in self.delivered
            else:
                assert self.dropped[uuid] == outcome.reason
            assert receipt.accepted or receipt.reason == self.dropped[uuid]

    async def outcome_of(self, receipt: Receipt) -> Outcome | None:
        try:
            return await receipt.outcome(timeout=0)
        except TimeoutError:
            return None

    @invariant()
    def callers_wait_only_for_room(self) -> None:
        for uuid, task in list(self.waiting.items()):
            if task.done():
                self.receipts[uuid] = task.result()
                del self.waiting[uuid]
        if self.captured:
            assert self.client.statistics().waiting_room == len(self.waiting)

    @invariant()
    def flushes_are_exact(self) -> None:
        """Each returns when, and only when, the last of its events is settled (or attempted), or its time is up."""
        for flush in list(self.flushes):
            over = self.settled if flush.until == "settled" else self.settled | flush.attempted
            is_reached = flush.own <= over
            assert flush.task.done() == (is_reached or self.loop.time() >= flush.deadline)
            if flush.task.done():
                self.flushes.remove(flush)
                report = flush.task.result()
                assert report.delivered + report.dropped + report.pending == len(flush.own)
                assert report.pending == 0 or flush.until == "attempted" or self.loop.time() >= flush.deadline
        assert self.spanning == []

    @invariant()
    def what_may_leave_leaves(self) -> None:
        """With a worker free, and nobody asked to wait, no batch stays that is full or old enough."""
        if self.captured and not self.asked_to_wait and len(self.held) < WORKERS and not self.is_closed:
            statistics = self.client.statistics()
            assert statistics.queued + statistics.buffered < BATCH

    @invariant()
    def close_is_on_time_and_final(self) -> None:
        if self.closing is None:
            return
        if self.is_closed:
            statistics = check_ledger(self.client, drained=True)
            if self.report is None:  # what comes after the close is in no report
                self.report = self.closing.result()
                assert (self.report.delivered, self.report.dropped) == (statistics.delivered, statistics.dropped)
                assert (self.report.pending, self.report.stragglers) == (0, ())
            assert self.held == []
            assert all(task.done() for task in self.waiting.values())
            assert all(flush.task.done() for flush in self.flushes)
        else:
            assert self.loop.time() <= self.close_deadline + GRACE
            assert self.settled != set(self.captured)

    def teardown(self) -> None:
        """Whatever state it is in, a far end that works again gets everything, and the close leaves nothing."""
        try:
            if hasattr(self, "client"):
                self.run(self.end())
                check_ledger(self.client, received=self.delivered, captured=self.captured, drained=True)
                assert set(self.captured) - self.settled == set()
                assert asyncio.all_tasks(self.loop) == set()
        finally:
            self.loop.close()
            asyncio.set_event_loop(None)

    async def end(self) -> None:
        ending = asyncio.create_task(self.client.aclose(10_000 if self.closing is None else 0))
        while not ending.done():
            for held in self.held:
                if not held.answer.done():
                    held.answer.set_result(None)
            await asyncio.sleep(0.1)
        await asyncio.gather(ending, *self.waiting.values(), *(flush.task for flush in self.flushes))


TestClient = Client.TestCase
TestClient.settings = settings(
    max_examples=60 * SCALE,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
pytestmark = pytest.mark.timeout(120 * SCALE)
