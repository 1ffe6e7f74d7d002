"""The examples of the log, run as their users run them: in processes, again, with one far end dead, with a crash."""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from eventpipe import EventLog
from eventpipe.stores import SqliteStore
from examples import outbox
from tests.far_end import FarEnd

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.wallclock, pytest.mark.timeout(60)]


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), **more}


def run(folder: Path, *command: str, given: str = "", **more: str) -> tuple[int, str, str]:
    """Exit code, output and errors of a program that ends by itself."""
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        env=environment(**more),
        input=given,
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@contextmanager
def running(folder: Path, *command: str) -> Iterator[subprocess.Popen[str]]:
    """One that runs until it is terminated, which is no error; what it prints is in the file ``printed``."""
    with (
        (folder / "printed").open("a") as printed,
        subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=folder,
            env=environment(),
            stdout=printed,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        try:
            yield process
            process.terminate()
            _, told = process.communicate(timeout=20)
        finally:
            process.kill()
    assert (process.returncode, "Traceback" in told) == (0, False), told


def await_lines(path: Path, count: int) -> list[str]:
    """Wait until a file has so many lines; all that it has."""
    deadline = time.monotonic() + 30
    while len(lines := path.read_text().splitlines()) < count:
        assert time.monotonic() < deadline, lines
        time.sleep(0.01)
    return lines


def test_fan_out_gives_the_warehouse_what_it_missed_and_nobody_anything_twice(tmp_path: Path) -> None:
    """Dead since the first run, then there: three runs, of which the second meets no new event."""

    def audited() -> list[str]:
        return [json.loads(line)["distinct_id"] for line in (tmp_path / "audit.ndjson").read_text().splitlines()]

    with FarEnd() as collector, FarEnd() as warehouse:
        dead = {"COLLECTOR_URL": collector.url, "WAREHOUSE_URL": "http://127.0.0.1:9/events"}
        alive = {**dead, "WAREHOUSE_URL": warehouse.url}
        first = run(tmp_path, "examples.fan_out", given="alice\nbob\n", **dead)
        assert (collector.people, audited()) == (["alice", "bob"], ["alice", "bob"])
        second = run(tmp_path, "examples.fan_out", **alive)
        third = run(tmp_path, "examples.fan_out", given="carol\n", **alive)

        assert warehouse.people == collector.people == audited() == ["alice", "bob", "carol"]
        assert warehouse.ids == collector.ids
    assert (first[0], first[1].split()) == (1, [])
    assert first[2].splitlines()[-3:] == ["audit: 0 pending", "collector: 0 pending", "warehouse: 2 pending"]
    assert second == third == (0, "", "audit: 0 pending\ncollector: 0 pending\nwarehouse: 0 pending\n")


def test_pull_worker_does_each_job_once_and_gives_up_what_cannot_be_done(tmp_path: Path) -> None:
    """Two processes of four workers; the job that failed three times is listed, and done once its reason is gone."""
    names = [f"file{number}" for number in range(40)]
    for name in names:
        (tmp_path / name).write_text(name)
    added = run(tmp_path, "examples.pull_worker", "add", *names, "late")

    with running(tmp_path, "examples.pull_worker", "work"), running(tmp_path, "examples.pull_worker", "work"):
        done = await_lines(tmp_path / "printed", len(names))
        dead = asyncio.run(await_letter(tmp_path / "jobs.db"))
        listed = run(tmp_path, "examples.pull_worker", "dead")
        (tmp_path / "late").write_text("late")
        again = run(tmp_path, "examples.pull_worker", "again")
        done = await_lines(tmp_path / "printed", len(names) + 1)

    assert added == (0, "", "")
    assert (dead, listed) == ("late", (0, "3 attempts  late: No such file or directory\n", ""))
    assert again == (0, "1 jobs are open again\n", "")
    checksums = {name: hashlib.sha256(name.encode()).hexdigest() for name in [*names, "late"]}
    assert sorted(done) == sorted(f"{checksum}  {name}" for name, checksum in checksums.items())
    assert run(tmp_path, "examples.pull_worker", "dead") == (0, "", "")


async def await_letter(path: Path) -> str:
    """Wait for a dead letter; the file that it is about."""
    async with EventLog(SqliteStore(path, shared=True)) as log, asyncio.timeout(30):
        while not (letters := await log.dead_letters("files")):  # noqa: ASYNC110  # it comes from another process
            await asyncio.sleep(0.05)
    return str(letters[0].event.properties["path"])


async def kept_in(path: Path) -> list[tuple[str, str | None, object, object]]:
    """Ids, customers, properties and times of what the log of the shop keeps."""
    async with EventLog(SqliteStore(path)) as log:
        return [
            (event.uuid, event.distinct_id, event.properties, event.timestamp)
            async for stored in log.read("orders")
            if (event := stored.event) is not None
        ]


def test_outbox_has_an_event_for_each_order_that_was_committed(tmp_path: Path) -> None:
    """In their order, with the time and id that they had there; a transaction that is undone leaves none."""
    ordered = [run(tmp_path, "examples.outbox", "order", name, "19.9")[:2] for name in ("alice", "bob")]
    with closing(sqlite3.connect(tmp_path / "shop.db")) as db:
        rows = db.execute("SELECT uuid, customer, properties, happened_at FROM outbox ORDER BY place").fetchall()
        with pytest.raises(sqlite3.IntegrityError):
            outbox.place_order(db, None, 5.0)  # type: ignore[arg-type]  # as a fault of a caller's
    with running(tmp_path, "examples.outbox", "relay"):
        moved = await_lines(tmp_path / "printed", 1)

    assert (ordered, moved) == ([(0, "order 1\n"), (0, "order 2\n")], ["2 events moved"])
    assert asyncio.run(kept_in(tmp_path / "orders-log.db")) == [
        (id_, customer, json.loads(properties), datetime.datetime.fromisoformat(happened_at))
        for id_, customer, properties, happened_at in rows
    ]


class CrashError(Exception):
    """The process ended here."""


class Crashing(EventLog):
    """Appends, and then its process ends."""

    async def append_many(self, *arguments: Any, **options: Any) -> list[int]:  # Any: handed through
        await super().append_many(*arguments, **options)
        raise CrashError


@pytest.mark.asyncio
async def test_outbox_keeps_an_event_once_where_its_relay_crashed_after_the_append(tmp_path: Path) -> None:
    """The next relay appends it again, by the same id; and what was ordered meanwhile comes after it."""
    with closing(outbox.connect(str(tmp_path / "shop.db"))) as db:
        outbox.place_order(db, "alice", 5.0)
        async with Crashing(SqliteStore(tmp_path / "log.db", dedupe_window=outbox.WEEK)) as log:
            with pytest.raises(CrashError):
                await outbox.relay(db, log)
        outbox.place_order(db, "bob", 5.0)
        async with EventLog(SqliteStore(tmp_path / "log.db", dedupe_window=outbox.WEEK)) as log:
            moved = [await outbox.relay(db, log), await outbox.relay(db, log)]

    assert moved == [2, 0]
    assert [customer for _, customer, _, _ in await kept_in(tmp_path / "log.db")] == ["alice", "bob"]
