"""PostHog's capture format, version 1: what is answered."""

from __future__ import annotations

import base64
import gzip
import json
import tracemalloc
import zlib
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventpipe.codecs import PostHogV1
from eventpipe.codecs.base import MAX_RESPONSE_BYTES
from eventpipe.errors import PermanentSinkError, SinkError, TransientSinkError
from eventpipe.events import Batch
from eventpipe.outcomes import DELIVERED, DropReason, OutcomeKind, Verdict
from eventpipe.testing.events import make_batch
from eventpipe.testing.exchange import gzip_bomb

KEY = "ph?_0?+/456789abcdef"  # whose forms differ from each other in their first characters
OK = {"result": "ok"}

Answered = Sequence[Verdict] | SinkError | None


def answered(
    batch: Batch, body: bytes, *, status: int = 200, headers: Mapping[str, str] | None = None, complete: bool = True
) -> Answered:
    return PostHogV1(KEY).response(batch, status, headers or {}, body, complete)


def verdicts(batch: Batch, said: Sequence[object], **more: Any) -> Sequence[Verdict]:
    """What is made of an answer that says so of each event, in order."""
    body = orjson.dumps({"results": dict(zip(ids(batch), said, strict=True))})
    answer = answered(batch, body, **more)
    assert isinstance(answer, Sequence)
    return answer


def verdict(said: object) -> Verdict:
    [only] = verdicts(make_batch(1), [said])
    return only


def ids(batch: Batch) -> list[str]:
    return [event.uuid for event in batch.events]


def unanswered(detail: str) -> Verdict:
    return Verdict(OutcomeKind.DROPPED, DropReason.UNANSWERED, None, detail)


UNNAMED = unanswered("the answer does not name this event")
UNREADABLE = unanswered("the answer cannot be read")
TOO_LONG = Verdict(OutcomeKind.RETRY, "network", None, "the answer is longer than 65536 bytes")


@pytest.mark.parametrize("status", [200, 202, 207, 299])
@pytest.mark.parametrize("count", [1, 2, 500])
def test_an_answer_that_takes_every_event_needs_no_verdicts(status: int, count: int) -> None:
    """As services write it, without space: in the order of the batch, or as a hash map has it."""
    batch = make_batch(count)
    for uuids in (ids(batch), ids(batch)[::-1], sorted(ids(batch), key=lambda uuid: uuid[::-1])):
        for end in (b"", b"\n", b"\r\n"):
            body = orjson.dumps({"results": dict.fromkeys(uuids, OK)}) + end

            assert answered(batch, body, status=status) is None


def test_the_answer_about_the_largest_batch_is_read_whole() -> None:
    """With room for some words; of a longer one a part would go again, and arrive twice."""
    batch = make_batch(PostHogV1(KEY).max_batch_events)
    said = dict.fromkeys(ids(batch), OK) | {
        uuid: {"result": "warning", "details": "d" * 50} for uuid in ids(batch)[:100]
    }
    body = orjson.dumps({"results": said})

    assert len(batch.events) == 1000
    assert len(body) < MAX_RESPONSE_BYTES
    assert [verdict.kind for verdict in seen(answered(batch, body))] == ["delivered"] * 1000


def test_an_answer_that_only_looks_like_one_that_takes_all_does_not() -> None:
    """One event too few or too many, one twice, another one's id, one that was refused, or something behind the end."""
    batch = make_batch(3)
    first, second, third = ids(batch)
    other = make_batch(1).events[0].uuid

    def body(*uuids: str) -> bytes:
        return ('{"results":{' + ",".join(f'"{uuid}":{{"result":"ok"}}' for uuid in uuids) + "}}").encode()

    assert answered(batch, body(first, second, third)) is None
    for uuids in ((first, second), (first, second, first), (first, second, other)):
        assert answered(batch, body(*uuids)) == [DELIVERED, DELIVERED, UNNAMED]
    assert answered(batch, body(first, third, second, other)) == [DELIVERED] * 3
    assert answered(batch, body()) == [UNNAMED] * 3
    assert answered(batch, body(first, second, third) + b"\x0b") == [UNREADABLE] * 3
    refused = body(first, second, third).replace(b"ok", b"drop", 1)
    assert [verdict.kind for verdict in seen(answered(batch, refused))] == ["dropped", "delivered", "delivered"]


def test_order_space_and_other_members_change_nothing() -> None:
    """The same answer, written in other ways, takes every event too."""
    batch = make_batch(3)
    said = dict.fromkeys(reversed(ids(batch)), OK)

    for body in (
        json.dumps({"results": said}).encode(),
        json.dumps({"a": {"results": 1}, "results": said, "b": [None]}, indent=4).encode(),
        orjson.dumps({"results": {"another": OK, **said, "": {"result": "drop"}}}),
        b"\n " + orjson.dumps({"results": {uuid: {**OK, "details": None} for uuid in said}}) + b"\r\n",
    ):
        assert answered(batch, body) == [DELIVERED] * 3


def test_each_event_has_its_own_verdict() -> None:
    """In the order of the batch, whatever the order of the answer."""
    batch = make_batch(7)
    said = [
        OK,
        {"result": "warning", "details": "person_processing_disabled"},
        {"result": "drop", "details": "billing_limit_exceeded"},
        {"result": "limited"},
        {"result": "retry", "details": "not_persisted"},
        {"result": "postponed", "details": "new"},
        {"result": "ok", "details": "noted"},
    ]

    assert verdicts(batch, said, headers={"retry-after": "7"}) == [
        DELIVERED,
        Verdict(OutcomeKind.DELIVERED, "warning", None, "person_processing_disabled"),
        Verdict(OutcomeKind.DROPPED, DropReason.REJECTED, None, "drop: billing_limit_exceeded"),
        Verdict(OutcomeKind.DROPPED, DropReason.REJECTED, None, "limited"),
        Verdict(OutcomeKind.RETRY, "retry", 7.0, "retry: not_persisted"),
        Verdict(OutcomeKind.DROPPED, DropReason.UNKNOWN_VERDICT, None, "postponed: new"),
        Verdict(OutcomeKind.DELIVERED, None, None, "noted"),
    ]


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "1"}, 1.0),
        ({"retry-after": "0"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "Thu, 01 Jan 2026 00:01:30 GMT", "date": "Thu, 01 Jan 2026 00:00:00 GMT"}, 90.0),
    ],
    ids=["absent", "seconds", "zero", "garbage", "date"],
)
def test_what_goes_again_waits_as_long_as_asked(headers: dict[str, str], seconds: float | None) -> None:
    """The header is for the events of a partial answer too."""
    [_, again] = verdicts(make_batch(2), [OK, {"result": "retry"}], headers=headers)

    assert again == Verdict(OutcomeKind.RETRY, "retry", seconds)


@pytest.mark.parametrize("word", ["", "OK", "Drop", "okay", "retry ", "rétry"], ids=repr)
def test_an_unknown_verdict_is_terminal_and_names_its_word(word: str) -> None:
    """A word that a later server has learned is no reason to send the event for ever."""
    assert verdict({"result": word}) == Verdict(OutcomeKind.DROPPED, DropReason.UNKNOWN_VERDICT, None, word or None)


@pytest.mark.parametrize("said", [None, "ok", 1, [], ["ok"], {}, {"result": None}, {"result": ["ok"]}, {"r": "ok"}])
def test_what_is_no_verdict_is_an_unknown_one(said: object) -> None:
    """The event is named, so that somebody decided about it; nobody can tell what."""
    assert verdict(said) == Verdict(
        OutcomeKind.DROPPED, DropReason.UNKNOWN_VERDICT, None, "a verdict that cannot be read"
    )


def test_an_event_that_the_answer_leaves_out_is_counted_apart() -> None:
    """It is not sent again: a server that forgets it once would for ever."""
    batch = make_batch(3)
    body = orjson.dumps({"results": {batch.events[1].uuid: OK, "unknown": OK}})

    assert answered(batch, body) == [UNNAMED, DELIVERED, UNNAMED]
    assert answered(batch, b'{"results":{}}') == [UNNAMED] * 3


def test_of_two_verdicts_on_one_event_the_first_counts() -> None:
    """Each id is settled once, and so is the map of results."""
    batch = make_batch(2)
    first, second = ids(batch)

    def body(*said: str) -> bytes:
        return ('{"results":{' + ",".join(said) + "}}").encode()

    def is_(uuid: str, word: str) -> str:
        return f'"{uuid}":{{"result":"{word}"}}'

    twice = body(is_(first, "drop"), is_(second, "ok"), is_(first, "ok"))
    assert [kind.kind for kind in seen(answered(batch, twice))] == [OutcomeKind.DROPPED, OutcomeKind.DELIVERED]
    again = body(is_(first, "ok"), is_(second, "ok"), is_(first, "drop"), is_(second, "retry"))
    assert answered(batch, again) == [DELIVERED, DELIVERED]
    maps = body(is_(first, "ok"))[:-1] + b',"results":{' + is_(second, "ok").encode() + b"}}"
    assert answered(batch, maps) == [DELIVERED, UNNAMED]


def seen(answer: Answered) -> Sequence[Verdict]:
    assert isinstance(answer, Sequence)
    return answer


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{}",
        b"[]",
        b"null",
        b'"results"',
        b"<html>",
        b'{"results":[]}',
        b'{"results":null}',
        b'{"results":"ok"}',
        b'{"status":1}',
        b'{"results":{',
        b'{"results":{}} x',
        b'{"results":{}',
        b'{"results":{"a":{"result":"ok"},}}',
        b"\xef\xbb\xbf{}",
        b'{"results":{"\xff":{"result":"ok"}}}',
        b"[" * 60_000,
        b'{"results":{"a":' + b"[" * 20_000 + b"]" * 20_000 + b"}}",
    ],
    ids=lambda body: repr(body[:30]),
)
@pytest.mark.parametrize("status", [200, 204])
def test_a_complete_answer_that_cannot_be_read_is_terminal(body: bytes, status: int) -> None:
    """It would be the same the next time; a 204 and an empty body have no results either."""
    batch = make_batch(2)

    assert answered(batch, body, status=status) == [UNREADABLE] * 2


def test_one_verdict_in_an_unreadable_answer_does_not_count() -> None:
    """What is no JSON as a whole says nothing at all."""
    batch = make_batch(2)
    body = orjson.dumps({"results": dict.fromkeys(ids(batch), OK)})

    assert answered(batch, body[:-1]) == [UNREADABLE] * 2
    assert answered(batch, body + b"}") == [UNREADABLE] * 2


def test_an_answer_cut_off_by_the_network_leaves_the_batch_as_it_was() -> None:
    """Wherever it is cut, and even where nothing but the end is missing: the same batch goes again."""
    batch = make_batch(3)
    body = orjson.dumps({"results": dict.fromkeys(ids(batch), OK)})

    for end in range(len(body) + 1):
        error = answered(batch, body[:end], complete=False, headers={"retry-after": "3"})

        assert isinstance(error, TransientSinkError)
        assert (error.reason, error.retry_after, str(error)) == ("network", 3.0, "the answer was cut off")


def test_of_an_answer_that_is_too_long_the_verdicts_that_came_count() -> None:
    """The others go again; the next answer is about fewer events, so that any batch comes to an end."""
    batch = make_batch(500)
    attempts = 0
    settled: list[str] = []
    while batch.events:
        body = orjson.dumps({"results": {uuid: {**OK, "more": "x" * 400} for uuid in ids(batch)}})
        answer = seen(answered(batch, body[:MAX_RESPONSE_BYTES], complete=len(body) <= MAX_RESPONSE_BYTES))
        attempts += 1

        delivered = [verdict == DELIVERED for verdict in answer]
        assert delivered == sorted(delivered, reverse=True)
        assert [verdict for verdict in answer if verdict != DELIVERED] == [TOO_LONG] * delivered.count(False)
        settled += [event.uuid for event, done in zip(batch.events, delivered, strict=True) if done]
        left = tuple(event for event, done in zip(batch.events, delivered, strict=True) if not done)
        batch = Batch(batch.id, batch.lane, left, batch.created_at)

    assert attempts == 4
    assert len(set(settled)) == len(settled) == 500


def test_a_verdict_of_which_a_part_is_missing_does_not_count() -> None:
    """Wherever the bound falls: one that came whole is followed by a comma or a brace."""
    batch = make_batch(3)
    members = [f'"{uuid}":{{"result":"ok"}},' for uuid in ids(batch)]
    results = '"results":{' + "".join(members)
    for end in range(len(results) + 1):
        pad = '{"pad":"' + "x" * (MAX_RESPONSE_BYTES - end - 10) + '",'
        body = (pad + results[:end]).encode()
        assert len(body) == MAX_RESPONSE_BYTES

        answer = answered(batch, body, complete=False)

        assert answer == [DELIVERED if member in results[:end] else TOO_LONG for member in members]


def test_a_number_at_the_end_may_be_half_a_number() -> None:
    """What is no verdict counts as one only when what follows shows that it is whole."""
    batch = make_batch(1)
    head = b'{"pad":"%s","results":{"' + batch.events[0].uuid.encode() + b'":12'
    body = head % (b"x" * (MAX_RESPONSE_BYTES - len(head) + 2))
    assert len(body) == MAX_RESPONSE_BYTES

    assert answered(batch, body, complete=False) == [TOO_LONG]


@pytest.mark.parametrize(
    "body",
    [
        b"x" * MAX_RESPONSE_BYTES,
        b"[" * MAX_RESPONSE_BYTES,
        b'{"a":' * (MAX_RESPONSE_BYTES // 5) + b" ",
        b'{"results":{"a":' + b"[" * (MAX_RESPONSE_BYTES - 16),
        b'{"results":[' + b" " * (MAX_RESPONSE_BYTES - 12),
        b" " * MAX_RESPONSE_BYTES,
        b'{"results":{"a":' + b"9" * (MAX_RESPONSE_BYTES - 16),
        b"\xff" * MAX_RESPONSE_BYTES,
        b'{"results":{[1]:{"result":"ok"},"a":"' + b"x" * (MAX_RESPONSE_BYTES - 37),
        b'{"x":' + b"1" * 10_000 + b',"results":{' + b" " * (MAX_RESPONSE_BYTES - 10_017),
    ],
    ids=lambda body: repr(body[:20]),
)
def test_an_endless_answer_without_verdicts_settles_nothing(body: bytes) -> None:
    """All events go again, until their attempts are used up."""
    assert len(body) == MAX_RESPONSE_BYTES
    assert answered(make_batch(2), body, complete=False) == [TOO_LONG] * 2


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "deflate", " GZIP "])
def test_a_compressed_answer_is_read(coding: str) -> None:
    """None was asked for; a proxy on the way may compress nevertheless."""
    batch = make_batch(100)
    plain = orjson.dumps({"results": dict.fromkeys(ids(batch), OK)})
    body = zlib.compress(plain) if coding == "deflate" else gzip.compress(plain)

    assert answered(batch, body, headers={"content-encoding": coding}) == [DELIVERED] * 100


@pytest.mark.parametrize("extra", [-1, 0, 1, 2])
def test_a_compressed_answer_is_read_up_to_the_bound(extra: int) -> None:
    """Of 64 KiB all counts; beyond, what came whole does and the rest goes again."""
    batch = make_batch(2)
    first, second = ids(batch)
    size = MAX_RESPONSE_BYTES + extra
    empty = orjson.dumps({"results": {first: OK, "pad": "", second: OK}})
    body = empty.replace(b'"pad":""', b'"pad":"' + b"x" * (size - len(empty)) + b'"')
    assert len(body) == size

    answer = answered(batch, gzip.compress(body), headers={"content-encoding": "gzip"})

    assert answer == [DELIVERED, DELIVERED if extra < 2 else TOO_LONG]  # without the last brace it is whole, too


def test_a_bomb_is_not_inflated() -> None:
    """64 MiB of zeros in 64 KiB: an answer that is too long, and no more memory than its bound."""
    bomb = gzip_bomb(64)
    batch = make_batch(2)
    tracemalloc.start()
    answer = answered(
        batch, bomb.body[:MAX_RESPONSE_BYTES], headers={"content-encoding": "gzip"}, complete=len(bomb.body) <= 65536
    )
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert answer == [TOO_LONG] * 2
    assert peak < 1_000_000


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("br", b"\x0b\x02\x80{}\x03"),
        ("zstd", b"(\xb5/\xfd"),
        ("gzip, gzip", gzip.compress(b"{}")),
        ("gzip", b"{}"),
        ("gzip", gzip.compress(b'{"results":{}}')[:-9]),
        ("gzip", b""),
        ("deflate", b"\x00" * 9),
    ],
    ids=["br", "zstd", "twice", "plain", "cut", "empty", "garbage"],
)
def test_an_answer_in_a_coding_that_cannot_be_undone_is_unreadable(coding: str, body: bytes) -> None:
    """It is complete and says nothing: terminal."""
    assert answered(make_batch(1), body, headers={"content-encoding": coding}) == [UNREADABLE]


def test_a_compressed_answer_cut_off_by_the_network_goes_again() -> None:
    """As a plain one does."""
    batch = make_batch(100)
    body = gzip.compress(orjson.dumps({"results": dict.fromkeys(ids(batch), OK)}))

    error = answered(batch, body[:-20], complete=False, headers={"content-encoding": "gzip"})

    assert isinstance(error, TransientSinkError)


@pytest.mark.parametrize("word", ["warning", "drop", "limited", "strange", "ok"])
@pytest.mark.parametrize(
    ("details", "shown"),
    [
        ("x" * 10_000, "x" * 200),
        ("a\r\nb\x00c\u2028d\x1b[31m\u202e", "a??b?c?d?[31m?"),
        ({"limit": 5, "why": "é"}, '{"limit":5,"why":"é"}'),
        ([1, None], "[1,null]"),
        (7, "7"),
        ("", ""),
        (False, "false"),
    ],
    ids=["long", "unprintable", "object", "array", "number", "empty", "boolean"],
)
def test_the_far_ends_words_are_bounded_and_printable(word: str, details: object, shown: str) -> None:
    """200 characters of one line, whatever it sends."""
    named = word not in ("warning", "ok")
    expected = f"{word}: {shown}" if named and shown else (word if named else shown)

    assert verdict({"result": word, "details": details}).detail == (expected[:200] or None)


def test_a_lone_surrogate_in_an_endless_answer_is_not_shown() -> None:
    """Text with one could be written to no log."""
    batch = make_batch(1)
    said = f'{{"results":{{"{batch.events[0].uuid}":{{"result":"dr\\ud800op","details":["\\ud800"]}},"pad":"'
    body = said.encode() + b"x" * (MAX_RESPONSE_BYTES - len(said))

    [only] = seen(answered(batch, body, complete=False))

    assert only == Verdict(OutcomeKind.DROPPED, DropReason.UNKNOWN_VERDICT, None, "dr?op")


def test_an_endless_word_is_bounded() -> None:
    """The word of an unknown verdict is the far end's text as well."""
    assert verdict({"result": "x" * 10_000, "details": "y"}).detail == "x" * 200


FORMS = {
    "key": KEY,
    "beginning": KEY[:8],
    "base64": base64.b64encode(KEY.encode()).decode(),
    "url-safe base64": base64.urlsafe_b64encode(KEY.encode()).decode(),
    "quoted": quote(KEY, safe=""),
    "in an object": {"authorization": f"Bearer {KEY}"},
    "behind much else": "x" * 195 + KEY,
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("word", ["ok", "warning", "drop", "limited", "strange", None])
def test_no_detail_repeats_the_key(form: object, word: str | None) -> None:
    """A far end that echoes what it was sent gets no word into our logs."""
    said = {"result": word or str(form), "details": "other words" if word is None else form}

    detail = verdict(said).detail

    withheld = "(withheld: it repeats the key)"
    expected = {"ok": withheld, "warning": withheld, None: f"{withheld}: other words"}.get(word, f"{word}: {withheld}")
    assert detail == expected


@pytest.mark.parametrize("status", [301, 400, 401, 404, 413, 415, 422, 429, 500, 501, 503])
def test_any_other_status_is_read_by_itself(status: int) -> None:
    """Results in an answer that is no success count for nothing, and its words show nowhere."""
    batch = make_batch(2)
    taken = orjson.dumps({"results": dict.fromkeys(ids(batch), OK)})
    body = orjson.dumps({"results": dict.fromkeys(ids(batch), OK), "error": KEY})

    for said, complete in ((body, True), (body, False), (taken, True)):
        error = answered(batch, said, status=status, complete=complete)

        assert isinstance(error, TransientSinkError if status in (429, 500, 503) else PermanentSinkError)
        assert error.status == status
        assert KEY not in f"{error} {error!r} {vars(error)}"


JSON = (
    st.none()
    | st.booleans()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from([2**70, [], {}, {"result": "ok"}, [{"results": {}}], {"a": [[None]]}])
)
WORDS = st.sampled_from(["ok", "warning", "drop", "limited", "retry", "new"]) | JSON


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), WORDS, JSON), max_size=8))
def test_every_event_is_settled_once_whatever_the_answer_says(answers: list[tuple[int, object, object]]) -> None:
    """By what the answer says of it first; ids that are not of the batch, and all other members, are ignored."""
    batch = make_batch(4)
    named = [*ids(batch), "unknown", "results"]
    said = [(named[index], {"result": word, "details": details}) for index, word, details in answers]
    members = ",".join(f"{json.dumps(uuid)}:{json.dumps(value)}" for uuid, value in said)
    body = f'{{"x":1,"results":{{{members}}},"y":{{}}}}'.encode()

    answer = answered(batch, body)

    first: dict[str, Any] = {}
    for uuid, value in said:
        first.setdefault(uuid, value)
    kinds = {"ok": "delivered", "warning": "delivered", "retry": "retry"}
    for uuid, verdict in zip(ids(batch), [DELIVERED] * 4 if answer is None else seen(answer), strict=True):
        word = first[uuid]["result"] if uuid in first else None
        assert verdict.kind == (kinds.get(word, "dropped") if isinstance(word, str) else "dropped")
        assert (verdict.reason == DropReason.UNANSWERED) is (uuid not in first)


@settings(deadline=None)
@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()), st.booleans(), st.booleans())
def test_no_answer_raises(body: bytes, is_endless: bool, is_compressed: bool) -> None:
    """Any bytes lead to verdicts or to an error that is returned."""
    batch = make_batch(2)
    padded = body + b" " * (MAX_RESPONSE_BYTES - len(body)) if is_endless else body
    headers = {"content-encoding": "gzip"} if is_compressed else {}

    answer = answered(batch, padded, headers=headers, complete=not is_endless)

    assert answer is None or isinstance(answer, SinkError) or len(answer) == 2
