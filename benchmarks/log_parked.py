"""What an append in memory costs while receivers park: nobody, many on other topics, and many on the topic itself."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from benchmarks.log_loads import TOPIC, each, memory
from benchmarks.turns import Found
from benchmarks.workload import Captured, pool
from eventpipe.log.eventlog import EventLog
from eventpipe.log.receiver import Receiver

RECEIVERS = 1_000
COMMITS = 5  # in a turn, each of which wakes everybody on the topic
# Turns of the loop in which a receiver that was woken has settled what it got and parks again: a third would do.
SETTLING = 32

NOBODY, ELSEWHERE, SAME, SHARED = "nobody", "on other topics", "on the topic", "sharing a consumer of the topic"


async def parked(turns: int, events: int) -> list[Found]:
    """Appends beside nobody and beside receivers of other topics; then commits that wake receivers of the topic.

    Of those that wake somebody ``append_us`` is the time until the append returns, by receiver, and ``each_us`` the CPU
    by receiver until all of them park again: a receiver of its own consumer is handed the event and settles it, of
    those that share a consumer one is.
    """
    found = {name: Found("log_parked", "eventpipe", {"parked": name}) for name in (NOBODY, ELSEWHERE, SAME, SHARED)}
    for turn in range(turns + 1):
        async with EventLog(memory()) as log:
            alone = await _append(log, events)
            async with _receivers([log.receiver(f"{TOPIC}-{number}", "own") for number in range(RECEIVERS)]):
                beside = await _append(log, events)
            pool_of = {
                SAME: [log.receiver(TOPIC, f"own-{number}", start="latest") for number in range(RECEIVERS)],
                SHARED: [log.receiver(TOPIC, "all", start="latest", competing=True) for _ in range(RECEIVERS)],
            }
            woken = {}
            for name, receivers in pool_of.items():
                async with _receivers(receivers) as settled:
                    woken[name] = await _wake(log)
                    found[name].captured += COMMITS * (RECEIVERS if name == SAME else 1)
                    found[name].delivered += settled[0]
            for name in (NOBODY, ELSEWHERE):
                found[name].captured += events
            found[NOBODY].delivered = found[ELSEWHERE].delivered = found[NOBODY].captured
            assert (await log.topic(TOPIC)).events == 2 * events + 2 * COMMITS
        if turn:
            found[NOBODY].add(cpu_us=alone)
            found[ELSEWHERE].add(cpu_us=beside)
            found[ELSEWHERE].beside(NOBODY, "cpu_us", beside / alone)
            for name, (append_us, each_us) in woken.items():
                found[name].add(append_us=append_us, each_us=each_us)
    return list(found.values())


async def _append(log: EventLog, events: int) -> float:
    async def produce(share: Sequence[Captured]) -> None:
        for event, who, properties in share:
            await log.append(TOPIC, event, distinct_id=who, properties=properties)

    rates = await each(events, produce)
    return rates["cpu_us"]


async def _wake(log: EventLog) -> tuple[float, float]:
    """Commit one event at a time: microseconds that the appends took, and of CPU in all, by commit and receiver."""
    event, who, properties = pool()[0]
    appends = 0.0
    gc.collect()
    began = time.process_time()
    for _ in range(COMMITS):
        called = time.process_time()
        await log.append(TOPIC, event, distinct_id=who, properties=properties)
        appends += time.process_time() - called
        for _ in range(SETTLING):
            await asyncio.sleep(0)
    worked = time.process_time() - began
    return tuple(seconds / COMMITS / RECEIVERS * 1e6 for seconds in (appends, worked))  # type: ignore[return-value]


@asynccontextmanager
async def _receivers(receivers: Sequence[Receiver]) -> AsyncIterator[list[int]]:
    """Receivers that settle whatever comes, each in a task of its own, and park; how many events they settled."""
    settled = [0]

    async def receive(receiver: Receiver) -> None:
        async for delivery in receiver:
            await delivery.ack()
            settled[0] += 1

    async with AsyncExitStack() as stack:
        for receiver in receivers:
            await stack.enter_async_context(receiver)
        tasks = [asyncio.create_task(receive(receiver)) for receiver in receivers]
        for _ in range(SETTLING):
            await asyncio.sleep(0)
        yield settled
        for receiver in receivers:
            await receiver.aclose()
        await asyncio.gather(*tasks)
