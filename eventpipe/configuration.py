"""Options read from a TOML file; imported when ``EVENTPIPE_CONFIG`` names one."""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from eventpipe import environment
from eventpipe.checked import Checked, shown, suggestion

PROJECT_FILE: Final = "pyproject.toml"
MAX_FILE_BYTES: Final = 256 * 1024  # a pyproject.toml of many tools has a tenth of it

_KINDS: Final = {int: "a whole number", float: "a number", bool: "true or false", str: "a string"}
_WAY_OUT: Final = f"mend it, or unset {environment.CONFIG_VARIABLE}"


class Read(NamedTuple):
    """What was found.

    Attributes:
        values: By the dotted name of an option (``retry.max_attempts``).
        names: What messages call it, by the same.
    """

    values: dict[str, Any]
    names: dict[str, str]


def read(model: type[Checked], path: str) -> Read:
    """Read the options that a file sets.

    They are in the table ``[tool.eventpipe]`` of a file called ``pyproject.toml``, and at the top of any other; those
    of the retry policy in a table ``retry`` there.

    Args:
        model: The options.
        path: Of the file; ``~`` is the home of this process's user.

    Raises:
        ValueError: The file cannot be read, or something in it is unknown or of another type; one line each, which
            name the file.
    """
    file = _Path(path)
    table = _table(_parsed(_bytes_of(file), file), file)
    found = Read({}, {})
    faults = list(_take(model, table, file, "", found))
    if faults:
        raise ValueError("\n".join(faults))
    return found


def read_beside(model: type[Checked], environ: Mapping[str, str], path: str) -> Read:
    """Read what a file and the environment set; the environment wins.

    Raises:
        ValueError: Either cannot be read; all that is wrong with both.
    """
    found, faults = Read({}, {}), []
    for reading in (partial(read, model, path), partial(environment.read, model, environ)):
        try:
            values, names = reading()
        except ValueError as error:
            faults.append(str(error))
        else:
            found.values.update(values)
            found.names.update(names)
    if faults:
        raise ValueError("\n".join(faults)) from None
    return found


class _Path:
    """A file, and how messages call it: on one line, whatever its name has in it.

    Args:
        text: What was given.
    """

    def __init__(self, text: str) -> None:
        if "://" in text:  # which may have a password in it
            raise ValueError(
                f"{environment.CONFIG_VARIABLE} must be the path of a file, not a URL (its value is not shown)"
            )
        try:
            self.path = Path(text).expanduser()
        except RuntimeError:  # nobody's home: the name is taken as it is
            self.path = Path(text)
        name = str(self.path)
        self.shown = name if name.isprintable() else repr(name)[1:-1]
        self.is_project = self.path.name == PROJECT_FILE

    def refuse(self, problem: str, way_out: str = _WAY_OUT) -> ValueError:
        """What is wrong with it as a whole."""
        return ValueError(f"{environment.CONFIG_VARIABLE}: {problem}; {way_out}")


def _bytes_of(file: _Path) -> bytes:
    """Read a regular file of a bounded size; a pipe or a device is told apart before it can make us wait."""
    is_file, data, why = True, b"", ""
    try:
        number = os.open(file.path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
        try:
            is_file = stat.S_ISREG(os.fstat(number).st_mode)
            while is_file and len(data) <= MAX_FILE_BYTES and (part := os.read(number, MAX_FILE_BYTES + 1)):
                data += part
        finally:
            os.close(number)
    except (OSError, ValueError) as error:  # the latter where a name has a NUL in it
        why = (getattr(error, "strerror", None) or "it cannot be a file's name").lower()
    if why:
        raise file.refuse(
            f"cannot read {file.shown}: {why}",
            f"name a file that this process may read, or unset {environment.CONFIG_VARIABLE}",
        )
    if not is_file:
        raise file.refuse(f"{file.shown} is no file", f"name a TOML file, or unset {environment.CONFIG_VARIABLE}")
    if len(data) > MAX_FILE_BYTES:
        raise file.refuse(
            f"{file.shown} must have at most {MAX_FILE_BYTES // 1024} KiB, and has more",
            "put the options into a file of their own",
        )
    return data


def _parsed(data: bytes, file: _Path) -> Mapping[str, Any]:  # Any: what TOML carries
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, why = data.count(b"\n", 0, error.start) + 1, ""
    else:
        try:
            return tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            line, why = 0, str(error)
        except (ValueError, RecursionError):  # a number of thousands of digits, brackets in brackets
            line, why = 0, "a value is too long, or nested too deeply"
    raise file.refuse(f"{file.shown} is no TOML: {why}" if why else f"{file.shown} must be UTF-8; line {line} is not")


def _table(parsed: Mapping[str, Any], file: _Path) -> Mapping[str, Any]:
    if not file.is_project:
        return parsed
    tool = parsed.get("tool", {})
    table = tool.get("eventpipe") if isinstance(tool, dict) else None
    if not isinstance(table, dict):
        raise file.refuse(f"{file.shown} has no table [tool.eventpipe]", "add it, empty or not, or name another file")
    return table


def _take(model: type[Checked], table: Mapping[str, Any], file: _Path, prefix: str, found: Read) -> Iterator[str]:
    """Take the options of one table, and yield what is wrong with it."""
    kinds = {name: kind for name, kind in environment.kinds(model).items() if kind is not None}
    where = "tool.eventpipe." if file.is_project else ""
    for key, value in table.items():
        name = f"{prefix}{key}"
        called = f"{where}{_shown_key(name)} in {file.shown}"
        kind = kinds.get(key)
        if key not in model.model_fields:
            yield f"unknown option {called}{_hint(key, list(kinds), file, prefix)}"
        elif kind is None:
            yield f"{called} cannot be set by a file, because it is no text; give it in code"
        elif issubclass(kind, Checked):
            if isinstance(value, dict):
                yield from _take(kind, value, file, f"{name}.", found)
            else:
                yield f"{called} must be a table, such as [{where}{name}], not {_shown(value)}"
        elif isinstance(value, dict | list) or not _is(value, kind):
            yield f"{called} must be {_KINDS[kind]}, not {_shown(value)}"
        else:
            found.values[name] = value
            found.names[name] = called


def _is(value: object, kind: type) -> bool:
    if kind is float:
        return type(value) in (int, float)
    return type(value) is kind


def _hint(key: str, known: list[str], file: _Path, prefix: str) -> str:
    near = suggestion(key, known)
    if not near and not prefix and not file.is_project and key in ("tool", "eventpipe"):
        return f"; options stand at the top of every file but {PROJECT_FILE}"
    return near


def _shown_key(name: str) -> str:
    text = name if name.isprintable() else repr(name)[1:-1]
    return text if len(text) <= 60 else text[:57] + "..."


def _shown(value: object) -> str:
    """A value as TOML has it, short; what has values of its own by what it is."""
    for kind, words in ((dict, "a table"), (list, "an array")):
        if isinstance(value, kind):
            return words
    if isinstance(value, bool):
        return str(value).lower()
    return shown(value) if isinstance(value, str | int | float) else "a date or a time"
