from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import orjson
import pytest

from eventpipe.cli.event_input import read_described
from eventpipe.cli.event_lines import full_line, glanced_line
from eventpipe.cli.exported import read_exported
from eventpipe.cli.fields import MalformedError
from eventpipe.cli.lines import Line
from eventpipe.codecs.base import whole
from eventpipe.encoding import Encoder
from eventpipe.events import CapturedEvent, Extra
from eventpipe.log.eventlog import EventLog
from eventpipe.log.letters import letter_of
from eventpipe.stores.sqlite import SqliteStore
from eventpipe.stores.values import Disposal, Disposition, StoredEvent
from tests.cli.logs import AUDIT, STAMP, Kept, Shell, uuid

pytestmark = pytest.mark.wallclock

ENCODER = Encoder(lifted=frozenset({"$set", "token"}))


def encoded(name: str, **given: object) -> CapturedEvent:
    properties = given.pop("properties", {"n": 1})
    arguments = {"distinct_id": None, "timestamp": None, "uuid": None, "headers": None, "key": None, "lane": None}
    return ENCODER.encode(name, properties=properties, **{**arguments, **given})


EVENTS = {
    "plain": encoded("paid"),
    "person": encoded("paid", distinct_id="u1"),
    "number as person": encoded("paid", distinct_id=17),
    "no properties": encoded("paid", properties={}),
    "all kinds of values": encoded(
        "paid", properties={"a": 1.5, "b": [True, None, {"c": "\u2028é😀"}], "d": 2**63 - 1, "e": -0.0, "f": 1e300}
    ),
    "big number": encoded("paid", properties={"n": 2**70}),
    "awkward name": encoded('say "hi"\n\t\\ \u0000'),
    "key": encoded("paid", key="k1"),
    "empty key": CapturedEvent("paid", encoded("paid").data, None, Extra(None, ""), 0.0),
    "headers": encoded("paid", headers={"trace": "1", "b": "ü"}),
    "lane": encoded("paid", lane="historical"),
    "lifted": encoded("paid", properties={"n": 1, "$set": {"a": [1]}, "token": "x"}),
    "nothing but lifted": encoded("paid", properties={"token": None}),
    "everything": encoded(
        "paid", distinct_id="u", properties={"$set": {}, "n": 2}, headers={"h": "1"}, key="k", lane="ai", uuid=uuid(1)
    ),
    "letter": encoded("paid", headers={"eventpipe-dead-topic": "t", "eventpipe-dead-error": "x" * 8000}),
}


@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS.keys())
def test_an_exported_event_comes_back_as_it_was(event: CapturedEvent) -> None:
    """Every byte of its envelope, and what is kept beside it."""
    back = read_exported(Line(1, full_line(StoredEvent(5, STAMP, event))), Encoder())

    assert (back.name, back.data, back.lane, back.extra) == (event.name, event.data, event.lane, event.extra)


def test_an_exported_line_has_its_place_behind_the_event() -> None:
    """Whoever reads our own form reads the line too."""
    event = EVENTS["everything"]

    line = full_line(StoredEvent(5, STAMP, event))

    assert line.startswith(whole(event)[:-1] + b",")
    assert orjson.loads(line) == {
        **orjson.loads(whole(event)),
        "offset": 5,
        "appended_at": "2026-01-31T09:05:00.000000Z",
        "lane": "ai",
        "lifted": ["$set"],
    }


def test_what_cannot_be_read_is_shown_with_its_place() -> None:
    """What is kept of it in base64 for programs, and the reason for people."""
    stored = StoredEvent(5, STAMP, None, "the name of the event is no text", b"\xff")

    assert orjson.loads(full_line(stored)) == {
        "offset": 5,
        "appended_at": "2026-01-31T09:05:00.000000Z",
        "fault": "the name of the event is no text",
        "raw": "/w==",
    }
    assert glanced_line(stored) == (
        "5  2026-01-31T09:05:00.000000Z  (cannot be read: the name of the event is no text)"
    )


GOOD = {
    "uuid": uuid(1),
    "timestamp": "2026-01-31T09:05:00.000000Z",
    "distinct_id": None,
    "event": "paid",
    "properties": {"n": 1},
}
_HINT = "; eventpipe import takes lines that eventpipe export wrote; eventpipe append takes others"


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"uuid": None}, "'uuid' is not the id of an event" + _HINT),
        ({"uuid": "01890A5D-AC96-774B-BCCE-000000000001"}, "'uuid' is not the id of an event" + _HINT),
        ({"timestamp": None}, "'timestamp' is not text" + _HINT),
        ({"timestamp": "today"}, "'timestamp' is not a time with a zone" + _HINT),
        ({"timestamp": "2026-01-31T09:05:00"}, "'timestamp' is not a time with a zone" + _HINT),
        ({"event": ""}, "event must be a text that is not empty, not ''"),
        ({"event": 7}, "'event' is not text" + _HINT),
        ({"distinct_id": 7}, "'distinct_id' is not text" + _HINT),
        ({"properties": [1]}, "'properties' is not an object" + _HINT),
        ({"key": 7}, "'key' is not text" + _HINT),
        ({"lane": 7}, "'lane' is not text" + _HINT),
        ({"headers": {"a": 1}}, "'headers' is not an object of texts" + _HINT),
        ({"lifted": ["x"]}, "'lifted' does not name properties" + _HINT),
        ({"lifted": ["n", "n"]}, "'lifted' does not name properties" + _HINT),
        ({"lifted": "n"}, "'lifted' does not name properties" + _HINT),
    ],
)
def test_a_line_that_nobody_exported_is_refused(changed: dict[str, object], fault: str) -> None:
    """With the member that gives it away, and the command that takes other lines."""
    with pytest.raises(MalformedError) as refused:
        read_exported(Line(1, orjson.dumps({**GOOD, **changed})), Encoder())

    assert str(refused.value) == fault


@pytest.mark.parametrize("read", [read_exported, read_described])
def test_a_line_that_is_too_long_is_refused(read: object) -> None:
    """Before it is parsed."""
    with pytest.raises(MalformedError, match=r"longer than 9\.0 MiB"):
        read(Line(1, b"{}", is_too_long=True), Encoder())  # type: ignore[operator]


def without_place(line: bytes) -> dict[str, object]:
    return {name: value for name, value in orjson.loads(line).items() if name not in ("offset", "appended_at")}


def test_a_topic_goes_through_a_file_and_comes_back(log: Kept, tmp_path: Path, shell: Shell) -> None:
    """Into another log, and a second time into the same one changes nothing."""
    exported = shell.run("export", log, "orders")
    assert (exported.code, exported.stderr) == (0, "10 events of 'orders' exported\n")

    first = shell.json("import", tmp_path / "other.db", "orders", stdin=exported.stdout.encode())
    second = shell.json("import", tmp_path / "other.db", "orders", stdin=exported.stdout.encode())

    assert (first["ok"], first["appended"], first["already_there"]) == (True, 10, 0)
    assert (second["ok"], second["appended"], second["already_there"]) == (True, 0, 10)
    again = shell.run("export", tmp_path / "other.db", "orders").stdout
    assert list(map(without_place, again.encode().splitlines())) == list(
        map(without_place, exported.stdout.encode().splitlines())
    )


async def give_up_twice(path: Path) -> None:
    """Have a second consumer give up the events that the first gave up, and replay some events twice."""
    async with EventLog(SqliteStore(path, shared=True)) as log:
        await log.resume("orders", "audit")
        token = await log.store.acquire(AUDIT.lease, "test", 60.0)
        claims = await log.store.claim(AUDIT, token, max_events=4, max_bytes=1_000_000)
        given_up = [
            Disposition(claimed, Disposal.DEAD, 0.0, "no", letter_of(claimed, AUDIT, "no", None, STAMP))
            for claimed in claims.events[2:]
        ]
        await log.store.settle(AUDIT, token, given_up)
        for _ in range(2):
            await log.replay("orders", "billing", 0, 2)


@pytest.mark.parametrize("topic", ["orders", "orders.dead"])
def test_copies_come_back_as_often_as_they_were(topic: str, at_rest: Path, tmp_path: Path, shell: Shell) -> None:
    """Replayed events, and the letters of two consumers for one event, have an id in common, and all are kept."""
    asyncio.run(give_up_twice(at_rest))
    exported = shell.run("export", at_rest, topic).stdout.encode()
    lines = exported.splitlines(keepends=True)
    number = {"orders": 14, "orders.dead": 4}[topic]
    assert len(lines) == number

    half = shell.json("import", tmp_path / "other.db", topic, stdin=b"".join(lines[: number - 1]))
    whole = shell.json("import", tmp_path / "other.db", topic, stdin=exported)
    again = shell.json("import", tmp_path / "other.db", topic, stdin=exported)

    assert [(said["appended"], said["already_there"]) for said in (half, whole, again)] == [
        (number - 1, 0),
        (1, number - 1),
        (0, number),
    ]
    back = shell.run("export", tmp_path / "other.db", topic).stdout.encode()
    assert list(map(without_place, back.splitlines())) == list(map(without_place, lines))


def test_a_copy_that_is_there_once_counts_once(at_rest: Path, tmp_path: Path, shell: Shell) -> None:
    """Of two like copies in a file the second is appended where the topic had one, whatever stands between them."""
    assert shell.run("replay", at_rest, "orders", "billing", "--from", 0, "--to", 1).code == 0
    *_, copy = shell.run("export", at_rest, "orders").stdout.encode().splitlines(keepends=True)
    other = orjson.dumps(GOOD | {"uuid": uuid(60)}) + b"\n"

    first = shell.json("import", tmp_path / "other.db", "orders", stdin=copy)
    second = shell.json("import", tmp_path / "other.db", "orders", stdin=copy + other + copy)

    assert (first["appended"], first["already_there"]) == (1, 0)
    assert (second["appended"], second["already_there"]) == (2, 1)


@pytest.mark.parametrize(
    ("words", "exported"),
    [
        ("--from 7", [7, 8, 9]),
        ("--to 2", [0, 1]),
        ("--from 3 --to 5", [3, 4]),
        ("--from 5 --to 3", []),
        ("--from 1h", []),
        ("--to 2026-01-31T09:05:00Z", []),
    ],
)
def test_a_part_of_a_topic_is_exported(words: str, exported: list[int], at_rest: Path, shell: Shell) -> None:
    """From and to an offset or a time, the latter left out."""
    assert [event["offset"] for event in shell.lines("export", at_rest, "orders", *words.split())] == exported


def test_lines_of_others_are_not_imported(log: Kept, shell: Shell) -> None:
    """Without an id a second import would append them again; those that are good are imported all the same."""
    ended = shell.run("import", log, "orders", stdin=b'{"event": "a"}\n' + orjson.dumps(GOOD | {"uuid": uuid(60)}))

    assert (ended.code, ended.stderr) == (1, f"standard input:1: 'properties' is not an object{_HINT}\n")
    assert ended.stdout.splitlines()[0].startswith("1 of 2 lines appended to 'orders' in ")


def damage(path: Path, offset: int) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        [(topic,)] = database.execute("SELECT id FROM topics WHERE name = 'orders'")
        database.execute("UPDATE events SET data = data || ' ' WHERE place = ?", (topic << 40 | offset,))


def test_damaged_events_are_left_out_and_told(at_rest: Path, shell: Shell) -> None:
    """The exit code is 1, because it is not all that there was."""
    damage(at_rest, 4)

    ended = shell.run("export", at_rest, "orders")

    assert [orjson.loads(line)["offset"] for line in ended.stdout.splitlines()] == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    assert (ended.code, ended.stderr.splitlines()) == (
        1,
        [
            "9 events of 'orders' exported",
            "1 left out, because they are damaged or were trimmed meanwhile;"
            f" eventpipe verify {at_rest} lists what is damaged",
        ],
    )


def test_an_intact_log_is_verified(log: Kept, shell: Shell) -> None:
    """Every event of every topic is checked."""
    said = shell.json("verify", log)
    text = shell.run("verify", log)

    assert said == {"ok": True, "topics": 3, "events": 12, "damaged": []}
    assert (text.code, text.stdout, text.stderr) == (0, f"12 events in 3 topics of {log}: all intact\n", "")


def test_damage_is_listed(at_rest: Path, shell: Shell) -> None:
    """Each event with its topic, offset and fault; the exit code is 1."""
    damage(at_rest, 4)
    damage(at_rest, 8)

    ended = shell.run("verify", at_rest, "--json")
    text = shell.run("verify", at_rest)

    said = orjson.loads(ended.stdout)
    assert (ended.code, said["ok"], said["events"]) == (1, False, 12)
    assert [(damage["topic"], damage["offset"]) for damage in said["damaged"]] == [("orders", 4), ("orders", 8)]
    assert text.code == 1
    assert [line.split()[:2] for line in text.stdout.splitlines()[:3]] == [
        ["topic", "offset"],
        ["orders", "4"],
        ["orders", "8"],
    ]
    assert text.stdout.splitlines()[3].endswith("2 damaged; they are set aside and handed to nobody")
    assert shell.run("topics", at_rest).stdout.splitlines()[-1] == ("orders: 2 damaged, which eventpipe verify lists")


@pytest.fixture
def large(at_rest: Path, shell: Shell) -> Path:
    """A log with the topic ``many``, of which a pipe holds only a part."""
    lines = b"".join(orjson.dumps({"event": "e", "n": n, "x": "y" * 1000}) + b"\n" for n in range(500))
    assert shell.run("append", at_rest, "many", stdin=lines).code == 0
    return at_rest


@contextmanager
def exporting(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    words = [sys.executable, "-m", "eventpipe", "export", str(path), "many"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0) as process:
        assert process.stdout is not None
        assert process.stdout.read(1) == b"{"
        yield process


def test_an_export_that_nobody_reads_ends_quietly(large: Path) -> None:
    """In front of a ``head`` that has seen enough: exit code 1, and no words."""
    with exporting(large) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()

    assert (process.returncode, said) == (1, b"")


def test_an_interrupted_export_cuts_no_line(large: Path) -> None:
    """It ends at an event, and says which one would be next."""
    with exporting(large) as process:
        process.send_signal(signal.SIGINT)
        rest, said = process.communicate()

    events = [orjson.loads(line) for line in (b"{" + rest).splitlines()]
    number = len(events)
    assert [event["properties"]["n"] for event in events] == list(range(number))
    assert 0 < number < 500
    assert said.decode().splitlines() == [
        f"{number} events of 'many' exported",
        f"stopped: interrupted; --from {number} goes on",
    ]
    assert process.returncode == 1


def test_an_export_that_nobody_reads_on_ends_at_the_second_interrupt(large: Path) -> None:
    """It waits for nobody then."""
    with exporting(large) as process:
        assert process.stderr is not None
        process.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.3)
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()

    assert said == b"stopped: interrupted while nobody read on; the last line may be cut\n"
    assert process.returncode == 1


def test_an_export_onto_a_full_disk_is_one_line(large: Path) -> None:
    """What was not written is not said to be."""
    with Path("/dev/full").open("wb") as full:
        words = [sys.executable, "-m", "eventpipe", "export", str(large), "many"]
        ended = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, check=False)

    assert (ended.returncode, ended.stderr) == (
        1,
        b"eventpipe: cannot write to standard output: no space left on device\n",
    )
