from __future__ import annotations

import signal
from pathlib import Path

import orjson
import pytest

from tests.cli.logs import Kept, Shell, uuid
from tests.cli.process import command

pytestmark = pytest.mark.wallclock


def offsets(shell: Shell, *words: object) -> list[int]:
    return [event["offset"] for event in shell.lines("tail", *words, "--json")]


def test_the_last_events_are_shown(log: Kept, shell: Shell) -> None:
    """A line each, with offset, time, name, person and properties; ten of them unless told otherwise."""
    ended = shell.run("tail", log, "orders", "-n", "3")

    assert ended.stdout == (
        '7  2026-01-31T09:05:00.000000Z  paid u7 {"n":7}\n'
        '8  2026-01-31T09:05:00.000000Z  paid u8 {"n":8}\n'
        "9  2026-01-31T09:05:00.000000Z  nobody\n"
    )
    assert (ended.code, ended.stderr) == (0, "")
    assert offsets(shell, log, "orders") == list(range(10))


def test_programs_get_all_of_an_event(log: Kept, shell: Shell) -> None:
    """Our own form, and beside it what only the log knows."""
    [event] = shell.lines("tail", log, "orders", "--from", "8", "--number", "1", "--json")

    assert event == {
        "uuid": uuid(8),
        "timestamp": "2026-01-31T09:05:00.000000Z",
        "distinct_id": "u8",
        "event": "paid",
        "properties": {"n": 8},
        "key": "k8",
        "headers": {"trace": "t8"},
        "offset": 8,
        "appended_at": "2026-01-31T09:05:00.000000Z",
        "lane": "historical",
    }


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("--from earliest", range(10)),
        ("--from latest", range(0)),
        ("--from 7", range(7, 10)),
        ("--from 10", range(0)),
        ("--from 2026-01-31T09:05:00Z", range(10)),
        ("--from 2026-01-31T10:05:00.000001+01:00", range(0)),
        ("--from 1m", range(0)),
        ("--from 9000d", range(10)),
        ("--from 4 -n 2", range(4, 6)),
        ("-n 0", range(0)),
        ("-n 99", range(10)),
        ("--from 2 --number 0", range(0)),
    ],
)
def test_where_it_begins_and_ends(words: str, shown: range, at_rest: Path, shell: Shell) -> None:
    """At a word, an offset, a time or so long ago; and no more events than asked for."""
    assert offsets(shell, at_rest, "orders", *words.split()) == list(shown)


@pytest.mark.asyncio
async def test_following_shows_what_another_process_appends(in_use: Kept) -> None:
    """Each event as it comes, until Ctrl-C, which is its usual end."""
    assert in_use.holder is not None
    async with command("tail", str(in_use), "orders", "--follow", "-n", "1", "--json") as running:
        assert orjson.loads(await running.line())["offset"] == 9
        for name in ("first", "second"):
            in_use.holder.ask("append", name)
            assert orjson.loads(await running.line())["event"] == name
        running.signal(signal.SIGINT)
        ended = await running.end(stdin=None)

    assert (ended.code, ended.stdout, ended.stderr) == (0, "", "")


@pytest.mark.asyncio
async def test_following_ends_after_the_number_that_was_asked_for(in_use: Kept) -> None:
    """With a place to begin, ``-n`` counts what is to come as well."""
    assert in_use.holder is not None
    async with command("tail", str(in_use), "orders", "--from", "9", "--follow", "-n", "2") as running:
        assert (await running.line()).endswith("nobody")
        in_use.holder.ask("append", "last")
        ended = await running.end(stdin=None)

    assert (ended.code, ended.stdout.split()[0], ended.stdout.split()[2]) == (0, "10", "last")
