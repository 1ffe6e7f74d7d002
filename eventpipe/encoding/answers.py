"""What JSON can say of values that it has no form for: one step at a time, and never by their ``repr``.

These steps are conversions, and are not counted as repairs. Each reads the value through the methods of the built-in
type beneath it, so that a subclass which overrides them can neither lie nor write into the envelope by itself.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import operator
import uuid as uuidlib
from collections.abc import Callable, Iterable, Mapping, MappingView, Sequence, Set
from itertools import islice
from numbers import Integral, Real
from pathlib import PurePath
from typing import Any, Final, NamedTuple

import orjson
import uuid_utils
from pydantic import BaseModel

UNKNOWN: Final = object()
"""There is no answer."""
EXTREME_EXPONENT: Final = 300  # beyond it a decoder overflows a double, or makes it zero
SORT_WORK: Final = 5  # an element that is sorted takes so many times what a healthy value takes in the repair pass
FOREIGN_WORK: Final = 8  # and one that foreign code hands out
LONGEST_NUMBER: Final = 400  # digits of a decimal that is still written as a number


class Pairs(NamedTuple):
    """The members of an object; keys are whatever the mapping had."""

    members: list[tuple[object, object]]
    work: int = 1
    """What one member costs, in units of a healthy value."""


class Elements(NamedTuple):
    """The elements of an array."""

    elements: Sequence[object]
    work: int = 1
    """What one element costs, in units of a healthy value."""
    sort: bool = False
    """Whether the order means nothing, so that the encoded elements are sorted."""


def answer(value: object, most: int) -> object:
    """Take one step from ``value`` towards JSON.

    Args:
        value: Anything.
        most: How much work reading may be; a member too many is read, to show that there are more.

    Returns:
        ``Pairs``, ``Elements``, a value that is nearer to JSON, or ``UNKNOWN``.

    Raises:
        BaseException: Whatever the value's own code raises.
    """
    kind = type(value)
    exact = _EXACT.get(kind)
    if exact is not None:
        return exact(value, most)
    for base, step in _BASES:
        if issubclass(kind, base):
            return step(value, most)
    if dataclasses.is_dataclass(kind):
        return _dataclass(value, most)
    return UNKNOWN


def _members(value: Any, most: int) -> Pairs:
    return Pairs(list(islice(dict.items(value), most + 1)))


def _foreign_members(value: Any, most: int) -> Pairs:
    read = islice(value.items(), most // FOREIGN_WORK + 1)
    return Pairs([(key, child) for key, child in read], FOREIGN_WORK)


def _elements(
    read: Callable[[Any], Iterable[object]], work: int = 1, *, sort: bool = False
) -> Callable[[Any, int], Elements]:
    return lambda value, most: Elements(list(islice(read(value), most // work + 1)), work, sort)


def _dataclass(value: Any, most: int) -> Pairs:
    """Fields in order, as orjson writes dataclasses: those whose name begins with an underscore are private."""
    names = [field.name for field in dataclasses.fields(value) if not field.name.startswith("_")]
    return Pairs([(name, getattr(value, name)) for name in names[: most + 1]])


def _decimal(value: decimal.Decimal, _: int) -> object:
    """The same digits as a number; as text where a decoder could not hold it; ``None`` where it is no number."""
    if not decimal.Decimal.is_finite(value):
        return None
    text = decimal.Decimal.__str__(value)
    if len(text) > LONGEST_NUMBER or (value and abs(decimal.Decimal.adjusted(value)) > EXTREME_EXPONENT):
        return text
    return orjson.Fragment(text)


def _datetime(value: datetime.datetime, _: int) -> str:
    """RFC 3339; a naive one is taken as UTC, as are offsets of odd seconds, which RFC 3339 has no form for."""
    offset = datetime.datetime.utcoffset(value)
    if offset is not None and offset % datetime.timedelta(minutes=1):
        value = datetime.datetime.astimezone(value, datetime.UTC)
    text = datetime.datetime.isoformat(value)
    return text + "Z" if offset is None else text.removesuffix("+00:00") + "Z" * text.endswith("+00:00")


_Step = Callable[[Any, int], object]  # Any: the type that the step is listed for

_BASES: Final[list[tuple[type, _Step]]] = [
    (enum.Enum, lambda value, _: value._value_),
    (str, lambda value, _: str.__str__(value)),
    (int, lambda value, _: int.__index__(value)),
    (float, lambda value, _: float.__float__(value)),
    (dict, _members),
    (list, _elements(list.__iter__)),
    (tuple, _elements(tuple.__iter__)),
    (set, _elements(set.__iter__, SORT_WORK, sort=True)),
    (frozenset, _elements(frozenset.__iter__, SORT_WORK, sort=True)),
    (decimal.Decimal, _decimal),
    (datetime.datetime, _datetime),
    (datetime.date, lambda value, _: datetime.date.isoformat(value)),
    (datetime.time, lambda value, _: datetime.time.isoformat(value)),
    (datetime.timedelta, lambda value, _: datetime.timedelta.total_seconds(value)),
    (uuidlib.UUID, lambda value, _: uuidlib.UUID.__str__(value)),
    (uuid_utils.UUID, lambda value, _: str(value)),
    (PurePath, lambda value, _: str(value)),
    (BaseModel, lambda value, _: value.model_dump(mode="json")),
    (bytes, lambda value, _: UNKNOWN),
    (bytearray, lambda value, _: UNKNOWN),
    (memoryview, lambda value, _: UNKNOWN),
    (Integral, lambda value, _: operator.index(value)),
    (Real, lambda value, _: float(value)),
    (Mapping, _foreign_members),
    (MappingView, _elements(iter, FOREIGN_WORK)),
    (Set, _elements(iter, FOREIGN_WORK, sort=True)),
    (Sequence, _elements(iter, FOREIGN_WORK)),
]
_EXACT: Final[dict[type, _Step]] = dict(_BASES)
