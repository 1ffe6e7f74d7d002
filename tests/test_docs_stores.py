"""The page of the store protocols names what they have, all of it and nothing else."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from eventpipe.stores.base import ConsumerStore, LeaseStore, Store, TopicStore
from eventpipe.stores.delivery_base import DeliveryStore
from eventpipe.stores.sqlite_deliveries import SqliteDeliveries
from eventpipe.stores.values import Disposal

PAGE = (Path(__file__).parents[1] / "docs" / "stores.md").read_text()
OPERATIONS, REST = PAGE.split("## The nine operations")[1].split("## On other engines")
ENGINES, DELIVERIES = REST.split("## Deliveries")
NAME = re.compile(r"`(\w+)`")


def methods(*kinds: type) -> set[str]:
    """What can be asked of them."""
    return {
        name
        for kind in kinds
        for name, member in vars(kind).items()
        if inspect.isfunction(member) and not name.startswith("_")
    }


METHODS = methods(TopicStore, ConsumerStore, LeaseStore, Store)
OF_DELIVERIES = methods(DeliveryStore)


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


@pytest.mark.parametrize("section", [OPERATIONS, ENGINES, DELIVERIES], ids=["operations", "engines", "deliveries"])
def test_a_table_has_no_row_that_is_short_of_a_cell(section: str) -> None:
    """Each engine, and each column, says something in each row."""
    (width,) = {len(row) for row in rows(section)}

    assert width > 2
    assert all(cell for row in rows(section) for cell in row)


def test_every_disposal_is_in_the_table_of_operations() -> None:
    """What a settlement may say of an event."""
    assert set(Disposal.__members__) <= set(NAME.findall(OPERATIONS))


def test_the_table_of_deliveries_has_their_methods() -> None:
    """Each of them once, and no other."""
    assert {"publish", "claim", "change", "due", "rescue", "purge"} < OF_DELIVERIES
    assert sorted(name for first, *_ in rows(DELIVERIES) for name in NAME.findall(first)) == sorted(OF_DELIVERIES)


def test_what_keeps_deliveries_in_a_file_has_what_the_protocol_asks_for_and_nothing_else() -> None:
    """So that nobody comes to depend on what other engines have not."""
    assert methods(SqliteDeliveries) == OF_DELIVERIES
