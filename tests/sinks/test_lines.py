"""Events as lines: what a file holds can be read back by any reader of the format."""

from __future__ import annotations

import csv
import io
from typing import Any

import orjson
import pytest

from eventpipe.sinks.lines import CsvLines, NdjsonLines
from eventpipe.testing.events import make_event

UUID = "01890a5d-ac96-774b-bcce-b302099a8057"


def read_csv(data: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode(), newline=""), strict=True))


def test_ndjson_line_is_the_whole_event() -> None:
    """A line is the event's JSON object, with the headers and the key that its caller gave."""
    event = make_event(
        "paid",
        distinct_id="u1",
        uuid=UUID,
        properties={"sum": 5},
        headers={"trace": "t"},
        key="k",
        lifted={"$ip": "::1"},
    )

    line = NdjsonLines().encode([event])

    assert line.endswith(b"}\n")
    assert orjson.loads(line) == {
        "uuid": UUID,
        "timestamp": "2026-01-01T00:00:00.000000Z",
        "distinct_id": "u1",
        "event": "paid",
        "properties": {"sum": 5, "$ip": "::1"},
        "headers": {"trace": "t"},
        "key": "k",
    }


def test_ndjson_has_one_line_per_event() -> None:
    """Line breaks inside of values are escaped, so that every reader of lines sees one event per line."""
    text = "a\nb\r\nc"
    events = [make_event(text, distinct_id=text, properties={text: text}) for _ in range(3)]

    data = NdjsonLines().encode(events)

    assert data.count(b"\n") == 3
    assert b"\r" not in data
    assert [orjson.loads(line)["event"] for line in data.splitlines()] == [text] * 3


def test_csv_has_the_usual_columns() -> None:
    """Without named columns a row has id, time, name, whom it is about, and the properties as JSON."""
    lines = CsvLines()

    assert lines.header == b"uuid,timestamp,event,distinct_id,properties\r\n"
    assert read_csv(lines.encode([make_event("paid", distinct_id=None, uuid=UUID, properties={"a": [1, None]})])) == [
        [UUID, "2026-01-01T00:00:00.000000Z", "paid", "", '{"a":[1,null]}']
    ]


@pytest.mark.parametrize(
    "value",
    ["", " ", "plain", "a,b", 'say "hi"', '"', "a\nb", "a\rb", "a\r\nb", "=1+1", "é😀\u2028\x00", "'", ";", "\t"],
    ids=repr,
)
def test_csv_round_trip_of_text(value: Any) -> None:
    """What a string holds comes back unchanged from a CSV reader, quotes and line breaks included."""
    lines = CsvLines(["event", "properties.v", "distinct_id"])

    data = lines.encode([make_event(value or "e", properties={"v": value}), make_event("next", distinct_id=value)])

    assert read_csv(data) == [[value or "e", value, "u1"], ["next", "", value]]


@pytest.mark.parametrize(
    ("value", "cell"),
    [(None, ""), (True, "true"), (5, "5"), (0.5, "0.5"), ([], "[]"), ({"b": "ü"}, '{"b":"ü"}')],
    ids=repr,
)
def test_csv_writes_other_values_as_json(value: Any, cell: str) -> None:
    """Nothing is an empty cell, and what is no string is JSON."""
    assert read_csv(CsvLines(["properties.v", "event"]).encode([make_event(properties={"v": value})])) == [[cell, "e"]]


@pytest.mark.parametrize(
    ("column", "cell"),
    [
        ("properties.plan", "pro"),
        ("properties.address.city", "Bern"),
        ("properties.a.b", "dotted"),
        ("properties.nested.c.d", "dotted inside"),
        ("properties.missing", ""),
        ("properties.plan.too.far", ""),
        ("properties.address", '{"city":"Bern"}'),
        ("properties.$ip", "::1"),
        ("headers.trace", "t"),
        ("headers", '{"trace":"t"}'),
        ("key", "k"),
    ],
)
def test_csv_columns_follow_paths(column: str, cell: str) -> None:
    """A path reaches into properties and headers; a name with the dots in it goes before a nested one."""
    event = make_event(
        properties={
            "plan": "pro",
            "address": {"city": "Bern"},
            "a.b": "dotted",
            "a": {"b": "nested"},
            "nested": {"c.d": "dotted inside"},
        },
        lifted={"$ip": "::1"},
        headers={"trace": "t"},
        key="k",
    )

    assert read_csv(CsvLines([column, "event"]).encode([event])) == [[cell, "e"]]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        pytest.param([], "columns must be a sequence of at least one name, not \\[\\]", id="none"),
        pytest.param("event", "columns must be a sequence of at least one name, not 'event'", id="a string"),
        pytest.param({"event"}, "columns must be a sequence of at least one name", id="no order"),
        pytest.param(["event", "uuid", "event"], "columns must be different, not 'event' twice", id="twice"),
        pytest.param(["plan"], "columns must be among .* or a path such as properties.plan, not 'plan'", id="unknown"),
        pytest.param(["properties."], "columns must be among .*, not 'properties.'", id="no path"),
        pytest.param([5], "columns must be among .*, not 5", id="a number"),
    ],
)
def test_csv_refuses_bad_columns(columns: Any, message: str) -> None:
    """Columns that cannot be written are a ``ValueError`` at once."""
    with pytest.raises(ValueError, match=f"^{message}"):
        CsvLines(columns)
