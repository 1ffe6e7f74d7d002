"""Events as the lines of a file: NDJSON, or CSV with named columns."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

import orjson

from eventpipe.codecs.base import join_events

if TYPE_CHECKING:
    from eventpipe.events import CapturedEvent

COLUMNS: Final = ("uuid", "timestamp", "event", "distinct_id", "properties")
"""Columns of a CSV file unless others are named."""

_PLAIN_COLUMNS: Final = frozenset({*COLUMNS, "headers", "key"})
_NESTED: Final = ("properties.", "headers.")


class Lines(Protocol):
    """Turns events into bytes of whole lines."""

    header: bytes
    """What a file begins with."""

    def encode(self, events: Sequence[CapturedEvent]) -> bytes:
        """Write ``events``, in order and at least one, each ended by a line break."""


class NdjsonLines:
    """One JSON object per line, as ``NdjsonCodec`` writes them."""

    header = b""

    def encode(self, events: Sequence[CapturedEvent]) -> bytes:
        """See ``Lines``."""
        return join_events(events, b"", b"\n", b"\n")


class CsvLines:
    """One row per event, as RFC 4180 has it: UTF-8, commas, CRLF, quotes where a value needs them.

    A string is written as it is, nothing as an empty value, everything else as JSON. A value that a spreadsheet would
    take for a formula is not changed: the file is for programs.

    Args:
        columns: Names in order. ``None`` means ``COLUMNS``. Besides those, ``headers``, ``key``, and a path such as
            ``properties.plan`` or ``properties.address.city``; a property whose name has the dots in it goes first.

    Raises:
        ValueError: A column is unknown or comes twice, or there is none.
    """

    def __init__(self, columns: Sequence[str] | None = None) -> None:
        self._columns = COLUMNS if columns is None else _checked(columns)
        self.header = _rows([self._columns])

    def encode(self, events: Sequence[CapturedEvent]) -> bytes:
        """See ``Lines``."""
        return _rows([self._row(event) for event in events])

    def _row(self, event: CapturedEvent) -> list[str]:
        fields = orjson.loads(event.json)
        fields["headers"] = dict(event.headers) or None
        fields["key"] = event.extra.key if event.extra else None
        return [_cell(_find(fields, column)) for column in self._columns]


def _checked(columns: object) -> tuple[str, ...]:
    if isinstance(columns, str) or not isinstance(columns, Sequence) or not columns:
        raise ValueError(f"columns must be a sequence of at least one name, not {columns!r}")
    for index, column in enumerate(columns):
        if column in columns[:index]:
            raise ValueError(f"columns must be different, not {column!r} twice")
        if not isinstance(column, str) or not (column in _PLAIN_COLUMNS or _is_path(column)):
            known = ", ".join(sorted(_PLAIN_COLUMNS))
            raise ValueError(f"columns must be among {known}, or a path such as properties.plan, not {column!r}")
    return tuple(columns)


def _is_path(column: str) -> bool:
    return any(column.startswith(root) and len(column) > len(root) for root in _NESTED)


def _find(fields: Any, path: str) -> Any:  # Any: JSON
    """Follow a path; all that is left of it is tried as one name first, so that a dot in a name is no obstacle."""
    while True:
        if not isinstance(fields, dict):
            return None
        if path in fields:
            return fields[path]
        name, dot, path = path.partition(".")
        if not dot:
            return None
        fields = fields.get(name)


def _cell(value: Any) -> str:  # Any: JSON
    if value is None:
        return ""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _rows(rows: Iterable[Sequence[str]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()
