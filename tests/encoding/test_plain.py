"""What orjson may be handed as it is, and what would end the process there."""

from __future__ import annotations

import datetime
import decimal
import enum
import gc
import sys
import uuid
from collections import OrderedDict
from typing import Any

import orjson
import pytest

from eventpipe.encoding.plain import MAX_CONTAINERS, MAX_LEVELS, is_plain
from eventpipe.encoding.repair import repair


class Text(str):
    __slots__ = ()


class Number(int):
    pass


class Plan(enum.Enum):
    PRO = "pro"


class Word(enum.StrEnum):
    HELLO = "hello"


class Meta(type):
    pass


class OfMeta(str, metaclass=Meta):
    __slots__ = ()


def half_built(number: object = None) -> uuid.UUID:
    made: uuid.UUID = object.__new__(uuid.UUID)
    if number is not None:
        object.__setattr__(made, "int", number)
    return made


def nested(levels: int) -> list[object]:
    value: list[object] = []
    for _ in range(levels - 1):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    ["text", 5, 1.5, True, None, {}, [], (), Text("text"), Number(5), uuid.UUID(int=5), uuid.UUID(int=2**128 - 1)],
    ids=repr,
)
def test_what_runs_no_code_is_plain(value: object) -> None:
    """Text, numbers, their subclasses and whole UUIDs, at the top and inside containers of each kind."""
    for container in ({"a": value}, [value], (value,), {"a": [({"b": value}, 1)], "c": "d"}):
        assert is_plain(container)
        orjson.dumps(container)


@pytest.mark.parametrize(
    "value",
    [
        Plan.PRO,
        Word.HELLO,
        half_built(),
        half_built("number"),
        half_built(-1),
        half_built(2**128),
        orjson.Fragment(b"{"),
        OfMeta("text"),
        OrderedDict(),
        b"bytes",
        {1},
        decimal.Decimal(1),
        datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC),
        object(),
        int,
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_might_run_code_is_not_plain(value: object) -> None:
    """Enum members, UUIDs that are not whole and fragments, wherever they are, and what orjson refuses anyway."""
    for container in ({"a": value}, [value], (value,), {"a": [({"b": value}, 1)], "c": "d"}, [[1], [2, value]]):
        assert not is_plain(container)


def test_depth_cycles_and_shared_containers_are_bounded() -> None:
    """What orjson would refuse, or write a million times over, is found out in a bounded number of steps."""
    cycle: list[object] = []
    cycle.append(cycle)
    laughs: tuple[object, ...] = ()
    for _ in range(40):
        laughs = (laughs, laughs)

    assert not is_plain(cycle)
    assert not is_plain({"a": laughs})
    assert is_plain(nested(MAX_LEVELS))
    assert not is_plain(nested(MAX_LEVELS + 1))
    assert is_plain([[]] * (MAX_CONTAINERS - 1))
    assert not is_plain([[]] * MAX_CONTAINERS)


def test_repair_never_lets_orjson_read_a_member() -> None:
    """A member's ``value`` may be code that raises, or changes the container that is being encoded."""
    read: list[object] = []

    class Odd(enum.Enum):
        MEMBER = "member"

        @property
        def value(self) -> Any:
            read.append(self)
            return "read"

    made, repairs = repair({"a": [Odd.MEMBER, {"b": Odd.MEMBER}], "odd": object()})

    assert (orjson.loads(orjson.dumps(made)), repairs) == (
        {"a": ["member", {"b": "member"}], "odd": "<type object>"},
        1,
    )
    assert read == []


def test_repair_survives_members_at_the_limit_of_recursion() -> None:
    """``enum`` reads a value in Python, which raises there; in the middle of orjson that ends the process."""

    def deeper() -> None:
        try:
            repair({"a": [Plan.PRO]})
        finally:
            deeper()

    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(300)
    gc.disable()  # or finalizers of what other tests left run there too, and fail
    try:
        with pytest.raises(RecursionError):
            deeper()
    finally:
        gc.enable()
        sys.setrecursionlimit(limit)
