"""Paths of files that are made one after another: a template, checked when it is given."""

from __future__ import annotations

import datetime
import os
import re
import string
from pathlib import Path
from typing import Final

from uuid_utils import uuid7

FIELDS: Final = ("time", "seq", "pid", "uuid")
UNIQUE_FIELDS: Final = frozenset({"seq", "uuid"})  # a second passes slower than files are made, and pids come again

_DEFAULT_TIME: Final = "%Y%m%dT%H%M%S"
_WIDTH: Final = re.compile(r"(0?[1-9][0-9]?)?d?")
# What strftime() knows on every platform and what cannot make a path separator.
_TIME_FORMAT: Final = re.compile(r"(?=.*%)([^%]|%[aAbBdfGHIjmMpSuUVwWyYzZ%])*")


class PathTemplate:
    """A path whose file name may have fields: ``{time}``, ``{seq}``, ``{pid}`` and ``{uuid}``.

    ``{time:%Y%m%d}`` is when the file began, in UTC, and takes a ``strftime`` format; ``{seq:06d}`` counts files and
    takes a width; ``{pid}`` is the process; ``{uuid}`` a new UUIDv7. A literal brace is written twice.

    Args:
        path: The path as the caller gave it.

    Attributes:
        text: The same, for messages.
        fields: The fields that occur.

    Raises:
        ValueError: It does not name a file, a field is unknown, stands in a folder's name or has a bad format, or no
            field makes each name a new one.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.text = _text(path)
        folder, name = os.path.split(self.text)
        if name in ("", ".", ".."):
            raise ValueError(f"path must name a file, not {self.text!r}")
        if "{" in folder or "}" in folder:
            raise ValueError(f"path must have its fields, and braces, in the file name alone, not {self.text!r}")
        self._folder = Path(folder)
        self._parts = self._parse(name)
        self.fields = frozenset(field for _, field, _ in self._parts if field)
        if self.fields and not self.fields & UNIQUE_FIELDS:
            raise ValueError(f"path must have {{seq}} or {{uuid}} where it has fields, not {self.text!r}: {_REASON}")

    def render(self, stamp: float, seq: int) -> Path:
        """Write the path of one file.

        Args:
            stamp: When the file begins, wall clock, seconds since the epoch.
            seq: Its number.
        """
        return self._folder / "".join(
            literal + (_written(field, spec, stamp, seq) if field else "") for literal, field, spec in self._parts
        )

    def _parse(self, name: str) -> list[tuple[str, str, str]]:
        """Split a name into literals, each with the field and the format that follow it."""
        try:
            parsed = list(string.Formatter().parse(name))
        except ValueError as error:
            raise ValueError(f"path must be a template with its braces in pairs, not {self.text!r}: {error}") from None
        parts = []
        for literal, field, spec, conversion in parsed:
            if field is not None:
                self._check_field(field, spec or "", conversion)
            parts.append((literal, field or "", spec or ""))
        return parts

    def _check_field(self, field: str, spec: str, conversion: str | None) -> None:
        if field not in FIELDS:
            raise ValueError(f"path must have fields among {_NAMES}, not {{{field}}} in {self.text!r}")
        if conversion:
            raise ValueError(f"path must have no conversion, not !{conversion} in {self.text!r}")
        if field == "time":
            if spec and not _TIME_FORMAT.fullmatch(spec):
                raise ValueError(f"path must have a strftime format in {{time}}, not {spec!r} in {self.text!r}")
        elif field == "seq":
            if not _WIDTH.fullmatch(spec):
                raise ValueError(f"path must have a width such as 06d in {{seq}}, not {spec!r} in {self.text!r}")
        elif spec:
            raise ValueError(f"path must have no format in {{{field}}}, not {spec!r} in {self.text!r}")


_NAMES: Final = ", ".join(f"{{{field}}}" for field in FIELDS)
_REASON: Final = "each file gets a name of its own"


def _text(path: object) -> str:
    text = os.fspath(path) if isinstance(path, str | os.PathLike) else None
    if not isinstance(text, str) or "\0" in text:
        raise ValueError(f"path must be a path without NUL characters, not {path!r}")
    return text


def _written(field: str, spec: str, stamp: float, seq: int) -> str:
    if field == "time":
        return datetime.datetime.fromtimestamp(stamp, datetime.UTC).strftime(spec or _DEFAULT_TIME)
    if field == "seq":
        return format(seq, spec)
    return str(os.getpid()) if field == "pid" else str(uuid7())
