from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from eventpipe.cli import lines
from eventpipe.cli.failures import CommandError, UsageError
from eventpipe.cli.fields import Fields
from eventpipe.cli.rows import CHUNK_ROWS, Format, Row, Rows


@contextmanager
def opened(path: Path, form: Format, content: bytes, name: str | None = None, delimiter: str = ",") -> Iterator[Rows]:
    path.write_bytes(content)
    rows = Rows("input", form, path.open("rb", buffering=0), Fields(name=name), delimiter=delimiter)
    try:
        yield rows
    finally:
        rows.close()


def read(path: Path, form: Format, content: bytes, *, name: str | None = None, delimiter: str = ",") -> list[Row]:
    with opened(path / "input", form, content, name, delimiter) as rows:
        found = []
        while chunk := rows.next_chunk():
            found += chunk
        return found


def seen(rows: list[Row]) -> list[tuple[int, str, object]]:
    """Line number, event name or fault, properties."""
    return [(row.line, row.event.event if row.event else row.fault, row.event and row.event.properties) for row in rows]


def test_ndjson_gives_a_row_per_line(tmp_path: Path) -> None:
    """Every line is a row with its number; blank ones are left out, bad ones carry their fault and their text."""
    rows = read(tmp_path, "ndjson", b'{"event": "a", "n": 1}\n\n{"event": \n[1]\n{"event": "b"}')

    assert seen(rows) == [
        (1, "a", {"n": 1}),
        (3, "not JSON: unexpected end of data: line 1 column 11 (char 10)", None),
        (4, "not a JSON object", None),
        (5, "b", {}),
    ]
    assert rows[1].text == b'{"event": '


def test_csv_gives_a_row_per_record(tmp_path: Path) -> None:
    """Columns become properties; a quoted value may hold commas, quotes and line breaks."""
    rows = read(tmp_path, "csv", b'event,distinct_id,note\r\na,u1,"x, ""y"""\r\nb,u2,"two\nlines"\r\n\r\nc,,\r\n')

    assert seen(rows) == [(2, "a", {"note": 'x, "y"'}), (3, "b", {"note": "two\nlines"}), (6, "c", {"note": ""})]
    assert [row.event and row.event.distinct_id for row in rows] == ["u1", "u2", None]
    assert rows[1].text == b'b,u2,"two\nlines"'


def test_malformed_csv_records_do_not_take_their_neighbours_along(tmp_path: Path) -> None:
    """A record with too many or too few values, broken quotes or broken text is one row with a fault."""
    rows = read(tmp_path, "csv", b'event,n\na,1,2\nb\n"c"x,1\n\xff,1\nd,4\n"open,5\n')

    assert seen(rows) == [
        (2, "has 3 values, the header 2 columns", None),
        (3, "has 1 value, the header 2 columns", None),
        (4, "not CSV: ',' expected after '\"'", None),
        (5, "not UTF-8: byte 1 of the line", None),
        (6, "d", {"n": "4"}),
        (7, "not CSV: unexpected end of data", None),
    ]


def test_a_quote_that_never_ends_costs_a_bounded_part(tmp_path: Path) -> None:
    """The reader gives up on it after 128 KiB, and the lines after that are rows again."""
    rows = read(tmp_path, "csv", b'event,n\n"open,1\n' + b"a,2\n" * 100_000)

    assert rows[0].fault == "not CSV: field larger than field limit (131072)"
    assert len(rows) > 60_000
    assert all(row.event and row.event.event == "a" for row in rows[1:])


def test_delimiter_parts_the_values(tmp_path: Path) -> None:
    """Tab-separated files, and those of spreadsheets in countries where the comma is taken."""
    assert seen(read(tmp_path, "csv", b"event;n\na;1,5\n", delimiter=";")) == [(2, "a", {"n": "1,5"})]


def test_text_gives_a_row_per_line(tmp_path: Path) -> None:
    """A plain log becomes events of one name, each with its line."""
    rows = read(tmp_path, "text", b"installed a\n\xff\n\ninstalled b\n", name="log")

    assert seen(rows) == [
        (1, "log", {"line": "installed a"}),
        (2, "not UTF-8: byte 1 of the line", None),
        (4, "log", {"line": "installed b"}),
    ]


@pytest.mark.parametrize(
    ("content", "error", "line"),
    [
        (b"name,n\na,1\n", UsageError, "input has no column 'event'; name the right one with --event-field, or all"),
        (b"event,n,n\na,1,2\n", CommandError, "input: the header has the column 'n' twice"),
        (b'"event\n', CommandError, "input: the header cannot be read: not CSV: unexpected end of data"),
        (b"ev\xffent\n", CommandError, "input: the header cannot be read: not UTF-8: byte 3 of the line"),
    ],
    ids=["no event column", "twice", "open quote", "no UTF-8"],
)
def test_header_that_cannot_be_right_ends_it(
    tmp_path: Path, content: bytes, error: type[CommandError], line: str
) -> None:
    """A header without the named column, or one that cannot be read, would spoil every line."""
    with pytest.raises(error) as raised:
        read(tmp_path, "csv", content)

    assert str(raised.value).startswith(line)


@pytest.mark.parametrize("form", ["ndjson", "csv", "text"])
def test_a_line_that_is_too_long_is_a_fault(tmp_path: Path, form: Format, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line above the bound is told, and its neighbours are read."""
    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 40)
    good = b'{"event": "a"}'
    header = {"ndjson": b"", "csv": b"event\n", "text": b""}[form]

    rows = read(tmp_path, form, header + good + b"\n" + b"x" * 50 + b"\n" + good + b"\n", name="n")

    assert [row.fault for row in rows if "longer than" in row.fault] == ["longer than 9.0 MiB"]
    assert len(rows) == 3
    assert len(rows[1].text) == 40


def test_chunks_are_bounded(tmp_path: Path) -> None:
    """However large the file, a chunk has at most so many rows."""
    with opened(tmp_path / "input", "text", b"x\n" * (CHUNK_ROWS + 1), name="n") as rows:
        sizes = [len(rows.next_chunk()), len(rows.next_chunk()), len(rows.next_chunk())]

    assert sizes == [CHUNK_ROWS, 1, 0]


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    """Rows that have come are handed out, though the writer has not ended."""
    receiving, writing = os.pipe()
    rows = Rows("pipe", "ndjson", open(receiving, "rb", buffering=0), Fields())  # noqa: PTH123, SIM115
    try:
        os.write(writing, b'{"event": "a"}\n{"event": "b"}\n{"event": ')
        first = rows.next_chunk()
        os.write(writing, b'"c"}\n')
        second = rows.next_chunk()
    finally:
        os.close(writing)
        rows.close()

    assert [row.event and row.event.event for row in [*first, *second]] == ["a", "b", "c"]
    assert (len(first), [row.line for row in second]) == (2, [3])
