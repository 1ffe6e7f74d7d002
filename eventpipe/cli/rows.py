"""NDJSON, CSV and plain text as rows: an event, or what is wrong with the line. Blocks; meant for a thread."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from io import FileIO
from typing import Literal, Self

import orjson

from eventpipe.cli.failures import CommandError, UsageError
from eventpipe.cli.fields import Fields, MalformedError, Values
from eventpipe.cli.lines import MAX_LINE_BYTES, Line, Lines
from eventpipe.cli.text import count, size
from eventpipe.events import Event

Format = Literal["ndjson", "csv", "text"]

CHUNK_ROWS = 500  # about as many as fit into a batch
_TOO_LONG = f"longer than {size(MAX_LINE_BYTES)}"


@dataclass(frozen=True, slots=True)
class Row:
    """What one line, or one CSV record of several, came to.

    Attributes:
        line: The number of its first line, counted from 1.
        text: The line as it was.
        event: The event; ``None`` where none can be made.
        fault: Why there is none; ``""`` when there is.
    """

    line: int
    text: bytes
    event: Event | None
    fault: str = ""


class Rows:
    """Reads rows a chunk at a time.

    Args:
        name: What errors call the input.
        form: How lines are read.
        file: Opened without a buffer.
        fields: How values become events.
        delimiter: What parts the values of a CSV line.
    """

    def __init__(self, name: str, form: Format, file: FileIO, fields: Fields, *, delimiter: str = ",") -> None:
        self.name = name
        self._fields = fields
        self._delimiter = delimiter
        self._file = file
        self._lines = Lines(file.read)
        self._rows = {"ndjson": self._read_ndjson, "csv": self._read_csv, "text": self._read_text}[form]()

    @property
    def bytes_read(self) -> int:
        """Bytes read so far."""
        return self._lines.bytes_read

    def next_chunk(self) -> list[Row]:
        """The next rows, at most 500, and fewer rather than wait for a pipe; none at the end.

        Raises:
            CommandError: The input as a whole cannot be read as what it should be.
            OSError: It cannot be read.
        """
        rows: list[Row] = []
        for row in self._rows:
            rows.append(row)
            if len(rows) >= CHUNK_ROWS or self._lines.is_empty:
                break
        return rows

    def close(self) -> None:
        """Close the file; a read that still waits in another thread gets what comes, and the next one an error."""
        self._file.close()

    def _read_ndjson(self) -> Iterator[Row]:
        for line in self._lines:
            if line.text.strip():
                yield self._row(line.number, line.text, partial(_object, line))

    def _read_text(self) -> Iterator[Row]:
        for line in self._lines:
            if line.text.strip():
                yield self._row(line.number, line.text, partial(_text, line))

    def _read_csv(self) -> Iterator[Row]:
        header: list[str] | None = None
        for taken, values in _records(self._lines, self._delimiter):
            if header is None:
                header = self._checked_header(values)
            else:
                text = b"\n".join(line.text for line in taken)
                yield self._row(taken[0].number, text, partial(_joined, header, values))

    def _checked_header(self, header: list[str] | MalformedError) -> list[str]:
        if isinstance(header, MalformedError):
            raise CommandError(f"{self.name}: the header cannot be read: {header}")
        twice = next((column for column in header if header.count(column) > 1), None)
        if twice is not None:
            raise CommandError(f"{self.name}: the header has the column {twice!r} twice")
        if self._fields.name is None and self._fields.event not in header:
            raise UsageError(
                f"{self.name} has no column {self._fields.event!r}; name the right one with --event-field, "
                "or all events with --event"
            )
        return header

    def _row(self, number: int, text: bytes, values: Callable[[], Values]) -> Row:
        try:
            return Row(number, text, self._fields.to_event(values()))
        except MalformedError as error:
            return Row(number, text, None, str(error))


class _Feed:
    """Hands lines to the CSV reader, and remembers those of the current record."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self.taken: list[Line] = []

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.taken.append(line)
        return _decoded(line) + "\n"


def _records(lines: Lines, delimiter: str) -> Iterator[tuple[list[Line], list[str] | MalformedError]]:
    feed = _Feed(lines)
    reader = csv.reader(feed, delimiter=delimiter, strict=True)
    while True:
        feed.taken = []
        values: list[str] | MalformedError
        try:
            values = next(reader)
        except StopIteration:
            return
        except MalformedError as error:
            values = error
        except csv.Error as error:  # also ends a quote that is never closed, at the reader's limit of 128 KiB a value
            values = MalformedError(f"not CSV: {error}")
        if values != []:  # a blank line
            yield feed.taken, values


def _joined(header: list[str], values: list[str] | MalformedError) -> Values:
    if isinstance(values, MalformedError):
        raise values
    if len(values) != len(header):
        raise MalformedError(f"has {count(len(values), 'value')}, the header {count(len(header), 'column')}")
    return dict(zip(header, values, strict=True))


def _object(line: Line) -> Values:
    if line.is_too_long:
        raise MalformedError(_TOO_LONG)
    try:
        values = orjson.loads(line.text)
    except orjson.JSONDecodeError as error:
        raise MalformedError(f"not JSON: {error}") from error
    if not isinstance(values, dict):
        raise MalformedError("not a JSON object")
    return values


def _text(line: Line) -> Values:
    return {"line": _decoded(line)}


def _decoded(line: Line) -> str:
    if line.is_too_long:
        raise MalformedError(_TOO_LONG)
    try:
        return line.text.decode()
    except UnicodeDecodeError as error:
        raise MalformedError(f"not UTF-8: byte {error.start + 1} of the line") from error
