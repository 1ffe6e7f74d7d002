"""What ``assert_captured()`` and ``one()`` take for equal, and what they say where nothing is."""

from __future__ import annotations

import datetime
import decimal
import math
import uuid
from enum import Enum
from pathlib import PurePosixPath
from textwrap import dedent
from typing import Any
from unittest.mock import ANY

import pytest

from eventpipe import AsyncClient, default
from eventpipe.models import EventModel
from eventpipe.sinks import MemorySink
from eventpipe.testing import Captured

AN_ID = uuid.UUID("01a20241-6b4f-717e-ba5b-e73906ae2f05")
NOON = datetime.datetime(2026, 1, 2, 12, tzinfo=datetime.UTC)


class Plan(Enum):
    PRO = "pro"


class Paid(Enum):
    YES = True


class SignedUp(EventModel, version=2):
    plan: str
    seats: int = 1


class Renamed(EventModel, name="Plan Renamed"):
    plan: str


@pytest.fixture
def client() -> AsyncClient:
    return AsyncClient(MemorySink())


# -- what is equal ------------------------------------------------------------------------------------------------

EQUAL = [
    ("pro", "pro"),
    (Plan.PRO, "pro"),
    ("pro", Plan.PRO),
    (Paid.YES, True),
    (1, 1.0),
    (True, True),
    (None, None),
    (math.nan, None),
    (decimal.Decimal("1.5"), decimal.Decimal("1.5")),
    (AN_ID, AN_ID),
    (str(AN_ID), AN_ID),
    (NOON, NOON),
    (PurePosixPath("/a"), PurePosixPath("/a")),
    ((1, 2), [1, 2]),
    ([1, (2, 3)], (1, [2, 3])),
    ({"a": {1: (Plan.PRO,)}}, {"a": {"1": ["pro"]}}),
    (ANY, "anything"),
    ({"a": ANY, "b": [ANY, Plan.PRO]}, {"a": 1, "b": [None, "pro"]}),
    (pytest.approx(0.3), 0.1 + 0.2),
]
DIFFERENT = [
    ("pro", "free"),
    (1, True),
    (True, 1),
    (Paid.YES, 1),
    ({"a": [True]}, {"a": [1]}),
    (0, None),
    ("1", 1),
    ([1], [1, 2]),
    ([1, 2], [2, 1]),
    ({"a": 1}, {"a": 1, "b": 2}),
    ({"a": ANY}, {"b": 1}),
    ({}, []),
    (object(), None),
]


@pytest.mark.parametrize(("expected", "given"), EQUAL, ids=range(len(EQUAL)))
def test_values_are_equal_as_json(captured: Captured, client: AsyncClient, expected: object, given: object) -> None:
    """What is expected may be written as the code has it, or as it travels, or as an object that knows by itself."""
    client.capture_nowait("changed", properties={"value": given})

    captured.assert_captured("changed", value=expected)


@pytest.mark.parametrize(("expected", "given"), DIFFERENT, ids=range(len(DIFFERENT)))
def test_values_are_different(captured: Captured, client: AsyncClient, expected: object, given: object) -> None:
    """No more is equal than JSON says: ``True`` is not 1 there, and a list has an order."""
    client.capture_nowait("changed", properties={"value": given})

    with pytest.raises(AssertionError):
        captured.assert_captured("changed", value=expected)


def test_what_is_not_named_does_not_matter(captured: Captured, client: AsyncClient) -> None:
    """Other properties may be there, whoever it is about, and before and after other events."""
    client.capture_nowait("viewed")
    client.capture_nowait("signed_up", distinct_id="u1", properties={"plan": "pro", "seats": 3})
    client.capture_nowait("signed_up", distinct_id="u2", properties={"plan": "free"})

    assert captured.assert_captured("signed_up") == captured.all("signed_up")
    assert captured.assert_captured("signed_up", seats=3) == [captured[1]]
    assert captured.assert_captured("signed_up", distinct_id="u2", times=1) == [captured[2]]
    assert captured.assert_captured("signed_up", distinct_id=ANY, times=2) == captured.all("signed_up")
    assert captured.assert_captured("signed_up", plan="team", times=0) == []


@pytest.mark.parametrize(("given", "expected"), [(2, 2), (2, "2"), (AN_ID, AN_ID), (None, None)], ids=range(4))
def test_ids_are_equal_as_texts(captured: Captured, client: AsyncClient, given: Any, expected: object) -> None:
    """As ``capture()`` makes texts of numbers and UUIDs; ``None`` means nobody in particular."""
    client.capture_nowait("viewed", distinct_id=given)

    captured.assert_captured("viewed", distinct_id=expected)
    with pytest.raises(AssertionError):
        captured.assert_captured("viewed", distinct_id="somebody else")


def test_a_model_stands_for_its_name_and_an_instance_for_its_properties(
    captured: Captured, client: AsyncClient
) -> None:
    """Version included; properties beside an instance win over its own."""
    client.capture_nowait(SignedUp(plan="free"), distinct_id="u1")
    client.capture_nowait(SignedUp(plan="pro", seats=3), distinct_id="u2")
    client.capture_nowait(Renamed(plan="pro"))

    assert captured.names == ["signed_up", "signed_up", "Plan Renamed"]
    assert captured.one(Renamed).properties == {"plan": "pro"}
    assert captured.one(SignedUp(plan="free")).distinct_id == "u1"
    captured.assert_captured(SignedUp, plan="pro", times=1)
    captured.assert_captured(SignedUp(plan="pro", seats=1), seats=3, distinct_id="u2")
    with pytest.raises(AssertionError, match=r"event_version=2"):
        captured.one(SignedUp(plan="team"))


@pytest.mark.parametrize(
    "what", [b"viewed", None, 3, dict, EventModel.__class__], ids=["bytes", "None", "int", "class", "metaclass"]
)
def test_what_stands_for_no_event_is_an_error_of_the_test(captured: Captured, what: Any) -> None:
    """It is refused by its type and not taken for a name that is not there."""
    with pytest.raises(
        TypeError, match=r"^what must be an event's name, a class of EventModel or one of its instances"
    ):
        captured.assert_captured(what)


def test_times_below_none_are_refused(captured: Captured) -> None:
    """0 is how a test says that there is none."""
    with pytest.raises(ValueError, match=r"^times must be None or at least 0, not -1$"):
        captured.assert_captured("viewed", times=-1)


# -- what a failure says ------------------------------------------------------------------------------------------


def failure(captured: Captured, what: Any, **expected: Any) -> str:
    with pytest.raises(AssertionError) as raised:
        captured.assert_captured(what, **expected)
    return f"{raised.value}\n"


def text(expected: str) -> str:
    return dedent(expected).lstrip()


def test_a_failure_shows_in_what_the_closest_event_differs(captured: Captured, client: AsyncClient) -> None:
    """The one with the fewest differences, by its number in the list of everything that was captured."""
    client.capture_nowait("signed_up", distinct_id="u1", properties={"plan": "free"})
    client.capture_nowait("signed_up", distinct_id="u2", properties={"plan": "free", "seats": 3})
    client.capture_nowait("viewed", lane="historical")

    assert failure(captured, "signed_up", distinct_id="u2", plan="pro", seats=3) == text("""
        no 'signed_up' with distinct_id='u2', plan='pro', seats=3 was captured
          the closest, number 2, differs in
            plan: 'free', expected 'pro'
          captured (3):
            1. 'signed_up', distinct_id='u1', properties={'plan': 'free'}
            2. 'signed_up', distinct_id='u2', properties={'plan': 'free', 'seats': 3}
            3. 'viewed', lane='historical'
    """)


def test_a_failure_shows_what_is_not_there(captured: Captured, client: AsyncClient) -> None:
    """A property that is missing, and whom it was about."""
    client.capture_nowait("signed_up")

    assert failure(captured, SignedUp, distinct_id="u1", plan="pro") == text("""
        no 'signed_up' with distinct_id='u1', plan='pro' was captured
          the closest, number 1, differs in
            distinct_id: None, expected 'u1'
            plan: not there, expected 'pro'
          captured (1):
            1. 'signed_up'
    """)


def test_a_failure_guesses_the_name(captured: Captured, client: AsyncClient) -> None:
    """Of those that are there."""
    client.capture_nowait("signed_up")
    client.capture_nowait("viewed")

    assert failure(captured, "sign_up") == text("""
        no 'sign_up' was captured
          did you mean 'signed_up'?
          captured (2):
            1. 'signed_up'
            2. 'viewed'
    """)


@pytest.mark.parametrize(
    ("times", "headline"),
    [
        (0, "'viewed' was captured 2 times, expected never"),
        (1, "'viewed' was captured 2 times, expected once"),
        (3, "'viewed' was captured 2 times, expected 3 times"),
    ],
    ids=["none", "once", "more"],
)
def test_a_failure_counts(captured: Captured, client: AsyncClient, times: int, headline: str) -> None:
    """How many there were, and which."""
    client.capture_nowait("viewed")
    client.capture_nowait("viewed")

    assert (
        failure(captured, "viewed", times=times) == f"{headline}\n  captured (2):\n    1. 'viewed'\n    2. 'viewed'\n"
    )


def test_one_is_exactly_one(captured: Captured, client: AsyncClient) -> None:
    """None, or several, fail as an expectation does."""
    with pytest.raises(AssertionError, match=r"^'viewed' was never captured, expected once\n  nothing was captured$"):
        captured.one("viewed")
    client.capture_nowait("viewed")
    client.capture_nowait("viewed")
    with pytest.raises(AssertionError, match=r"^'viewed' was captured 2 times, expected once\n"):
        captured.one("viewed")


def test_a_failure_shows_what_was_refused(captured: Captured, client: AsyncClient) -> None:
    """The event that the test was about, and why."""
    client.capture_nowait(SignedUp, properties={"plan": 3})

    said = failure(captured, SignedUp)

    assert said.startswith(
        text("""
            no 'signed_up' was captured
              it was captured and refused, see below
              nothing was captured
              refused (1):
                1. 'signed_up': invalid (SignedUp""")[:-1]
    )


def test_a_failure_tells_of_captures_that_nobody_heard(captured: Captured) -> None:
    """A client that is disabled, and a default client that was never set: a riddle otherwise."""
    AsyncClient(enabled=False).capture_nowait("viewed")
    default.capture_nowait("viewed")
    default.capture_nowait("viewed")

    assert failure(captured, "viewed") == text("""
        no 'viewed' was captured
          nothing was captured
          captured by nobody, once: the client is disabled
          captured by nobody, 2 times: there is no default client
    """)
    captured.clear()
    assert "nobody" not in failure(captured, "viewed")


def test_a_failure_stays_readable(captured: Captured, client: AsyncClient) -> None:
    """Many events are cut after 25, and a long one within its line."""
    for _ in range(30):
        client.capture_nowait("viewed", properties={"text": "x" * 1000})

    lines = failure(captured, "viewed", text="y").splitlines()

    assert lines[-1] == "    and 5 more"
    assert len(lines) == 1 + 2 + 1 + 25 + 1
    assert max(map(len, lines)) < 320
