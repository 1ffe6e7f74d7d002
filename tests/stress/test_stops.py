"""Stops at a random moment, in every way there is: what every subscriber was handed, against what came about."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress

import pytest

from eventpipe import (
    AsyncClient,
    Batch,
    CloseReport,
    DropReason,
    Outcome,
    OutcomeKind,
    PermanentSinkError,
    RetryPolicy,
    Subscription,
    TransientSinkError,
    Verdict,
)
from eventpipe.errors import Scope
from eventpipe.events import Overflow
from eventpipe.sinks import CallbackSink
from eventpipe.testing import VirtualTimeLoop, check_ledger, no_leaks
from tests.scale import SCALE

ROUNDS = 200 * SCALE
KINDS = [kind for kind in OutcomeKind if kind is not OutcomeKind.SPOOLED]  # there is no disk here
FINAL = (OutcomeKind.DELIVERED, OutcomeKind.DROPPED)
OVERFLOWS: list[Overflow] = ["drop_newest", "drop_oldest", "wait"]
SCOPES: list[Scope] = ["size", "event", "sink", "batch"]

Told = tuple[str, str, OutcomeKind, int]  # one event of one outcome: its id, the sink, the kind, the attempt
Judge = Callable[[Outcome], bool]

pytestmark = [pytest.mark.stress, pytest.mark.timeout(300)]


def told_of(outcome: Outcome) -> list[Told]:
    return [(uuid, outcome.sink, outcome.kind, outcome.attempt) for uuid in outcome.uuids]


def even(outcome: Outcome) -> bool:
    return len(outcome.captured) % 2 == 0


class Subscriber:
    """Reads to the end, at once or late, and knows from which outcome on it has to have everything."""

    def __init__(self, world: World) -> None:
        chance = self._chance = world.chance
        self.judge: Judge | None = chance.choice([None, None, even])
        self.since = len(world.before_stop)
        self.subscription: Subscription = world.client.subscribe(
            *chance.sample(KINDS, chance.randint(1, len(KINDS))), buffer=10**6, buffer_bytes=10**9, filter=self.judge
        )
        self._pauses = chance.choice([0, 0.05, 0.5])
        self.received: list[Told] = []
        self.reader = None if chance.random() < 0.3 else asyncio.create_task(self.read())

    async def read(self) -> None:
        async for item in self.subscription:
            assert isinstance(item, Outcome)  # no gap: its buffer is large
            self.received += told_of(item)
            if self._chance.random() < self._pauses:
                await asyncio.sleep(self._chance.choice([0, 0.01, 0.3]))

    async def end(self) -> None:
        """Read to the end, unless somebody is at it: who read in a loop that is gone has been cancelled there."""
        await (self.read() if self.reader is None or self.reader.done() else self.reader)
        assert await anext(self.subscription, None) is None

    def wants(self, outcome: Outcome) -> bool:
        return outcome.kind in self.subscription.kinds and (self.judge is None or self.judge(outcome))


class World:
    """A client over several far ends, producers, subscribers, and everything that a callback was told."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.outcomes: list[Outcome] = []
        self.before_stop: list[Outcome] = []  # those told while subscriptions were open
        sinks = [CallbackSink(self._answer, name=f"sink-{number}") for number in range(chance.randint(1, 3))]
        self.client = AsyncClient(
            *sinks,
            queue_events=chance.choice([20, 200]),
            batch_events=chance.choice([1, 3, 10]),
            max_batch_age=chance.choice([0, 0.01, 0.1]),
            workers=chance.randint(1, 4),
            max_event_age=chance.choice([None, None, 1]),
            retry=RetryPolicy(max_attempts=3, initial=0.02, min_delay=0.01),
            close_timeout=chance.choice([0, 0.05, 1, 5]),
        )
        self.client.on_outcome(self._told, *KINDS)
        self.witness = self.client.subscribe(OutcomeKind.INTERRUPTED)
        self.subscribers: list[Subscriber] = []
        self.report: CloseReport | None = None

    def _told(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        if not self.witness.is_closed:
            self.before_stop.append(outcome)

    async def _answer(self, batch: Batch) -> list[Verdict] | None:
        await asyncio.sleep(self.chance.choice([0, 0, 0.001, 0.02, 2]))
        match self.chance.randrange(8):
            case 0:
                raise TransientSinkError(retry_after=self.chance.choice([None, 0.05, 3600]))
            case 1:
                raise PermanentSinkError(scope=self.chance.choice(SCOPES))
            case 2:
                raise RuntimeError
            case 3:
                kinds = [OutcomeKind.DELIVERED, OutcomeKind.DROPPED, OutcomeKind.RETRY]
                return [Verdict(self.chance.choice(kinds)) for _ in batch.events]
        return None

    async def produce(self) -> None:
        for _ in range(self.chance.randint(10, 80)):
            with suppress(TimeoutError):
                async with asyncio.timeout(self.chance.choice([None, 0.01])):
                    await self.client.capture("e", overflow=self.chance.choice(OVERFLOWS))
            await asyncio.sleep(self.chance.choice([0, 0, 0.001, 0.01]))

    async def begin(self) -> list[asyncio.Task[None]]:
        """Subscribe early and late, and go on until a moment in the middle of it all; returns the producers."""
        self.subscribers += [Subscriber(self) for _ in range(self.chance.randint(1, 3))]
        producers = [asyncio.create_task(self.produce()) for _ in range(self.chance.randint(1, 4))]
        for _ in range(self.chance.randint(0, 3)):
            await asyncio.sleep(self.chance.choice([0, 0.005, 0.05]))
            self.subscribers.append(Subscriber(self))
        await asyncio.sleep(self.chance.uniform(0, 0.2))
        return producers

    async def live(self, stop: Callable[[World], Coroutine[None, None, CloseReport]]) -> None:
        """Begin, stop, and let everybody read to the end."""
        producers = await self.begin()

        self.report = await stop(self)

        await asyncio.gather(*producers)
        for subscriber in self.subscribers:
            await subscriber.end()

    def check(self) -> None:
        """What was handed out is what came about, and that is what was counted."""
        for subscriber in self.subscribers:
            wanted = [outcome for outcome in self.before_stop[subscriber.since :] if subscriber.wants(outcome)]
            assert subscriber.received == [told for outcome in wanted for told in told_of(outcome)]
            assert subscriber.subscription.missed == 0
        after_stop = self.outcomes[len(self.before_stop) :]  # a stop lets nothing come after it but late captures
        assert {outcome.reason for outcome in after_stop} <= {DropReason.CLOSED}
        statistics = check_ledger(self.client, drained=True)
        events: Counter[str] = Counter()
        reasons: Counter[str] = Counter()
        settled: Counter[tuple[str, str]] = Counter()
        for outcome in self.outcomes:
            events[outcome.kind] += len(outcome.captured)
            if outcome.kind is OutcomeKind.DROPPED:
                reasons[str(outcome.reason)] += len(outcome.captured)
            if outcome.kind in FINAL:
                settled.update((uuid, outcome.sink) for uuid in outcome.uuids)
        assert set(settled.values()) == {1}
        assert settled.total() == statistics.captured
        counted = (statistics.delivered, statistics.dropped, statistics.retried, statistics.interrupted)
        assert counted == tuple(
            events[kind]
            for kind in (OutcomeKind.DELIVERED, OutcomeKind.DROPPED, OutcomeKind.RETRY, OutcomeKind.INTERRUPTED)
        )
        assert statistics.dropped_by_reason == reasons
        assert self.report is not None
        assert (self.report.delivered, self.report.pending) == (statistics.delivered, 0)
        late = reasons[DropReason.CLOSED] - self.report.dropped_by_reason.get(DropReason.CLOSED, 0)
        assert late >= 0  # captures that came when the report had been made
        assert self.report.dropped_by_reason == +(reasons - Counter({str(DropReason.CLOSED): late}))


# -- the ways to stop -------------------------------------------------------------------------------------------------


async def close(world: World) -> CloseReport:
    return await world.client.aclose(world.chance.choice([None, 0, 0.001, 0.05, 10]))


async def cancel_the_closer(world: World) -> CloseReport:
    """The last who waited is cancelled, so that everything is given up at once."""
    closing = asyncio.create_task(close(world))
    await asyncio.sleep(world.chance.choice([0, 0, 0.001, 0.05]))
    closing.cancel()
    await asyncio.wait({closing})
    return await world.client.aclose()


async def close_several_times(world: World) -> CloseReport:
    """At once, with one of them cancelled."""
    closing = [asyncio.create_task(close(world)) for _ in range(3)]
    await asyncio.sleep(world.chance.choice([0, 0.001, 0.05]))
    closing[0].cancel()
    await asyncio.wait(closing)
    return await world.client.aclose()


async def cancel_the_lifespan(world: World) -> CloseReport:
    """The task that entered the client is cancelled, once or twice."""

    async def lifespan() -> None:
        async with world.client:
            await asyncio.Event().wait()

    living = asyncio.create_task(lifespan())
    for _ in range(world.chance.randint(1, 2)):
        await asyncio.sleep(world.chance.choice([0.001, 0.05]))
        living.cancel()
    await asyncio.wait({living})
    return await world.client.aclose()


async def cancel_the_dispatchers(world: World) -> CloseReport:
    """Somebody cancels tasks that are not theirs, also the one that reads outcomes; captures start them again."""
    for task in asyncio.all_tasks():
        if task.get_name().startswith("eventpipe-") and world.chance.random() < 0.7:
            task.cancel()
    await asyncio.sleep(world.chance.choice([0, 0.001, 0.05]))
    return await close(world)


STOPS = [close, cancel_the_closer, close_several_times, cancel_the_lifespan, cancel_the_dispatchers]


@pytest.mark.asyncio
@pytest.mark.parametrize("stop", STOPS, ids=lambda stop: stop.__name__.replace("_", " "))
async def test_every_outcome_before_a_stop_reaches_every_live_subscriber(
    stop: Callable[[World], Coroutine[None, None, CloseReport]],
) -> None:
    """In 200 rounds of each way to stop: the same events, sinks, kinds and attempts, in the same order, and no task."""
    kinds: Counter[str] = Counter()
    for world in worlds():
        with no_leaks():
            await world.live(stop)
        kinds.update(outcome.kind for outcome in world.before_stop)
        world.check()

    assert set(kinds) == set(KINDS)


def test_every_outcome_reaches_subscribers_through_one_loop_after_another() -> None:
    """In 200 rounds ``asyncio.run()`` ends in the middle of it all, twice, and the third closes: nothing is missed."""
    kinds: Counter[str] = Counter()
    for world in worlds():
        for live in (world.begin, world.begin, lambda world=world: world.live(close)):
            with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
                runner.run(live())
        kinds.update(outcome.kind for outcome in world.before_stop)
        world.check()

    assert set(kinds) == set(KINDS)


def worlds() -> Iterator[World]:
    """One for each round; a failure says which it was."""
    seed = random.randrange(10**9)
    for number in range(ROUNDS):
        print(f"seed {seed} + {number}")  # noqa: T201  # for a failure
        yield World(random.Random(seed + number))
