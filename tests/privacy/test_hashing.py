"""HashIds: the same id is the same text, nobody can read it, and no raw id is left anywhere."""

from __future__ import annotations

import collections
import enum
import hashlib
import hmac
import traceback
import types
import uuid
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventpipe import Event
from eventpipe.privacy import HashIds
from eventpipe.privacy.hashing import MIN_KEY_BYTES
from tests.privacy.sent import everything, properties_sent, sent

pytestmark = pytest.mark.asyncio

KEY = "correct-horse-battery-staple"


class Ids(enum.Enum):
    USER = "user_id"
    ANN = "ann-1234"


def hashed(text: str, key: str = KEY) -> str:
    return hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
async def test_an_id_becomes_its_hmac(who: str) -> None:
    """SHA-256, in hexadecimal, so that others can compute the same."""
    (event,) = await sent(HashIds(KEY), Event("e", who))

    assert event.distinct_id == hashed(who)


async def test_another_implementation_computes_the_same() -> None:
    """HMAC as others have it, too: by the first test vector of RFC 4231."""
    made = HashIds(b"\x0b" * 20)(Event("e", "Hi There"))

    assert made.distinct_id == "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"


@pytest.mark.parametrize(
    ("who", "expected"),
    [
        (1234, "1234"),
        (uuid.UUID(int=7), str(uuid.UUID(int=7))),
        (Ids.ANN, "ann-1234"),
        (Decimal("1.50"), "1.50"),
        ("", ""),
    ],
    ids=["number", "uuid", "enum", "decimal", "empty"],
)
async def test_ids_of_all_types_are_the_text_that_the_client_makes_of_them(who: Any, expected: str) -> None:
    """1234 and ``"1234"`` are one person, before and after."""
    (event,) = await sent(HashIds(KEY, ["user_id"]), Event("e", who, {"user_id": who}))

    assert event.distinct_id == event.properties["user_id"] == hashed(expected)


async def test_nobody_stays_nobody() -> None:
    """And what is no id is not made one."""
    hook = HashIds(KEY)
    event = Event("e", None, {"a": 1})

    assert hook(event) is event
    (object_, bytes_) = await sent(hook, Event("e", object()), Event("e", b"ann"))  # type: ignore[arg-type]
    assert object_.distinct_id is bytes_.distinct_id is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("ann", hashed("ann")),
        (None, None),
        (["ann", 5, None], [hashed("ann"), hashed("5"), None]),
        (("ann",), [hashed("ann")]),
        (collections.deque(["ann"]), [hashed("ann")]),
        ({"ann", "ben"}, sorted([hashed("ann"), hashed("ben")])),
        (True, hashed("true")),
        ({"b": [{"d": 1, "c": 2}], "a": "ann"}, hashed('{"a":"ann","b":[{"c":2,"d":1}]}')),
        (object(), hashed('"<type object>"')),
        ([["ann"]], [hashed('["ann"]')]),
    ],
    ids=["text", "none", "list", "tuple", "deque", "set", "bool", "object", "foreign", "nested"],
)
async def test_a_property_of_any_kind_is_hashed(value: Any, expected: Any) -> None:
    """A list element by element, what is no id as its JSON: nothing is sent as it was."""
    before = {"user_id": value, "other": "kept"}
    properties = dict(before)

    assert await properties_sent(HashIds(KEY, ["user_id"]), properties) == {"user_id": expected, "other": "kept"}
    assert properties == before


@pytest.mark.parametrize(
    "properties",
    [
        types.MappingProxyType({"user_id": "ann-1234"}),
        {Ids.USER: "ann-1234"},
        {"user_id": "ann-1234", Ids.USER: "ann-1234"},
    ],
    ids=["foreign", "enum", "both"],
)
async def test_a_property_is_found_by_the_name_that_it_would_be_sent_with(properties: Any) -> None:
    """Whatever mapping it is in, and whatever type its key has."""
    assert await properties_sent(HashIds(KEY, ["user_id"]), properties) == {"user_id": hashed("ann-1234")}


@pytest.mark.parametrize(
    "event",
    [
        Event("seen", "ann-1234", {"plan": "pro"}, key="ann-1234"),
        Event("seen", Ids.ANN, key="ann-1234"),  # type: ignore[arg-type]
        Event.identify("ann-1234", {"plan": "pro"}, anonymous_id="ann-1234"),
        Event.alias("ann-1234", "ann-1234"),
        Event.page("ann-1234", "Pricing"),
        Event.group("ann-1234", "company", "acme"),
    ],
    ids=["key", "enum", "identify", "alias", "page", "group"],
)
async def test_no_id_of_a_person_is_left_anywhere(event: Event) -> None:
    """Not in the key, and not where the events of the vocabulary repeat it."""
    (arrived,) = await sent(HashIds(KEY), event)

    assert b"ann-1234" not in everything(arrived)
    assert arrived.distinct_id == hashed("ann-1234")


async def test_what_is_no_id_of_a_person_stays() -> None:
    """Another key, an alias that is not the vocabulary's, a person whom the hook leaves alone."""
    (event,) = await sent(HashIds(KEY), Event("seen", "ann", {"alias": "shop"}, key="order-7"))
    (person,) = await sent(
        HashIds(KEY, ["account"], distinct_id=False), Event("seen", "ann", {"account": 7}, key="ann")
    )

    assert (event.key, event.properties) == ("order-7", {"alias": "shop"})
    assert (person.distinct_id, person.key, person.properties) == ("ann", "ann", {"account": hashed("7")})


async def test_another_key_is_another_person() -> None:
    """A text and its bytes are one key."""
    one, same, other = (HashIds(key)(Event("e", "ann")).distinct_id for key in (KEY, KEY.encode(), KEY + "!"))

    assert one == same != other


async def test_the_key_is_shown_nowhere() -> None:
    """Not in the ``repr``, and not in what is said of a key that is wrong."""
    assert repr(HashIds(KEY, ["user_id"])) == "HashIds(properties=('user_id',), distinct_id=True)"
    for wrong in ("tell-nobody", b"tell-nobody", bytearray(b"tell-nobody"), ["tell-nobody"]):
        with pytest.raises(ValueError, match=r"^key must be ") as caught:
            HashIds(wrong)  # type: ignore[arg-type]
        told = "".join(traceback.format_exception_only(caught.value))
        assert "tell-nobody" not in told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("k" * (MIN_KEY_BYTES - 1),),
            "key must be at least 16 bytes, not 15; "
            'make one with: python -c "import secrets; print(secrets.token_hex(32))"',
        ),
        ((None,), "key must be bytes or a text, not a value of type NoneType"),
        ((KEY, "user_id"), "properties must be a list, not 'user_id'; for one, write properties=[...]"),
        ((KEY, ["a", ""]), "properties must hold names, not ''"),
    ],
    ids=["short", "none", "text", "empty"],
)
async def test_what_is_wrong_is_said_at_once(arguments: Any, message: str) -> None:
    """The option, the rule, the way out."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # the whole message is compared
        HashIds(*arguments)

    assert str(caught.value) == message


async def test_there_must_be_something_to_hash() -> None:
    """Neither persons nor properties is a mistake."""
    with pytest.raises(ValueError, match="properties must hold at least one name where distinct_id is False"):
        HashIds(KEY, distinct_id=False)
    with pytest.raises(ValueError, match="distinct_id must be True or False, not 'yes'"):
        HashIds(KEY, distinct_id="yes")  # type: ignore[arg-type]
    HashIds("k" * MIN_KEY_BYTES)
