from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from eventpipe.log.eventlog import EventLog
from eventpipe.retention import Retention
from eventpipe.stores.sqlite import SqliteStore
from tests.cli.logs import BILLING, STAMP, Kept, Shell

pytestmark = pytest.mark.wallclock


def test_topics_are_told(log: Kept, shell: Shell) -> None:
    """Each topic with what it holds and keeps, its consumers, and the letters that nobody has dealt with."""
    topics = {topic["name"]: topic for topic in shell.json("topics", log)["topics"]}

    assert list(topics) == ["empty", "orders", "orders.dead"]
    orders = topics["orders"]
    assert {name: orders[name] for name in ("events", "first", "end", "consumers", "dead_letters")} == {
        "events": 10,
        "first": 0,
        "end": 10,
        "consumers": 2,
        "dead_letters": 2,
    }
    assert orders["oldest_at"] == orders["newest_at"] == "2026-01-31T09:05:00.000000Z"
    assert orders["oldest_age"] == pytest.approx(time.time() - STAMP, abs=20)
    assert (orders["dropped"], orders["damaged"]) == (0, 0)
    assert topics["orders.dead"]["events"] == 2
    assert topics["empty"]["oldest_age"] is None
    assert topics["empty"]["retention"] == {
        "max_events": 1000,
        "max_bytes": None,
        "max_age": 3600.0,
        "on_full": "drop_oldest",
    }


def test_topics_are_a_line_each(at_rest: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere than on a terminal no line is folded, and the columns stand below their headings."""
    monkeypatch.setattr(time, "time", lambda: STAMP + 90)

    ended = shell.run("topics", at_rest)

    assert ended.stdout == (
        "topic        events    bytes  first  end  oldest  consumers  letters\n"
        "empty             0      0 B      0    0       -          0        0\n"
        "orders           10  1.4 KiB      0   10  90.0 s          2        2\n"
        "orders.dead       2    702 B      0    2  90.0 s          0        0\n"
        "empty: keeps 1,000 events, 1 h 0 m, then drop oldest\n"
    )
    assert (ended.code, ended.stderr) == (0, "")


def test_letters_that_were_dealt_with_do_not_count(at_rest: Path, shell: Shell) -> None:
    """They are kept until the next trim, and are nobody's concern."""
    assert shell.run("dead-letters", at_rest, "orders", "delete", 0).code == 0

    topics = {topic["name"]: topic for topic in shell.json("topics", at_rest)["topics"]}

    assert topics["orders.dead"]["events"] == 2
    assert topics["orders"]["dead_letters"] == 1


def test_a_log_without_topics_says_so(tmp_path: Path, shell: Shell) -> None:
    """Nothing to show is no failure."""

    async def make() -> None:
        async with EventLog(SqliteStore(tmp_path / "new.db")):
            pass

    asyncio.run(make())

    ended = shell.run("topics", tmp_path / "new.db")

    assert (ended.code, ended.stdout) == (0, f"{tmp_path}/new.db has no topics yet; eventpipe append makes one\n")
    assert shell.run("consumers", tmp_path / "new.db").stdout == f"{tmp_path}/new.db has no consumers\n"


def test_consumers_are_told(log: Kept, shell: Shell) -> None:
    """Each with its cursor, what is pending and for how long, what is in hand, and its last error."""
    audit, billing = shell.json("consumers", log)["consumers"]

    assert (audit["name"], audit["cursor"], audit["position"], audit["pending"]) == ("audit", None, 0, 10)
    assert (audit["is_paused"], audit["last_error"], audit["holder"]) == (True, None, None)
    assert (billing["name"], billing["cursor"], billing["position"], billing["pending"]) == ("billing", 4, 4, 6)
    assert (billing["claimed"], billing["waiting"], billing["dead"], billing["dropped"]) == (2, 0, 2, 0)
    assert (billing["is_paused"], billing["last_error"]) == (False, "refused")
    assert billing["lag"] == pytest.approx(time.time() - STAMP, abs=20)


def test_who_holds_a_consumer_is_told(in_use: Kept, shell: Shell) -> None:
    """By its own words, with the time that is left, on the line below the table that has its last error too."""
    [_, billing] = shell.json("consumers", in_use, "orders")["consumers"]
    text = shell.run("consumers", in_use, "orders").stdout

    assert billing["holder"] == "the holder"
    assert 0 < billing["expires_in"] <= 60
    assert text.splitlines()[-1].startswith("billing of orders: held by the holder, ")
    assert text.splitlines()[-1].endswith(" s left; last error: refused")


def test_consumers_are_a_line_each(at_rest: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that has never settled anything has no cursor, which is a word of its own."""
    monkeypatch.setattr(time, "time", lambda: STAMP + 90)

    ended = shell.run("consumers", at_rest, "orders")

    assert ended.stdout == (
        "topic   consumer  cursor  pending     lag  claimed  waiting  dead  state\n"
        "orders  audit      never       10  90.0 s        0        0     0  paused\n"
        "orders  billing        4        6  90.0 s        2        0     2  idle\n"
        "billing of orders: last error: refused\n"
    )


def test_consumers_of_one_topic_are_told(at_rest: Path, shell: Shell) -> None:
    """Those of the others are left out, and none is no failure."""
    ended = shell.run("consumers", at_rest, "empty")

    assert (ended.code, ended.stdout) == (0, "topic 'empty' has no consumers\n")


def test_what_retention_dropped_is_told(at_rest: Path, shell: Shell) -> None:
    """By topic, and by consumer that had not settled it."""

    async def drop() -> None:
        async with EventLog(SqliteStore(at_rest)) as log:
            await log.declare("orders", Retention(max_events=6, on_full="drop_oldest"))
            await log.append("orders", "one more")

    asyncio.run(drop())

    [topic] = [topic for topic in shell.json("topics", at_rest)["topics"] if topic["name"] == "orders"]
    audit, billing = shell.json("consumers", at_rest, BILLING.topic)["consumers"]
    assert (topic["first"], topic["dropped"]) == (5, 5)
    assert (audit["dropped"], billing["dropped"]) == (5, 1)
    assert shell.run("topics", at_rest).stdout.splitlines()[-1] == (
        "orders: keeps 6 events, then drop oldest; 5 dropped before a consumer had settled them"
    )
    assert shell.run("consumers", at_rest).stdout.splitlines()[-2:] == [
        "audit of orders: 5 dropped before it had settled them",
        "billing of orders: 1 dropped before it had settled them; last error: refused",
    ]


@pytest.mark.parametrize(
    "words",
    [("topics",), ("consumers",), ("tail", "orders"), ("dead-letters", "orders"), ("verify",), ("export", "orders")],
)
def test_looking_changes_nothing(words: tuple[str, ...], at_rest: Path, shell: Shell) -> None:
    """No consumer is registered, no event handed out, no file made beside the log."""
    before = shell.json("topics", at_rest), shell.json("consumers", at_rest)
    files = sorted(path.name for path in at_rest.parent.iterdir())

    assert shell.run(words[0], at_rest, *words[1:]).code == 0

    after = shell.json("topics", at_rest), shell.json("consumers", at_rest)
    assert steady(after) == steady(before)
    assert sorted(path.name for path in at_rest.parent.iterdir()) == files


def steady(told: object) -> object:
    """Without what time alone changes."""
    if isinstance(told, dict):
        return {name: steady(value) for name, value in told.items() if name not in ("oldest_age", "lag")}
    return [steady(value) for value in told] if isinstance(told, (list, tuple)) else told
