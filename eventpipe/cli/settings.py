"""What a client of this environment would be made with, and where each value comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum

from eventpipe import environment
from eventpipe.checked import Checked
from eventpipe.cli.failures import one_line
from eventpipe.cli.secrets import HEADER_VARIABLE, KEY_VARIABLE, SECRET_VARIABLE
from eventpipe.environment import CONFIG_VARIABLE, PREFIX
from eventpipe.options import ClientOptions, read_outside, resolve

# What the commands read beside the options; none of it is ever shown.
SECRET_VARIABLES: Mapping[str, str] = {
    KEY_VARIABLE: "the key of eventpipe send and eventpipe doctor",
    SECRET_VARIABLE: "the secrets of eventpipe send, eventpipe serve and eventpipe doctor",
    HEADER_VARIABLE: "the headers of eventpipe top",
}

Value = bool | int | float | str | None


class Origin(StrEnum):
    """The place that a value comes from."""

    ENVIRONMENT = "environment"
    FILE = "file"
    DEFAULT = "default"
    CODE = "code"


@dataclass(frozen=True, slots=True)
class Setting:
    """One option.

    Attributes:
        name: Its dotted name: ``workers``, ``retry.initial``.
        value: What a client would be made with.
        unit: What it counts.
        origin: The place that the value comes from; ``CODE`` for what no other place can set.
        where: The variable, or the key and its file; how a default came to be another one; else the same as ``origin``.
    """

    name: str
    value: Value
    unit: str
    origin: Origin
    where: str


@dataclass(frozen=True, slots=True)
class Settings:
    """All that is configured outside the program.

    Attributes:
        options: What the settings make.
        file: The value of ``EVENTPIPE_CONFIG``; ``None``: it is not set.
        settings: One per option, in their order, those of the retry policy last.
        secrets: Of each variable that commands read and nobody shows, whether it is set.
        unread: Variables that look like ours and that nothing reads, each with what may have been meant, or ``""``.
    """

    options: ClientOptions
    file: str | None
    settings: tuple[Setting, ...]
    secrets: Mapping[str, bool]
    unread: Mapping[str, str]


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Read the environment, and the file that it names.

    Raises:
        ValueError: As a client would raise it: one line for each thing that is wrong.
    """
    options = resolve(None, {}, environ)
    _, names = read_outside(environ)
    file = environ.get(CONFIG_VARIABLE, "").strip()
    return Settings(
        options=options,
        file=one_line(file) if file else None,
        settings=tuple(sorted(_settings(options, names, ""), key=lambda setting: "." in setting.name)),
        secrets={name: bool(environ.get(name, "").strip()) for name in SECRET_VARIABLES},
        unread=unread(environ),
    )


def unread(environ: Mapping[str, str]) -> Mapping[str, str]:
    """Variables that begin as ours do and that nothing reads, with the nearest name of one that is read."""
    known = [*environment.variables(ClientOptions), CONFIG_VARIABLE, *SECRET_VARIABLES]
    names = sorted(name for name in environ if name.upper().startswith(PREFIX) and name not in known)
    return {one_line(name): _meant(name, known) for name in names}


def _meant(name: str, known: Sequence[str]) -> str:
    # Compared without the beginning, by which all of them would be near.
    near = get_close_matches(name.upper().removeprefix(PREFIX), [word.removeprefix(PREFIX) for word in known], n=1)
    return f"did you mean {PREFIX}{near[0]}?" if near else ""


def _settings(options: Checked, names: Mapping[str, str], prefix: str) -> Iterator[Setting]:
    model = type(options)
    for name, kind in environment.kinds(model).items():
        value, field = getattr(options, name), model.model_fields[name]
        extra = field.json_schema_extra
        unit = str(extra["unit"]) if isinstance(extra, dict) else ""
        if isinstance(value, Checked):
            yield from _settings(value, names, f"{name}.")
            continue
        place = names.get(prefix + name)
        if kind is None:
            origin, where = Origin.CODE, "code alone can set it"
        elif place is None:
            origin = Origin.DEFAULT
            where = origin.value if value == field.default else f"default, lowered to {_bound(options, name)}"
        else:
            origin = Origin.ENVIRONMENT if place.startswith(PREFIX) else Origin.FILE
            where = place
        yield Setting(prefix + name, value, unit, origin, where)


def _bound(options: Checked, name: str) -> str:
    """The bound that a default was lowered to."""
    pairs = type(options)._ordered  # of a class of ours, for whoever explains it
    return next((high for low, high in pairs if low == name and getattr(options, high) == getattr(options, low)), "fit")
