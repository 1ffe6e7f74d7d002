"""The page of hostile far ends, held against the tests."""

from __future__ import annotations

import re
from pathlib import Path

from tests.edge.rows import GUARANTEES, Row

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "hostile-far-ends.md"


def test_the_page_has_every_row_as_its_tests_have_it() -> None:
    """In the same order and words, each with the module that proves it."""
    lines = [line.split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| ")][1:]
    told = [(row.removeprefix("| "), what, re.findall(r"`(test_\w+\.py)`", where)) for row, what, _, where in lines]
    proving = {
        row: [path.name for path in sorted(HERE.glob("test_*.py")) if f"ROW = Row.{row.name}\n" in path.read_text()]
        for row in Row
    }

    assert told == [(str(row), GUARANTEES[row], proving[row]) for row in Row]
