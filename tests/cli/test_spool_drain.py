"""``eventpipe spool drain``: what a spool holds reaches a far end, and goes once it is there."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import orjson
import pytest

from eventpipe.cli.collector import Collector
from eventpipe.cli.faults import Fail, Faults
from tests.cli.process import command, run
from tests.cli.spools import change, make_spool, rows
from tests.cli.test_send import objects, report

pytestmark = [pytest.mark.asyncio, pytest.mark.wallclock]


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def files_in(spool: Path) -> list[Path]:
    return list(spool.iterdir())


async def made(spool: Path, events: int, *sinks: str) -> str:
    return await asyncio.to_thread(make_spool, spool, events, sinks=sinks or ("web",))


async def test_everything_arrives_once_with_its_id_and_the_folder_is_empty(spool: Path, tmp_path: Path) -> None:
    """From all files, whatever sinks it was owed to."""
    await made(spool, 1234)
    await made(spool, 100, "web", "audit")
    before = await run("spool", "export", str(spool))

    async with Collector(store=tmp_path, remember_ids=True) as collector:
        ended = await run("spool", "drain", str(spool), "--to", collector.url)

    assert (ended.code, ended.stdout.startswith("1,334 of 1,334 events delivered in ")) == (0, True), ended
    assert files_in(spool) == []
    sent = [orjson.loads(line) for line in before.stdout.splitlines()]
    arrived = {event["uuid"]: event for event in objects(tmp_path / "events.ndjson")}
    assert collector.duplicates == 0
    assert [arrived[event["uuid"]]["properties"] for event in sent] == [event["properties"] for event in sent]
    assert [arrived[event["uuid"]]["timestamp"] for event in sent] == [event["timestamp"] for event in sent]


async def test_what_one_sink_is_owed_goes_for_that_sink_alone(spool: Path) -> None:
    """Others are still owed theirs."""
    both, other = await made(spool, 10, "web", "audit"), await made(spool, 5, "audit")
    async with Collector() as collector:
        ended = await run("spool", "drain", str(spool), "--to", collector.url, "--sink", "web", "--json")
    said = report(ended)
    assert (ended.code, said["events"], said["delivered"], said["left"]) == (0, 10, 10, 0)
    assert rows(spool / f"{both}.db") == [(number, 2) for number in range(1, 11)]
    assert len(rows(spool / f"{other}.db")) == 5


async def test_what_the_far_end_does_not_want_stays_and_is_accounted_for(spool: Path) -> None:
    """By reason; nothing that was not delivered is deleted."""
    name = await made(spool, 50)
    async with Collector(faults=Faults(fail=Fail(401, 1.0))) as collector:
        ended = await run("spool", "drain", str(spool), "--to", collector.url, "--json")
    said = report(ended)
    assert (ended.code, said["delivered"], said["left"]) == (1, 0, 50)
    assert said["dropped_by_reason"]["unauthorized"] > 0
    assert said["stopped"] is not None
    assert len(rows(spool / f"{name}.db")) == 50


async def test_a_damaged_event_stays_and_the_others_go(spool: Path) -> None:
    """And the exit code tells of it."""
    name = await made(spool, 20)
    change(spool / f"{name}.db", "UPDATE events SET captured_at = captured_at + 1 WHERE id = 7")
    async with Collector() as collector:
        ended = await run("spool", "drain", str(spool), "--to", collector.url, "--json")
    said = report(ended)
    assert (ended.code, said["delivered"], said["damaged"], said["left"]) == (1, 19, 1, 1)
    assert [number for number, _ in rows(spool / f"{name}.db")] == [7]


async def test_an_interruption_loses_nothing(spool: Path, tmp_path: Path) -> None:
    """What arrived is gone, and all the rest is where it was, whatever was on its way."""
    await made(spool, 20_000)
    exported = await run("spool", "export", str(spool))
    async with Collector(store=tmp_path, remember_ids=True, faults=Faults(latency=0.3)) as collector:
        async with command(
            "spool", "drain", str(spool), "--to", collector.url, "--drain", "100ms", "--json"
        ) as running:
            async with asyncio.timeout(20):
                while collector.events < 10_000:  # noqa: ASYNC110  # it sets no event
                    await asyncio.sleep(0.005)
            running.signal(signal.SIGINT)
            ended = await running.end()
        said = report(ended)
        left = await run("spool", "export", str(spool))
        assert (ended.code, said["stopped"]) == (1, "interrupted")
    arrived = set(collector.ids)
    kept = {orjson.loads(line)["uuid"] for line in left.stdout.splitlines()}
    everything = {orjson.loads(line)["uuid"] for line in exported.stdout.splitlines()}
    assert kept | arrived == everything
    assert 0 < len(kept) < 20_000
    assert (said["left"], said["delivered"]) == (len(kept), 20_000 - len(kept))


async def test_nobody_there_is_said_at_once_and_nothing_is_changed(spool: Path) -> None:
    """Before minutes of attempts."""
    name = await made(spool, 3)
    ended = await run("spool", "drain", str(spool), "--to", "http://127.0.0.1:1")
    assert (ended.code, "cannot reach 127.0.0.1:1" in ended.stderr) == (1, True)
    assert len(rows(spool / f"{name}.db")) == 3
