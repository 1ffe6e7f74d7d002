# ruff: noqa: ASYNC240  # nothing else runs in the loop
"""The power is cut at any moment: what ``power`` acknowledged is there, and the file opens, whatever the disk kept."""

from __future__ import annotations

import asyncio
import random
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from eventpipe import AsyncClient, RetryPolicy, TransientSinkError
from eventpipe.clock import Clock
from eventpipe.events import CapturedEvent, Durability
from eventpipe.spool.file import open_file
from eventpipe.spool.folder import check, orphans
from eventpipe.testing.recording import RecordingSink
from tests.scale import SCALE
from tests.spool.apsw_sqlite import connecting
from tests.spool.virtual_disk import Disk, Operation, Platter

EVENTS = 240
PRODUCERS = 12
TEXT = 2_000  # characters of an event: some hundred make the log long enough to be copied to where it belongs
CUTS = 250 * SCALE

pytestmark = [pytest.mark.asyncio, pytest.mark.wallclock, pytest.mark.timeout(60 + 60 * SCALE)]


class Mark(NamedTuple):
    """What is known of an event from a moment on."""

    what: str
    uuid: str


class WaveringSink(RecordingSink):
    """A far end that is down, up, and down again."""

    def __init__(self, disk: Disk) -> None:
        super().__init__(name="far")
        self.is_up = False
        self._disk = disk

    async def _answer(self, batch: object) -> None:
        if not self.is_up:
            raise TransientSinkError("down")
        for event in batch:  # type: ignore[attr-defined]
            self._disk.mark(Mark("arrived", event.uuid))


class Recorded(NamedTuple):
    """A life of a client, as its disk saw it."""

    operations: list[Operation]
    texts: dict[str, str]
    file: str


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Disk]:
    """What SQLite has its files on."""
    disk = Disk(f"disk-{abs(hash(request.node.nodeid))}")
    monkeypatch.setattr(sqlite3, "connect", connecting(disk.name))
    yield disk
    monkeypatch.undo()
    disk.unregister()


async def recorded(disk: Disk, folder: Path, durability: Durability) -> Recorded:
    """Producers that capture all the time, while the far end is down, up and down again."""
    sink = WaveringSink(disk)
    texts: dict[str, str] = {}
    numbers = iter(range(EVENTS))

    async def produce(client: AsyncClient) -> None:
        for number in numbers:
            text = chr(97 + number % 26) * TEXT
            receipt = await client.capture("e", properties={"n": number, "text": text})
            texts[receipt.uuid] = text
            assert receipt.durability == durability
            disk.mark(Mark("acknowledged", receipt.uuid))
            sink.is_up = EVENTS // 3 < number < 2 * EVENTS // 3

    retry = RetryPolicy(max_attempts=1000, initial=0.001, max_delay=0.002)
    client = AsyncClient(
        sink, spool=folder, durability=durability, max_batch_age=0.001, retry=retry, close_timeout=0.05
    )
    async with client:
        await asyncio.gather(*(produce(client) for _ in range(PRODUCERS)))
    (path,) = folder.glob("*.db")
    copied = sum(one.kind == "sync" and one.file == path.name for one in disk.operations)
    assert copied > 3  # the log to where it belongs, and not at the end alone
    return Recorded(disk.operations, texts, path.name)


async def rows_of(folder: Path) -> list[tuple[int, str, object]]:
    """What whoever opens the folder finds."""
    found: list[tuple[int, CapturedEvent]] = []
    for owned in orphans(check(folder)):
        file = await open_file(owned, ["far"], Clock())
        assert (file.holding.damaged, file.holding.missing) == (0, 0)
        while page := (
            await file.read(1, after=found[-1][0] if found else 0, held=set(), max_events=500, max_bytes=1 << 30)
        ).events:
            found += page
        await file.aclose()
        owned.release()
    return [(number, event.uuid, event.properties["text"]) for number, event in found]


@pytest.mark.parametrize("durability", ["power", "process"])
async def test_cut_of_power_loses_nothing_that_power_acknowledged_and_every_file_opens(
    disk: Disk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, durability: Durability
) -> None:
    """Whatever the disk kept of what was not synced: no event is altered or invented, and opening twice shows the same.

    At ``process`` nothing is promised but that.
    """
    life = await recorded(disk, tmp_path / "spool", durability)
    monkeypatch.undo()
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")  # noqa: T201  # to repeat a failure
    chance = random.Random(seed)
    whole, young = len(life.operations), len(life.operations) // 20  # while the files are made more is at stake
    moments = sorted([*chance.choices(range(whole), k=CUTS), *chance.choices(range(young), k=CUTS // 5), whole])

    platter, done = Platter([life.file]), 0
    owed: set[str] = set()
    dropped = 0
    for turn, moment in enumerate(moments):
        for operation in life.operations[done:moment]:
            if isinstance(operation.mark, Mark):
                (owed.add if operation.mark.what == "acknowledged" else owed.discard)(operation.mark.uuid)
            platter.do(operation)
        done = moment
        folder = check(tmp_path / "cut")
        platter.cut(folder, chance)
        found = await rows_of(folder)
        assert await rows_of(folder) == found, turn
        assert {(uuid, text) for _, uuid, text in found} <= set(life.texts.items())
        assert len({uuid for _, uuid, _ in found}) == len(found)
        lost = owed - {uuid for _, uuid, _ in found}
        if durability == "power":
            assert lost == set(), (turn, moment)
        dropped += len(lost)
        shutil.rmtree(folder)
    assert durability == "power" or dropped  # else every write was kept, and this proves nothing
