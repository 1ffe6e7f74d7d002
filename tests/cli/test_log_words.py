from __future__ import annotations

import datetime
import io

import pytest
from rich.console import Console

from eventpipe.cli import log_words as words
from eventpipe.cli.columns import show_columns
from eventpipe.cli.failures import UsageError
from eventpipe.cli.positions import parse_position
from eventpipe.cli.progress import bar
from eventpipe.retention import UNBOUNDED, Retention
from eventpipe.stores.values import ConsumerInfo
from tests.cli.pictures import printed

NOW = datetime.datetime(2026, 1, 31, 12, 0, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("earliest", "earliest"),
        (" latest ", "latest"),
        ("0", 0),
        ("0042", 42),
        ("90s", datetime.datetime(2026, 1, 31, 11, 58, 30, tzinfo=datetime.UTC)),
        ("10m", datetime.datetime(2026, 1, 31, 11, 50, tzinfo=datetime.UTC)),
        ("2h", datetime.datetime(2026, 1, 31, 10, 0, tzinfo=datetime.UTC)),
        ("31d", datetime.datetime(2025, 12, 31, 12, 0, tzinfo=datetime.UTC)),
        ("2026-01-31", datetime.datetime(2026, 1, 31, tzinfo=datetime.UTC)),
        ("2026-01-31T09:05:00Z", datetime.datetime(2026, 1, 31, 9, 5, tzinfo=datetime.UTC)),
        ("2026-01-31T09:05:00+02:00", datetime.datetime(2026, 1, 31, 7, 5, tzinfo=datetime.UTC)),
        ("2026-01-31 09:05", datetime.datetime(2026, 1, 31, 9, 5, tzinfo=datetime.UTC)),
    ],
)
def test_places_are_read(text: str, position: object) -> None:
    """A word, an offset, a time, and how long ago; a time without a zone is one of UTC."""
    assert parse_position("--from", text, NOW) == position


@pytest.mark.parametrize("text", ["", "first", "-1", "1.5", "10 m", "10y", "٣", "9" * 20, "9999-12-31T23:59-01:00"])
def test_other_places_are_refused(text: str) -> None:
    """With the option, and what it may be."""
    with pytest.raises(UsageError, match=r"^--from: .* is neither earliest, latest, an offset, a time such as "):
        parse_position("--from", text, NOW)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-5.0, "0 µs"),
        (0.35, "350 ms"),
        (200.0, "3 m 20 s"),
        (3599.0, "59 m 59 s"),
        (3600.0, "1 h 0 m"),
        (86_399.0, "23 h 59 m"),
        (100_000.0, "1 d 3 h"),
        (2e8, "2,314 d 19 h"),
    ],
)
def test_ages_are_short(seconds: float, said: str) -> None:
    """Two units at most, and nothing that is still to come."""
    assert words.age(seconds) == said


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        (UNBOUNDED, "all"),
        (Retention(max_age=90.0), "90.0 s"),
        (Retention(max_events=1), "1 event, then reject"),
        (Retention(max_events=2000, max_bytes=1 << 20, on_full="wait"), "2,000 events, 1.0 MiB, then wait"),
        (Retention(max_bytes=2048, max_age=86400.0, on_full="drop_oldest"), "2.0 KiB, 1 d 0 h, then drop oldest"),
    ],
)
def test_what_a_topic_keeps_is_said(kept: Retention, said: str) -> None:
    """Each bound, and what happens at those that an append can reach."""
    assert words.retention(kept) == said


def test_a_lease_without_an_end_has_no_time_left() -> None:
    """Who holds it is said all the same, and nothing that a terminal obeys."""
    held = ConsumerInfo("t", "c", 0, 0, 0, holder="web\x1b[31m-1")

    assert words.holding(held) == "held by web?[31m-1"
    assert words.state(held) == "held"


def test_a_terminal_folds_what_is_too_wide() -> None:
    """Nothing is cut off; the numbers stay to the right."""
    out = io.StringIO()
    screen = Console(file=out, force_terminal=True, width=24, color_system=None)

    show_columns(screen, ("<topic", "events"), [("a" * 30, "5"), ("[bold]b\x1b", "12")])

    lines = out.getvalue().splitlines()
    assert all(len(line) <= 24 for line in lines)
    assert "".join(line.split()[0] for line in lines[1:-1] if line.split()) == "a" * 30
    assert lines[-1].split() == ["[bold]b?", "12"]


@pytest.mark.parametrize(
    ("done", "total", "share"), [(0, 10, "0 %"), (5, 10, "50 %"), (11, 10, "100 %"), (0, 0, "100 %")]
)
def test_a_bar_says_how_much_is_done(done: int, total: int, share: str) -> None:
    """Never more than all of it."""
    shown = printed(bar("checking", done, total, "2 damaged"))

    assert shown.startswith("checking ")
    assert shown.rstrip().endswith(f"{share} 2 damaged")


def test_a_bar_without_a_total_says_no_share() -> None:
    """Of a pipe nobody knows the end."""
    assert "%" not in printed(bar("appending", 10, None, "10 appended"))
