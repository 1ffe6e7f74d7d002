"""Lists of what may be sent: everything else stays, and an event that is dropped for it says so."""

from __future__ import annotations

import enum
import types
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventpipe import DropReason, Event
from eventpipe.privacy import AllowEvents, AllowProperties
from tests.privacy.sent import dropped, properties_sent, sent

pytestmark = pytest.mark.asyncio


class Name(enum.Enum):
    PAID = "paid"
    PLAN = "plan"
    SECRET = "secret"


class Text(str):
    """Text of a type of the user's own."""


async def test_events_that_are_not_listed_are_dropped_as_not_allowed() -> None:
    """Counted under that reason, and no error."""
    names = ["paid", "viewed", "Paid", "paid ", "signed_up", "viewed"]

    reasons = await dropped(AllowEvents("paid", "signed_up"), *map(Event, names))

    assert reasons == {DropReason.NOT_ALLOWED: 4}


async def test_a_name_of_another_type_is_read_as_it_would_be_sent() -> None:
    """Enums and subclasses of text; what is no name is not in the list."""
    allowed = await sent(AllowEvents("paid"), Event(Name.PAID), Event(Text("paid")))  # type: ignore[arg-type]
    refused = await dropped(AllowEvents("paid"), Event(Name.PLAN), Event(None), Event(5))  # type: ignore[arg-type]

    assert [event.event for event in allowed] == ["paid", "paid"]
    assert refused == {DropReason.NOT_ALLOWED: 3}


@given(st.dictionaries(st.sampled_from("abcde"), st.integers(), max_size=5), st.sets(st.sampled_from("abcde")))
async def test_only_properties_that_are_listed_are_sent(properties: dict[str, int], names: set[str]) -> None:
    """With their values and in their order, and the caller's mapping stays as it is."""
    before = dict(properties)
    event = Event("e", "u", properties)
    hook = AllowProperties(names)

    assert (hook(event) is event) == (properties.keys() <= names)
    assert hook(event).properties == {name: value for name, value in properties.items() if name in names}
    assert properties == before


async def test_each_event_may_have_properties_of_its_own() -> None:
    """Those that the mapping does not name may have the others, which is nothing if it is not said."""
    hook = AllowProperties({"paid": ["amount", "plan"], "seen": []}, others=["plan"])
    properties = {"amount": 1, "plan": "pro", "mail": "a@b.c"}

    arrived = await sent(hook, *(Event(name, "u", properties) for name in ("paid", "seen", "else")))
    strict = await sent(AllowProperties({"paid": ["amount"]}), Event("else", "u", properties), Event("else"))

    assert [event.properties for event in arrived] == [{"amount": 1, "plan": "pro"}, {}, {"plan": "pro"}]
    assert [event.properties for event in strict] == [{}, {}]
    assert [event.distinct_id for event in arrived] == ["u", "u", "u"]


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        (types.MappingProxyType({"plan": 1, "secret": 2}), {"plan": 1}),
        ({Name.PLAN: 1, Name.SECRET: 2, 5: 3, None: 4}, {"plan": 1, "5": 3}),
        ({Text("plan"): 1, Text("secret"): 2}, {"plan": 1}),
        ({"plan": 1, Name.PLAN: 2}, {"plan": 1}),
        (types.MappingProxyType({}), {}),
    ],
    ids=["foreign", "keys", "texts", "alike", "empty"],
)
async def test_properties_of_any_kind_are_read_as_they_would_be_sent(properties: Any, expected: Any) -> None:
    """A key gets through by its name, whatever type it has."""
    assert await properties_sent(AllowProperties(["plan", "5"]), properties) == expected


async def test_what_is_no_mapping_is_left_to_the_client() -> None:
    """Which drops it as invalid."""
    assert await dropped(AllowProperties(["a"]), Event("e", "u", [1])) == {DropReason.INVALID: 1}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AllowEvents(), "names must hold at least one event; to send none, AsyncClient(enabled=False)"),
        (lambda: AllowEvents("a", ""), "names must hold names, not ''"),
        (lambda: AllowEvents(["a"]), "names must hold names, not list"),  # type: ignore[arg-type]
        (lambda: AllowProperties("plan"), "names must be a list, not 'plan'; for one, write names=[...]"),
        (lambda: AllowProperties([5]), "names must hold names, not 5"),  # type: ignore[list-item]
        (lambda: AllowProperties({"e": "a"}), "names['e'] must be a list, not 'a'; for one, write names['e']=[...]"),
        (lambda: AllowProperties({"": []}), "names must hold names, not ''"),
        (lambda: AllowProperties({"e": []}, others="a"), "others must be a list, not 'a'; for one, write others=[...]"),
        (
            lambda: AllowProperties(["a"], others=["b"]),
            "others goes with a mapping of events to names; where names is a list, it is for all",
        ),
    ],
    ids=["no-event", "empty-event", "list", "text", "number", "text-for-event", "no-name", "text-for-others", "others"],
)  # fmt: skip
async def test_what_is_wrong_is_said_at_once(make: Any, message: str) -> None:
    """The option, the value, the rule."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # the whole message is compared
        make()

    assert str(caught.value) == message


async def test_repr_is_what_was_written() -> None:
    """In the order of the alphabet."""
    assert repr(AllowEvents("b", "a")) == "AllowEvents('a', 'b')"
    assert repr(AllowProperties(["b", "a"])) == "AllowProperties(['a', 'b'])"
    assert repr(AllowProperties({"e": ["b"]}, others=["a"])) == "AllowProperties({'e': ['b']}, others=['a'])"
