"""64 flushers at once over a far end that fails and dawdles: each flush ends when its own events have."""

from __future__ import annotations

import asyncio
import bisect
import os
import random
import time
from collections import Counter
from itertools import count
from operator import itemgetter

import pytest

from eventpipe import AsyncClient, Batch, FlushReport, PermanentSinkError, RetryPolicy, TransientSinkError
from eventpipe.sinks import CallbackSink
from eventpipe.testing import check_ledger
from tests.scale import SCALE

FLUSHERS = 64
WORKERS = 8
LATENCY = 0.05  # seconds at most
PATIENCE = 100.0  # virtual seconds after which a flush is taken for stuck
NEVER = 1_000_000  # attempts, before which every event is settled

pytestmark = [pytest.mark.stress, pytest.mark.timeout(120), pytest.mark.asyncio]


@pytest.fixture
def chance() -> random.Random:
    """The source of all chance in a test; ``EVENTPIPE_TEST_SEED`` repeats a run."""
    seed = int(os.environ.get("EVENTPIPE_TEST_SEED") or random.SystemRandom().randrange(2**32))
    print(f"EVENTPIPE_TEST_SEED={seed}")  # noqa: T201  # to repeat a failure
    return random.Random(seed)


class Storm:
    """Captures and flushes, with books of its own: what is pending, and when what is not was settled.

    Attributes:
        pending: Captured and not settled.
        settled_at: When the others were, in virtual time.
        first_flush: By event, the number of the first flush that has to wait for it; flushes count as they are called.
        called: Flushes called.
        returned: Numbers of those that have returned.
        delivered: Events that the far end accepted.
        dropped: Events that it refused.
        attempts: Batches that reached it.
        failed: Those that it did not accept.
        spanning: Those with events from before and after a barrier.
        rounds: Flushes of each flusher.
        failures: Their share, where nothing else makes attempts fail; a tenth of them is final.
        longest_backoff: The longest time between two attempts of a batch, and about that between two captures by a
            task that never flushes, in virtual seconds.
    """

    rounds = 200
    failures = 0.3
    longest_backoff = 0.05

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.pending: set[str] = set()
        self.settled_at: dict[str, float] = {}
        self.first_flush: dict[str, int] = {}
        self.called = 0
        self.returned: set[int] = set()
        self.delivered: list[str] = []
        self.dropped: list[str] = []
        self.attempts = 0
        self.failed = 0
        self.spanning = 0
        retry = RetryPolicy(max_attempts=NEVER, initial=0.01, max_delay=self.longest_backoff, min_delay=0.0)
        self.client = AsyncClient(
            CallbackSink(self.take),
            workers=WORKERS,
            batch_events=20,
            retry=retry,
            queue_events=1_000_000,
            random=random.Random(chance.random()),
        )
        self._numbers = count()
        self._loop = asyncio.get_running_loop()

    async def capture(self) -> None:
        uuid = f"00000000-0000-7000-8000-{next(self._numbers):012x}"
        self.pending.add(uuid)
        self.first_flush[uuid] = self.called
        await self.client.capture("e", uuid=uuid)

    async def flush(self) -> FlushReport:
        """Flush, and hold what came of it against the books."""
        number, self.called = self.called, self.called + 1
        own = set(self.pending)
        dropped_before = len(self.dropped)

        report = await self.client.flush(PATIENCE)

        self.returned.add(number)
        assert own.isdisjoint(self.pending)
        assert (report.pending, report.delivered + report.dropped) == (0, len(own))
        assert report.dropped == len(own.intersection(self.dropped[dropped_before:]))
        if own:
            assert self._loop.time() == max(self.settled_at[uuid] for uuid in own)
        return report

    async def take(self, batch: Batch) -> None:
        """The far end."""
        self.attempts += 1
        self.failed += 1
        uuids = [event.uuid for event in batch.events]
        first_flushes = {self.first_flush[uuid] for uuid in uuids}
        self.spanning += len(first_flushes) > 1
        await self.wait_for_turn(max(first_flushes))
        await asyncio.sleep(self.chance.random() * LATENCY)
        fate = self.chance.random()
        if fate < self.failures * 0.9:
            raise TransientSinkError
        self.pending.difference_update(uuids)
        self.settled_at.update(dict.fromkeys(uuids, self._loop.time()))
        if fate < self.failures:
            self.dropped += uuids
            raise PermanentSinkError
        self.failed -= 1
        self.delivered += uuids

    async def wait_for_turn(self, first_flush: int) -> None:
        """Every event may settle at any time."""

    async def flusher(self) -> Counter[str]:
        """One of 64: some events, or none, then a flush, again and again."""
        total: Counter[str] = Counter()
        for _ in range(self.rounds):
            for _ in range(self.chance.choice([0, 1, 1, 2, 5])):
                await self.capture()
            report = await self.flush()
            total.update(delivered=report.delivered, dropped=report.dropped)
            await asyncio.sleep(self.chance.choice([0.0, self.chance.random() * LATENCY]))
        return total

    async def racer(self) -> None:
        """Captures that belong to no flusher, at all times."""
        while len(self.returned) < FLUSHERS * self.rounds:
            await self.capture()
            await asyncio.sleep(self.chance.random() * self.longest_backoff)

    async def run(self) -> None:
        began = time.perf_counter()
        async with self.client:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(FLUSHERS):
                    tasks.create_task(self.flusher())
                for _ in range(4):
                    tasks.create_task(self.racer())
            # What the racers left last meets a far end that works: a close makes one final attempt, and this is no test
            # of what becomes of one that fails.
            self.failures = 0.0
        virtual, real = self._loop.time(), time.perf_counter() - began
        print(  # noqa: T201  # the figures
            f"{len(self.returned)} flushes, {len(self.settled_at)} events, {self.attempts} attempts, "
            f"{self.failed / self.attempts:.0%} of which failed, {virtual:.0f} s in virtual time, {real:.1f} s in real"
        )


class Chain(Storm):
    """A far end that holds every event until all flushes called before its capture have returned.

    A flush that waited for a single later event would wait for ever. Seven of the eight workers are held so, by the
    batches whose turn comes next; the others are told to come back.
    """

    rounds = min(200, 40 * SCALE)  # ten times as many attempts as there
    failures = 0.05  # more than enough are told to come back
    longest_backoff = 1.0

    def __init__(self, chance: random.Random) -> None:
        super().__init__(chance)
        self._turn = 0  # every flush with a lower number has returned
        self._held: list[tuple[int, asyncio.Future[bool]]] = []

    async def flush(self) -> FlushReport:
        report = await super().flush()
        while self._turn in self.returned:
            self._turn += 1
        while self._held and self._held[0][0] <= self._turn:
            self._held.pop(0)[1].set_result(True)
        return report

    async def wait_for_turn(self, first_flush: int) -> None:
        if first_flush <= self._turn:
            return
        turn = self._loop.create_future()
        bisect.insort(self._held, (first_flush, turn), key=itemgetter(0))
        if len(self._held) == WORKERS:
            self._held.pop()[1].set_result(False)
        if not await turn:
            raise TransientSinkError


@pytest.mark.parametrize("kind", [Storm, Chain], ids=["any order", "later events held for ever"])
async def test_every_flush_of_a_storm_ends_with_its_own_events(kind: type[Storm], chance: random.Random) -> None:
    """Thousands of flushes, 30 % failures: each returns at the very moment when the last of its events is settled."""
    storm = kind(chance)

    await storm.run()

    assert len(storm.returned) == FLUSHERS * storm.rounds
    assert storm.spanning == 0
    assert storm.failed > 0.28 * storm.attempts
    statistics = check_ledger(storm.client, received=storm.delivered, captured=storm.first_flush, drained=True)
    assert statistics.delivered == len(storm.delivered)
    assert statistics.dropped_by_reason == {"rejected": len(storm.dropped)}
    assert statistics.captured == len(storm.settled_at) == len(storm.delivered) + len(storm.dropped)
