"""Scrub: nothing under a hidden key and nothing that a pattern finds gets out, whatever it was wrapped in."""

from __future__ import annotations

import asyncio
import collections
import copy
import dataclasses
import datetime
import decimal
import enum
import json
import re
import threading
import types
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from eventpipe import AsyncClient, DropReason, Event, Receipt
from eventpipe.privacy import BEARER_TOKEN, CARD_NUMBER, EMAIL, IP_ADDRESS, SECRET_NAMES, Scrub, chain
from eventpipe.privacy.glance import MAX_CONTAINERS
from eventpipe.privacy.names import MAX_KEPT, MAX_KEPT_LENGTH, KeyNames
from eventpipe.privacy.rewriting import FOUND_WORK, MAX_WORK
from eventpipe.sinks import MemorySink
from eventpipe.testing import check_ledger
from tests.privacy.sent import everything, properties_sent, sent, texts

SECRET = "tell-nobody"
MAIL = "ann.o'neil+shop@mail.example.com"
CARD = "4111 1111 1111 1111"
KEYS = ("password", "api_key", re.compile("(?i)^x-"))
PATTERNS = (EMAIL, CARD_NUMBER, BEARER_TOKEN, IP_ADDRESS, r"\btell-[a-z]+", re.compile("^whole$"))
scrub = Scrub(KEYS, PATTERNS)


class Model(BaseModel):
    password: str = SECRET
    note: str = MAIL
    fine: int = 1


@dataclasses.dataclass
class Data:
    note: Any = MAIL
    password: Any = SECRET


class Named(enum.Enum):
    PASSWORD = "password"
    NOTE = MAIL


class Foreign(Mapping[str, Any]):
    """A mapping that is no dict."""

    def __init__(self, members: dict[str, Any]) -> None:
        self.members = members

    def __getitem__(self, key: str) -> Any:
        return self.members[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.members)

    def __len__(self) -> int:
        return len(self.members)


class Opaque:
    """JSON has no form for it, and its repr tells all."""

    def __repr__(self) -> str:
        return f"{SECRET} {MAIL}"

    __str__ = __repr__


class Telling(str):
    """Text of a type of the user's own."""

    def __str__(self) -> str:
        return "harmless"


WRAPPERS = (
    lambda value: value,
    lambda value: [value],
    lambda value: (1, value),
    lambda value: {"inner": value},
    lambda value: {"deep": {"deeper": [{"deepest": value}]}},
    lambda value: Foreign({"inner": value}),
    lambda value: types.MappingProxyType({"inner": value}),
    lambda value: collections.OrderedDict(inner=value),
    lambda value: collections.deque([value]),
    lambda value: Data(note=value),
    lambda value: {5: value, None: value},
    lambda value: {"inner": value}.values(),
)  # fmt: skip
LEAKS = (
    {"password": SECRET},
    {"PassWord": {"a": [SECRET, b"tell-nobody", Opaque()]}},
    {"API-Key": 1234567890123},
    {"apiKey": Opaque()},
    {"x-anything": [MAIL]},
    {Named.PASSWORD: SECRET},
    {Telling("password"): "1234567890123"},
    {"password": 1, Named.PASSWORD: 1234567890123},
    {MAIL: 1, "fine": 2},
    {Telling(MAIL): 1},
    MAIL,
    Telling(MAIL),
    Named.NOTE,
    f"write to <{MAIL}>, soon",
    {MAIL},
    frozenset([CARD]),
    4111111111111111,
    4111111111111111.0,
    decimal.Decimal(4111111111111111),
    f"card {CARD} 12/27",
    "Authorization: Bearer abcDEF.123-456",
    "from 192.168.7.9:443",
    "2001:db8::ff00:42:8329",
    SECRET,
    "whole",
    Model(),
    Data(),
    Opaque(),
    orjson.Fragment(json.dumps({"password": SECRET, "note": [MAIL]})),
)
# What none of the events above may have in its bytes.
TRACES = (
    SECRET,
    "o'neil",
    "mail.example",
    "4111 1111",
    "41111111",
    "1234567890123",
    "abcDEF",
    "192.168",
    "42:83",
    "whole",
)

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-9999, 9999) | st.floats(-9, 9) | st.text("abc é\n\ud800", max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc é", max_size=4), inner, max_size=3),
    max_leaves=8,
)
ODD = st.sampled_from(
    [
        {1, 2},
        datetime.datetime(2026, 5, 4, tzinfo=datetime.UTC),
        uuid.UUID(int=7),
        decimal.Decimal("1.50"),
        b"x",
        object(),
    ]
)


@st.composite
def leaking(draw: st.DrawFn) -> dict[str, Any]:
    """Properties with a leak somewhere in them, wrapped up."""
    value: Any = draw(st.sampled_from(LEAKS))
    for wrap in draw(st.lists(st.sampled_from(WRAPPERS), max_size=3)):
        value = wrap(value)
    properties = draw(st.dictionaries(st.text("abc é", max_size=4), PLAIN | ODD, max_size=3))
    return {**properties, draw(st.text("abc", max_size=2)): value}


@pytest.mark.asyncio
@given(leaking())
async def test_nothing_gets_out_whatever_it_is_wrapped_in(properties: dict[str, Any]) -> None:
    """Not in the bytes, and no pattern finds anything in any key or value of what arrived."""
    (event,) = await sent(scrub, Event("e", "u", properties))

    assert [trace for trace in TRACES if trace.encode() in everything(event)] == []
    found = [text for text in texts(event.properties) for pattern in scrub._patterns if pattern.find(text)]
    assert found == []


@pytest.mark.asyncio
@given(st.dictionaries(st.text("abc é", max_size=4), PLAIN, max_size=4), st.sampled_from(LEAKS[:2]))
async def test_what_the_caller_passed_stays_as_it_is(properties: dict[str, Any], leak: Any) -> None:
    """At every depth; the event too."""
    event = Event("e", MAIL, {**properties, "leak": leak, "list": [leak, MAIL]}, headers={"password": "x"}, key=MAIL)
    before = copy.deepcopy(event, {id(one): one for one in (leak,)})
    text = repr(leak)

    (arrived,) = await sent(scrub, event)

    assert event == before
    assert repr(leak) == text
    assert arrived.properties["list"][1] == arrived.distinct_id == "[scrubbed]"


@pytest.mark.asyncio
@given(st.dictionaries(st.text("abc é", max_size=4), PLAIN, max_size=4))
async def test_where_there_is_nothing_to_hide_nothing_changes(properties: dict[str, Any]) -> None:
    """A plain event is passed on itself, and arrives as it would without the hook."""
    event = Event("e", "u", properties)

    assert scrub(event) is event
    (plain,) = await sent(lambda event: event, event)
    (scrubbed,) = await sent(scrub, event)
    assert scrubbed.properties == plain.properties


@pytest.mark.asyncio
async def test_what_is_odd_and_hides_nothing_arrives_as_without_the_hook() -> None:
    """Its JSON is that of the encoder: digits of decimals, times, sets, keys that are no text."""
    properties: dict[Any, Any] = {
        "price": decimal.Decimal("12345678901234567890.50"),
        "at": datetime.datetime(2026, 5, 4, 3, 2, tzinfo=datetime.UTC),
        "id": uuid.UUID(int=7),
        "tags": {"b", "a"},
        "path": [Foreign({"a": 1})],
        5: None,
        "big": 2**70,
        "text": "a\ud800",
        "nan": float("nan"),
    }

    (plain,) = await sent(lambda event: event, Event("e", "u", properties))
    (scrubbed,) = await sent(scrub, Event("e", "u", properties))

    assert scrubbed.json.partition(b'"properties":')[2] == plain.json.partition(b'"properties":')[2]


@pytest.mark.asyncio
async def test_everything_of_an_event_is_looked_at() -> None:
    """Its name, ids, headers and key; not its lane."""
    event = Event(f"seen by {MAIL}", MAIL, {}, headers={"X-Token": "1", "note": MAIL, "ok": "1"}, key=MAIL, lane="l")

    (arrived,) = await sent(scrub, event)

    assert arrived.event == "seen by [scrubbed]"
    assert arrived.distinct_id == arrived.key == "[scrubbed]"
    assert arrived.headers == {"X-Token": "[scrubbed]", "note": "[scrubbed]", "ok": "1"}
    assert arrived.lane == "l"


@pytest.mark.parametrize(
    "event",
    [
        Event(MAIL),
        Event("e", MAIL),
        Event("e", "u", {"a": MAIL}),
        Event("e", "u", {MAIL: 1}),
        Event("e", "u", {}, headers={"a": MAIL}),
        Event("e", "u", {}, headers={"password": "mail.example"}),
        Event("e", "u", {}, key=MAIL),
    ],
    ids=["name", "id", "value", "key-of-property", "header", "name-of-header", "key"],
)
@pytest.mark.asyncio
async def test_each_part_of_an_event_is_looked_at_by_itself(event: Event) -> None:
    """Where nothing else would make the hook look twice."""
    (arrived,) = await sent(scrub, event)

    assert b"mail.example" not in everything(arrived)


class Lying(str):
    """A key that says it is another one."""

    def __hash__(self) -> int:
        return hash("plan")

    def __eq__(self, other: object) -> bool:
        return other == "plan"


def test_a_key_that_says_it_is_another_hides_all_the_same() -> None:
    """What counts is what it would be written as."""
    hook = Scrub(["password"])
    plain = Event("e", "u", {"plan": 1})

    assert hook(plain) is plain
    assert hook(Event("e", "u", {Lying("password"): SECRET})).properties == {"password": "[scrubbed]"}


@pytest.mark.parametrize(
    ("who", "expected"),
    [
        (7, "7"),
        (4111111111111111, "[scrubbed]"),
        (uuid.UUID(int=7), str(uuid.UUID(int=7))),
        (Named.NOTE, "[scrubbed]"),
        (decimal.Decimal(7), "7"),
        (None, None),
        (Opaque(), None),
    ],
    ids=["number", "card", "uuid", "enum", "decimal", "none", "object"],
)
@pytest.mark.asyncio
async def test_an_id_of_any_type_is_looked_at(who: Any, expected: str | None) -> None:
    """As the client would write it."""
    (arrived,) = await sent(scrub, Event("e", who, {}))

    assert arrived.distinct_id == expected


@pytest.mark.asyncio
async def test_only_what_a_pattern_finds_is_taken_out_of_a_text() -> None:
    """The rest stays, and so does whether a number was one where nothing is found."""
    found = await properties_sent(
        Scrub(patterns=[EMAIL, CARD_NUMBER], replacement="***"),
        {"a": f"from {MAIL} to b@c.de", "n": 17, "card": 4111111111111111, "x": [f"{CARD}!"]},
    )

    assert found == {"a": "from *** to ***", "n": 17, "card": "***", "x": ["***!"]}


@pytest.mark.asyncio
async def test_two_keys_that_become_alike_are_both_kept() -> None:
    """The second gets a number, and none takes the place of a key that was there."""
    found = await properties_sent(
        Scrub(patterns=[EMAIL], replacement="***"), {"a@b.c": 1, "***": 2, "d@e.f": 3, "***~2": 4}
    )

    assert found == {"***~3": 1, "***": 2, "***~4": 3, "***~2": 4}


@pytest.mark.asyncio
async def test_where_taking_out_makes_a_pattern_find_more_nothing_is_left() -> None:
    """A text that still matches afterwards is replaced as a whole."""
    found = await properties_sent(Scrub(patterns=[r"ab\[", EMAIL]), {"t": "aab[scrubbed] c", "ok": "x ab[ y"})

    assert found == {"t": "a[scrubbed]scrubbed] c", "ok": "x [scrubbed] y"}
    found = await properties_sent(Scrub(patterns=[r"q\[", "z"]), {"t": "qz q z"})
    assert found == {"t": "[scrubbed]"}


@pytest.mark.asyncio
async def test_cycles_depth_and_width_end() -> None:
    """A cycle is cut, and what is nested or wide beyond the quick look is looked at all the same."""
    cycle: dict[str, Any] = {"password": SECRET}
    cycle["self"] = [cycle]
    deep: Any = {"password": SECRET, "note": MAIL}
    for _ in range(300):
        deep = {"in": deep}
    middle: Any = {"password": SECRET, "note": MAIL}
    for _ in range(200):
        middle = {"in": [middle]}
    wide = [{"password": SECRET, "note": MAIL} for _ in range(MAX_CONTAINERS + 1)]

    for properties in (cycle, {"deep": deep}, {"middle": middle}, {"wide": wide}):
        (event,) = await sent(scrub, Event("e", "u", properties))
        assert SECRET.encode() not in event.json
        assert b"example" not in event.json
        assert b"[scrubbed]" in event.json or b"<depth>" in event.json


@pytest.mark.asyncio
async def test_what_far_ends_take_is_not_too_much() -> None:
    """A MiB of addresses is scrubbed."""
    address = "a@mail.example"
    number = 1024**2 // len(f'"{address}",')

    assert await properties_sent(scrub, {"a": [address] * number}, max_event_bytes=2**21) == {
        "a": ["[scrubbed]"] * number
    }


@pytest.mark.asyncio
async def test_an_object_is_left_to_nobody_else() -> None:
    """The client's ``json_default`` does not see it; the scrubber's own does, and what it makes is looked at."""

    def tell(value: Any) -> Any:
        if isinstance(value, Opaque):
            return {"password": SECRET, "note": str(value), "fine": 1}
        raise TypeError

    properties = {"thing": Opaque()}

    alone = await properties_sent(scrub, properties, json_default=tell)
    own = await properties_sent(Scrub(KEYS, PATTERNS, json_default=tell), properties, json_default=tell)

    assert alone == {"thing": "<type Opaque>"}
    assert own == {"thing": {"password": "[scrubbed]", "note": "[scrubbed] [scrubbed]", "fine": 1}}


class Raising(Mapping[str, int]):
    def __getitem__(self, key: str) -> int:
        raise ValueError(SECRET)

    def __iter__(self) -> Iterator[str]:
        return iter("a")

    def __len__(self) -> int:
        return 1


@pytest.mark.parametrize(
    ("hook", "properties", "reason"),
    [
        (lambda event: 1 / 0, {"a": SECRET}, DropReason.BEFORE_SEND),
        (chain(scrub, lambda event: 1 / 0), {"a": SECRET}, DropReason.BEFORE_SEND),  # type: ignore[arg-type, return-value]
        (scrub, Raising(), DropReason.BEFORE_SEND),
        (scrub, {"a": [{SECRET: 10**5000} for _ in range(70_000)]}, DropReason.BEFORE_SEND),
        (scrub, {"a": [[SECRET]] * (MAX_WORK // FOUND_WORK)}, DropReason.BEFORE_SEND),
        (scrub, {"a": [SECRET, [[0] * 1000] * (MAX_WORK // 1000)]}, DropReason.BEFORE_SEND),
        (scrub, [SECRET], DropReason.INVALID),
        (scrub, 5, DropReason.INVALID),
    ],
    ids=["raises", "in-a-chain", "mapping-raises", "too-large", "too-much-found", "too-much-to-read", "list", "number"],
)
@pytest.mark.parametrize("form", ["capture", "capture_nowait", "thread"])
@pytest.mark.asyncio
async def test_what_cannot_be_scrubbed_is_dropped_and_the_request_goes_on(
    form: str, hook: Any, properties: Any, reason: DropReason, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is raised, the drop has its reason, and no line says what was in the event."""
    receipts: list[Receipt] = []
    sink = MemorySink()

    async def handler() -> str:
        if form == "capture":
            receipts.append(await client.capture("seen", properties=properties))
        elif form == "capture_nowait":
            receipts.append(client.capture_nowait("seen", properties=properties))
        else:
            call = lambda: receipts.append(client.capture_nowait("seen", properties=properties))  # noqa: E731
            thread = threading.Thread(target=call)
            thread.start()
            thread.join()
        return "200 OK"

    async with AsyncClient(sink, before_send=hook) as client:
        await client.flush()
        assert await handler() == "200 OK"
        await asyncio.sleep(0)

    assert [receipt.reason for receipt in receipts] == [reason]
    assert sink.events == []
    assert check_ledger(client, drained=True).dropped_by_reason == {reason: 1}
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    ("name", "is_hidden"),
    [
        ("password", True),
        ("PASSWORD", True),
        ("pass_word", True),
        ("Pass-Word", True),
        ("passwords", False),
        ("my_password", False),
        ("password~2", True),
        ("api_key", True),
        ("apiKey", True),
        ("API Key", True),
        ("x-trace", True),
        ("trace-x-", False),
    ],
)
def test_a_name_hides_what_is_under_it(name: str, is_hidden: bool) -> None:
    """Letter case and what stands between words make no difference."""
    assert KeyNames(KEYS, ()).hides(name) is is_hidden


@pytest.mark.asyncio
async def test_a_key_that_cannot_be_written_hides_what_is_under_it() -> None:
    """It may be any name, such as ``b"password"``; where no name hides anything, this one does not either."""
    properties: Any = {b"password": SECRET, "in": {b"password": 1, object: 2}}

    found = await properties_sent(Scrub(["token"]), properties)

    assert found == {"<type bytes>": "[scrubbed]", "in": {"<type bytes>": "[scrubbed]", "<type type>": "[scrubbed]"}}
    assert (await properties_sent(Scrub(patterns=[EMAIL]), properties))["in"] == {"<type bytes>": 1, "<type type>": 2}


def test_names_are_kept_within_bounds() -> None:
    """Names made of ids cannot fill the memory, nor can long ones; what holds something is never kept."""
    names = KeyNames(["password"], (EMAIL,))

    assert names.is_clean("a" * (MAX_KEPT_LENGTH + 1))
    assert not names.is_clean("password")
    assert not names.is_clean("a@b.c")
    assert names.clean == set()
    assert all(names.is_clean(f"order-{number}") for number in range(MAX_KEPT + 10))
    assert len(names.clean) == MAX_KEPT


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "keys or patterns must say what to scrub, such as Scrub(keys=[SECRET_NAMES])"),
        ({"keys": "password"}, "keys must be a list, not 'password'; for one, write keys=[...]"),
        ({"keys": ["ok", ""]}, "keys[1] must be a name, not ''"),
        ({"keys": ["-_"]}, "keys[0] must be a name, not '-_'"),
        ({"keys": [5]}, "keys[0] must be a regular expression for text, not 5"),
        ({"patterns": EMAIL}, "patterns must be a list, not Pattern; for one, write patterns=[...]"),
        ({"patterns": ["("]}, "patterns[0] must be a regular expression, not '(': missing ), unterminated subpattern"),
        ({"patterns": [re.compile(b"a")]}, "patterns[0] must be a regular expression for text, not Pattern"),
        ({"patterns": [EMAIL, "x*"]}, "patterns[1] finds an empty text, which is in every text: 'x*'"),
        ({"patterns": ["scr"]}, "patterns[0] finds something in the replacement '[scrubbed]'"),
        ({"keys": ["a"], "replacement": None}, "replacement must be text, not NoneType"),
        ({"keys": ["a"], "json_default": 5}, "json_default must be a function of one argument, not 5"),
    ],
    ids=[
        "nothing", "one-key", "empty-key", "no-letters", "number", "one-pattern", "broken", "bytes", "finds-nothing",
        "finds-itself", "no-replacement", "no-function",
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_at_once(arguments: dict[str, Any], message: str) -> None:
    """The option, the value, the rule."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # the whole message is compared
        Scrub(**arguments)

    assert str(caught.value) == message


def test_repr_says_what_it_looks_for() -> None:
    """For a log line of one's own."""
    assert repr(Scrub([SECRET_NAMES, "ssn"], [EMAIL])) == "Scrub(2 keys, patterns=[EMAIL], replacement='[scrubbed]')"
