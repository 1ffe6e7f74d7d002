"""A codec that keeps the contract, and others that break one rule of it each."""

from __future__ import annotations

import itertools
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson

from eventpipe import (
    Batch,
    CapturedEvent,
    DropReason,
    OutcomeKind,
    PermanentSinkError,
    Request,
    SinkError,
    TransientSinkError,
    Verdict,
)
from eventpipe.codecs import JsonCodec
from eventpipe.testing import CodecContract, CodecRig, Reply
from tests.conformance.codec_readers import read_json

KEY = "key_0123456789"
UNANSWERED = Verdict(OutcomeKind.DROPPED, DropReason.UNANSWERED)
Answer = Sequence[Verdict] | SinkError | None
WORDS = {"ok": OutcomeKind.DELIVERED, "no": OutcomeKind.DROPPED, "again": OutcomeKind.RETRY}


class Good(JsonCodec):
    """Keeps the contract, with an answer for each event by its id; those below break one rule each."""

    def __init__(self) -> None:
        super().__init__()
        self.key = KEY

    def response(self, batch: Batch, status: int, headers: Mapping[str, str], body: bytes, complete: bool) -> Answer:
        if not 200 <= status <= 299:
            return super().response(batch, status, headers, body, complete)
        if not complete:
            return TransientSinkError("cut off", reason="network", status=status)
        try:
            said = orjson.loads(body)
        except ValueError:
            said = None
        return [self.judge(said.get(event.uuid) if isinstance(said, dict) else None) for event in batch.events]

    def judge(self, word: object) -> Verdict:
        kind = WORDS.get(word) if isinstance(word, str) else None
        return Verdict(kind, DropReason.REJECTED if kind is OutcomeKind.DROPPED else None) if kind else UNANSWERED


def answer(batch: Batch, kinds: Sequence[OutcomeKind]) -> Reply:
    words = {kind: word for word, kind in WORDS.items()}
    return Reply(
        200, body=orjson.dumps({event.uuid: words[kind] for event, kind in zip(batch.events, kinds, strict=True)})
    )


def rig_of(codec: JsonCodec) -> CodecRig:
    return CodecRig(codec, read_json, answer=answer, secrets=[KEY])


def writes(change: Callable[[Request, Batch, int, float], Request]) -> type[Good]:
    """A codec whose requests are changed."""

    class Writes(Good):
        def request(self, batch: Batch, attempt: int, now: float) -> Request:
            return change(super().request(batch, attempt, now), batch, attempt, now)

    return Writes


def answers(change: Callable[[Any, Batch, int, bytes], Any]) -> type[Good]:  # Any: what is wrong with it
    """A codec whose verdicts and errors are changed."""

    class Answers(Good):
        def response(
            self, batch: Batch, status: int, headers: Mapping[str, str], body: bytes, complete: bool
        ) -> Answer:
            made: Answer = change(super().response(batch, status, headers, body, complete), batch, status, body)
            return made

    return Answers


def has(**attributes: object) -> type[Good]:
    """A codec with other attributes."""

    class Has(Good):
        def __init__(self) -> None:
            super().__init__()
            vars(self).update(attributes)

    return Has


def headed(**headers: str) -> type[Good]:
    return writes(
        lambda request, *_: replace(
            request, headers={**request.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
        )
    )


def altered(change: Callable[[dict[str, Any]], object]) -> type[Good]:
    """A codec that writes each event after ``change`` was at it."""

    def write(request: Request, *_: object) -> Request:
        events = orjson.loads(request.body)
        for event in events:
            change(event)
        return replace(request, body=orjson.dumps(events))

    return writes(write)


def written(body: Callable[[list[Any]], object]) -> type[Good]:  # Any: JSON
    """A codec that writes other events than it is given."""
    return writes(lambda request, *_: replace(request, body=orjson.dumps(body(orjson.loads(request.body)))))


def at(url: str) -> type[Good]:
    return writes(lambda request, *_: replace(request, url=url))


def without(*names: str) -> type[Good]:
    def drop(event: dict[str, Any]) -> None:
        for name in names:
            event["properties"].pop(name, None)

    return altered(drop)


def confused(event: dict[str, Any]) -> None:
    """``True`` and ``1.0`` become ``1``, which Python takes for the same."""
    event["properties"].update({name: 1 for name, value in event["properties"].items() if value == 1})


def scribble(request: Request, batch: Batch, attempt: int, now: float) -> Request:
    batch.attempt += 1
    return request


def shared(request: Request, batch: Batch, attempt: int, now: float) -> Request:
    one_for_all.update(request.headers, **{"X-Id": batch.id})
    return replace(request, headers=one_for_all)


def stamped(request: Request, batch: Batch, attempt: int, now: float) -> Request:
    return replace(request, headers={**request.headers, "X-Now": f"{time.time():.0f}"})


def numbered(request: Request, batch: Batch, attempt: int, now: float) -> Request:
    return replace(request, body=request.body.replace(b'"event":"', b'"event":"%d ' % attempt))


Breaks = dict[str, tuple[Callable[..., None], type[Good]]]
one_for_all: dict[str, str] = {}
counter = itertools.count()
FORM = CodecContract.test_a_request_is_one_that_a_sink_can_send
SHAPES = CodecContract.test_events_of_every_shape_arrive
SAME = CodecContract.test_the_same_arguments_make_the_same_request
ATTEMPTS = CodecContract.test_all_attempts_carry_the_same_events

REQUESTS: Breaks = {
    "an address": (FORM, at("https://elsewhere.example/")),
    "a host": (FORM, at("//elsewhere.example/")),
    "a space in the path": (FORM, at("/a b")),
    "a fragment": (FORM, at("/a#b")),
    "a path that begins anywhere": (FORM, at("a")),
    "a line break in a header": (FORM, headed(X="a\r\nY: b")),
    "a letter in a header that is not ASCII": (FORM, headed(X="é")),
    "a name that no header has": (FORM, headed(**{"a:b": "c"})),
    "a length": (FORM, headed(content_length="7")),
    "a coding": (FORM, headed(content_encoding="gzip")),
    "two types": (FORM, headed(content_type="text/plain")),
    "no type": (FORM, writes(lambda request, *_: replace(request, headers={}))),
    "text for a body": (FORM, writes(lambda request, *_: replace(request, body="[]"))),
    "another order": (SHAPES, written(lambda events: events[::-1])),
    "one event less": (SHAPES, written(lambda events: events[:-1])),
    "one event more": (SHAPES, written(lambda events: [*events, events[-1]])),
    "no large number of properties": (SHAPES, without("p199")),
    "no property that another sink lifts": (SHAPES, without("$of_another")),
    "numbers of another kind": (SHAPES, altered(confused)),
    "no microseconds": (SHAPES, altered(lambda event: event.update(timestamp=event["timestamp"][:19] + "Z"))),
    "another id": (SHAPES, altered(lambda event: event.update(uuid=event["uuid"].upper()))),
    "a name for nobody": (SHAPES, altered(lambda event: event.update(distinct_id=event["distinct_id"] or "nobody"))),
    "another id at random": (
        CodecContract.test_events_made_up_at_random_arrive,
        altered(lambda event: event.update(uuid=event["uuid"].upper())),
    ),
    "two events, never three": (
        CodecContract.test_every_event_arrives_once_and_in_order,
        written(lambda events: events[:2]),
    ),
    "chance": (SAME, writes(lambda request, *_: replace(request, url=f"/{uuid.uuid4()}"))),
    "a count": (SAME, writes(lambda request, *_: replace(request, url=f"/{next(counter)}"))),
    "the time of a clock": (CodecContract.test_a_request_takes_time_and_chance_from_its_arguments, writes(stamped)),
    "marks in the batch": (CodecContract.test_a_request_leaves_its_batch_as_it_was, writes(scribble)),
    "one mapping for all requests": (CodecContract.test_a_request_stays_as_it_was_written, writes(shared)),
    "the attempt in the path": (
        ATTEMPTS,
        writes(lambda request, batch, attempt, now: replace(request, url=f"/{attempt}")),
    ),
    "the attempt in the events": (ATTEMPTS, writes(numbered)),
}

LIMITS = CodecContract.test_limits_are_whole_numbers_that_agree
LANES = CodecContract.test_a_lane_is_a_name_or_none
OF_LANES = CodecContract.test_limits_of_lanes_are_whole_numbers_too
CODINGS = CodecContract.test_codings_are_ones_that_a_sink_can_write


class Laned(Good):
    """Names a lane, and says that it has none."""

    def lane(self, event: CapturedEvent) -> str | None:
        return event.lane


class Undecided(Good):
    """Names another lane each time."""

    def __init__(self) -> None:
        super().__init__()
        self.has_lanes = True

    def lane(self, event: CapturedEvent) -> str | None:
        return str(next(counter))


class Learning(Good):
    """Takes less after a 413."""

    def response(self, batch: Batch, status: int, headers: Mapping[str, str], body: bytes, complete: bool) -> Answer:
        self.max_batch_bytes //= 2 if status == 413 else 1
        return super().response(batch, status, headers, body, complete)


class Downgrading(Good):
    """Sends in the clear."""

    def base_url(self, url: str) -> str:
        return url.replace("https:", "http:")


ATTRIBUTES: Breaks = {
    "no room at all": (LIMITS, has(max_batch_bytes=0)),
    "half a byte": (LIMITS, has(max_event_bytes=0.5)),
    "more in an event than in a batch": (LIMITS, has(max_event_bytes=10**9)),
    "no event in a batch": (LIMITS, has(max_batch_events=0)),
    "names in a list": (CodecContract.test_lifted_names_are_text, has(lifted=["$lib"])),
    "names that are bytes": (CodecContract.test_lifted_names_are_text, has(lifted=frozenset({b"$lib"}))),
    "a flag that is a word": (CodecContract.test_flags_are_true_or_false, has(unique_ids="yes")),
    "a lane where there are none": (LANES, Laned),
    "a lane that changes": (LANES, Undecided),
    "a limit where there are no lanes": (OF_LANES, has(lane_event_bytes={"ai": 7})),
    "a lane without limit": (OF_LANES, has(has_lanes=True, lane_event_bytes={"ai": None})),
    "a coding for a lane where there are none": (CODINGS, has(compressions={"ai": ["gzip"]})),
    "a coding that nobody writes": (CODINGS, has(compressions={None: ["compress"]})),
    "one coding as text": (CODINGS, has(compressions={None: "br"})),
    "a limit that changes": (CodecContract.test_attributes_stay_as_they_are, Learning),
    "another scheme": (CodecContract.test_an_address_stays_one, Downgrading),
}

ANY = CodecContract.test_no_answer_is_an_exception
ERRORS = CodecContract.test_any_other_status_is_an_error_as_everywhere
VERDICTS = CodecContract.test_verdicts_come_one_per_event
CUT = CodecContract.test_an_answer_with_verdicts_that_is_cut_off_is_worth_another_attempt


def on_verdicts(change: Callable[[list[Verdict]], object]) -> type[Good]:
    """A codec whose verdicts are changed."""
    return answers(lambda made, *_: change(made) if isinstance(made, list) else made)


def on_status(status: int, answer: Any) -> type[Good]:  # Any: what is wrong with it
    return answers(lambda made, batch, got, body: answer if got == status else made)


class Asserting(Good):
    """Is sure of what it reads."""

    def judge(self, word: object) -> Verdict:
        assert isinstance(word, str)
        return super().judge(word)


class Decoding(Good):
    """Is sure that a body is text."""

    def response(self, batch: Batch, status: int, headers: Mapping[str, str], body: bytes, complete: bool) -> Answer:
        body.decode()
        return super().response(batch, status, headers, body, complete)


class Hasty(Good):
    """Takes a part for the whole."""

    def response(self, batch: Batch, status: int, headers: Mapping[str, str], body: bytes, complete: bool) -> Answer:
        return super().response(batch, status, headers, body, complete=True)


class Milliseconds(Good):
    """Takes Retry-After for milliseconds, and believes anything."""

    def response(self, batch: Batch, status: int, headers: Mapping[str, str], body: bytes, complete: bool) -> Answer:
        made = super().response(batch, status, headers, body, complete)
        if isinstance(made, TransientSinkError) and made.retry_after is not None:
            made.retry_after *= 1000
        return made


ANSWERS: Breaks = {
    "an exception at a word": (ANY, Asserting),
    "an exception at bytes": (ANY, Decoding),
    "a raised error": (ANY, answers(lambda made, batch, status, body: 1 // (status != 503))),
    "an error that is none of ours": (ANY, on_status(400, OSError())),
    "a verdict too few": (ANY, on_verdicts(lambda verdicts: verdicts[:-1])),
    "words for verdicts": (ANY, on_verdicts(lambda verdicts: ["ok" for _ in verdicts])),
    "interrupted for a verdict": (
        ANY,
        on_verdicts(lambda verdicts: [replace(verdict, kind=OutcomeKind.INTERRUPTED) for verdict in verdicts]),
    ),
    "a reason that is not in the list": (
        ANY,
        on_verdicts(lambda verdicts: [replace(verdict, reason="because") for verdict in verdicts]),
    ),
    "a wait that is no number": (
        ANY,
        on_verdicts(lambda verdicts: [replace(verdict, retry_after=float("nan")) for verdict in verdicts]),
    ),
    "a detail without end": (
        ANY,
        on_verdicts(lambda verdicts: [replace(verdict, detail="x" * 100_000) for verdict in verdicts]),
    ),
    "a refusal as success": (ANY, on_status(404, None)),
    "an unknown status as success": (ERRORS, on_status(999, None)),
    "a success as a refusal": (CodecContract.test_a_2xx_refuses_nothing, on_status(202, PermanentSinkError())),
    "a success to be sent again": (CodecContract.test_a_2xx_refuses_nothing, on_status(204, TransientSinkError())),
    "a busy far end as a lasting error": (ERRORS, on_status(429, PermanentSinkError(status=429))),
    "a lasting error as a busy far end": (ERRORS, on_status(501, TransientSinkError(status=501))),
    "a size that is not to blame": (ERRORS, on_status(413, PermanentSinkError(status=413))),
    "an error without its status": (ERRORS, on_status(500, TransientSinkError())),
    "milliseconds": (CodecContract.test_retry_after_is_in_seconds, Milliseconds),
    "verdicts in another order": (VERDICTS, on_verdicts(lambda verdicts: verdicts[::-1])),
    "no verdicts": (VERDICTS, on_verdicts(lambda verdicts: None)),
    "silence as consent": (
        CodecContract.test_an_event_that_an_answer_leaves_out_is_unanswered,
        on_verdicts(lambda verdicts: [Verdict(OutcomeKind.DELIVERED) for _ in verdicts]),
    ),
    "strangers counted": (
        CodecContract.test_an_event_that_is_not_of_the_batch_changes_nothing,
        answers(lambda made, batch, status, body: made * 2 if len(batch.events) == 2 else made),
    ),
    "a part for the whole": (CUT, Hasty),
}


def showing(text: str) -> type[Good]:
    class Showing(Good):
        def __repr__(self) -> str:
            return f"Showing({text!r})"

    return Showing


class Pickled(Good):
    def __reduce__(self) -> Any:  # Any: what is wrong with it
        return type(self), (), {"key": self.key}


ECHOES = CodecContract.test_no_error_repeats_what_the_far_end_sent
SHOWN = CodecContract.test_neither_keys_nor_payloads_show
SECRETS: Breaks = {
    "a key": (SHOWN, showing(KEY)),
    "the beginning of a key": (SHOWN, showing(f"{KEY[:8]}…")),
    "a key in a pickle": (CodecContract.test_a_pickle_has_no_key, Pickled),
    "a key in the path": (SHOWN, at(f"/{KEY}")),
    "a payload in the path": (
        SHOWN,
        writes(lambda request, batch, *_: replace(request, url=f"/{batch.events[0].event}")),
    ),
    "the words of the far end": (
        ECHOES,
        answers(
            lambda made, batch, status, body: (
                PermanentSinkError(body.decode(), status=status) if status == 400 and b"error" in body else made
            )
        ),
    ),
}

BROKEN: Breaks = {**REQUESTS, **ATTRIBUTES, **ANSWERS, **SECRETS}
