"""Every promise in ``docs/guarantees.md``, and in the README, names tests that pytest collects."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "guarantees.md"
LINK = re.compile(r"\[`(tests/[\w/]+\.py)::([\w:]+)`\]\((?:\.\./)?([^)]+)\)")
PROMISES = [
    "Accounting",
    "No wait",
    "Barrier",
    "Bounds",
    "Workers never raise",
    "No head-of-line blocking",
    "Deadline",
    "Times",
    "Services",
    "Subscriptions",
    "Log",
    "Cursor",
    "At least once",
    "Exclusive",
    "Trim",
    "Park",
    "Receivers",
    "Consumers",
    "Deliveries",
    "Pipeline",
    "Metrics",
    "Web frameworks",
    "Context",
    "Typed events",
    "Privacy",
    "Logging",
    "Plain code",
    "Processes",
    "Configuration",
    "Sinks",
    "Codecs",
    "Webhooks",
    "Command line",
    "Testing kit",
]


def lines_by_promise() -> dict[str, list[str]]:
    """The list items under each heading; an item may run over several lines."""
    found: dict[str, list[str]] = {}
    for section in PAGE.read_text().split("\n## ")[1:]:
        heading, _, body = section.partition("\n")
        found[heading.strip()] = [" ".join(item.split()) for item in re.split(r"^- ", body, flags=re.MULTILINE)[1:]]
    return found


LINES = lines_by_promise()
LINKS = [match for page in (PAGE, ROOT / "README.md") for match in LINK.finditer(page.read_text())]


def test_every_promise_has_its_lines() -> None:
    """The page has one section per promise, in their order, and each says something."""
    assert [heading for heading in LINES if heading in PROMISES] == PROMISES
    assert [promise for promise in PROMISES if not LINES[promise]] == []


def test_every_line_names_a_test() -> None:
    """No promise is made that nothing proves."""
    lines = [line for promise in PROMISES for line in LINES[promise]]

    assert [line for line in lines if not LINK.search(line)] == []


def test_links_lead_to_the_file_they_name() -> None:
    """A link's text and its address are the same file."""
    assert LINKS != []
    assert [match[0] for match in LINKS if match[1] != match[3]] == []


def test_every_file_about_a_whole_client_is_named() -> None:
    """What is proved of a client as its users meet it is a promise, and has its line."""
    files = {
        str(path.relative_to(ROOT))
        for folder in ("client", "integration", "stress")
        for path in (ROOT / "tests" / folder).glob("test_*.py")
    }

    assert sorted(files - {match[1] for match in LINKS}) == []


@pytest.fixture(scope="module")
def collected() -> set[str]:
    """Every test that pytest finds, with its parameters."""
    arguments = ["-q", "--collect-only", "-p", "no:randomly", "-p", "no:cacheprovider", "tests"]
    answer = subprocess.run(
        [sys.executable, "-m", "pytest", *arguments], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert answer.returncode == 0, answer.stdout[-2000:] + answer.stderr[-2000:]
    return {line for line in answer.stdout.splitlines() if "::" in line}


@pytest.mark.wallclock
@pytest.mark.timeout(120)
def test_every_named_test_is_collected(collected: set[str]) -> None:
    """Collection finds each test that the page names; one that was renamed or removed is missed here."""
    tests = {test.partition("[")[0] for test in collected}
    classes = {test.rpartition("::")[0] for test in tests}  # a class stands for its tests

    assert sorted({f"{match[1]}::{match[2]}" for match in LINKS} - tests - classes) == []


@pytest.mark.wallclock
@pytest.mark.timeout(120)
def test_no_test_is_named_by_an_address(collected: set[str]) -> None:
    """The workers of pytest-xdist refuse to run when each has other names for the same tests."""
    assert [test for test in collected if re.search(r" at 0x[0-9a-f]{6}", test)] == []
