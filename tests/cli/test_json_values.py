from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import pytest

from eventpipe.cli.json_values import MAX_DEPTH, MAX_ENTRIES, read_json


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Leaf:
    number: int = 0


@dataclass(frozen=True)
class Tree:
    name: str
    is_tall: bool = False
    height: float = 0.0
    colour: Colour = Colour.RED
    age: int | None = None
    rings: tuple[float, ...] = ()
    weights: Mapping[str, float] = field(default_factory=dict)
    leaves: Mapping[str, Leaf] = field(default_factory=dict)
    crown: Tree | None = None


def test_every_kind_of_field_is_read() -> None:
    """Values become those of the dataclass, nested ones too."""
    parsed = {
        "name": "oak",
        "is_tall": True,
        "height": 12,
        "colour": "blue",
        "age": None,
        "rings": [1, 2.5],
        "weights": {"a": 0.5},
        "leaves": {"first": {"number": 3}},
        "crown": {"name": "top"},
    }

    tree = read_json(Tree, parsed)

    assert tree == Tree("oak", True, 12.0, Colour.BLUE, None, (1.0, 2.5), {"a": 0.5}, {"first": Leaf(3)}, Tree("top"))


def test_absent_fields_have_their_default_and_unknown_ones_are_left_out() -> None:
    """The far side may be of another version."""
    assert read_json(Tree, {"name": "oak", "bark": "rough"}) == Tree("oak")


def test_number_of_a_mapping_that_is_null_is_infinite() -> None:
    """JSON has no infinity, and says null for it."""
    assert read_json(Tree, {"name": "oak", "weights": {"a": None}}).weights == {"a": math.inf}


@pytest.mark.parametrize(
    ("parsed", "refusal"),
    [
        ([], "the answer must be an object"),
        (None, "the answer must be an object"),
        ({}, "name must be a string"),
        ({"name": None}, "name must be a string"),
        ({"name": "oak", "is_tall": 1}, "is_tall must be true or false"),
        ({"name": "oak", "height": "12"}, "height must be a number"),
        ({"name": "oak", "height": None}, "height must be a number"),
        ({"name": "oak", "height": True}, "height must be a number"),
        ({"name": "oak", "height": -0.5}, "height must be from 0 to 10^18"),
        ({"name": "oak", "age": 1.5}, "age must be a whole number"),
        ({"name": "oak", "age": -1}, "age must be from 0 to 10^18"),
        ({"name": "oak", "age": 10**18 + 1}, "age must be from 0 to 10^18"),
        ({"name": "oak", "height": 1e300}, "height must be from 0 to 10^18"),
        ({"name": "oak", "age": False}, "age must be a whole number"),
        ({"name": "oak", "colour": "green"}, "colour must be one of red, blue"),
        ({"name": "oak", "colour": ["red"]}, "colour must be one of red, blue"),
        ({"name": "oak", "rings": {}}, "rings must be an array"),
        ({"name": "oak", "rings": [1, "2"]}, "rings must be a number"),
        ({"name": "oak", "rings": [1] * (MAX_ENTRIES + 1)}, "rings must be an array with at most 200 entries"),
        ({"name": "oak", "leaves": []}, "leaves must be an object"),
        ({"name": "oak", "leaves": {"a": {"number": "x"}}}, "leaves.a.number must be a whole number"),
        ({"name": "oak", "leaves": {"a": None}}, "leaves.a must be an object"),
        (
            {"name": "oak", "weights": dict.fromkeys(map(str, range(MAX_ENTRIES + 1)), 1)},
            "weights must be an object with at most 200 entries",
        ),
        ({"name": "oak", "crown": {"name": 1}}, "crown.name must be a string"),
    ],
)
def test_what_does_not_fit_is_refused(parsed: object, refusal: str) -> None:
    """The message names the field and the rule, and shows nothing of what was said."""
    with pytest.raises(ValueError, match=r".") as caught:
        read_json(Tree, parsed)

    assert str(caught.value) == refusal


def test_nesting_ends_somewhere() -> None:
    """A dataclass within itself is read to a bounded depth."""
    parsed: object = None
    for _ in range(MAX_DEPTH + 2):
        parsed = {"name": "oak", "crown": parsed}

    with pytest.raises(ValueError, match=r"^(crown\.)+name is nested too deeply$"):
        read_json(Tree, parsed)
