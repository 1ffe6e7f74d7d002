"""JSON that somebody else wrote, read into our own dataclasses: every field of its type, and everything bounded."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")

MAX_ENTRIES = 200  # of an object or an array: a client counts 101 names of events, and has a few sinks
MAX_NUMBER = 10**18  # more than any counter or clock says, and small enough to be reckoned with
MAX_DEPTH = 8  # the counters of one sink within those of all, and their histograms, are at 6


def read_json(kind: type[T], value: object, path: str = "") -> T:
    """Make a dataclass of a parsed JSON object.

    Its fields may be strings, enumerations, booleans, numbers, dataclasses, ``tuple[X, ...]``, ``Mapping[str, X]`` and
    any of these or ``None``; a number of a mapping that is null is infinite. A field that is absent has its default;
    one that the dataclass does not know is left out.

    Args:
        kind: The dataclass.
        value: What was parsed.
        path: Where in the whole it stands, for messages.

    Raises:
        ValueError: Names the field and what it must be, and shows no value.
    """
    return cast("T", _read(kind, value, path, 0))


def _read(kind: Any, value: object, path: str, depth: int) -> object:  # Any: types have none
    if depth > MAX_DEPTH:
        raise ValueError(f"{path} is nested too deeply")
    if dataclasses.is_dataclass(kind):
        return _dataclass(cast("type", kind), value, path, depth)
    if get_origin(kind) is UnionType:
        [wanted] = [choice for choice in get_args(kind) if choice is not NoneType]
        return None if value is None else _read(wanted, value, path, depth)
    if get_origin(kind) is tuple:
        items = _bounded(list, value, path, "an array")
        return tuple([_read(get_args(kind)[0], item, path, depth + 1) for item in items])
    if get_origin(kind) is Mapping:
        fields = _bounded(dict, value, path, "an object")
        wanted = get_args(kind)[1]
        return {
            # What is not finite is null in JSON: the seconds left of a pause without an end.
            name: math.inf if wanted is float and item is None else _read(wanted, item, f"{path}.{name}", depth + 1)
            for name, item in fields.items()
        }
    return _plain(kind, value, path)


def _dataclass(kind: type, value: object, path: str, depth: int) -> object:
    if not isinstance(value, dict):
        raise _refuse(path, "an object")
    arguments = {}
    for name, (hint, is_needed) in _fields(kind).items():
        if name in value or is_needed:
            below = f"{path}.{name}" if path else name
            arguments[name] = _read(hint, value.get(name), below, depth + 1)
    return kind(**arguments)


@cache
def _fields(kind: type) -> Mapping[str, tuple[Any, bool]]:  # Any: types have none
    """By name, the type of each field and whether it has no default."""
    hints = get_type_hints(kind)
    missing = dataclasses.MISSING
    return {
        field.name: (hints[field.name], field.default is missing and field.default_factory is missing)
        for field in dataclasses.fields(kind)
    }


def _plain(kind: Any, value: object, path: str) -> object:  # Any: types have none
    if issubclass(kind, Enum):
        if value not in [choice.value for choice in kind]:
            raise _refuse(path, f"one of {', '.join(str(choice.value) for choice in kind)}")
        return kind(value)
    if kind is bool:
        if not isinstance(value, bool):
            raise _refuse(path, "true or false")
    elif kind is str:
        if not isinstance(value, str):
            raise _refuse(path, "a string")
    elif isinstance(value, bool) or not isinstance(value, int if kind is int else (int, float)):
        raise _refuse(path, "a whole number" if kind is int else "a number")
    elif not 0 <= value <= MAX_NUMBER:
        raise _refuse(path, "from 0 to 10^18")
    return value


def _bounded(kind: type[T], value: object, path: str, name: str) -> T:
    if not isinstance(value, kind):
        raise _refuse(path, name)
    if len(value) > MAX_ENTRIES:  # type: ignore[arg-type]  # a list or a dict
        raise _refuse(path, f"{name} with at most {MAX_ENTRIES} entries")
    return value


def _refuse(path: str, rule: str) -> ValueError:
    return ValueError(f"{path or 'the answer'} must be {rule}")
