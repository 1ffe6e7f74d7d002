"""What every text file of the project has in common."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = ("eventpipe", "tests", "benchmarks", "docs", "examples")
SUFFIXES = {".py", ".md", ".toml", ".svg"}
MAX_LINES = 400

# Spelled in halves, so that this file is not its own first finding.
LEFT_OPEN = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")


def texts() -> list[Path]:
    found = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*")]
    return sorted(path for path in [*found, *ROOT.iterdir()] if path.is_file() and path.suffix in SUFFIXES)


def test_texts_leave_nothing_open() -> None:
    """A known gap is a sentence in ``docs/guarantees.md``, never a mark in a file."""
    marks = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in texts()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if LEFT_OPEN.search(line)
    ]

    assert marks == []


def test_modules_read_in_one_sitting() -> None:
    """One idea per module: 100 to 250 lines as a rule, and never above 400."""
    lengths = {path: len(path.read_text().splitlines()) for path in (ROOT / "eventpipe").rglob("*.py")}

    assert {str(path): lines for path, lines in lengths.items() if lines > MAX_LINES} == {}
