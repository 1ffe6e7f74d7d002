"""``eventpipe config show``: every option with its value and where that comes from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from eventpipe import __version__
from eventpipe.cli.display import say
from eventpipe.cli.failures import USAGE, one_line
from eventpipe.cli.settings import SECRET_VARIABLES, Origin, Setting, Settings, Value, read_settings
from eventpipe.environment import CONFIG_VARIABLE

_STYLES = {Origin.ENVIRONMENT: "cyan", Origin.FILE: "green", Origin.DEFAULT: "dim", Origin.CODE: "dim"}
ORDER = "keyword, options object, environment, file, default"


@dataclass(frozen=True, slots=True)
class ConfigOptions:
    """What ``eventpipe config show`` was asked for, as the command line spells it.

    Attributes:
        json: Print JSON.
    """

    json: bool = False


def show(options: ConfigOptions, environ: Mapping[str, str], out: Console, err: Console) -> int:
    """Show what a client made here would be made with; return the exit code: 2 where it could not be made.

    Args:
        options: The command line.
        environ: The environment.
        out: Gets the options: a table on a terminal, TOML that can be kept as a file elsewhere.
        err: Gets what is wrong, a line each, and the variables that nothing reads where ``out`` gets TOML.
    """
    try:
        settings = read_settings(environ)
    except ValueError as error:
        for line in str(error).splitlines():
            say(err, f"eventpipe: {one_line(line)}")
        return USAGE
    if options.json:
        say(out, _json(as_json(settings)))
    elif out.is_terminal:
        out.print(as_table(settings))
        for line in _remarks(settings):
            out.print(Text(line))
    else:
        for line in as_toml(settings):
            say(out, line)
        for line in _unread(settings):  # a file that is kept hides them
            say(err, f"eventpipe: {line}")
    return 0


def as_json(settings: Settings) -> dict[str, Any]:  # Any: JSON
    """The whole as JSON; what secrets are set, and none of them."""
    return {
        "version": __version__,
        "file": settings.file,
        "options": [
            {
                "name": setting.name,
                "value": setting.value,
                "unit": setting.unit,
                "origin": setting.origin,
                "where": setting.where,
            }
            for setting in settings.settings
        ],
        "secrets": dict(settings.secrets),
        "unread": dict(settings.unread),
    }


def as_table(settings: Settings) -> Table:
    """A line for each option; long values and places are folded where the terminal is narrow."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("option", "value", "unit", "from"):
        table.add_column(heading, overflow="fold")
    for setting in settings.settings:
        style = _STYLES[setting.origin]
        value = "" if setting.value is None else _toml(setting.value)
        table.add_row(Text(setting.name), Text(value), Text(setting.unit, "dim"), Text(setting.where, style))
    return table


def as_toml(settings: Settings) -> Iterator[str]:
    """The whole as a file of options, which sets them all to what they are."""
    yield f"# eventpipe {__version__}; what comes first wins: {ORDER}"
    table = ""
    for setting in settings.settings:
        above, _, name = setting.name.rpartition(".")
        if above != table:
            table = above
            yield f"[{table}]"
        yield _toml_line(name, setting)
    for line in _remarks(settings):
        yield f"# {line}"


def _toml_line(name: str, setting: Setting) -> str:
    if setting.value is None:
        return f"# {name} is not set ({setting.unit}; {setting.where})"
    return f"{name} = {_toml(setting.value)}  # {setting.unit}; {setting.where}"


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)  # with numbers of any length, as a client takes them


def _toml(value: Value) -> str:
    return _json(value)


def _remarks(settings: Settings) -> Iterator[str]:
    """What there is to say beside the options."""
    if settings.file is None:
        yield f"file: none, {CONFIG_VARIABLE} is not set"
    else:
        yield f"file: {settings.file}, from {CONFIG_VARIABLE}"
    for variable, purpose in SECRET_VARIABLES.items():
        yield f"{variable} is {'set, and not shown' if settings.secrets[variable] else 'not set'}: {purpose}"
    yield from _unread(settings)


def _unread(settings: Settings) -> Iterator[str]:
    for variable, meant in settings.unread.items():
        yield f"{variable} is read by nothing{f'; {meant}' if meant else ''}"
