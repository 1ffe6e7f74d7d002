"""Far ends that go away for a while, over real sockets, with default options: nothing is lost, nothing comes twice."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from eventpipe import AsyncClient
from eventpipe.cli.collector_process import collector_ids, collector_process, collector_statistics
from eventpipe.sinks import HttpSink
from eventpipe.testing import Reply, ScriptedServer, check_ledger

RATE = 2000  # events per second
TICK = 0.005
OUTAGE = 2.0

pytestmark = [pytest.mark.wallclock, pytest.mark.timeout(60), pytest.mark.asyncio]


async def produce(client: AsyncClient, seconds: float) -> list[str]:
    """Capture at a steady rate; the ids."""
    clock = asyncio.get_running_loop().time
    began = clock()
    uuids: list[str] = []
    while (elapsed := clock() - began) < seconds:
        while len(uuids) < elapsed * RATE:
            uuids.append((await client.capture("page_viewed", properties={"number": len(uuids)})).uuid)
        await asyncio.sleep(TICK)
    return uuids


async def test_two_seconds_of_503_lose_nothing() -> None:
    """Every event arrives once, by id, and the counters of both sides say so; none waits long once that is over."""
    async with collector_process("--outage", f"1s:{OUTAGE}s") as url:
        async with AsyncClient(HttpSink(url)) as client:
            uuids = await produce(client, 1 + OUTAGE + 1)
            report = await client.flush(timeout=20)
            statistics = check_ledger(client)
        arrived = await collector_ids(url)
        seen = await collector_statistics(url)

    assert report.elapsed < 2  # the longest backoff of a batch that failed three times
    assert arrived == dict.fromkeys(uuids, 1)
    assert (statistics.captured, statistics.delivered) == (len(uuids), len(uuids))
    assert seen["failed"] == statistics.retries >= OUTAGE * RATE / 500
    assert seen["requests"] == statistics.attempts


async def test_two_seconds_of_refused_connections_lose_nothing() -> None:
    """The far end is gone, connections and all, and comes back on the same port."""
    async with ScriptedServer() as server:
        async with AsyncClient(HttpSink(server.url)) as client:
            producing = asyncio.create_task(produce(client, 1 + OUTAGE + 1))
            await server.reached(2)
            while client.statistics().in_flight:  # noqa: ASYNC110  # what is cut in flight may come twice
                await asyncio.sleep(0)
            await server.stop()
            before = len(server.requests)
            await asyncio.sleep(OUTAGE)
            during = check_ledger(client)
            await server.start()
            uuids = await producing
            await client.flush(timeout=20)

        assert during.waiting_retry > OUTAGE * RATE / 2
        assert during.delivered == len(server.uuids[: during.delivered]) < len(uuids) / 2
        assert before < len(server.requests)
        assert Counter(server.uuids) == Counter(uuids)
        statistics = check_ledger(client, received=server.uuids, captured=uuids, drained=True)
        assert (statistics.delivered, statistics.dropped) == (len(uuids), 0)
        assert statistics.attempts - statistics.retries == len(server.requests)


@pytest.mark.parametrize("turns", range(6))
async def test_connections_that_die_between_requests_burn_no_attempt(turns: int) -> None:
    """All kept-alive connections are cut at once, and the next requests meet them at every stage of their death."""
    workers = 16
    async with ScriptedServer(default=Reply(latency=0.02)) as server:
        async with AsyncClient(HttpSink(server.url), batch_events=1, workers=workers) as client:
            uuids = []
            for _ in range(10):
                uuids += [client.capture_nowait("e").uuid for _ in range(workers)]
                await client.flush()
                assert server.open_connections == workers
                for writer in list(server._tasks.values()):
                    writer.transport.abort()
                for _ in range(turns):
                    await asyncio.sleep(0)
        statistics = check_ledger(client, received=server.uuids, captured=uuids, drained=True)

    assert Counter(server.uuids) == Counter(uuids)
    assert (statistics.attempts, statistics.retries) == (10 * workers, 0)
    assert server.connections == 10 * workers
