from __future__ import annotations

import asyncio
import os
import signal
import stat
from collections.abc import Sequence
from io import FileIO
from pathlib import Path

import orjson
import pytest

from eventpipe.cli.appending import Appending
from eventpipe.cli.event_input import EventInput, read_described
from eventpipe.cli.signals import Stop
from eventpipe.cli.targets import Target
from eventpipe.events import CapturedEvent
from eventpipe.log.eventlog import EventLog
from eventpipe.retention import Retention
from eventpipe.stores.sqlite import SqliteStore
from tests.cli.logs import Kept, Shell, uuid
from tests.cli.process import command

pytestmark = pytest.mark.wallclock


def lines(*events: object) -> bytes:
    return b"".join(orjson.dumps(event) + b"\n" for event in events)


def test_one_event_is_appended(log: Kept, shell: Shell) -> None:
    """With all that is said of it; its offset is told."""
    words = ["--properties", '{"sum": 5}', "--distinct-id", "42", "--key", "k", "--uuid", uuid(77)]

    ended = shell.run("append", log, "orders", "paid", *words, "--timestamp", "2026-01-01T00:00:00Z")

    assert (ended.code, ended.stdout, ended.stderr) == (0, f"'orders': {uuid(77)} appended, at offset 10\n", "")
    [event] = shell.lines("tail", log, "orders", "-n", "1", "--json")
    assert event.pop("appended_at")
    assert event == {
        "uuid": uuid(77),
        "timestamp": "2026-01-01T00:00:00.000000Z",
        "distinct_id": "42",
        "event": "paid",
        "properties": {"sum": 5},
        "key": "k",
        "offset": 10,
    }


def test_an_event_that_is_there_is_not_appended_again(at_rest: Path, shell: Shell) -> None:
    """It is known by its id, and its place is told."""
    said = shell.json("append", at_rest, "orders", "paid", "--uuid", uuid(3))

    assert said == {"ok": True, "topic": "orders", "offset": 3, "uuid": uuid(3), "appended": False}
    assert shell.run("append", at_rest, "orders", "paid", "--uuid", uuid(4)).stdout == (
        f"'orders': {uuid(4)} was there already, at offset 4\n"
    )


def test_a_file_and_a_topic_are_made(tmp_path: Path, shell: Shell) -> None:
    """For their owner alone; nothing has to be there before."""
    path = tmp_path / "new.db"

    assert shell.json("append", path, "orders", "first")["offset"] == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_lines_are_appended(log: Kept, shell: Shell) -> None:
    """As eventpipe send reads them, in order, and what our own form says of an event is kept."""
    own = {
        "uuid": uuid(50),
        "event": "b",
        "distinct_id": "u",
        "properties": {"x": 1},
        "headers": {"h": "1"},
        "key": "k",
    }

    ended = shell.run("append", log, "orders", stdin=lines({"event": "a", "n": 1}, own) + b"\n")

    assert ended.stdout.startswith("2 of 2 lines appended to 'orders' in ")
    assert (ended.code, ended.stderr) == (0, "")
    first, second = shell.lines("tail", log, "orders", "-n", "2", "--json")
    assert (first["event"], first["properties"], first["offset"]) == ("a", {"n": 1}, 10)
    assert {name: second[name] for name in own} == own


def test_what_another_log_knew_of_an_event_is_left_out(at_rest: Path, tmp_path: Path, shell: Shell) -> None:
    """Exported lines become no properties of events, and keep their lanes."""
    exported = shell.run("export", at_rest, "orders", "--from", "8").stdout.encode()

    assert shell.json("append", tmp_path / "new.db", "orders", stdin=exported)["appended"] == 2

    event, _ = shell.lines("tail", tmp_path / "new.db", "orders", "--json")
    assert (event["properties"], event["lane"], event["offset"]) == ({"n": 8}, "historical", 0)


def test_malformed_lines_are_told_and_the_others_appended(log: Kept, shell: Shell) -> None:
    """Each with its number, and the exit code is 1."""
    ended = shell.run("append", log, "orders", stdin=b'{"event": "a"}\n\nnope\n[]\n{"n": 1}\n{"event": "b"}\n')

    assert ended.code == 1
    assert ended.stderr.startswith("standard input:3: not JSON: ")
    assert ended.stderr.splitlines()[1:] == [
        "standard input:4: not a JSON object",
        "standard input:5: no event name: 'event' is missing or empty",
    ]
    assert ended.stdout.splitlines()[0].startswith("2 of 5 lines appended to 'orders' in ")
    assert ended.stdout.splitlines()[1:] == ["3 malformed"]
    assert [event["event"] for event in shell.lines("tail", log, "orders", "-n", "2", "--json")] == ["a", "b"]


def test_many_malformed_lines_are_counted(at_rest: Path, shell: Shell) -> None:
    """After twenty of them they are no longer told one by one."""
    ended = shell.run("append", at_rest, "orders", "--json", stdin=b"x\n" * 30)

    said = orjson.loads(ended.stdout)
    assert (said["ok"], said["lines"], said["malformed"], said["appended"]) == (False, 30, 30, 0)
    assert len(ended.stderr.splitlines()) == 21
    assert ended.stderr.splitlines()[-1] == "more malformed lines are counted, and no longer shown"


def test_many_lines_are_appended_in_order(tmp_path: Path, shell: Shell) -> None:
    """In commits of many, each line once; the report has them counted."""
    said = shell.json(
        "append", tmp_path / "new.db", "orders", stdin=lines(*({"event": "e", "n": n} for n in range(5000)))
    )

    assert (said["ok"], said["lines"], said["appended"], said["malformed"]) == (True, 5000, 5000, 0)
    assert (said["is_all_read"], said["stopped"], said["stopped_at"]) == (True, None, None)
    events = shell.lines("tail", tmp_path / "new.db", "orders", "--from", "earliest", "--json")
    assert [event["properties"]["n"] for event in events] == list(range(5000))


def test_nothing_to_read_is_no_failure(at_rest: Path, shell: Shell) -> None:
    """No line is no event, and no topic is made of it."""
    assert shell.json("append", at_rest, "other")["lines"] == 0
    assert "other" not in [topic["name"] for topic in shell.json("topics", at_rest)["topics"]]


def full_log(path: Path, **bounds: object) -> None:
    async def make() -> None:
        async with EventLog(SqliteStore(path), topics={"orders": Retention(**bounds)}):  # type: ignore[arg-type]
            pass

    asyncio.run(make())


def test_a_full_topic_takes_what_it_can(tmp_path: Path, shell: Shell) -> None:
    """And where that ended is told, so that the rest can follow."""
    full_log(tmp_path / "full.db", max_events=7)

    ended = shell.run("append", tmp_path / "full.db", "orders", stdin=lines(*({"event": f"e{n}"} for n in range(20))))

    said = ended.stdout.splitlines()
    assert ended.code == 1
    assert said[0].startswith("7 of 7 lines appended to 'orders' in ")
    assert said[1].startswith("stopped: topic 'orders' ")
    assert said[2] == "left: everything after line 7"


def test_a_full_topic_ends_a_long_input(tmp_path: Path, shell: Shell) -> None:
    """What was read ahead by then is left as it is."""
    full_log(tmp_path / "full.db", max_events=700)

    ended = shell.run("append", tmp_path / "full.db", "orders", "--json", stdin=lines({"event": "e"}) * 50_000)

    said = orjson.loads(ended.stdout)
    assert (ended.code, said["appended"], said["lines"], said["stopped_at"]) == (1, 700, 700, 700)


def test_a_topic_that_drops_the_oldest_takes_everything(tmp_path: Path, shell: Shell) -> None:
    """Also more at once than it ever holds; what it keeps is the end."""
    full_log(tmp_path / "full.db", max_events=7, on_full="drop_oldest")

    said = shell.json("append", tmp_path / "full.db", "orders", stdin=lines(*({"event": f"e{n}"} for n in range(20))))

    assert (said["ok"], said["appended"]) == (True, 20)
    kept = shell.lines("tail", tmp_path / "full.db", "orders", "--from", "earliest", "--json")
    assert [event["event"] for event in kept] == [f"e{n}" for n in range(20 - len(kept), 20)]
    assert 0 < len(kept) <= 7


class FullTarget(Target):
    """A topic that has room for one event, and is waited for then."""

    def __init__(self) -> None:
        self.events: list[CapturedEvent] = []
        self.has_first = asyncio.Event()
        self.is_waited_for = asyncio.Event()

    async def end(self) -> int:
        return 0

    async def append(self, events: Sequence[CapturedEvent]) -> list[int]:
        if self.events:
            self.is_waited_for.set()
            await asyncio.Event().wait()
        self.events += events
        self.has_first.set()
        return [0]


@pytest.mark.asyncio
async def test_a_topic_that_waits_is_waited_for() -> None:
    """The first Ctrl-C reads no further and lets what was read wait for room; the second gives up."""
    reading, writing = os.pipe()
    with FileIO(reading) as file:
        target, stop = FullTarget(), Stop()
        appending = Appending(target, EventInput(file, read_described), lambda _: None)
        running = asyncio.create_task(appending.run(stop))
        os.write(writing, lines({"event": "a"}))
        await target.has_first.wait()
        os.write(writing, lines({"event": "b"}))
        await target.is_waited_for.wait()

        stop.ask()
        await asyncio.sleep(0.01)
        assert not running.done()
        stop.ask()
        await running
        os.close(writing)  # the reader ends

    so_far = appending.so_far
    assert (so_far.appended, so_far.lines, so_far.line) == (1, 1, 1)
    assert (so_far.stopped, so_far.is_all_read, so_far.is_ok) == ("interrupted", False, False)


def test_a_topic_that_takes_nothing_is_one_line(tmp_path: Path, shell: Shell) -> None:
    """Nothing was appended, so that there is nothing to report but why."""
    full_log(tmp_path / "full.db", max_events=1)
    assert shell.run("append", tmp_path / "full.db", "orders", "first").code == 0

    ended = shell.run("append", tmp_path / "full.db", "orders", stdin=lines({"event": "second"}))

    assert (ended.code, ended.stdout) == (1, "")
    assert ended.stderr.startswith("eventpipe: topic 'orders' ")
    assert ended.stderr.count("\n") == 1


@pytest.mark.asyncio
async def test_lines_of_a_pipe_are_appended_as_they_come(in_use: Kept) -> None:
    """They wait for no others; Ctrl-C reads no further, and says where that was."""
    assert in_use.holder is not None
    async with (
        command("tail", str(in_use), "orders", "-n", "1", "--follow", "--json") as watching,
        command("append", str(in_use), "orders") as running,
    ):
        assert orjson.loads(await watching.line())["offset"] == 9  # from now on it is there
        for number in (1, 2):
            await running.write(lines({"event": "e", "n": number}))
            assert orjson.loads(await watching.line())["properties"] == {"n": number}
        running.signal(signal.SIGINT)
        ended = await running.end(stdin=None)

    assert ended.code == 1
    assert ended.stdout.splitlines()[0].startswith("2 of 2 lines appended to 'orders' in ")
    assert ended.stdout.splitlines()[1:] == ["stopped: interrupted", "left: everything after line 2"]
