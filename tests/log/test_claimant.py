"""A claimant holds what it claimed until that is settled, given back or let go, whoever is cancelled meanwhile."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from eventpipe.errors import ClosedError, LeaseHeldError, LeaseLostError, StoreError, UnknownConsumerError
from eventpipe.log.claimant import Claimant
from eventpipe.log.eventlog import EventLog
from eventpipe.log.finishing import begin, ended, finish
from eventpipe.stores.memory import MemoryStore
from eventpipe.stores.values import ClaimedEvent, Claims, ConsumerKey, Disposal, Disposition
from eventpipe.testing.clock import LoopClock
from eventpipe.testing.events import make_event
from eventpipe.testing.loop import VirtualTimeLoop
from tests.log.consuming import append_for
from tests.log.receiving import SlowStore, append, at, at_rest, cursor

pytestmark = pytest.mark.asyncio

KEY = ConsumerKey("orders", "billing")
MIB = 1024 * 1024


@asynccontextmanager
async def claiming(log: EventLog, **options: Any) -> AsyncIterator[Claimant]:
    """An open claimant, which is closed at the end."""
    claimant = Claimant(log, KEY, **options)
    await claimant.open()
    try:
        yield claimant
    finally:
        await claimant.close()


async def claimed(claimant: Claimant, max_events: int = 100) -> list[tuple[int, int]]:
    """Offset and attempt of what it claims."""
    return [(event.offset, event.attempt) for event in (await claimant.claim(max_events, MIB)).events]


def all_of(events: Sequence[ClaimedEvent], disposal: Disposal) -> list[Disposition]:
    return [Disposition(event, disposal) for event in events]


def now() -> float:
    return asyncio.get_running_loop().time()


@pytest.fixture
def slow_log(clock: LoopClock) -> EventLog:
    """A log whose store takes two turns of the loop for everything; not started."""
    return EventLog(SlowStore(clock=clock), clock=clock)


# -- opening ----------------------------------------------------------------------------------------------------------


async def test_opening_registers_the_consumer_and_takes_its_lease(log: EventLog) -> None:
    """One that exists is not moved; the lease is held until the close."""
    await append(log, 3)
    await log.add_consumer(*KEY, start=2)
    async with claiming(log, start="earliest") as claimant:
        assert await claimed(claimant) == [(2, 1)]
        assert (await log.consumer(*KEY)).holder is not None
        with pytest.raises(LeaseHeldError):
            await Claimant(log, KEY, when_held="raise").open()
    assert (await log.consumer(*KEY)).holder is None


async def test_lease_in_a_store_of_one_process_needs_no_renewal(log: EventLog) -> None:
    """It has no end, and there is no task."""
    before = asyncio.all_tasks()
    async with claiming(log, ttl=1, heartbeat=0.1) as claimant:
        assert (await log.consumer(*KEY)).expires_in is None
        assert asyncio.all_tasks() == before
        await asyncio.sleep(3600)
        assert await claimed(claimant) == []


class SharedStore(MemoryStore):
    """What a store is that other processes use as well."""

    is_shared = True


async def test_holder_that_is_silent_too_long_claims_nothing_more(
    clock: LoopClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And one that waits is woken by the loss, with nothing having moved."""
    log = EventLog(SharedStore(clock=clock), clock=clock)
    async with log, claiming(log, ttl=10, heartbeat=1) as claimant:
        assert await claimed(claimant) == []
        await asyncio.sleep(100)
        assert await claimed(claimant) == []
        waiting = asyncio.create_task(claimant.wait())
        await at_rest()
        monkeypatch.setattr(log.store, "renew", no_answer)
        await asyncio.wait({waiting}, timeout=20)

        assert waiting.done()
        with pytest.raises(LeaseLostError):
            await claimant.claim(1, MIB)
        await claimant.wait()


async def no_answer(*_: object) -> None:
    raise StoreError("the store does not answer")


async def test_closed_while_it_opens_it_holds_nothing(slow_log: EventLog) -> None:
    """Whoever opened it is told."""
    async with slow_log as log:
        claimant = Claimant(log, KEY)
        opening = asyncio.create_task(claimant.open())
        for _ in range(3):
            await asyncio.sleep(0)
        await claimant.close()

        with pytest.raises(ClosedError):
            await opening
        async with claiming(log, when_held="raise"):
            pass


# -- claiming ---------------------------------------------------------------------------------------------------------


async def test_claim_is_bounded_in_events_and_bytes(log: EventLog) -> None:
    """By whichever is reached first; a single event may be larger."""
    await append(log, 10)
    size = make_event("e0").size
    async with claiming(log) as claimant:
        found = [len((await claimant.claim(count, room)).events) for count, room in [(3, MIB), (9, 2 * size), (9, 1)]]

        assert found == [3, 2, 1]
        assert claimant.holding == 6


async def test_answer_to_a_cancelled_claim_is_that_of_the_next(slow_log: EventLog) -> None:
    """Once, also when several ask for it."""
    async with slow_log as log:
        await append(log, 10)
        async with claiming(log) as claimant:
            first = asyncio.create_task(claimant.claim(4, MIB))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            first.cancel()
            await asyncio.wait({first})
            answers = await asyncio.gather(claimed(claimant, 2), claimed(claimant, 2))

            assert first.cancelled()
            assert sorted(answers) == [[(0, 1), (1, 1), (2, 1), (3, 1)], [(4, 1), (5, 1)]]


async def test_claims_at_the_same_time_have_an_answer_each(slow_log: EventLog) -> None:
    """One after the other, and no event twice."""
    async with slow_log as log:
        await append(log, 10)
        async with claiming(log) as claimant:
            answers = await asyncio.gather(*(claimed(claimant, 2) for _ in range(4)))

    assert sorted(answers) == [[(offset, 1), (offset + 1, 1)] for offset in (0, 2, 4, 6)]


async def test_answer_that_nobody_asked_for_is_given_back_at_the_close(slow_log: EventLog) -> None:
    """Its attempt does not count, whether the claim was done or not."""
    async with slow_log as log:
        await append(log, 3)
        for turns in range(5):
            async with claiming(log) as claimant:
                task = asyncio.create_task(claimant.claim(4, MIB))
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait({task})
        async with claiming(log) as claimant:
            assert await claimed(claimant) == [(0, 1), (1, 1), (2, 1)]


async def test_events_addressed_to_others_are_settled_and_the_claim_goes_on(log: EventLog) -> None:
    """A page of nothing else is not an empty answer."""
    await append_for(log, "orders", "audit", [make_event(f"e{number}") for number in range(7)])
    await append_for(log, "orders", "billing", [make_event("mine", headers={"a": "b"})])
    async with claiming(log) as claimant:
        assert await claimed(claimant, 3) == [(7, 1)]
        assert claimant.holding == 1

    info = await log.consumer(*KEY)
    assert (info.cursor, info.skipped) == (7, 7)


async def test_page_is_not_lost_when_passing_over_others_fails(log: EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is raised; the next claim passes over them again, and has the rest."""
    await append_for(log, "orders", "audit", [make_event("theirs")])
    await append(log, 1)
    async with claiming(log) as claimant:
        with monkeypatch.context() as patch:
            patch.setattr(log.store, "settle", no_answer)
            with pytest.raises(StoreError, match="does not answer"):
                await claimant.claim(5, MIB)

        assert await claimed(claimant) == [(1, 1)]
    assert await cursor(log) == 1


class DamagedStore(MemoryStore):
    """Hands out nothing of some offsets, as a store on disk whose bytes have changed."""

    async def claim(
        self, key: ConsumerKey, token: int | None, *, max_events: int, max_bytes: int, ttl: float | None = None
    ) -> Claims:
        claims = await super().claim(key, token, max_events=max_events, max_bytes=max_bytes, ttl=ttl)
        damaged = [event for event in claims.events if event.offset < 20]
        await self.settle(key, token, [Disposition(event, Disposal.SKIP) for event in damaged])
        return claims._replace(
            events=[event for event in claims.events if event.offset >= 20],
            damaged=[event.offset for event in damaged],
        )


async def test_damaged_events_are_logged_once_and_counted(clock: LoopClock, caplog: pytest.LogCaptureFixture) -> None:
    """With their number and the first of their offsets."""
    async with EventLog(DamagedStore(clock=clock), clock=clock) as log:
        await append(log, 21)
        async with claiming(log) as claimant:
            assert await claimed(claimant, 20) == [(20, 1)]  # although all of the first page is damaged
            assert claimant.damaged == 20

    assert [record.message for record in caplog.records if record.levelno == logging.ERROR] == [
        "consumer 'billing' of topic 'orders' missed 20 events that are damaged, at offsets 0, 1, 2, 3, 4, 5, 6, 7, 8,"
        " 9, …; verify() lists them"
    ]


# -- waiting ----------------------------------------------------------------------------------------------------------


async def test_wait_returns_when_something_came_since_before_the_claim(log: EventLog) -> None:
    """Also between the claim and the wait, and before the first claim."""
    async with claiming(log) as claimant:
        await claimant.wait()
        assert await claimed(claimant) == []
        await append(log, 1)
        await claimant.wait()
        assert now() == at(log, 0)


async def test_wait_leaves_an_answer_that_nobody_took_to_the_next_claim(slow_log: EventLog) -> None:
    """It does not park beside events that are at hand."""
    async with slow_log as log, claiming(log) as claimant:
        assert await claimed(claimant) == []
        await append(log, 1)
        cancelled = asyncio.create_task(claimant.claim(1, MIB))
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.sleep(1)
        await claimant.wait()

        assert (await claimed(claimant), now()) == ([(0, 1)], 1)


async def test_wait_ends_at_its_timeout_and_at_the_next_due_time(log: EventLog) -> None:
    """Whichever comes first, exactly."""
    await append(log, 1)
    async with claiming(log) as claimant:
        (event,) = (await claimant.claim(1, MIB)).events
        await claimant.settle([Disposition(event, Disposal.NACK, 30)])
        assert await claimed(claimant) == []
        await claimant.wait(10)
        assert now() == at(log, 10)
        await claimant.wait(0)
        assert now() == at(log, 10)
        await claimant.wait(100)
        assert now() == at(log, 30)
        assert await claimed(claimant) == [(0, 2)]


async def test_wait_parks_for_as_long_as_nothing_moves(log: EventLog) -> None:
    """Without a timer; the close ends it in no time."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    async with claiming(log) as claimant:
        assert await claimed(claimant) == []
        waiting = asyncio.create_task(claimant.wait())
        await at_rest()
        before = loop.steps
        await asyncio.sleep(3600)
        assert loop.steps - before <= (5 if isinstance(log.store, MemoryStore) else 50)
        began = now()
    await waiting

    assert now() == at(log, began)


# -- settling ---------------------------------------------------------------------------------------------------------


async def test_settled_events_are_held_no_more_and_the_log_is_told(
    log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor are those that were given back, or let go."""
    told: list[None] = []
    monkeypatch.setattr(log, "settled", lambda: told.append(None))
    await append(log, 5)
    async with claiming(log) as claimant:
        events = (await claimant.claim(5, MIB)).events
        await claimant.settle(all_of(events[:2], Disposal.ACK))
        assert (claimant.holding, len(told)) == (3, 1)
        await claimant.give_back(events[2:3])
        claimant.let_go(events[3])
        assert claimant.holding == 1


async def test_cancelled_settlement_is_done_when_its_caller_goes_on(slow_log: EventLog) -> None:
    """At any step, and nothing is held."""
    async with slow_log as log:
        await append(log, 4)
        async with claiming(log) as claimant:
            for turns in range(1, 4):
                (event,) = (await claimant.claim(1, MIB)).events
                task = asyncio.create_task(claimant.settle(all_of([event], Disposal.ACK)))
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait({task})
                assert (await cursor(log), claimant.holding) == (turns, 0)


async def test_late_settlement_works_until_somebody_else_has_the_consumer(log: EventLog) -> None:
    """The store decides by the token."""
    await append(log, 2)
    async with claiming(log) as claimant:
        events = (await claimant.claim(2, MIB)).events
        for event in events:
            claimant.let_go(event)
    await claimant.settle(all_of(events[:1], Disposal.ACK))
    async with claiming(log) as other:
        assert await claimed(other) == [(1, 2)]
        with pytest.raises(LeaseLostError):
            await claimant.settle(all_of(events[1:], Disposal.ACK))
    assert await cursor(log) == 1


async def test_close_gives_back_all_that_is_held(log: EventLog) -> None:
    """Unharmed, of several claims; it may come twice, and at once."""
    await append(log, 6)
    async with claiming(log) as claimant:
        for _ in range(3):
            await claimant.claim(2, MIB)
        await asyncio.gather(claimant.close(), claimant.close())
        assert claimant.holding == 0
        with pytest.raises(ClosedError):
            await claimant.claim(1, MIB)
    async with claiming(log) as other:
        assert await claimed(other) == [(offset, 1) for offset in range(6)]


async def test_close_that_cannot_give_back_says_so_and_frees_the_consumer(
    log: EventLog, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The events are due to the next holder, and their attempt counts."""
    await append(log, 2)
    with monkeypatch.context() as patch:
        async with claiming(log) as claimant:
            await claimant.claim(2, MIB)
            patch.setattr(log.store, "settle", no_answer)
    async with claiming(log, when_held="raise") as other:
        assert await claimed(other) == [(0, 2), (1, 2)]

    assert (
        "consumer 'billing' of topic 'orders' could not give back 2 events, and their attempt counts: the store does"
        " not answer" in caplog.text
    )


async def test_close_after_the_consumer_was_removed_is_quiet(log: EventLog, caplog: pytest.LogCaptureFixture) -> None:
    """There is nothing to give back to."""
    await append(log, 2)
    async with claiming(log) as claimant:
        await claimant.claim(2, MIB)
        await log.remove_consumer(*KEY)
        with pytest.raises(UnknownConsumerError):
            await claimant.claim(2, MIB)

    assert caplog.text == ""


# -- moves ------------------------------------------------------------------------------------------------------------


async def test_claim_that_a_move_overtook_is_not_handed_out(slow_log: EventLog) -> None:
    """Whether it was made before the move or after it: what is handed out is of the new place, at its first attempt."""
    async with slow_log as log:
        await append(log, 6)
        for turns in range(6):
            async with claiming(log) as claimant:
                task = asyncio.create_task(claimed(claimant))
                for _ in range(turns):
                    await asyncio.sleep(0)
                await log.store.seek(KEY, 3)
                claimant.moved()
                if task.done():
                    assert await task == [(offset, 1) for offset in range(6)]
                    assert await claimed(claimant) == [(3, 1), (4, 1), (5, 1)]
                else:
                    assert await task == [(3, 1), (4, 1), (5, 1)]
            await log.store.seek(KEY, 0)


async def test_wait_ends_when_the_consumer_is_moved(log: EventLog) -> None:
    """Whether it began before or after, and whether the store has noticed or not."""
    async with claiming(log) as claimant:
        assert await claimed(claimant) == []
        waiting = asyncio.create_task(claimant.wait())
        await at_rest()
        began = now()
        claimant.moved()
        await waiting
        await claimant.wait()

        assert now() == at(log, began)


@pytest.mark.parametrize("is_first", [False, True])
async def test_move_or_close_at_the_moment_the_wait_runs_out_is_no_error(log: EventLog, is_first: bool) -> None:
    """Whichever timer the loop runs first."""
    loop = asyncio.get_running_loop()
    async with claiming(log) as claimant:
        assert await claimed(claimant) == []
        moment = loop.time() + 5
        waiting = claimant.wait(moment - loop.time())
        errors: list[BaseException] = []

        def act() -> None:
            try:
                claimant.moved()
                claimant.moved()
            except RuntimeError as error:
                errors.append(error)

        if is_first:
            loop.call_at(moment, act)
        task = asyncio.create_task(waiting)
        await asyncio.sleep(0)
        loop.call_at(moment, act)
        await task

        assert (errors, now()) == ([], at(log, moment))


async def test_giving_back_passes_over_what_is_lost(log: EventLog) -> None:
    """Of several claims only those from after the move are given back; the others cannot be, and nobody minds."""
    await append(log, 6)
    async with claiming(log) as claimant:
        before = (await claimant.claim(3, MIB)).events
        await log.store.seek(KEY, 2)
        after = (await claimant.claim(2, MIB)).events
        await claimant.give_back([*before, *after])

        assert claimant.holding == 0
        assert await claimed(claimant) == [(2, 1), (3, 1), (4, 1), (5, 1)]


# -- finishing --------------------------------------------------------------------------------------------------------


async def test_work_is_finished_although_its_caller_is_cancelled_again_and_again() -> None:
    """Who ends as cancelled, and only then."""
    done: list[float] = []

    async def work() -> str:
        await asyncio.sleep(10)
        done.append(now())
        return "done"

    task = asyncio.create_task(finish(work()))
    for _ in range(3):
        await asyncio.sleep(1)
        task.cancel()
    await asyncio.wait({task})

    assert (done, task.cancelled()) == ([10.0], True)
    assert await finish(work()) == "done"


async def test_error_of_work_whose_caller_was_cancelled_is_the_cause() -> None:
    """So that it is not lost for who looks; a caller that stays gets the error itself."""

    async def work() -> None:
        await asyncio.sleep(1)
        raise ValueError("no")

    task = asyncio.create_task(finish(work()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    assert isinstance(caught.value.__cause__, ValueError)
    with pytest.raises(ValueError, match="no"):
        await finish(work())


async def test_work_that_was_cancelled_itself_ends_its_caller() -> None:
    """As when a loop is torn down."""
    task = begin(asyncio.sleep(10))
    waiting = asyncio.create_task(ended(task))
    await asyncio.sleep(1)
    task.cancel()
    await asyncio.wait({waiting})

    assert waiting.cancelled()
