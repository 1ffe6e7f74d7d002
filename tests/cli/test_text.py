from __future__ import annotations

import pytest

from eventpipe.cli.rate import Rate
from eventpipe.cli.text import count, duration, size


def test_counts_agree_with_their_nouns() -> None:
    """One is singular, everything else plural, thousands are parted."""
    assert [count(1, "event"), count(0, "event"), count(12345, "batch", "batches"), count(1000)] == [
        "1 event",
        "0 events",
        "12,345 batches",
        "1,000",
    ]


def test_sizes_have_binary_units() -> None:
    """Bytes are shown in the largest unit that keeps them above one."""
    assert [size(432), size(1536), size(1024**2), size(1.5 * 1024**3), size(5000 * 1024**3)] == [
        "432 B",
        "1.5 KiB",
        "1.0 MiB",
        "1.5 GiB",
        "5,000.0 GiB",
    ]


def test_durations_are_shown_at_their_scale() -> None:
    """Microseconds to minutes, with the digits that matter."""
    shown = [duration(seconds) for seconds in (0.000085, 0.0012, 0.35, 2.44, 200.0)]

    assert shown == ["85 µs", "1.2 ms", "350 ms", "2.4 s", "3 m 20 s"]


def test_rate_looks_back_two_seconds() -> None:
    """The rate is that of the last two seconds, not of the whole life."""
    rate = Rate(100.0)

    assert rate.of(100, 101.0) == pytest.approx(100.0)
    assert rate.of(100, 102.0) == pytest.approx(50.0)
    assert rate.of(100, 110.0) == pytest.approx(0.0)
    assert rate.of(300, 112.0) == pytest.approx(100.0)
    assert rate.of(700, 113.0) == pytest.approx(200.0)
    assert rate.of(900, 114.0) == pytest.approx(300.0)


def test_rate_without_time_is_zero() -> None:
    """Two readings at the same moment say nothing."""
    assert Rate(5.0).of(10, 5.0) == 0.0
