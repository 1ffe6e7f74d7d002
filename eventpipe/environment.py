"""Options read from environment variables."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import NoneType, UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin

from eventpipe.checked import Checked, shown

PREFIX: Final = "EVENTPIPE_"
CONFIG_VARIABLE: Final = "EVENTPIPE_CONFIG"  # names a file of options
_BOOLEANS: Final = {
    "1": True,
    "true": True,
    "yes": True,
    "on": True,
    "0": False,
    "false": False,
    "no": False,
    "off": False,
}
_KINDS: Final = {int: "a whole number", float: "a number", bool: f"one of {', '.join(_BOOLEANS)}"}


def variables(model: type[Checked], prefix: str = PREFIX) -> dict[str, tuple[str, type]]:
    """The variables that set the options of ``model``.

    Returns:
        The dotted name of an option (``retry.max_attempts``) and its type, by variable
        (``EVENTPIPE_RETRY_MAX_ATTEMPTS``). Options that text cannot give, such as functions, are absent.
    """
    found: dict[str, tuple[str, type]] = {}
    for name, kind in kinds(model).items():
        if kind is not None and issubclass(kind, Checked):
            inner = variables(kind, f"{prefix}{name.upper()}_")
            found |= {variable: (f"{name}.{below}", kind) for variable, (below, kind) in inner.items()}
        elif kind is not None:
            found[prefix + name.upper()] = (name, kind)
    return found


@cache
def kinds(model: type[Checked]) -> Mapping[str, type | None]:
    """The type of each option of ``model`` as text and files give it; ``None`` for objects and functions."""
    found: dict[str, type | None] = {}
    for name, field in model.model_fields.items():
        kind = _kind(field.annotation)
        is_text = kind in (int, float, bool, str) or (isinstance(kind, type) and issubclass(kind, Checked))
        found[name] = kind if is_text and isinstance(kind, type) else None
    return found


def read(model: type[Checked], environ: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Read the options that ``environ`` sets; an empty variable sets none.

    Returns:
        Values, and the variable each came from, both by the dotted name of the option.

    Raises:
        ValueError: A variable cannot be read as its option's type; one line each.
    """
    values: dict[str, Any] = {}
    names: dict[str, str] = {}
    faults: list[str] = []
    for variable, (name, kind) in variables(model).items():
        text = environ.get(variable, "").strip()
        if not text:
            continue
        try:
            values[name] = _BOOLEANS[text.lower()] if kind is bool else kind(text)
        except (KeyError, ValueError):
            faults.append(f"{variable} must be {_KINDS[kind]}, not {shown(text)}")
        names[name] = variable
    if faults:
        raise ValueError("\n".join(faults))
    return values, names


def _kind(annotation: object) -> object:
    """The type of an option without its ``None``; a choice of words is a ``str``."""
    if get_origin(annotation) in (Union, UnionType):
        annotation = next(kind for kind in get_args(annotation) if kind is not NoneType)
    return str if get_origin(annotation) is Literal else annotation
