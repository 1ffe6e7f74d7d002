from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from eventpipe.cli.moving import Effect, effect_of
from eventpipe.retention import UNBOUNDED
from eventpipe.stores.values import ConsumerInfo, TopicInfo
from tests.cli.logs import Holder, Kept, Shell

pytestmark = pytest.mark.wallclock


def consumer(shell: Shell, log: object, name: str) -> dict[str, Any]:  # Any: JSON
    [found] = [known for known in shell.json("consumers", log)["consumers"] if known["name"] == name]
    return dict(found)


@pytest.mark.parametrize(
    ("to", "offset", "effect"),
    [
        ("earliest", 0, "4 events will be handed out again"),
        ("3", 3, "1 event will be handed out again"),
        ("4", 4, "nothing changes for any event"),
        ("5", 5, "1 event will be passed over"),
        ("latest", 10, "6 events will be passed over"),
        ("2026-01-31T09:05:00Z", 0, "4 events will be handed out again"),
        ("1h", 10, "6 events will be passed over"),
    ],
)
def test_seek_moves_a_consumer_and_says_what_that_means(
    to: str, offset: int, effect: str, log: Kept, shell: Shell
) -> None:
    """Where it was, where it goes on, and how many events that costs or repeats."""
    ended = shell.run("seek", log, "orders", "billing", to)

    assert ended.stdout == f"'billing' of 'orders' was at 4 and goes on at {offset}: {effect}\n"
    assert (ended.code, ended.stderr) == (0, "")
    assert consumer(shell, log, "billing")["position"] == offset
    assert consumer(shell, log, "billing")["pending"] == 10 - offset


def test_seek_can_be_tried(log: Kept, shell: Shell) -> None:
    """``--dry-run`` says the same and changes nothing."""
    said = shell.json("seek", log, "orders", "billing", "1", "--dry-run")

    assert (said["to"], said["again"], said["passed_over"], said["is_exact"]) == (1, 3, 0, True)
    assert (said["dry_run"], said["was"]["position"], said["is"]["position"]) == (True, 4, 4)
    assert consumer(shell, log, "billing")["position"] == 4
    assert shell.run("seek", log, "orders", "billing", "1", "--dry-run").stdout == (
        "'billing' of 'orders' was at 4 and would go on at 1: 3 events will be handed out again\n"
    )


def info(position: int, pending: int) -> ConsumerInfo:
    return ConsumerInfo("t", "c", position, position, pending)


def topic(first: int = 0, end: int = 100, damaged: int = 0) -> TopicInfo:
    return TopicInfo("t", first, end, end - first, 0, None, None, UNBOUNDED, damaged=damaged)


@pytest.mark.parametrize(
    ("at", "of", "to", "effect"),
    [
        (info(40, 60), topic(), 30, Effect(10, 0, is_exact=True)),
        (info(40, 60), topic(), 50, Effect(0, 10, is_exact=True)),
        (info(40, 55), topic(), 30, Effect(15, 0, is_exact=False)),  # five are settled out of order
        (info(40, 55), topic(), 98, Effect(2, 55, is_exact=False)),
        (info(40, 60), topic(damaged=1), 30, Effect(10, 0, is_exact=False)),
        (info(40, 50), topic(first=50), 50, Effect(0, 0, is_exact=True)),  # retention was faster
        (info(100, 0), topic(), 100, Effect(0, 0, is_exact=True)),
    ],
    ids=["back", "forward", "back past gaps", "forward past gaps", "damaged", "dropped", "at the end"],
)
def test_what_a_seek_means(at: ConsumerInfo, of: TopicInfo, to: int, effect: Effect) -> None:
    """The numbers are exact where they can be known, and else the most that there can be."""
    assert effect_of(at, of, to) == effect


def test_what_is_not_exact_is_said_so() -> None:
    """``up to`` stands before a number that may be less."""
    assert str(Effect(2, 55, is_exact=False)) == (
        "up to 2 events will be handed out again and up to 55 events will be passed over"
    )


def test_replay_hands_events_to_one_consumer_again(log: Kept, shell: Shell) -> None:
    """They come after what it has still to do, and leave it where it is."""
    ended = shell.run("replay", log, "orders", "audit", "--from", "2", "--to", "5")

    assert ended.stdout == (
        "3 events of 'orders' from 2 to 5 will be handed to 'audit' again, after the 10 that it has still to do;"
        " the other consumers skip them\n"
    )
    assert (ended.code, ended.stderr) == (0, "")
    assert (consumer(shell, log, "audit")["position"], consumer(shell, log, "audit")["pending"]) == (0, 13)
    copies = shell.lines("tail", log, "orders", "--from", "10", "--json")
    assert [copy["properties"] for copy in copies] == [{"n": 2}, {"n": 3}, {"n": 4}]


def test_replay_can_be_tried(log: Kept, shell: Shell) -> None:
    """``--dry-run`` says how many it would be, and appends none."""
    said = shell.json("replay", log, "orders", "audit", "--from", "7", "--dry-run")

    assert (said["from"], said["to"], said["replayed"], said["dry_run"]) == (7, 10, 3, True)
    assert said["was"] | {"lag": 0} == said["is"] | {"lag": 0}
    assert len(shell.lines("tail", log, "orders", "--json")) == 10


def test_a_consumer_is_paused_and_resumed(log: Kept, shell: Shell) -> None:
    """What it was is said, and a second time that nothing changed."""
    paused = shell.run("pause", log, "orders", "billing").stdout
    assert consumer(shell, log, "billing")["is_paused"] is True
    again = shell.run("pause", log, "orders", "billing").stdout
    resumed = shell.run("resume", log, "orders", "billing").stdout

    state = "idle" if log.holder is None else "held"
    assert paused == f"'billing' of 'orders' was {state} and is paused, with 6 events pending\n"
    assert again == "'billing' of 'orders' is paused as before, with 6 events pending\n"
    assert resumed == "'billing' of 'orders' was paused and goes on, with 6 events pending\n"
    assert consumer(shell, log, "billing")["is_paused"] is False


def test_a_switch_is_told_to_programs(at_rest: Path, shell: Shell) -> None:
    """The consumer as it was and as it is."""
    said = shell.json("resume", at_rest, "orders", "audit")

    assert (said["was"]["is_paused"], said["is"]["is_paused"]) == (True, False)
    assert shell.json("remove", at_rest, "orders", "audit")["is"] is None


def test_a_consumer_is_divided_anew(log: Kept, shell: Shell) -> None:
    """The new shards begin where the old one was, and its name is gone; a second time nothing changes."""
    divided = shell.run("reshard", log, "orders", "audit", "2")
    again = shell.run("reshard", log, "orders", "audit", "2")
    shell.run("seek", log, "orders", "audit[0/2]", "7")
    said = shell.json("reshard", log, "orders", "audit", "1")

    assert divided.stdout == (
        "'audit' of 'orders' had 1 shard and has 2 shards, which begin at 0; its shards were level\n"
    )
    assert again.stdout == "'audit' of 'orders' has 2 shards already; nothing changes\n"
    assert (said["topic"], said["consumer"], said["shards"]) == ("orders", "audit", 1)
    assert [(was["name"], was["position"]) for was in said["was"]] == [("audit[0/2]", 7), ("audit[1/2]", 0)]
    assert [(now["name"], now["position"]) for now in said["is"]] == [("audit", 0)]
    assert {known["name"] for known in shell.json("consumers", log)["consumers"]} == {"audit", "billing"}


def test_a_consumer_that_runs_is_not_divided(at_rest: Path, holder: Holder, shell: Shell) -> None:
    """Who has it is told, and nothing is changed."""
    holder.ask("share", at_rest)

    ended = shell.run("reshard", at_rest, "orders", "billing", "2")

    assert (ended.code, ended.stdout) == (1, "")
    assert ended.stderr.startswith("eventpipe: consumer 'billing' of topic 'orders' is held by the holder, for ")
    assert {known["name"] for known in shell.json("consumers", at_rest)["consumers"]} == {"audit", "billing"}
    holder.ask("close")


def test_shards_that_are_not_level_repeat_events(at_rest: Path, shell: Shell) -> None:
    """How many at most is told."""
    shell.run("reshard", at_rest, "orders", "billing", "2")
    shell.run("seek", at_rest, "orders", "billing[0/2]", "7")

    assert shell.run("reshard", at_rest, "orders", "billing", "3").stdout == (
        "'billing' of 'orders' had 2 shards and has 3 shards, which begin at 4 to 7; up to 3 events may be handed out"
        " again\n"
    )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("audit", "was paused, had no cursor yet and 10 events pending, and is forgotten"),
        ("billing", "was {state}, had its cursor at 4 and 6 events pending, and is forgotten"),
    ],
)
def test_a_consumer_is_removed(name: str, said: str, log: Kept, shell: Shell) -> None:
    """With what was kept for it, which is told."""
    ended = shell.run("remove", log, "orders", name)

    state = "idle" if log.holder is None else "held"
    assert (ended.code, ended.stdout) == (0, f"'{name}' of 'orders' {said.format(state=state)}\n")
    assert name not in [known["name"] for known in shell.json("consumers", log)["consumers"]]
