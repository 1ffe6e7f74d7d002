from __future__ import annotations

import datetime
import uuid
from typing import Any

import pytest

from eventpipe.cli.fields import Fields, MalformedError

ID = "01890a5d-ac96-774b-bcce-b302099a8057"
MOMENT = datetime.datetime(2026, 1, 31, 9, 5, tzinfo=datetime.UTC)


def test_own_form_keeps_everything() -> None:
    """What eventpipe wrote comes back as it was captured."""
    event = Fields().to_event(
        {
            "uuid": ID,
            "event": "signed_up",
            "distinct_id": "u1",
            "timestamp": "2026-01-31T09:05:00.000000Z",
            "properties": {"plan": "pro", "nested": {"a": [1]}},
            "key": "k",
            "headers": {"trace": "t"},
        }
    )

    assert (event.event, event.distinct_id, event.uuid, event.timestamp) == ("signed_up", "u1", ID, MOMENT)
    assert (event.properties, event.key, event.headers) == ({"plan": "pro", "nested": {"a": [1]}}, "k", {"trace": "t"})


def test_own_form_with_more_fields_keeps_them_as_properties() -> None:
    """What others added beside the properties joins them and replaces none; when it was received stays behind."""
    event = Fields().to_event(
        {"event": "a", "properties": {"plan": "pro"}, "plan": "free", "place": "here", "received_at": "now"}
    )

    assert event.properties == {"plan": "pro", "place": "here"}


def test_an_exported_line_is_the_event_that_it_was() -> None:
    """Its lane is its own; where it was in the log, and when it got there, are no properties of it."""
    event = Fields().to_event(
        {
            "uuid": ID,
            "event": "paid",
            "distinct_id": None,
            "timestamp": "2026-01-31T09:05:00.000000Z",
            "properties": {"offset": 3},
            "offset": 17,
            "appended_at": "2026-02-01T00:00:00.000000Z",
            "lane": "historical",
            "lifted": ["$set"],
        }
    )

    assert (event.uuid, event.timestamp, event.lane) == (ID, MOMENT, "historical")
    assert event.properties == {"offset": 3}


def test_what_a_log_would_add_is_a_property_of_other_forms() -> None:
    """Only beside properties of its own is a field of that name not the event's."""
    event = Fields().to_event({"event": "a", "offset": 3, "appended_at": "now", "lane": "left"})

    assert (event.properties, event.lane) == ({"offset": 3, "appended_at": "now", "lane": "left"}, None)


def test_other_forms_are_mapped_by_field() -> None:
    """Named fields become the parts of the event, everything else its properties."""
    fields = Fields(event="action", distinct_id="user", timestamp="at")

    event = fields.to_event({"action": "paid", "user": 42, "at": 1769850300, "sum": "5", "key": "x", "event": "e"})

    assert (event.event, event.distinct_id, event.timestamp) == ("paid", 42, MOMENT)
    assert event.properties == {"sum": "5", "key": "x", "event": "e"}


def test_fixed_name_is_for_lines_without_one() -> None:
    """``--event`` names lines that have no name, and leaves those that have one."""
    fields = Fields(name="log")

    assert [fields.to_event({"event": "own"}).event, fields.to_event({"event": ""}).event] == ["own", "log"]


def test_every_event_has_an_id() -> None:
    """A line's own id is kept, in its usual spelling; without one, or with something else there, it gets a new one."""
    kept = Fields().to_event({"event": "a", "uuid": ID.upper().replace("-", "")})
    made = Fields().to_event({"event": "a"})
    strange = Fields().to_event({"event": "a", "uuid": "row 7"})

    assert kept.uuid == ID
    assert kept.properties == {}
    assert uuid.UUID(str(made.uuid)).version == 7
    assert strange.uuid not in (ID, "row 7")
    assert strange.properties == {"uuid": "row 7"}


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("2026-01-31T09:05:00Z", MOMENT),
        ("2026-01-31T10:05:00+01:00", MOMENT),
        ("2026-01-31 09:05:00", MOMENT.replace(tzinfo=None)),
        ("2026-01-31", datetime.datetime(2026, 1, 31)),
        (1769850300, MOMENT),
        (1769850300.0, MOMENT),
        (1769850300000, MOMENT),
        ("1769850300", MOMENT),
        (" 1769850300000 ", MOMENT),
        ("", None),
        (None, None),
    ],
)
def test_times_are_read(value: Any, moment: datetime.datetime | None) -> None:
    """ISO 8601 with and without a zone, and Unix time in seconds or milliseconds, as text or number."""
    assert Fields().to_event({"event": "a", "timestamp": value}).timestamp == moment


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({}, "no event name: 'event' is missing or empty"),
        ({"event": ""}, "no event name: 'event' is missing or empty"),
        ({"event": 5}, "'event' is not text"),
        ({"event": ["a"]}, "'event' is not text"),
        ({"event": "a", "distinct_id": 1.5}, "'distinct_id' is neither text nor a whole number"),
        ({"event": "a", "distinct_id": True}, "'distinct_id' is neither text nor a whole number"),
        ({"event": "a", "distinct_id": {}}, "'distinct_id' is neither text nor a whole number"),
        ({"event": "a", "timestamp": "soon"}, "'timestamp' is neither an ISO 8601 time nor a Unix time"),
        ({"event": "a", "timestamp": "nan"}, "'timestamp' is neither an ISO 8601 time nor a Unix time"),
        ({"event": "a", "timestamp": 1e300}, "'timestamp' is neither an ISO 8601 time nor a Unix time"),
        (
            {"event": "a", "timestamp": "0001-01-01T00:00:00+01:00"},
            "'timestamp' is neither an ISO 8601 time nor a Unix time",
        ),
        (
            {"event": "a", "timestamp": "9999-12-31T23:59:59-01:00"},
            "'timestamp' is neither an ISO 8601 time nor a Unix time",
        ),
        ({"event": "a", "timestamp": False}, "'timestamp' is neither an ISO 8601 time nor a Unix time"),
        ({"event": "a", "timestamp": []}, "'timestamp' is neither an ISO 8601 time nor a Unix time"),
    ],
)
def test_what_cannot_be_an_event_is_malformed(values: dict[str, Any], fault: str) -> None:
    """The fault names the field, and never repeats its value."""
    with pytest.raises(MalformedError) as malformed:
        Fields().to_event(values)

    assert str(malformed.value) == fault
