"""An event is encoded once: the envelope's layout, what each argument comes to, and what is repaired or refused."""

from __future__ import annotations

import asyncio
import datetime
import decimal
import enum
import re
import sys
import threading
import time
import types
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import freezegun
import orjson
import pytest
import uuid_utils
from hypothesis import given
from hypothesis import strategies as st

from eventpipe.clock import Clock
from eventpipe.encoding import Encoder, make_id
from eventpipe.encoding.arguments import MAX_HEADER_TEXT
from eventpipe.errors import InvalidEventError
from eventpipe.events import CLOSING, DISTINCT_ID_AT, TIMESTAMP_AT, UUID_AT, CapturedEvent

UTC = datetime.UTC
LONE = "\ud800"
UUID_TEXT = "0ea3de7c-f07a-4133-85c8-6f2eacd64848"


class Hands(Clock):
    """A clock whose two hands are set by the test."""

    def __init__(self, wall: float = 1_700_000_000.0, now: float = 50.0) -> None:
        self.wall = wall
        self.now = now

    def time(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.now


class Broken(Mapping[str, int]):
    def __getitem__(self, key: str) -> int:
        raise asyncio.CancelledError

    def __iter__(self) -> Iterator[str]:
        return iter("ab")

    def __len__(self) -> int:
        return 2


class Plan(enum.Enum):
    PRO = "pro"
    FIVE = 5
    ODD = object()


class LyingText(str):
    def __str__(self) -> str:
        return '","event":"forged'

    def __hash__(self) -> int:
        raise asyncio.CancelledError

    __eq__ = __hash__  # type: ignore[assignment]


class LyingDatetime(datetime.datetime):
    def isoformat(self, *_: Any, **__: Any) -> str:
        return '"' * 27

    def astimezone(self, *_: Any) -> Any:
        raise KeyError


class BadZone(datetime.tzinfo):
    def utcoffset(self, _: datetime.datetime | None) -> datetime.timedelta:
        raise KeyError

    dst = utcoffset

    def tzname(self, _: datetime.datetime | None) -> str:
        return ""


class NoZone(BadZone):
    def utcoffset(self, _: datetime.datetime | None) -> None:  # type: ignore[override]
        return None


def encode(encoder: Encoder | None = None, event: object = "signed_up", **given: object) -> CapturedEvent:
    """``Encoder.encode()`` by names; with a dict for properties, as that is the plain path."""
    names = ("distinct_id", "properties", "timestamp", "uuid", "headers", "key", "lane")
    assert set(given) <= set(names)
    values = {"properties": {}} | given
    return (encoder or Encoder(clock=Hands())).encode(event, *(values.get(name) for name in names))


def refused(encoder: Encoder | None = None, **given: Any) -> InvalidEventError:
    with pytest.raises(InvalidEventError) as caught:
        encode(encoder, **given)
    return caught.value


@pytest.fixture
def far_from_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The process believes itself to be in Tokyo."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    "given_",
    [
        {},
        {"properties": None},
        {"distinct_id": "u1", "properties": {"plan": "pro"}},
        {"distinct_id": 7, "properties": {"price": decimal.Decimal("9.50")}, "key": "k"},
        {"distinct_id": 'a"b\\c\u20ac', "properties": {}, "uuid": UUID_TEXT, "timestamp": datetime.datetime.now(UTC)},
        {"properties": {"bad": b""}, "timestamp": "yesterday", "uuid": "x"},
    ],
    ids=["bare", "none", "plain", "with-care", "given", "repaired"],
)
def test_envelope_has_one_layout(given_: dict[str, Any]) -> None:
    """Id and stamp stand at fixed offsets, members in a fixed order, and two braces are left off."""
    captured = encode(**given_)

    envelope = orjson.loads(captured.data + CLOSING)
    assert list(envelope) == ["uuid", "timestamp", "distinct_id", "event", "properties"]
    assert captured.data[UUID_AT].decode() == envelope["uuid"]
    assert captured.data[TIMESTAMP_AT].decode() == envelope["timestamp"]
    assert captured.data[DISTINCT_ID_AT:].startswith(orjson.dumps(envelope["distinct_id"]) + b',"event":')
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", envelope["timestamp"])
    assert str(uuid.UUID(envelope["uuid"])) == envelope["uuid"]
    assert type(envelope["properties"]) is dict


def test_event_is_a_snapshot() -> None:
    """What the caller changes after the call changes nothing."""
    properties: dict[str, Any] = {"tags": ["a"], "$set": {"x": 1}}
    headers = {"traceparent": "00-1"}
    captured = encode(Encoder(lifted=frozenset({"$set"})), properties=properties, headers=headers)

    properties["tags"].append("b")
    properties["$set"]["x"] = 2
    headers["traceparent"] = "other"

    assert captured.properties == {"tags": ["a"], "$set": {"x": 1}}
    assert captured.headers == {"traceparent": "00-1"}


def test_caller_keeps_the_properties() -> None:
    """Lifted and repaired properties are taken from a copy."""
    properties = {"$set": {"x": 1}, "odd": b"", 3: 4}
    before = repr(properties)

    encode(Encoder(lifted=frozenset({"$set"})), properties=properties)

    assert repr(properties) == before


@pytest.mark.parametrize("lifted", [frozenset[str](), frozenset({"$set"})], ids=["bare", "lifted"])
def test_no_properties_are_plain_properties(lifted: frozenset[str]) -> None:
    """An event without them is encoded as quickly as one that has some, and an empty dict says the same."""
    encoder = Encoder(lifted=lifted)

    none, empty = encoder.encode_plain("e", None, None), encoder.encode_plain("e", None, {})

    assert none is not None
    assert empty is not None
    assert none.data[DISTINCT_ID_AT:] == empty.data[DISTINCT_ID_AT:]
    assert none.properties == {}


def test_stored_bytes_take_no_more_room_than_they_need() -> None:
    """The buffer of orjson, 4 KiB an event, is not what waits in the queue."""
    for given_ in ({"properties": {"a": 1}}, {"properties": {"a": {1}}}):
        data = encode(**given_).data

        assert sys.getsizeof(data) == sys.getsizeof(b"") + len(data)


class TestStamp:
    def test_event_carries_the_wall_clock_and_the_loop_clock(self) -> None:
        """The stamp is of the wall clock, the moment of the loop clock, and the two are read anew after 1 ms."""
        hands = Hands()
        encoder = Encoder(clock=hands)

        first = encode(encoder)
        hands.wall, hands.now = hands.wall + 0.25, hands.now + 0.25
        second = encode(encoder)

        assert [event.data[TIMESTAMP_AT] for event in (first, second)] == [
            b"2023-11-14T22:13:20.000000Z",
            b"2023-11-14T22:13:20.250000Z",
        ]
        assert [event.captured_at for event in (first, second)] == [50.0, 50.25]

    def test_clock_at_zero_is_a_time_too(self) -> None:
        """A loop that starts its clock at zero, and a wall clock at the epoch, stamp the first event."""
        captured = encode(Encoder(clock=Hands(wall=0.0, now=0.0)))

        assert captured.data[TIMESTAMP_AT] == b"1970-01-01T00:00:00.000000Z"
        assert captured.captured_at == 0.0

    def test_events_of_one_millisecond_share_a_stamp(self) -> None:
        """Within a millisecond the text is written once."""
        hands = Hands()
        encoder = Encoder(clock=hands)
        first = encode(encoder)

        hands.wall += 0.0009
        hands.now += 0.0009

        second = encode(encoder)
        assert second.data[TIMESTAMP_AT] == first.data[TIMESTAMP_AT]
        assert second.captured_at == first.captured_at

    @pytest.mark.parametrize("jump", [3600.0, -3600.0, 0.0011, -0.0001])
    @pytest.mark.parametrize("hand", ["wall", "now"])
    def test_either_clock_may_jump(self, hand: str, jump: float) -> None:
        """A wall clock that is set, and a loop with another clock, show in the very next event."""
        hands = Hands()
        encoder = Encoder(clock=hands)
        encode(encoder)

        setattr(hands, hand, getattr(hands, hand) + jump)

        captured = encode(encoder)
        assert captured.captured_at == hands.now
        assert captured.timestamp.timestamp() == pytest.approx(hands.wall, abs=1e-6)

    def test_frozen_time_is_the_time(self) -> None:
        """Under freezegun events are of the frozen moment, however soon after another it begins or moves."""
        encoder = Encoder(monotonic=time.monotonic)
        encode(encoder)

        with freezegun.freeze_time("2030-01-02T03:04:05Z", real_asyncio=True) as frozen:
            first = encode(encoder)
            frozen.tick(1)
            second = encode(encoder)
        third = encode(encoder)

        assert first.timestamp == datetime.datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
        assert second.timestamp == datetime.datetime(2030, 1, 2, 3, 4, 6, tzinfo=UTC)
        assert abs(third.timestamp.timestamp() - time.time()) < 60

    def test_frozen_datetime_is_taken(self) -> None:
        """What ``datetime.now()`` returns under freezegun is a datetime, as a timestamp and as a property."""
        encoder = Encoder(strict=True)
        with freezegun.freeze_time("2030-01-02T03:04:05Z", real_asyncio=True):
            now = datetime.datetime.now(UTC)
            captured = encode(encoder, timestamp=now, properties={"at": now})

        assert captured.data[TIMESTAMP_AT] == b"2030-01-02T03:04:05.000000Z"
        assert captured.properties == {"at": "2030-01-02T03:04:05Z"}


class TestId:
    def test_id_is_a_new_uuid7(self) -> None:
        """Each event has an id of its own, and ids sort by time."""
        encoder = Encoder(clock=Hands())

        ids = [encode(encoder).uuid for _ in range(100)]

        assert len(set(ids)) == 100
        assert {uuid.UUID(text).version for text in ids} == {7}
        assert uuid.UUID(make_id()).version == 7

    def test_ids_of_one_stamp_sort_in_the_order_of_capture(self) -> None:
        """Also with those of events that need care, and beyond what one id can count on to."""
        encoder = Encoder(clock=Hands())

        ids = [encode(encoder, properties={"odd": b""} if at % 7 == 0 else {}).uuid for at in range(50)]
        ids += [encode(encoder).uuid for _ in range(1000)]

        assert ids == sorted(set(ids))
        assert {(uuid.UUID(text).version, uuid.UUID(text).variant) for text in ids} == {(7, uuid.RFC_4122)}

    def test_id_is_of_the_time_of_its_stamp(self) -> None:
        """No stamp counts on from an id of the one before."""
        hands = Hands()
        encoder = Encoder(clock=hands)
        ids = []
        for _ in range(3):
            ids += [encode(encoder).uuid for _ in range(2)]
            hands.now += 0.002

        assert len({text[:34] for text in ids[::2]}) == 3
        assert not {text[:34] for text in ids[2:]} & {text[:34] for text in ids[:2]}

    def test_threads_and_encoders_share_no_id(self) -> None:
        """Eight threads at once, on one stamp, with an encoder of the same clock beside them."""
        encoder, other = Encoder(clock=Hands()), Encoder(clock=Hands())
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        ready = threading.Barrier(8)
        ids: list[str] = []

        def encode_many() -> None:
            ready.wait()
            for _ in range(500):
                ids.append(encode(encoder).uuid)
                ids.append(encode(other).uuid)

        threads = [threading.Thread(target=encode_many) for _ in range(8)]
        try:
            for thread in threads:
                thread.start()
        finally:
            for thread in threads:
                thread.join()
            sys.setswitchinterval(interval)

        assert len(set(ids)) == len(ids) == 8000

    @pytest.mark.parametrize(
        "given_",
        [
            UUID_TEXT,
            UUID_TEXT.upper(),
            UUID_TEXT.replace("-", ""),
            f"urn:uuid:{UUID_TEXT}",
            uuid.UUID(UUID_TEXT),
            uuid_utils.UUID(UUID_TEXT),
            type("Text", (str,), {})(UUID_TEXT),
        ],
        ids=["text", "upper", "plain", "urn", "uuid", "uuid-utils", "subclass"],
    )
    def test_given_id_is_kept_in_one_form(self, given_: object) -> None:
        """However a UUID is written, it travels as 36 characters in lower case."""
        assert encode(Encoder(strict=True), uuid=given_).uuid == UUID_TEXT

    @pytest.mark.parametrize(
        "given_",
        ["", "x" * 36, UUID_TEXT[:-1], UUID_TEXT + "0", UUID_TEXT + "\n", "\u0663" * 32, 5, b"", LONE * 36],
        ids=["empty", "letters", "short", "long", "newline", "digits-elsewhere", "number", "bytes", "surrogates"],
    )
    def test_malformed_id_is_replaced(self, given_: object) -> None:
        """An id that is no UUID costs the id, not the event; strict mode refuses."""
        encoder = Encoder()

        assert uuid.UUID(encode(encoder, uuid=given_).uuid).version == 7
        assert encoder.repaired == 1
        assert refused(Encoder(strict=True), uuid=given_).path == "uuid"

    def test_half_built_uuid_is_replaced(self) -> None:
        """A UUID object that raises when read is as malformed as any."""
        assert uuid.UUID(encode(uuid=object.__new__(uuid.UUID)).uuid).version == 7

    def test_ids_may_come_from_the_caller(self) -> None:
        """``new_id`` makes the ids, and a given id still wins."""
        encoder = Encoder(new_id=lambda: UUID_TEXT.upper())

        assert encode(encoder).uuid == UUID_TEXT
        assert encode(encoder, uuid=uuid.UUID(int=1)).uuid == str(uuid.UUID(int=1))
        assert encoder.repaired == 0

    @pytest.mark.parametrize("new_id", [lambda: "short", lambda: 1 / 0, lambda: None], ids=["short", "raises", "none"])
    def test_useless_source_of_ids_is_passed_over(self, new_id: Callable[[], Any]) -> None:
        """The layout holds whatever ``new_id`` does: an id of ours takes the place, and is counted."""
        encoder = Encoder(new_id=new_id)

        assert uuid.UUID(encode(encoder).uuid).version == 7
        assert encoder.repaired == 1


class TestArguments:
    @pytest.mark.parametrize("given_", ["", None, 3, b"x", [], Plan.FIVE], ids=repr)
    def test_event_needs_a_name(self, given_: object) -> None:
        """An event without a name is refused whether strict or not."""
        for strict in (False, True):
            error = refused(Encoder(strict=strict), event=given_)

            assert error.path == "event"
            assert str(error).startswith("event must be a text that is not empty, not ")

    @pytest.mark.parametrize(
        ("given_", "expected"),
        [(Plan.PRO, "pro"), (type("Text", (str,), {})("x"), "x"), ("\u20ac", "\u20ac")],
        ids=["enum", "subclass", "not-ascii"],
    )
    def test_name_may_be_any_text(self, given_: object, expected: str) -> None:
        """Enums and subclasses of text are names too."""
        assert encode(Encoder(strict=True), event=given_).event == expected

    @pytest.mark.parametrize(
        ("given_", "expected"),
        [
            (None, None),
            ("u1", "u1"),
            ("", ""),
            ("null", "null"),
            (7, "7"),
            (2**100, str(2**100)),
            (2.5, "2.5"),
            (decimal.Decimal("1.10"), "1.10"),
            (uuid.UUID(UUID_TEXT), UUID_TEXT),
            (uuid_utils.UUID(UUID_TEXT), UUID_TEXT),
            (Plan.PRO, "pro"),
            (Plan.FIVE, "5"),
        ],
        ids=repr,
    )
    @pytest.mark.parametrize("name", ["distinct_id", "lane", "key"])
    def test_identifier_becomes_text(self, name: str, given_: object, expected: str | None) -> None:
        """Numbers, UUIDs and enums identify as well as text does."""
        captured = encode(Encoder(strict=True), **{name: given_})

        assert getattr(captured, name) == (expected or None if name == "key" else expected)

    @pytest.mark.parametrize("beside", [{}, {"headers": {"h": "1"}}], ids=["common", "rare"])
    @pytest.mark.parametrize("name", ["distinct_id", "lane", "key"])
    def test_identifier_that_is_no_unicode_is_repaired(self, name: str, beside: dict[str, Any]) -> None:
        """Whatever goes beside it: engines keep what identifies an event as UTF-8."""
        encoder = Encoder()

        captured = encode(encoder, **{name: f"a{LONE}b"}, **beside)

        assert getattr(captured, name) == "a\ufffdb"
        assert encoder.repaired == 1
        assert getattr(encode(encoder, **{name: "\u00e9"}, **beside), name) == "\u00e9"
        assert encoder.repaired == 1

    def test_forged_identifier_stays_in_its_place(self) -> None:
        """A subclass of text cannot print itself into the envelope."""
        captured = encode(distinct_id=LyingText("u1"), event=LyingText("e"), key=LyingText("k"))

        assert (captured.distinct_id, captured.event, captured.key) == ("u1", "e", "k")

    @pytest.mark.parametrize(
        "make",
        [lambda: True, lambda: float("nan"), list, lambda: b"x", object, lambda: 10**5000, lambda: Plan.ODD],
        ids=["bool", "nan", "list", "bytes", "object", "5000-digits", "enum-of-object"],
    )
    @pytest.mark.parametrize("name", ["distinct_id", "lane", "key"])
    def test_what_identifies_nobody_is_left_out(self, name: str, make: Callable[[], object]) -> None:
        """Anything else becomes ``None`` and is counted; strict mode refuses."""
        encoder = Encoder()

        assert getattr(encode(encoder, **{name: make()}), name) is None
        assert encoder.repaired == 1
        assert refused(Encoder(strict=True), **{name: make()}).path == name

    def test_key_defaults_to_distinct_id(self) -> None:
        """The ordering key is the caller's, else whom the event is about."""
        assert encode(distinct_id="u1").key == "u1"
        assert encode(distinct_id="u1", key="k1").key == "k1"

    @pytest.mark.parametrize(
        ("given_", "expected"),
        [
            (datetime.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC), b"2026-01-02T03:04:05.000006Z"),
            (
                datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone(datetime.timedelta(hours=5, seconds=30))),
                b"2026-01-01T18:59:30.000000Z",
            ),
            (datetime.datetime(1, 1, 1, tzinfo=UTC), b"0001-01-01T00:00:00.000000Z"),
            (LyingDatetime(2026, 1, 2, tzinfo=UTC), b"2026-01-02T00:00:00.000000Z"),
        ],
        ids=["utc", "offset", "first-year", "subclass"],
    )
    def test_timestamp_is_told_in_utc(self, given_: datetime.datetime, expected: bytes) -> None:
        """Whatever its zone, a timestamp takes 27 characters of UTC."""
        assert encode(Encoder(strict=True), timestamp=given_).data[TIMESTAMP_AT] == expected

    @pytest.mark.parametrize("zone", [None, NoZone()], ids=["none", "zone-without-offset"])
    def test_naive_timestamp_is_utc_and_counted(self, zone: datetime.tzinfo | None, far_from_utc: None) -> None:
        """A datetime without a zone is taken as UTC, wherever the machine is: it counts, and strict mode refuses."""
        encoder = Encoder()
        naive = datetime.datetime(2026, 1, 2, tzinfo=zone)

        assert encode(encoder, timestamp=naive).data[TIMESTAMP_AT] == b"2026-01-02T00:00:00.000000Z"
        assert encoder.repaired == 1
        assert refused(Encoder(strict=True), timestamp=naive).path == "timestamp"

    @pytest.mark.parametrize(
        "given_",
        [
            "2026-01-02",
            1_700_000_000.0,
            datetime.date(2026, 1, 2),
            datetime.datetime.max.replace(tzinfo=datetime.timezone(-datetime.timedelta(hours=1))),
            datetime.datetime(2026, 1, 2, tzinfo=BadZone()),
        ],
        ids=["text", "number", "date", "year-10000", "zone-raises"],
    )
    def test_unreadable_timestamp_becomes_now(self, given_: object) -> None:
        """What is no time, or none that UTC can tell, is replaced by the moment of capture and counted."""
        encoder = Encoder(clock=Hands())

        assert encode(encoder, timestamp=given_).data[TIMESTAMP_AT] == b"2023-11-14T22:13:20.000000Z"
        assert encoder.repaired == 1
        assert refused(Encoder(strict=True), timestamp=given_).path == "timestamp"

    def test_no_more_headers_are_looked_at_than_fit(self) -> None:
        """Each header costs time, also one that cannot be sent; a name has a character at least."""
        odd = {f"no name {number}": "text" for number in range(MAX_HEADER_TEXT - 1)}

        assert encode(Encoder(), headers={**odd, "last": "text"}).headers == {"last": "text"}
        assert encode(Encoder(), headers={**odd, "no name": "text", "last": "text"}).headers == {}

    def test_headers_are_copied(self) -> None:
        """Text stays, numbers and UUIDs become text, and no headers are no headers."""
        headers = types.MappingProxyType({"a": "b", "n": 5, "u": uuid.UUID(UUID_TEXT), "t": "some \u20ac"})
        encoder = Encoder(strict=True)

        assert encode(encoder, headers=headers).headers == {"a": "b", "n": "5", "u": UUID_TEXT, "t": "some \u20ac"}
        assert encode(encoder, headers={"unset": None}).headers == {}

    @pytest.mark.parametrize(
        "bad",
        [
            {"x\n": "1"},
            {"x y": "1"},
            {"x:": "1"},
            {"": "1"},
            {5: "1"},
            {"x": "a\r\nb"},
            {"x": "a\x00b"},
            {"x": f"a{LONE}"},
            {"x": "a" * 8192},
            {"x" * 8193: ""},
            {"x": b"1"},
            {"x": True},
        ],
        ids=lambda bad: ascii(bad)[:20],
    )
    def test_header_that_cannot_travel_is_left_out(self, bad: dict[Any, Any]) -> None:
        """One bad header costs itself; none can break a line of a request."""
        encoder = Encoder()

        assert encode(encoder, headers={"well": "1", **bad}).headers == {"well": "1"}
        assert encoder.repaired == 1
        assert refused(Encoder(strict=True), headers=bad).path.startswith("headers")

    @pytest.mark.parametrize("bad", [[("a", "b")], "a", Broken()], ids=["list", "text", "raises"])
    def test_headers_that_are_no_mapping_are_left_out(self, bad: object) -> None:
        """What cannot be read as headers costs the headers."""
        encoder = Encoder()

        assert encode(encoder, headers=bad).headers == {}
        assert encoder.repaired == 1
        assert refused(Encoder(strict=True), headers=bad).path == "headers"


class TestProperties:
    @pytest.mark.parametrize(
        ("given_", "words"),
        [
            ([("a", 1)], "properties must be a mapping, not a value of type list"),
            ("a", "properties must be a mapping, not a value of type str"),
            (5, "properties must be a mapping, not a value of type int"),
            (Broken(), "properties raised CancelledError while they were read"),
        ],
        ids=["list", "text", "number", "raises"],
    )
    def test_properties_that_cannot_be_read_are_refused(self, given_: object, words: str) -> None:
        """Whether strict or not, such an event is refused alone."""
        for strict in (False, True):
            error = refused(Encoder(strict=strict), properties=given_)

            assert (str(error), error.path) == (words, "properties")

    def test_any_mapping_is_taken(self) -> None:
        """Properties need not be a dict, and ``json_default`` is not asked about them."""
        captured = encode(Encoder(str, strict=True), properties=types.MappingProxyType({"a": {1}}))

        assert captured.properties == {"a": "{1}"}

    def test_odd_value_costs_itself(self) -> None:
        """The event arrives with the others of its properties, and counts once however much was odd."""
        encoder = Encoder()

        captured = encode(encoder, distinct_id="u1", properties={"a": b"", "b": LONE, "c": {1: object()}, "d": 1})

        assert captured.properties == {"a": "<bytes>", "b": "\ufffd", "c": {"1": "<type object>"}, "d": 1}
        assert encoder.repaired == 1

    def test_conversion_is_no_repair(self) -> None:
        """Decimals, sets, datetimes and integer keys are written, and nothing is counted."""
        encoder = Encoder(strict=True)
        at = datetime.datetime(2026, 1, 2, tzinfo=UTC)

        captured = encode(encoder, properties={"price": decimal.Decimal("9.90"), "tags": {"a"}, "at": at, 1: 2})

        assert captured.data.endswith(b'"properties":{"price":9.90,"tags":["a"],"at":"2026-01-02T00:00:00Z","1":2')
        assert encoder.repaired == 0

    def test_not_a_number_becomes_null(self) -> None:
        """NaN and infinities are null, on either path, and are not counted."""
        encoder = Encoder(strict=True)
        values = {"a": float("nan"), "b": float("-inf")}

        assert encode(encoder, properties=values).properties == {"a": None, "b": None}
        assert encode(encoder, properties={**values, "c": {1}}).properties == {"a": None, "b": None, "c": [1]}
        assert encoder.repaired == 0

    def test_default_is_asked_first(self) -> None:
        """``json_default`` answers for what JSON cannot carry."""

        def default(value: object) -> object:
            if isinstance(value, complex):
                return [value.real, value.imag]
            raise TypeError

        assert encode(Encoder(default), properties={"z": 1 + 2j}).properties == {"z": [1.0, 2.0]}

    def test_strict_names_the_place(self) -> None:
        """Strict mode refuses with path and reason, and counts nothing as repaired."""
        encoder = Encoder(strict=True)

        error = refused(encoder, properties={"cart": [{"price": object()}]})

        assert error.path == "properties.cart[0].price"
        assert str(error) == "properties.cart[0].price is of type object, which JSON cannot carry; convert it"
        assert encoder.repaired == 0

    def test_too_much_to_repair_is_refused(self) -> None:
        """Beyond its bound the repair pass gives the event up, in either mode."""
        error = refused(properties={"many": [object()] * 100_000})

        assert error.path.startswith("properties.many")
        assert error.limit is not None

    def test_changing_dict_does_not_reach_the_handler(self) -> None:
        """Threads may go on changing what was passed: the event is one of the states, or is refused."""
        encoder = Encoder()
        shared: dict[Any, Any] = {}
        inner: dict[Any, Any] = {"odd": {1, 2}}
        stop = threading.Event()

        def change() -> None:
            number = 0
            while not stop.is_set():
                number += 1
                shared[f"k{number % 50}"] = {"x": number, 5: {number}}
                inner[number % 50] = b""
                shared.pop(f"k{(number + 25) % 50}", None)
                inner.pop((number + 25) % 50, None)

        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        thread = threading.Thread(target=change)
        thread.start()
        try:
            for _ in range(400):
                try:
                    captured = encode(encoder, properties={"shared": shared, "inner": inner})
                except InvalidEventError:
                    continue
                orjson.loads(captured.json)
        finally:
            stop.set()
            thread.join()
            sys.setswitchinterval(interval)


class TestLifted:
    def test_lifted_properties_travel_beside_the_others(self) -> None:
        """They leave the properties' bytes, each is encoded by itself, and reading shows all."""
        encoder = Encoder(lifted=frozenset({"$groups", "$set", "absent"}), strict=True)

        captured = encode(encoder, properties={"a": 1, "$groups": {"org": decimal.Decimal("5")}, "$set": None})

        assert captured.data.endswith(b'"properties":{"a":1')
        assert captured.extra is not None
        assert captured.extra.lifted == {"$groups": b'{"org":5}', "$set": b"null"}
        assert captured.properties == {"a": 1, "$groups": {"org": 5}, "$set": None}

    def test_event_without_them_has_no_extra(self) -> None:
        """The common event carries nothing beside its bytes, lane and moment."""
        captured = encode(Encoder(lifted=frozenset({"$groups"})), properties={"a": 1}, lane="historical")

        assert captured.extra is None
        assert captured.lane == "historical"

    def test_lifted_value_is_repaired_like_any(self) -> None:
        """An odd lifted value costs itself, and is told by its path."""
        names = frozenset({"$set"})
        encoder = Encoder(lifted=names)

        assert encode(encoder, properties={"$set": {"x": b""}}).lifted == {"$set": {"x": "<bytes>"}}
        assert encoder.repaired == 1
        assert refused(Encoder(lifted=names, strict=True), properties={"$set": {"x": b""}}).path == "properties.$set.x"

    def test_key_that_raises_when_hashed_is_contained(self) -> None:
        """Looking for lifted names runs no code of the caller's keys that could escape."""
        texts = [LyingText("$set"), LyingText("b")]
        hashes = LyingText.__hash__
        LyingText.__hash__ = str.__hash__  # type: ignore[method-assign]
        properties = dict.fromkeys(texts, 1)
        LyingText.__hash__ = hashes  # type: ignore[method-assign]

        captured = encode(Encoder(lifted=frozenset({"$set", "x", "y", "z"})), properties=properties)

        assert captured.properties == {"$set": 1, "b": 1}
        assert captured.lifted == {"$set": 1}


def test_count_of_repairs_is_exact_over_threads() -> None:
    """Eight threads at once lose no repair, and wait for no lock."""
    encoder = Encoder()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    ready = threading.Barrier(8)

    def repair_many() -> None:
        ready.wait()
        for _ in range(500):
            encode(encoder, properties={"odd": b""})

    threads = [threading.Thread(target=repair_many) for _ in range(8)]
    try:
        for thread in threads:
            thread.start()
    finally:
        for thread in threads:
            thread.join()
        sys.setswitchinterval(interval)

    assert encoder.repaired == 4000


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_interruption_of_the_process_passes(error: type[BaseException]) -> None:
    """Ctrl-C inside a caller's code is for the process, on either path."""

    class Key(str):
        armed = False

        def __hash__(self) -> int:
            if self.armed:
                raise error
            return str.__hash__(self)

    def default(_: object) -> object:
        raise error

    properties = {Key("a"): 1}
    Key.armed = True

    with pytest.raises(error):
        encode(Encoder(default), properties={"odd": object()})
    with pytest.raises(error):
        encode(Encoder(lifted=frozenset({"x"})), properties=properties)


@pytest.mark.parametrize(
    "event",
    ["plain", 'a"b\\c\u20ac\n', f"lone {LONE}", LyingText("lying"), Plan.PRO],
    ids=lambda event: type(event).__name__,
)
@pytest.mark.parametrize("given_", [{}, {"key": "k"}], ids=["plain", "with-care"])
def test_the_name_kept_apart_is_that_of_the_envelope(event: object, given_: dict[str, Any]) -> None:
    """Whatever the caller's text says of itself, events are counted by the name that is sent; and it is plain text."""
    captured = encode(event=event, **given_)

    assert captured.name == captured.event == orjson.loads(captured.json)["event"]
    assert type(captured.name) is str


@pytest.mark.parametrize("given_", [{}, {"lane": "ai"}, {"key": "k"}, {"properties": {"odd": b""}}])
def test_origin_is_asked_once_for_each_event_and_kept_with_it(given_: dict[str, Any]) -> None:
    """By whichever path, on the thread that captures; no part of what is sent."""
    asked: list[int] = []

    def origin() -> object:
        asked.append(threading.get_ident())
        return "here"

    captured = encode(Encoder(clock=Hands(), origin=origin), **given_)

    assert (captured.origin, asked) == ("here", [threading.get_ident()])
    assert b"here" not in captured.json


@pytest.mark.parametrize("given_", [{}, {"key": "k"}], ids=["plain", "with-care"])
def test_no_origin_is_none_and_not_set_where_nobody_asks(given_: dict[str, Any]) -> None:
    """Where there is none, or the answer is an error, the event is captured all the same."""

    def fail() -> object:
        raise asyncio.CancelledError

    for origin in (lambda: None, fail):
        assert encode(Encoder(clock=Hands(), origin=origin), **given_).origin is None
    assert not hasattr(encode(Encoder(clock=Hands()), **given_), "origin")


def test_origin_may_be_set_and_taken_away_while_events_come() -> None:
    """An instrument is attached to a client that runs."""
    encoder = Encoder(clock=Hands())
    origins = []
    for origin in (None, lambda: 1, None, lambda: 2):
        encoder.origin = origin
        origins.append(getattr(encode(encoder), "origin", None))

    assert origins == [None, 1, None, 2]


ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(alphabet=st.characters(codec=None), max_size=5),
    st.binary(max_size=3),
    st.datetimes(timezones=st.none() | st.timezones()),
    st.uuids(),
    st.decimals(),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3) | st.integers(), st.text() | st.binary() | st.sets(st.integers()), max_size=3),
    st.sampled_from([object(), Broken(), Plan.PRO, Plan.ODD]),
)


@given(
    arguments=st.tuples(*[ANYTHING] * 8), strict=st.booleans(), lifted=st.frozensets(st.text(max_size=3), max_size=3)
)
def test_any_arguments_make_an_event_or_are_refused(arguments: Any, strict: bool, lifted: frozenset[str]) -> None:
    """Nothing but ``InvalidEventError`` leaves; an event that is made can be read in every part."""
    encoder = Encoder(lifted=lifted, clock=Hands(), strict=strict)
    try:
        captured = encoder.encode(*arguments)
    except InvalidEventError as error:
        path = error.path
    else:
        path = "event"
        envelope = orjson.loads(captured.json)
        assert (captured.uuid, captured.event, captured.distinct_id) == tuple(
            envelope[name] for name in ("uuid", "event", "distinct_id")
        )
        assert captured.properties == envelope["properties"]
        assert captured.timestamp.tzinfo is not None
        assert captured.lifted.items() <= captured.properties.items()
        assert encoder.repaired <= (0 if strict else 1)

    assert path.partition(".")[0].partition("[")[0] in (
        "event",
        "distinct_id",
        "properties",
        "timestamp",
        "uuid",
        "headers",
        "key",
        "lane",
    )
