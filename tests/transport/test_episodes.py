"""One log line when drops begin, one when they are over."""

from __future__ import annotations

import logging
from itertools import pairwise

import pytest

from eventpipe.outcomes import DropReason
from eventpipe.transport.episodes import GAP, MAX_CLASSES, QUIET, Episodes

WANTED = (DropReason.SAMPLED, DropReason.NOT_ALLOWED)
TOLD = [reason for reason in DropReason if reason not in WANTED]
ENDED_BY_SUCCESS = (DropReason.UNAUTHORIZED, DropReason.MISCONFIGURED, DropReason.EXHAUSTED)


class Rig:
    """Episodes whose clock the test moves."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self.now = 1_000.0
        self.episodes = Episodes("eu", lambda: self.now)
        self._caplog = caplog

    def lines(self) -> list[tuple[int, str]]:
        """What was logged since the last call."""
        lines = [(record.levelno, record.getMessage()) for record in self._caplog.records]
        assert {record.name for record in self._caplog.records} <= {"eventpipe"}
        self._caplog.clear()
        return lines


@pytest.fixture
def rig(caplog: pytest.LogCaptureFixture) -> Rig:
    caplog.set_level(logging.DEBUG)
    return Rig(caplog)


def began(reason: str, because: str = "") -> tuple[int, str]:
    return (logging.ERROR, f"sink eu: events are being dropped, reason {reason}{because}")


def ended(reason: str, events: int) -> tuple[int, str]:
    number = "1 event was" if events == 1 else f"{events} events were"
    return (logging.WARNING, f"sink eu: {number} dropped, reason {reason}")


@pytest.mark.parametrize("reason", TOLD)
def test_the_first_drop_of_an_episode_is_logged_and_the_number_at_its_end(rig: Rig, reason: DropReason) -> None:
    """Whatever the reason: events were lost is an error, that it is over a warning."""
    rig.episodes.dropped(reason, 3, None)
    rig.episodes.dropped(reason, 4, "never shown")
    assert rig.lines() == [began(reason)]

    rig.episodes.close()
    assert rig.lines() == [ended(reason, 7)]

    rig.episodes.close()
    assert rig.lines() == []


@pytest.mark.parametrize(("error", "because"), [("status 401", ": status 401"), (None, ""), ("", "")])
def test_the_first_line_says_why(rig: Rig, error: str | None, because: str) -> None:
    """In the words of the outcome, where it has some."""
    rig.episodes.dropped("unauthorized", 1, error)

    assert rig.lines() == [began("unauthorized", because)]


def test_reasons_have_episodes_of_their_own(rig: Rig) -> None:
    """They begin, count and end apart."""
    rig.episodes.dropped("rejected", 1, None)
    rig.episodes.dropped("exhausted", 2, None)
    rig.episodes.dropped("rejected", 4, None)
    rig.episodes.close()

    assert rig.lines() == [began("rejected"), began("exhausted"), ended("rejected", 5), ended("exhausted", 2)]


@pytest.mark.parametrize("reason", WANTED)
def test_what_a_hook_drops_on_purpose_is_no_episode(rig: Rig, reason: DropReason) -> None:
    """It is wanted, of a large part of all events perhaps: no line, neither at the first nor at the close."""
    rig.episodes.dropped(reason, 3, None)
    rig.episodes.close()

    assert rig.lines() == []


@pytest.mark.parametrize("reason", list(DropReason))
def test_a_success_ends_what_it_proves_to_be_over(rig: Rig, reason: DropReason) -> None:
    """The far end works and knows us again; a poison event or a full queue is another matter."""
    rig.episodes.dropped(reason, 3, None)
    rig.lines()

    rig.now += GAP
    rig.episodes.delivered()
    rig.episodes.delivered()

    assert rig.lines() == ([ended(reason, 3)] if reason in ENDED_BY_SUCCESS else [])
    rig.now += GAP
    rig.episodes.dropped(reason, 1, None)
    assert rig.lines() == ([began(reason)] if reason in ENDED_BY_SUCCESS else [])


@pytest.mark.parametrize("kind", ["drop", "attempt"])
def test_a_far_end_that_fails_and_works_by_turns_writes_a_line_in_ten_seconds(rig: Rig, kind: str) -> None:
    """Ten thousand turns in a hundred seconds: at most one line in ten of them, and every failure in their numbers."""
    stamps = []
    numbers = 0
    for _ in range(10_000):
        if kind == "drop":
            rig.episodes.dropped("exhausted", 1, "down")
        else:
            rig.episodes.failed("status_503", "down")
        rig.episodes.delivered()
        rig.now += 0.01
        for _, line in rig.lines():
            stamps.append(rig.now)
            numbers += int(line.split(": ")[1].split()[0]) if "being" not in line and "repeated" not in line else 0
    rig.episodes.close()
    numbers += sum(int(line.split(": ")[1].split()[0]) for _, line in rig.lines())

    assert numbers == 10_000
    assert 9 <= len(stamps) <= 11
    assert min(later - earlier for earlier, later in pairwise(stamps)) >= GAP - 0.001


def test_attempts_that_fail_are_a_warning_with_the_reason_and_their_number_at_the_end(rig: Rig) -> None:
    """Nothing is lost yet; a success shows that it is over."""
    for _ in range(5):
        rig.episodes.failed("tls", "TransientSinkError: expired")
        rig.now += 3
    assert rig.lines() == [
        (logging.WARNING, "sink eu: attempts fail and are repeated, reason tls: TransientSinkError: expired")
    ]

    rig.episodes.delivered()

    assert rig.lines() == [(logging.WARNING, "sink eu: 5 attempts failed, reason tls")]
    rig.episodes.close()
    assert rig.lines() == []


def test_an_episode_that_begins_too_soon_is_told_of_when_it_lasts(rig: Rig) -> None:
    """Its first failure came within ten seconds of another line; the next one after them says so."""
    rig.episodes.failed("network", "reset")
    rig.now += GAP
    rig.episodes.delivered()
    rig.lines()

    rig.now += 1
    rig.episodes.failed("network", "reset")
    assert rig.lines() == []
    rig.now += GAP - 1
    rig.episodes.failed("network", "refused")

    assert rig.lines() == [(logging.WARNING, "sink eu: attempts fail and are repeated, reason network: refused")]
    rig.episodes.close()
    assert rig.lines() == [(logging.WARNING, "sink eu: 2 attempts failed, reason network")]


def test_reasons_without_number_share_a_class(rig: Rig) -> None:
    """A sink that makes up a reason for each attempt fills neither the log nor the memory."""
    for number in range(MAX_CLASSES + 1000):
        rig.episodes.failed(f"made up {number}", None)

    assert len(rig.lines()) == MAX_CLASSES + 1
    rig.episodes.close()
    assert rig.lines()[-1] == (logging.WARNING, "sink eu: 1000 attempts failed, reason (others)")


@pytest.mark.parametrize("reason", list(DropReason))
def test_a_queue_with_room_ends_the_episode_of_a_full_one(rig: Rig, reason: DropReason) -> None:
    """And no other."""
    rig.episodes.dropped(reason, 3, None)
    rig.lines()

    rig.episodes.has_room()
    rig.episodes.has_room()

    assert rig.lines() == ([ended(reason, 3)] if reason == DropReason.QUEUE_FULL else [])


@pytest.mark.parametrize("reason", TOLD)
def test_a_drop_after_a_quiet_minute_begins_another_episode(rig: Rig, reason: DropReason) -> None:
    """Counted from the last drop; a full queue stays full until there is room, however quiet."""
    rig.episodes.dropped(reason, 1, None)
    rig.now += QUIET - 1
    rig.episodes.dropped(reason, 2, None)
    rig.now += QUIET - 1
    rig.episodes.dropped(reason, 4, None)
    assert rig.lines() == [began(reason)]

    rig.now += QUIET
    rig.episodes.dropped(reason, 8, "again")

    is_queue = reason == DropReason.QUEUE_FULL
    assert rig.lines() == ([] if is_queue else [began(reason, ": again (7 events were before)")])
    rig.episodes.close()
    assert rig.lines() == [ended(reason, 15 if is_queue else 8)]
