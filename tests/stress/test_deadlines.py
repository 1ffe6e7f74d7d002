"""Closing on time over real sockets, whatever the far end does."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import psutil
import pytest

from eventpipe import AsyncClient, CloseReport, DropReason
from eventpipe.sinks import HttpSink
from eventpipe.testing import check_ledger
from tests.stress.far_end import RUN, FarEnd, far_end

EVENTS = 10_000
BATCHES = 20
WORKERS = 16
SENT = WORKERS * EVENTS // BATCHES  # events that leave at once
GRACE = 0.25  # seconds that a close may take beyond its deadline
AFTERWARDS = 1.0  # seconds: longer than the first backoff, so that a retry that outlived its client would be seen

pytestmark = [pytest.mark.stress, pytest.mark.wallclock, pytest.mark.timeout(60), pytest.mark.asyncio]

Held = tuple[set[asyncio.Task[object]], set[object], int]
Begun = Callable[[AsyncClient], Awaitable[bool]]


def held() -> Held:
    """The tasks, the connections and the number of open files that this process has now."""
    process = psutil.Process()
    connections: set[object] = {(found.fd, found.laddr, found.raddr) for found in process.net_connections("inet")}
    return set(asyncio.all_tasks()), connections, process.num_fds()


async def close(url: str, timeout: float, begun: Begun | None, run: str = "-") -> tuple[CloseReport, int]:
    """Fill a client, close it, and look at once at what is left.

    Args:
        url: The far end.
        timeout: Of the close.
        begun: Whether requests are so far under way that the close can begin; ``None``: it begins before any.
        run: What the far end counts the requests by.

    Returns:
        The report, and the attempts that began after the close had.
    """
    before = held()
    client = AsyncClient(HttpSink(url, headers={RUN: run}))
    await client.capture("e")
    for _ in range(EVENTS - 1):
        client.capture_nowait("e")
    while begun is not None and not await begun(client):  # noqa: ASYNC110  # it happens in another process
        await asyncio.sleep(0.01)
    assert client.statistics().pending == EVENTS
    attempts = client.statistics().attempts
    clock = asyncio.get_running_loop().time
    began = clock()

    report = await client.aclose(timeout)

    elapsed = clock() - began
    assert held() == before
    print(f"aclose({timeout:g}) took {elapsed:.3f} s after {attempts} attempts")  # noqa: T201  # the figure
    assert elapsed <= timeout + GRACE
    assert (report.delivered, report.dropped, report.pending, report.stragglers) == (0, EVENTS, 0, ())
    return report, check_ledger(client, drained=True).attempts - attempts


@asynccontextmanager
async def quiet_afterwards(kind: str) -> AsyncIterator[FarEnd]:
    """A far end that must see nothing more once the block is over."""
    async with far_end(kind) as far:
        yield far
        await asyncio.sleep(0.1)  # it reads what was written before the last close
        seen = await far.seen()
        await asyncio.sleep(AFTERWARDS)
        assert await far.seen() == seen


@pytest.mark.parametrize(
    ("kind", "timeouts"),
    [
        ("never answers", [0, 0.1, 1, 5]),
        ("drips its headers", [0, 0.1, 1, 5]),
        ("drips its body", [0, 0.1, 1]),
        ("reads nothing", [0, 0.1, 1, 5]),
    ],
)
async def test_close_is_on_time_where_no_answer_comes(kind: str, timeouts: list[float]) -> None:
    """All 10 000 events are accounted for, no task and no socket is left, and no request begins afterwards."""
    async with quiet_afterwards(kind) as far:
        for timeout in timeouts:
            _, connections_before = await far.seen()
            run = f"aclose({timeout})"

            async def all_are_out(client: AsyncClient, before: int = connections_before, run: str = run) -> bool:
                requests, connections = await far.seen()
                return (connections - before if kind == "reads nothing" else requests[run]) == WORKERS

            report, attempts = await close(far.url, timeout, all_are_out, run)
            assert report.dropped_by_reason == {DropReason.CLOSE_DEADLINE: EVENTS}
            assert attempts == 0


@pytest.mark.parametrize("kind", ["never answers", "drips its headers", "reads nothing", "answers 503"])
async def test_close_is_on_time_where_nothing_was_sent_before(kind: str) -> None:
    """The first requests begin together with the close, and with a deadline of 0 none does."""
    async with quiet_afterwards(kind) as far:
        await close(far.url, 0, None)
        assert await far.seen() == ({}, 0)
        for timeout in (0.05, 0.1):
            await close(far.url, timeout, None)


async def test_close_is_on_time_where_connections_stay_half_open() -> None:
    """The system takes the first of them for a far end that is not there, and leaves the others without an answer."""

    async def all_are_out(client: AsyncClient) -> bool:
        return client.statistics().in_flight == SENT

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for timeout in (0, 0.1, 1):
            report, _ = await close(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout, all_are_out)
            assert report.dropped_by_reason == {DropReason.CLOSE_DEADLINE: EVENTS}


async def test_close_is_on_time_where_every_attempt_fails() -> None:
    """Each batch gets exactly one more attempt, however much time there is for others."""

    async def all_have_failed(client: AsyncClient) -> bool:
        return client.statistics().attempts >= BATCHES and client.statistics().in_flight == 0

    async with quiet_afterwards("answers 503") as far:
        for timeout in (0, 0.1, 1, 5):
            report, attempts = await close(far.url, timeout, all_have_failed)
            assert set(report.dropped_by_reason) <= {DropReason.CLOSE_DEADLINE, DropReason.EXHAUSTED}
            assert attempts == BATCHES if timeout >= 1 else attempts <= BATCHES


@pytest.mark.parametrize("kind", ["asks for an hour", "asks everybody for an hour"])
async def test_close_does_not_wait_for_a_retry_after_beyond_its_deadline(kind: str) -> None:
    """What may not be sent before the deadline is dropped at once, and the close ends far before it."""

    async def all_were_asked(client: AsyncClient) -> bool:
        return client.statistics().waiting_retry == SENT

    async with quiet_afterwards(kind) as far:
        for timeout in (0, 0.1, 1, 5):
            report, attempts = await close(far.url, timeout, all_were_asked)
            assert report.elapsed <= GRACE
            assert (report.dropped_by_reason, attempts) == ({DropReason.CLOSE_DEADLINE: EVENTS}, 0)
        requests, _ = await far.seen()
    assert requests.total() == 4 * WORKERS
