from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from eventpipe.stores import sqlite_opening
from tests.cli.logs import Holder, Shell
from tests.cli.terminal import terminal

pytestmark = pytest.mark.wallclock

_PLACES = "is neither earliest, latest, an offset, a time such as 2026-01-31T09:05:00Z, nor 10m for ten minutes ago"


@dataclass(frozen=True)
class Bad:
    """A command line, and the one line it gets."""

    words: str
    line: str
    code: int = 1


OUTSIDE = (
    "offset 11 is not in topic 'orders', which keeps 0 to 9, and 10 is where the next event goes; give one of these,"
    " 'earliest' or 'latest'"
)

BAD = {
    "topic": Bad("tail {log} order", "there is no topic 'order'; did you mean 'orders'?"),
    "other topic": Bad("export {log} zzz", "there is no topic 'zzz'; there are: empty, orders, orders.dead"),
    "topic of consumers": Bad("consumers {log} order", "there is no topic 'order'; did you mean 'orders'?"),
    "topic of letters": Bad("dead-letters {log} order", "there is no topic 'order'; did you mean 'orders'?"),
    "letters of letters": Bad("dead-letters {log} orders.dead", "name the topic that they failed in: orders", 2),
    "consumer": Bad("seek {log} orders biling 0", "topic 'orders' has no consumer 'biling'; did you mean 'billing'?"),
    "other consumer": Bad("pause {log} orders zzz", "topic 'orders' has no consumer 'zzz'; there are: audit, billing"),
    "no consumer": Bad("resume {log} empty zzz", "topic 'empty' has no consumer 'zzz'; there is none yet"),
    "consumer to replay to": Bad(
        "replay {log} orders audits --from 0", "topic 'orders' has no consumer 'audits'; did you mean 'audit'?"
    ),
    "consumer to remove": Bad(
        "remove {log} orders audits", "topic 'orders' has no consumer 'audits'; did you mean 'audit'?"
    ),
    "consumer to reshard": Bad(
        "reshard {log} orders biling 2", "topic 'orders' has no consumer 'biling'; did you mean 'billing'?"
    ),
    "topic to reshard": Bad("reshard {log} order billing 2", "there is no topic 'order'; did you mean 'orders'?"),
    "number of shards": Bad("reshard {log} orders billing 0", "COUNT: must be at least 1, not 0", 2),
    "range to replay": Bad(
        "replay {log} orders billing --from 3 --to 1", "--from must not come after --to: they are offsets 3 and 1", 2
    ),
    "consumer of letters": Bad(
        "dead-letters {log} orders replay --all --consumer audits",
        "topic 'orders' has no consumer 'audits'; did you mean 'audit'?",
    ),
    "offset to seek": Bad("seek {log} orders billing 11", OUTSIDE),
    "offset to try": Bad("seek {log} orders billing 11 --dry-run", OUTSIDE),
    "offset to tail": Bad("tail {log} orders --from 11", OUTSIDE),
    "offset to export": Bad("export {log} orders --to 11", OUTSIDE),
    "place": Bad("seek {log} orders billing soon", f"TO: 'soon' {_PLACES}", 2),
    "place beyond the calendar": Bad(
        "tail {log} orders --from 0001-01-01T00:00+01:00", f"--from: '0001-01-01T00:00+01:00' {_PLACES}", 2
    ),
    "long ago": Bad("export {log} orders --from 999999999d", f"--from: '999999999d' {_PLACES}", 2),
    "number": Bad("tail {log} orders -n -1", "--number: must be at least 0, not -1", 2),
    "number of letters": Bad("dead-letters {log} orders list -n -1", "--number: must be at least 0, not -1", 2),
    "list takes no offset": Bad(
        "dead-letters {log} orders list 1",
        "list takes no offsets and no --all; show takes the offset of one letter",
        2,
    ),
    "show takes one offset": Bad(
        "dead-letters {log} orders show", "show needs the offset of one letter, as list shows it", 2
    ),
    "replay all or some": Bad(
        "dead-letters {log} orders replay", "replay needs the offsets of letters, as list shows them, or --all", 2
    ),
    "delete all and some": Bad(
        "dead-letters {log} orders delete 1 --all",
        "delete needs the offsets of letters, as list shows them, or --all",
        2,
    ),
    "an offset that is none": Bad(
        "dead-letters {log} orders delete 1 2.5", "'2.5' is not a whole number; see eventpipe --help", 2
    ),
    "a number of shards": Bad(
        "reshard {log} orders billing 2.5", "'2.5' is not a whole number; see eventpipe --help", 2
    ),
    "letter": Bad(
        "dead-letters {log} orders show 7", "topic 'orders' has no dead letter at offset 7; list shows those it has"
    ),
    "name of a topic": Bad(
        "append {log} a\tb e",
        "the name of a topic must have no white space and no control characters, unlike 'a\\tb'",
        2,
    ),
    "name of an imported topic": Bad("import {log} ", "the name of a topic must not be empty", 2),
    "properties": Bad(
        "append {log} orders e --properties [1]", '--properties: not a JSON object such as {{"plan": "pro"}}', 2
    ),
    "uuid": Bad("append {log} orders e --uuid 7", "--uuid: '7' is not a UUID", 2),
    "timestamp": Bad(
        "append {log} orders e --timestamp soon", "'timestamp' is neither an ISO 8601 time nor a Unix time", 2
    ),
    "options without an event": Bad(
        "append {log} orders --key k",
        "name the event that the options are about: eventpipe append FILE TOPIC EVENT",
        2,
    ),
    "no database": Bad(
        "topics {dir}/text", "{dir}/text is no SQLite database; name another file, or move this one away"
    ),
    "another database": Bad(
        "topics {dir}/other.db",
        "{dir}/other.db is a database of another program, and no log of eventpipe; name another file",
    ),
    "folder": Bad("topics {dir}", "{dir} is a folder; name a file in it"),
    "folder that is none": Bad("topics {log}/x", "cannot open {log}/x: not a directory"),
    "folder to append in": Bad(
        "append {dir}/no/x.db t e", "the folder of {dir}/no/x.db does not exist; make it: mkdir -m 700 {dir}/no"
    ),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_line(bad: Bad, at_rest: Path, tmp_path: Path, shell: Shell) -> None:
    """What cannot work is told in one line, with the way out; nothing is changed."""
    (tmp_path / "text").write_text("no database\n" * 100)
    with closing(sqlite3.connect(tmp_path / "other.db")) as database:
        database.execute("CREATE TABLE theirs (x)")
    names = {"log": str(at_rest), "dir": str(tmp_path)}
    before = at_rest.read_bytes()

    ended = shell.run(*(word.format(**names) for word in bad.words.split(" ")))

    assert (ended.code, ended.stdout, ended.stderr) == (bad.code, "", f"eventpipe: {bad.line.format(**names)}\n")
    assert at_rest.read_bytes() == before


LOOKING = {
    "topics": ("topics",),
    "consumers": ("consumers",),
    "tail": ("tail", "orders"),
    "dead-letters": ("dead-letters", "orders"),
    "verify": ("verify",),
    "export": ("export", "orders"),
    "seek": ("seek", "orders", "billing", "0"),
    "replay": ("replay", "orders", "billing", "--from", "0"),
    "pause": ("pause", "orders", "billing"),
    "resume": ("resume", "orders", "billing"),
    "remove": ("remove", "orders", "billing"),
    "reshard": ("reshard", "orders", "billing", "2"),
}


@pytest.mark.parametrize("words", LOOKING.values(), ids=LOOKING.keys())
def test_a_file_that_does_not_exist_is_not_made(words: tuple[str, ...], tmp_path: Path, shell: Shell) -> None:
    """A name that is misspelt leaves nothing behind; only what appends makes files."""
    ended = shell.run(words[0], tmp_path / "no.db", *words[1:])

    assert ended.stderr == (
        f"eventpipe: cannot open {tmp_path}/no.db: no such file or directory; name the file of a log, or begin one"
        " with eventpipe append\n"
    )
    assert (ended.code, ended.stdout) == (1, "")
    assert [path.name for path in tmp_path.iterdir()] == ["stdin"]


@pytest.mark.parametrize("words", LOOKING.values(), ids=LOOKING.keys())
def test_an_empty_file_is_left_empty(words: tuple[str, ...], tmp_path: Path, shell: Shell) -> None:
    """It is no database before something is appended, and who only looks makes none of it."""
    empty = tmp_path / "empty.db"
    empty.touch()

    ended = shell.run(words[0], empty, *words[1:])

    assert ended.stderr == (
        f"eventpipe: cannot open {empty}: it is empty, and no database yet; name the file of a log, or begin one with"
        " eventpipe append\n"
    )
    assert (ended.code, ended.stdout, empty.stat().st_size) == (1, "", 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty.db", "stdin"]


@pytest.mark.parametrize("words", [("topics",), ("append", "orders", "e"), ("seek", "orders", "billing", "0")])
def test_a_file_that_a_process_has_for_itself_is_left_alone(
    words: tuple[str, ...], at_rest: Path, holder: Holder, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has it, and what to do, is told."""
    monkeypatch.setattr(sqlite_opening, "OPENING_PATIENCE", 0.05)
    holder.ask("keep", at_rest)
    try:
        ended = shell.run(words[0], at_rest, *words[1:])
    finally:
        holder.ask("close")

    assert (ended.code, ended.stdout) == (1, "")
    assert ended.stderr == (
        f"eventpipe: {at_rest} is locked by process {holder.pid}; stop it, or open the file with shared=True in every"
        " process that uses it\n"
    )


def test_a_file_that_a_process_had_for_itself_is_read(at_rest: Path, holder: Holder, shell: Shell) -> None:
    """And the process can have it for itself again."""
    holder.ask("keep", at_rest)
    holder.ask("append", "theirs")
    holder.ask("close")

    assert shell.lines("tail", at_rest, "orders", "-n", "1", "--json")[0]["event"] == "theirs"

    holder.ask("keep", at_rest)
    holder.ask("close")


@pytest.mark.asyncio
@pytest.mark.parametrize("words", [("verify", "{log}"), ("append", "{log}", "orders")], ids=["verify", "append"])
async def test_a_terminal_shows_a_bar(words: tuple[str, ...], at_rest: Path) -> None:
    """While it works, and the report below it; the terminal is left as it was."""
    async with terminal(*(word.format(log=at_rest) for word in words)) as screen:
        if words[0] == "append":
            await screen.shows("Ctrl-D ends it")
            screen.press(b'{"event": "typed"}\n\x04')
        assert await screen.end() == 0
        assert screen.is_as_before

    assert "━" in screen.shown
    assert "12 events in 3 topics" in screen.shown or "1 of 1 line appended to 'orders'" in screen.shown
