from __future__ import annotations

import asyncio
import re
from pathlib import Path

import orjson
import pytest

from eventpipe.log.eventlog import EventLog
from eventpipe.stores.sqlite import SqliteStore
from tests.cli.logs import Kept, Shell, uuid
from tests.log.consuming import bury

pytestmark = pytest.mark.wallclock

LETTER = {
    "offset": 1,
    "event": "paid",
    "uuid": uuid(3),
    "topic": "orders",
    "consumer": "billing",
    "source_offset": 3,
    "attempts": 1,
    "reason": "refused",
    "error": "no such account",
    "at": "2026-01-31T09:05:00.000000Z",
}


async def give_up(path: Path, topic: str) -> None:
    """One event in a topic of that name, which its consumer gives up."""
    async with EventLog(SqliteStore(path)) as log:
        await log.add_consumer(topic, "billing")
        await log.append(topic, "paid")
        await bury(log, topic, "billing")


def offsets(shell: Shell, log: object) -> list[int]:
    return [letter["offset"] for letter in shell.lines("dead-letters", log, "orders", "list", "--json")]


def test_letters_are_listed(log: Kept, shell: Shell) -> None:
    """A line each: whose they are, where they were, how often they were tried, and why they were given up."""
    ended = shell.run("dead-letters", log, "orders")

    cells = [re.split(r"\s{2,}", line.strip()) for line in ended.stdout.splitlines()]
    assert [cell[:4] + cell[5:] for cell in cells] == [
        ["offset", "consumer", "source", "attempts", "reason", "event", "error"],
        ["0", "billing", "2", "1", "refused", "paid", "no such account"],
        ["1", "billing", "3", "1", "refused", "paid", "no such account"],
    ]
    assert [cell[4].split()[1::2] for cell in cells[1:]] == [["d", "h"], ["d", "h"]]
    assert (ended.code, ended.stderr) == (0, "")
    assert shell.lines("dead-letters", log, "orders", "list", "--json")[1] == LETTER


def test_the_oldest_letters_are_listed_and_the_others_counted(at_rest: Path, shell: Shell) -> None:
    """No more than asked for."""
    ended = shell.run("dead-letters", at_rest, "orders", "list", "-n", "1")

    assert ended.stdout.splitlines()[1].split()[0] == "0"
    assert ended.stdout.splitlines()[2:] == ["1 more letter; --number shows more of them"]
    assert len(shell.lines("dead-letters", at_rest, "orders", "list", "-n", "1", "--json")) == 1


def test_letters_of_one_consumer_are_listed(at_rest: Path, shell: Shell) -> None:
    """Those of others are left out, and none is no failure."""
    ended = shell.run("dead-letters", at_rest, "orders", "list", "--consumer", "audit")

    assert (ended.code, ended.stdout) == (0, "topic 'orders' has no dead letters of 'audit'\n")
    assert shell.run("dead-letters", at_rest, "empty").stdout == "topic 'empty' has no dead letters\n"


def test_letters_of_the_topic_with_the_longest_name_are_dealt_with(tmp_path: Path, shell: Shell) -> None:
    """Whose own topic has a longer one; a name that is longer still is refused at once."""
    path, topic = tmp_path / "new.db", "x" * 200
    asyncio.run(give_up(path, topic))

    assert [letter["offset"] for letter in shell.lines("dead-letters", path, topic, "list", "--json")] == [0]
    assert shell.run("export", path, topic + ".dead").stderr == f"1 event of '{topic}.dead' exported\n"
    assert shell.run("dead-letters", path, topic, "replay", "--all").code == 0
    assert shell.run("dead-letters", path, topic).stdout == f"topic '{topic}' has no dead letters\n"
    refused = shell.run("append", path, topic + "x", "paid")
    assert (refused.code, refused.stderr) == (
        2,
        "eventpipe: the name of a topic must have at most 200 characters, not 201\n",
    )


def test_a_letter_is_shown(log: Kept, shell: Shell) -> None:
    """All that is known of it, and the event, payload included."""
    said = shell.json("dead-letters", log, "orders", "show", "1")
    text = shell.run("dead-letters", log, "orders", "show", "1").stdout

    assert said["letter"] == LETTER
    assert (said["event"]["uuid"], said["event"]["properties"]) == (uuid(3), {"n": 3})
    rows = dict(re.split(r"\s{2,}", line.rstrip()) for line in text.partition("{")[0].splitlines())
    assert rows["source offset"] == "3"
    assert rows["error"] == "no such account"
    assert orjson.loads("{" + text.partition("{")[2])["properties"] == {"n": 3}


def test_letters_are_replayed(log: Kept, shell: Shell) -> None:
    """To the topic that they failed in, and out of the letters."""
    ended = shell.run("dead-letters", log, "orders", "replay", "1")

    assert (ended.code, ended.stdout) == (0, "1 dead letter of 'orders' replayed\n")
    assert offsets(shell, log) == [0]
    [event] = shell.lines("tail", log, "orders", "--from", "10", "--json")
    assert (event["uuid"], event["properties"]) == (uuid(3), {"n": 3})


def test_letters_are_deleted(log: Kept, shell: Shell) -> None:
    """Those that were named, or all of them."""
    said = shell.json("dead-letters", log, "orders", "delete", "0")
    assert (said["ok"], [letter["offset"] for letter in said["deleted"]], said["missing"]) == (True, [0], [])
    assert offsets(shell, log) == [1]

    assert shell.run("dead-letters", log, "orders", "delete", "--all").stdout == "1 dead letter of 'orders' deleted\n"
    assert offsets(shell, log) == []
    assert len(shell.lines("tail", log, "orders", "--json")) == 10


def test_letters_are_listed_without_a_change(at_rest: Path, shell: Shell) -> None:
    """Also where the first of them were dealt with."""
    assert shell.run("dead-letters", at_rest, "orders", "delete", "0").code == 0
    before = at_rest.read_bytes()

    assert offsets(shell, at_rest) == [1]

    assert at_rest.read_bytes() == before


def test_letters_dealt_with_out_of_order_are_not_listed(log: Kept, shell: Shell) -> None:
    """Also where only a claim can tell which they are."""
    assert shell.run("dead-letters", log, "orders", "delete", "1").code == 0

    assert offsets(shell, log) == [0]
    assert shell.run("dead-letters", log, "orders", "show", "1").code == 1


def test_what_was_named_and_is_no_letter_is_told(at_rest: Path, shell: Shell) -> None:
    """The others are dealt with, and the exit code is 1."""
    ended = shell.run("dead-letters", at_rest, "orders", "replay", "0", "7")

    assert ended.stdout == (
        "1 dead letter of 'orders' replayed\n"
        "offset 7 was left as it is: nobody's letter, cannot be read, or its consumer is gone\n"
    )
    assert (ended.code, ended.stderr) == (1, "")
    assert shell.run("dead-letters", at_rest, "orders", "delete", "7").stdout == (
        "0 dead letters of 'orders' deleted\noffset 7 was left as it is: no letter\n"
    )


async def give_up_letters(path: Path) -> None:
    """Both letters of ``orders``, which a consumer of letters gives up."""
    async with EventLog(SqliteStore(path)) as log:
        await log.add_consumer("orders.dead", "mail")
        await bury(log, "orders.dead", "mail")


def test_letters_that_a_consumer_of_letters_gave_up_are_listed(at_rest: Path, shell: Shell) -> None:
    """As those of any topic; until there are some, the topic in which events failed is asked for."""
    asyncio.run(give_up_letters(at_rest))

    [first, second] = shell.lines("dead-letters", at_rest, "orders.dead", "list", "--json")

    assert [(letter["topic"], letter["consumer"]) for letter in (first, second)] == [("orders.dead", "mail")] * 2
    assert shell.run("dead-letters", at_rest, "orders.dead", "replay", "--all").code == 0
