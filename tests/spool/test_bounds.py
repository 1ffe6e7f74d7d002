"""How much a spool keeps, and what gives way."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path

import pytest

from eventpipe import AsyncClient, DropReason, RetryPolicy, TransientSinkError
from eventpipe.options import MIB
from eventpipe.spool.bounds import SpoolBounds
from eventpipe.testing import check_ledger
from eventpipe.testing.clock import LoopClock
from eventpipe.testing.recording import RecordingSink

TEXT = "x" * 8000
STUBBORN = RetryPolicy(max_attempts=10_000)


class DownSink(RecordingSink):
    """A far end that is down, until it is up."""

    is_up = False

    async def _answer(self, batch: object) -> None:
        if not self.is_up:
            raise TransientSinkError("down")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


async def fill(client: AsyncClient, events: int) -> list[str]:
    """Capture more than memory and disk have room for, a few at a time; their ids."""
    uuids = []
    for number in range(events):
        uuids.append((await client.capture("a", properties={"n": number, "text": TEXT})).uuid)
        if number % 10 == 9:
            await client.flush(0)
            await asyncio.sleep(0.05)
    return uuids


def dropped(client: AsyncClient) -> dict[str, int]:
    return dict(client.statistics().dropped_by_reason)


# -- the rules --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overflow", "used", "is_disk_full", "refuses", "excess"),
    [
        ("drop_newest", 999, False, False, 0),
        ("drop_newest", 1000, False, True, 0),
        ("drop_newest", 400, True, False, 0),  # the disk says so itself
        ("drop_oldest", 999, False, False, 0),
        ("drop_oldest", 1000, False, False, 50),
        ("drop_oldest", 1300, False, False, 350),
        ("drop_oldest", 400, True, False, 20),
    ],
)
def test_what_gives_way(overflow: str, used: int, is_disk_full: bool, refuses: bool, excess: int) -> None:
    """The new is refused from the bound on; of the oldest goes what is beyond it, and a twentieth."""
    bounds = SpoolBounds(1000, overflow=overflow)  # type: ignore[arg-type]
    assert (bounds.refuses(used), bounds.excess(used, is_disk_full=is_disk_full)) == (refuses, excess)


def test_what_has_waited_for_too_long() -> None:
    """Nothing, where there is no bound."""
    assert SpoolBounds(1).expired_before(100.0) == -math.inf
    assert SpoolBounds(1, max_age=30.0).expired_before(100.0) == 70.0


# -- by a client ------------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_full_spool_keeps_what_it_has(folder: Path) -> None:
    """What is new is dropped for want of room, within the bound; when the far end is back the rest arrives."""
    sink = DownSink(name="sink")
    async with AsyncClient(
        sink, spool=folder, spool_bytes=MIB, queue_events=10, batch_events=10, retry=STUBBORN
    ) as client:
        uuids = await fill(client, 300)
        numbers = check_ledger(client)
        assert dropped(client) == {DropReason.QUEUE_FULL: numbers.dropped}
        assert 100 < numbers.spooled < 150
        assert client._spool is not None
        assert client._spool.bytes < 1.2 * MIB
        sink.is_up = True
        await client.flush()
        while client.statistics().delivered < 300 - numbers.dropped:  # noqa: ASYNC110  # threads bring it about
            await asyncio.sleep(0.01)
        again = await client.capture("a", properties={"text": TEXT})
        assert again.accepted
    assert sink.uuids[:-1] == uuids[: 300 - numbers.dropped]
    check_ledger(client, received=sink.uuids, drained=True)
    assert list(folder.iterdir()) == []  # noqa: ASYNC240  # a look


@pytest.mark.asyncio
async def test_full_spool_lets_the_oldest_go_where_that_is_wanted(folder: Path) -> None:
    """Everything new is kept; what goes is counted, and the bound holds."""
    sink = DownSink(name="sink")
    async with AsyncClient(
        sink,
        spool=folder,
        spool_bytes=MIB,
        spool_overflow="drop_oldest",
        queue_events=10,
        batch_events=10,
        retry=STUBBORN,
    ) as client:
        uuids = await fill(client, 400)
        numbers = check_ledger(client)
        assert dropped(client) == {DropReason.QUEUE_FULL: numbers.dropped}
        assert 60 < numbers.spooled < 150
        assert client._spool is not None
        assert client._spool.bytes < 1.2 * MIB
        sink.is_up = True
        while client.statistics().delivered < 400 - numbers.dropped:  # noqa: ASYNC110  # threads bring it about
            await asyncio.sleep(0.01)
    # The first ten had a place in memory.
    assert sorted(sink.uuids) == sorted(uuids[:10] + uuids[10 + numbers.dropped :])
    check_ledger(client, received=sink.uuids, drained=True)


@pytest.mark.asyncio
async def test_what_waited_for_too_long_is_dropped_as_expired(folder: Path) -> None:
    """And nothing else."""
    sink = DownSink(name="sink")
    async with AsyncClient(
        sink,
        spool=folder,
        spool_age=5,
        queue_events=10,
        batch_events=10,
        clock=LoopClock(),
        close_timeout=0.5,
        retry=STUBBORN,
    ) as client:
        await fill(client, 30)
        await asyncio.sleep(4)
        assert dropped(client) == {}
        await fill(client, 10)
        await asyncio.sleep(3)
        numbers = check_ledger(client)
        assert dropped(client) == {DropReason.EXPIRED: 20}
        assert (numbers.spooled, numbers.pending) == (10, 10)
