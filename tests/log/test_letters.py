"""A dead letter is the event, and what is known of how it failed; the event can be had back as it was."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventpipe.events import CapturedEvent
from eventpipe.log.letters import (
    ADDRESSEE,
    MAX_TEXT,
    UNDECODABLE,
    DeadLetter,
    addressed,
    addressee,
    dead_letter,
    is_for,
    letter_of,
    restored,
    unaddressed,
)
from eventpipe.stores.values import ClaimedEvent, ConsumerKey, StoredEvent
from eventpipe.testing.events import STAMP, make_event

KEY = ConsumerKey("orders", "billing")
NOW = STAMP + 90.25


def claimed(
    event: CapturedEvent | None, *, attempt: int = 10, fault: str | None = None, raw: bytes = b""
) -> ClaimedEvent:
    return ClaimedEvent(7, STAMP, event, fault, raw, attempt, claim=3)


def read(letter: CapturedEvent, offset: int = 2) -> DeadLetter:
    found = dead_letter(StoredEvent(offset, NOW, letter))
    assert found is not None
    return found


def parts(event: CapturedEvent) -> tuple[object, ...]:
    return (event.name, event.data, event.lane, event.key, dict(event.lifted), dict(event.headers))


EVENTS = {
    "plain": make_event("paid", properties={"sum": 5}),
    "headers": make_event("paid", headers={"traceparent": "00", "eventpipe-other": "x"}),
    "key and lane": make_event("paid", key="k", lane="historical"),
    "lifted": make_event("paid", lifted={"$set": {"a": 1}}),
}
every_event = pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS)


@every_event
def test_a_letter_says_what_is_known(event: CapturedEvent) -> None:
    """Where it failed, for whom, how often, why and when."""
    letter = read(letter_of(claimed(event), KEY, "exhausted", "TimeoutError", NOW))

    assert (letter.offset, letter.topic, letter.consumer, letter.source_offset) == (2, "orders", "billing", 7)
    assert (letter.attempts, letter.reason, letter.error, letter.at) == (10, "exhausted", "TimeoutError", NOW)
    assert letter.is_decodable


@every_event
def test_a_letter_is_the_event_with_more_headers(event: CapturedEvent) -> None:
    """The same bytes and the same id; the event that was given up is not changed."""
    before = parts(event)

    letter = letter_of(claimed(event), KEY, "exhausted", None, NOW)

    assert (letter.uuid, letter.data, letter.lane, letter.key, letter.lifted) == (
        event.uuid,
        event.data,
        event.lane,
        event.key,
        event.lifted,
    )
    assert event.headers.items() <= letter.headers.items()
    assert parts(event) == before


@every_event
def test_an_event_is_restored_as_it_was_for_its_consumer(event: CapturedEvent) -> None:
    """Nothing of the letter is left, and the consumer that gave it up is its addressee."""
    letter = read(letter_of(claimed(event), KEY, "exhausted", "boom", NOW))

    back = restored(letter)

    assert addressee(back) == "billing"
    assert {name: value for name, value in back.headers.items() if name != ADDRESSEE} == event.headers
    assert parts(back)[:-1] == parts(event)[:-1]


def test_a_restored_event_that_fails_again_is_a_letter_like_any() -> None:
    """With what is known of the last time."""
    once = restored(read(letter_of(claimed(EVENTS["plain"]), KEY, "exhausted", "first", NOW)))

    again = read(letter_of(claimed(once, attempt=3), KEY, "rejected", None, NOW + 1))

    assert (again.attempts, again.reason, again.error, again.at) == (3, "rejected", None, NOW + 1)
    assert restored(again).headers == once.headers


def test_a_letter_is_for_everybody_whoever_its_event_was_for() -> None:
    """A consumer of dead letters is handed those of replayed events as well."""
    once = restored(read(letter_of(claimed(EVENTS["plain"]), KEY, "exhausted", "first", NOW)))

    assert addressee(letter_of(claimed(once), KEY, "exhausted", "second", NOW)) is None


def test_a_letter_that_dies_itself_is_restored_as_the_letter_that_it_was() -> None:
    """Of a consumer that tells of dead letters; any number of times."""
    first = letter_of(claimed(EVENTS["headers"]), KEY, "exhausted", "boom", NOW)
    once, again = first, ConsumerKey("orders.dead", "alerts")
    for _ in range(3):
        letter = read(letter_of(claimed(once, attempt=2), again, "rejected", None, NOW + 60))
        assert (letter.topic, letter.consumer, letter.attempts) == ("orders.dead", "alerts", 2)
        once = restored(letter)

    assert {name: value for name, value in once.headers.items() if name != ADDRESSEE} == first.headers
    assert read(once).reason == "exhausted"


def test_an_event_that_cannot_be_decoded_becomes_a_letter_with_its_bytes() -> None:
    """Nothing of it is lost, and the same event again is the same letter."""
    raw = bytes(range(256))
    undecodable = claimed(None, fault="of a version from the future", raw=raw)

    event = letter_of(undecodable, KEY, "undecodable", None, NOW)
    letter = read(event)

    assert (event.name, letter.is_decodable) == (UNDECODABLE, False)
    assert base64.b64decode(event.properties["raw"]) == raw
    assert event.properties["fault"] == "of a version from the future"
    assert letter.source_offset == 7
    assert letter_of(undecodable, KEY, "undecodable", None, NOW + 5).uuid == event.uuid
    assert letter_of(undecodable, ConsumerKey("orders", "audit"), "undecodable", None, NOW).uuid != event.uuid


def test_a_long_error_is_cut_and_has_one_line() -> None:
    """A header holds no more, and no line breaks."""
    letter = read(letter_of(claimed(EVENTS["plain"]), KEY, "exhausted", "a\r\nb\x00" + "x" * 10_000, NOW))

    assert letter.error is not None
    assert (len(letter.error), letter.error[:6]) == (MAX_TEXT, "a  b x")


@given(reason=st.text(min_size=1), error=st.text(), attempt=st.integers(1, 2**40), offset=st.integers(0, 2**60))
def test_whatever_is_said_of_it_a_letter_can_be_read(reason: str, error: str, attempt: int, offset: int) -> None:
    """No reason and no error can make it unreadable."""
    given_up = ClaimedEvent(offset, STAMP, EVENTS["headers"], None, b"", attempt, claim=1)

    letter = read(letter_of(given_up, KEY, reason, error, NOW))

    assert (letter.attempts, letter.source_offset) == (attempt, offset)
    assert letter.reason.isprintable()


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param(None, id="none"),
        pytest.param({"eventpipe-dead-topic": "orders"}, id="some"),
        pytest.param(
            {
                "eventpipe-dead-topic": "orders",
                "eventpipe-dead-consumer": "billing",
                "eventpipe-dead-offset": "seven",
                "eventpipe-dead-attempts": "10",
                "eventpipe-dead-reason": "exhausted",
                "eventpipe-dead-at": "2026-01-01T00:00:00.000000Z",
            },
            id="nonsense",
        ),
    ],
)
def test_an_event_that_is_no_letter_is_none(headers: dict[str, str] | None) -> None:
    """Whoever appended it to a topic of dead letters."""
    assert dead_letter(StoredEvent(0, NOW, make_event("paid", headers=headers))) is None
    assert dead_letter(StoredEvent(0, NOW, None, "damaged", b"x")) is None


def test_most_events_are_addressed_to_everybody() -> None:
    """Those without headers, and those with others."""
    assert [addressee(event) for event in EVENTS.values()] == [None] * 4


def test_an_event_can_be_addressed_to_one() -> None:
    """And anew to another; the event that was given stays as it is."""
    event = EVENTS["headers"]

    copy = addressed(event, "billing")

    assert (addressee(copy), addressee(addressed(copy, "audit")), addressee(event)) == ("billing", "audit", None)
    assert copy.headers == {**event.headers, ADDRESSEE: "billing"}


@every_event
def test_an_addressee_can_be_taken_off(event: CapturedEvent) -> None:
    """What is left is the event as it was; one that has none is itself."""
    copy = addressed(event, "billing")

    assert parts(unaddressed(copy)) == parts(event)
    assert (unaddressed(copy).extra is None) == (event.extra is None)
    assert unaddressed(event) is event
    assert addressee(copy) == "billing"


@pytest.mark.parametrize(
    ("addressee", "consumer", "expected"),
    [
        (None, "audit", True),
        ("billing", "billing", True),
        ("billing", "audit", False),
        ("billing[1/4]", "billing[1/4]", True),
        ("billing[1/4]", "billing[2/4]", False),
        ("billing[1/4]", "billing[2/3]", True),
        ("billing[1/4]", "billing", True),
        ("billing", "billing[2/3]", True),
        ("billing[1/4]", "audit[2/3]", False),
    ],
)
def test_whom_an_event_is_for(addressee: str | None, consumer: str, expected: bool) -> None:
    """All, one, or the shards that there are now where there was another number of them."""
    event = make_event("paid") if addressee is None else addressed(make_event("paid"), addressee)

    assert is_for(consumer, event) is expected
