"""The page of the store protocol names what the protocol has, all of it and nothing else."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from eventpipe.stores.base import ConsumerStore, LeaseStore, Store, TopicStore
from eventpipe.stores.values import Disposal

PAGE = (Path(__file__).parents[1] / "docs" / "stores.md").read_text()
OPERATIONS, ENGINES = PAGE.split("## The nine operations")[1].split("## On other engines")
NAME = re.compile(r"`(\w+)`")
METHODS = {
    name
    for protocol in (TopicStore, ConsumerStore, LeaseStore, Store)
    for name, member in vars(protocol).items()
    if inspect.isfunction(member) and not name.startswith("_")
}


def rows(section: str) -> list[list[str]]:
    """The cells of the one table of a section, without its head."""
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def named(section: str) -> set[str]:
    """What the first column names as code, but for what may become of an event."""
    return {name for first, *_ in rows(section) for name in NAME.findall(first)} - set(Disposal.__members__)


def test_the_protocol_has_its_methods() -> None:
    """So that the comparisons below are of something."""
    assert {"append", "claim", "settle", "acquire", "version", "wait", "open", "aclose"} < METHODS


@pytest.mark.parametrize("section", [OPERATIONS, ENGINES], ids=["operations", "engines"])
def test_a_table_names_methods_that_exist(section: str) -> None:
    """What it calls an operation can be called so."""
    assert named(section) - METHODS == set()


def test_every_method_has_a_place_on_other_engines() -> None:
    """So that nobody who writes a store for one finds something that was not thought of."""
    assert METHODS - named(ENGINES) == set()


def test_every_method_is_told_of_beside_the_engines() -> None:
    """In the table of operations, or in the sentence below it."""
    assert METHODS - set(NAME.findall(OPERATIONS)) == set()


@pytest.mark.parametrize("section", [OPERATIONS, ENGINES], ids=["operations", "engines"])
def test_a_table_has_no_row_that_is_short_of_a_cell(section: str) -> None:
    """Each engine, and each column, says something in each row."""
    (width,) = {len(row) for row in rows(section)}

    assert width > 2
    assert all(cell for row in rows(section) for cell in row)


def test_every_disposal_is_in_the_table_of_operations() -> None:
    """What a settlement may say of an event."""
    assert set(Disposal.__members__) <= set(NAME.findall(OPERATIONS))
