"""A pipeline as a process: drained by a signal, told in words and as JSON."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
from pathlib import Path

import pytest

from eventpipe import Event
from eventpipe.delivery import Deliveries, DeliveryState, Endpoint
from eventpipe.log.eventlog import EventLog
from eventpipe.stores.sqlite import SqliteStore
from tests.cli.process import command, run
from tests.cli.terminal import terminal
from tests.pipeline.running import write_pipeline

HERE = {"PYTHONPATH": str(Path(__file__).parents[2])}  # where the handlers of tests are imported from

pytestmark = [pytest.mark.asyncio, pytest.mark.wallclock]


async def fill(folder: Path, events: int) -> None:
    """Append events as another process would have."""
    async with EventLog(SqliteStore(folder / "events.db", durability="process")) as log:
        await log.append_many("orders", [f"paid {number}" for number in range(events)])


async def pending(folder: Path) -> dict[str, int]:
    async with EventLog(SqliteStore(folder / "events.db", durability="process")) as log:
        return {consumer.name: consumer.pending for consumer in await log.consumers()}


def names(file: Path) -> list[str]:
    return [json.loads(line)["event"] for line in file.read_text().splitlines()]


async def test_a_signal_drains_what_is_pending(tmp_path: Path) -> None:
    """SIGTERM while a part of a batch waits for more: every event is at the far end, and the exit code is 0."""
    await fill(tmp_path, 1200)
    file = write_pipeline(tmp_path, max_batch_age=60)
    async with command("run", str(file), "--quiet", environment=HERE) as running:
        assert (await running.error_line()).startswith(f"eventpipe run: {file} runs, a log in sqlite")
        running.signal(signal.SIGTERM)
        ended = await running.end()

    assert ended.stderr == "eventpipe run: draining, for at most 5.0 s; once more ends it at once\n"
    first, *lines = ended.stdout.splitlines()
    assert first.startswith("drained in ")
    assert first.endswith(": nothing lost, nothing left")
    assert lines == ["orders/audit: 1,200 delivered, 0 pending"]
    assert ended.code == 0
    assert names(tmp_path / "audit.ndjson") == [f"paid {number}" for number in range(1200)]
    assert await pending(tmp_path) == {"audit": 0}


async def test_what_a_dead_far_end_leaves_is_told_and_the_next_run_delivers_it(tmp_path: Path) -> None:
    """Within its deadline the process ends with exit code 1; nothing is lost."""
    await fill(tmp_path, 3)
    with socket.socket() as nobody:  # bound and not listening: connections are refused
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/"
        file = write_pipeline(tmp_path, sink=f'kind = "http"\nurl = "{url}"')
        async with command("run", str(file), "--json", "--quiet") as running:
            await running.error_line()
            await asyncio.sleep(0.3)
            running.signal(signal.SIGINT)
            ended = await running.end()

    report = json.loads(ended.stdout)
    assert ended.code == 1
    assert (report["ok"], report["client"], report["cancelled"], report["failed"]) == (False, None, [], [])
    (consumer,) = report["consumers"]
    assert (consumer["topic"], consumer["name"], consumer["delivered"], consumer["pending"]) == (
        "orders",
        "audit",
        0,
        3,
    )
    assert "the far end gave no answer" in consumer["last_error"]
    assert report["elapsed"] < 5.5

    write_pipeline(tmp_path)
    async with command("run", str(file), "--quiet") as running:
        await running.error_line()
        running.signal(signal.SIGTERM)
        ended = await running.end()

    assert ended.code == 0
    assert names(tmp_path / "audit.ndjson") == ["paid 0", "paid 1", "paid 2"]


async def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    """A handler that hangs holds up nobody who asks twice; what it had in hand stays pending."""
    await fill(tmp_path, 1)
    file = write_pipeline(tmp_path, handler="tests.pipeline.running:hang", stop_timeout=600)
    async with command("run", str(file), "--quiet", environment=HERE) as running:
        await running.error_line()
        await asyncio.sleep(0.3)
        running.signal(signal.SIGTERM)
        assert "draining" in await running.error_line()
        running.signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            ended = await running.end()

    assert ended.code == 1
    assert "orders/audit: 0 delivered, 1 pending" in ended.stdout.splitlines()
    assert await pending(tmp_path) == {"audit": 1}


async def test_a_part_that_crashes_ends_the_process(tmp_path: Path) -> None:
    """With exit code 1, a report and one line, so that whoever looks after processes starts it again."""
    await fill(tmp_path, 1)
    file = write_pipeline(tmp_path, handler="tests.pipeline.running:remove_consumer")
    ended = await run("run", str(file), "--quiet", environment=HERE)

    assert ended.code == 1
    assert "failed: consumer 'audit' of topic 'orders'" in ended.stdout
    last = ended.stderr.splitlines()[-1]
    assert last.startswith(f"eventpipe: {file} ended: ")
    assert "audit" in last


async def test_a_signal_drains_deliveries(tmp_path: Path) -> None:
    """SIGTERM while a webhook is being answered: the answer is waited for, and what is due beside it is sent once."""
    requests, asked, may_answer = 0, asyncio.Event(), asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        with contextlib.closing(writer):
            await reader.readuntil(b"\r\n\r\n")
            requests += 1
            asked.set()
            await may_answer.wait()
            writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")

    file, path = tmp_path / "pipeline.toml", tmp_path / "deliveries.db"
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        file.write_text(f"""
[store]
kind = "memory"
[deliveries]
path = "deliveries.db"
[[endpoints]]
name = "acme"
url = "{url}"
allow_private = true
[reconciler]
workers = 1
""")
        async with Deliveries(SqliteStore(path, durability="process")) as deliveries:
            await deliveries.add_endpoint(Endpoint("acme", url, allow_private=True))
            await deliveries.publish_many([Event("paid"), Event("paid")], endpoints=["acme"])
        async with command("run", str(file), "--quiet") as running:
            assert " runs, " in await running.error_line()
            await asked.wait()
            running.signal(signal.SIGTERM)
            assert "draining" in await running.error_line()
            may_answer.set()
            ended = await running.end()

    assert (ended.code, ended.stdout.splitlines()[1:]) == (0, ["deliveries: 2 delivered, 0 failed, 0 pending"])
    async with Deliveries(SqliteStore(path, durability="process")) as deliveries:
        rows = await deliveries.rows()
    assert [(row.state, row.total_attempts) for row in rows] == [(DeliveryState.SUCCESS, 1)] * 2
    assert requests == 2


async def test_events_of_a_logging_sink_are_shown_when_asked_for(tmp_path: Path) -> None:
    """``--log info`` shows the lines that sinks of kind "logging" write; without it they are not."""
    file = write_pipeline(tmp_path, sink='kind = "logging"')
    seen = []
    for words in ((), ("--log", "info")):
        await fill(tmp_path, 1)
        async with command("run", str(file), "--quiet", *words) as running:
            await running.error_line()
            running.signal(signal.SIGTERM)
            ended = await running.end()
        assert ended.code == 0
        seen.append("INFO eventpipe.events: {" in ended.stderr)

    assert seen == [False, True]


async def test_a_terminal_shows_a_live_table(tmp_path: Path) -> None:
    """Consumers with their numbers, drawn anew in place; the report stands below, and the terminal is as before."""
    await fill(tmp_path, 12)
    async with terminal("run", str(write_pipeline(tmp_path))) as screen:
        await screen.shows("audit")
        await screen.shows("12")
        screen.press(b"\x03")
        await screen.shows("nothing lost, nothing left")
        code = await screen.end()
        assert screen.is_as_before

    assert code == 0
    assert "\x1b[" in screen.shown
    assert "orders/audit: 12 delivered, 0 pending" in screen.shown
