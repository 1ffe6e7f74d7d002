"""The power is cut again, while the next life makes good what the first cut left, takes it over and adds its own."""

from __future__ import annotations

import random
import shutil
import sqlite3
from pathlib import Path

import pytest

from eventpipe import AsyncClient, RetryPolicy
from eventpipe.spool.folder import check
from tests.scale import SCALE
from tests.spool.apsw_sqlite import connecting
from tests.spool.test_power_cut import Mark, WaveringSink, disk, recorded, rows_of
from tests.spool.virtual_disk import Disk, Platter

__all__ = ["disk"]  # a fixture

LIVES = 6 * SCALE
CUTS = 12

pytestmark = [pytest.mark.asyncio, pytest.mark.wallclock, pytest.mark.timeout(60 + 60 * SCALE)]


async def go_on(disk: Disk, folder: Path) -> set[str]:
    """Take over what is there, send some of it and add some, at ``power``; what was added."""
    sink = WaveringSink(disk)
    added = set()
    async with AsyncClient(
        sink,
        spool=folder,
        durability="power",
        max_batch_age=0.001,
        batch_events=20,
        retry=RetryPolicy(max_attempts=1000, initial=0.001, max_delay=0.002),
        close_timeout=0.05,
    ) as client:
        for number in range(12):
            sink.is_up = number % 4 == 3
            receipt = await client.capture("e", properties={"text": str(number) * 3000})
            added.add(receipt.uuid)
            assert receipt.durability == "power"
            disk.mark(Mark("acknowledged", receipt.uuid))
    return added


async def test_second_cut_of_power_loses_nothing_either(
    disk: Disk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What the first life was told is kept, and what the second one was, is there after both cuts."""
    first = await recorded(disk, tmp_path / "spool", "power")
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")  # noqa: T201  # to repeat a failure
    chance = random.Random(seed)
    for turn in range(LIVES):
        owed: set[str] = set()
        platter = Platter([first.file])
        for operation in first.operations[: chance.randrange(len(first.operations))]:
            if isinstance(operation.mark, Mark):
                (owed.add if operation.mark.what == "acknowledged" else owed.discard)(operation.mark.uuid)
            platter.do(operation)
        folder = check(tmp_path / "cut")
        platter.cut(folder, chance)
        left = {path.name: path.read_bytes() for path in folder.iterdir()}

        second = Disk(f"{disk.name}-{turn}")
        monkeypatch.setattr(sqlite3, "connect", connecting(second.name))
        added = await go_on(second, folder)
        monkeypatch.undo()
        second.unregister()
        shutil.rmtree(folder)

        made = {one.file for one in second.operations if one.file} - {*left}
        for moment in chance.choices(range(len(second.operations) + 1), k=CUTS):
            platter = Platter([name for name in made if name.endswith(".db")], left)
            owed_then = set(owed)
            for operation in second.operations[:moment]:
                if isinstance(operation.mark, Mark):
                    change = owed_then.add if operation.mark.what == "acknowledged" else owed_then.discard
                    change(operation.mark.uuid)
                platter.do(operation)
            folder = check(tmp_path / "cut")
            platter.cut(folder, chance)
            found = await rows_of(folder)
            assert await rows_of(folder) == found, (turn, moment)
            there = {uuid for _, uuid, _ in found}
            assert owed_then <= there, (turn, moment)
            assert there <= {*first.texts} | added, (turn, moment)
            shutil.rmtree(folder)
