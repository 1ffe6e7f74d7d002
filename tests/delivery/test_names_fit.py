"""Which names a pattern means, and what that costs."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from eventpipe.stores.names import fits

words = st.text("ab*", max_size=12)


@given(pattern=words, name=st.text("ab*", max_size=16))
@example(pattern="ab*ba", name="aba")
@example(pattern="*a*", name="")
@example(pattern="*a*a*", name="a")
@example(pattern="a**b", name="ab")
def test_a_star_stands_for_any_characters(pattern: str, name: str) -> None:
    """As a regular expression would have it in which nothing else means anything."""
    expression = ".*".join(map(re.escape, pattern.split("*")))

    assert fits(pattern, name) is (re.fullmatch(expression, name, re.DOTALL) is not None)


@pytest.mark.parametrize("pattern", ["invoice.?", "[a-z]", "a.c", "INVOICE", "^a", "a\\*"])
def test_nothing_but_the_star_means_anything(pattern: str) -> None:
    """A dot is a dot, and letters are as large as they are."""
    assert fits(pattern, pattern)
    assert not fits(pattern, "invoice.x")
    assert not fits(pattern, "abc")


@pytest.mark.wallclock
@pytest.mark.parametrize(
    ("pattern", "unit"),
    [("*a" * 100 + "b", "a"), ("*" + "ab" * 99 + "*", "ab" * 98 + "b"), ("*".join(["aab"] * 60) + "c", "aab")],
    ids=["many stars", "a long part that nearly fits", "parts that fit"],
)
def test_no_pattern_takes_a_time_that_grows_faster_than_the_name(pattern: str, unit: str) -> None:
    """A name that is sixteen times as long takes less than the 256 times of a quadratic one: at most 64."""

    def seconds(length: int) -> float:
        name = (unit * length)[:length]
        best = 1.0
        for _ in range(7):
            began = time.perf_counter()
            fits(pattern, name)
            best = min(best, time.perf_counter() - began)
        return best

    assert seconds(320_000) < 64 * seconds(20_000) + 0.001
