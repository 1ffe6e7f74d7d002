"""Scenarios of the codec contract: what a codec makes of an answer, whatever it is."""

from __future__ import annotations

import dataclasses
import gzip
import json
import math
from collections.abc import Sequence
from itertools import product
from types import NoneType
from typing import TYPE_CHECKING, Any, Final

import pytest

from eventpipe.errors import PermanentSinkError, SinkError, TransientSinkError
from eventpipe.outcomes import DropReason, OutcomeKind, Verdict
from eventpipe.testing.codec_events import batches, plain_events

if TYPE_CHECKING:
    from collections.abc import Mapping

    from eventpipe.events import Batch
    from eventpipe.testing.codec_rig import CodecRig

    Answer = Sequence[Verdict] | SinkError | None

STATUSES: Final = (0, 99, *range(100, 612), 700, 999, 1000)
_EXAMPLES: Final = 100  # answers that hypothesis makes up
_MAX_DETAIL: Final = 1024  # characters of a verdict's detail: an outcome keeps them

# What may be tried again unchanged, and what of the rest is known to be at fault.
_TRANSIENT: Final = frozenset({408, 429, *range(500, 600)} - {501, 505})
_SCOPES: Final = {
    **dict.fromkeys(range(300, 400), "sink"),
    **dict.fromkeys((401, 402, 403, 404, 405, 410, 415), "sink"),
    **dict.fromkeys((400, 422), "event"),
    413: "size",
}

BODIES: Final = (
    b"",
    b" ",
    b"{}",
    b"[]",
    b"null",
    b"true",
    b"0",
    b'""',
    b"{",
    b'{"results":',
    b"[null]",
    b"[[],{}]",
    b'{"results":null,"items":0,"errors":true,"partialSuccess":[],"success":[],"code":"x","text":7}',
    b'{"results":[],"items":{},"errors":"","partialSuccess":{"rejectedLogRecords":"x"},"events":null}',
    b'{"results":{"":null},"items":[null,1,"",[],{}],"partialSuccess":{"rejectedLogRecords":-1,"errorMessage":7}}',
    b'{"partialSuccess":{"rejectedLogRecords":1e999}}',
    b'{"a":1,"a":2}',
    (b'{"results":{[1]:{},' + b" " * 65_536)[:65_536],
    (b'{"results":{"a":{"result":[]},"b":"' + b"x" * 65_536)[:65_536],
    b"[NaN]",
    b"[" * 60_000,
    b'{"a":' * 10_000,
    b'"\\ud800"',
    b'"' + b"x" * 65_534 + b'"',
    b"1" * 65_536,
    b"\xff\xfe\x00",
    b"\xef\xbb\xbf{}",
    b"\x00" * 64,
    b"\x0a\x02\x08\x01",
    b"<html><title>502 Bad Gateway</title></html>",
    gzip.compress(b"{}", mtime=0),
)
HEADERS: Final[Sequence[Mapping[str, str]]] = (
    {},
    {"retry-after": "7", "content-type": "application/json"},
    {"retry-after": "-1", "date": "never", "content-type": ""},
    {"retry-after": "9" * 10_000, "content-type": "text/html; charset=nothing", "content-encoding": "gzip"},
    {"retry-after": "Thu, 32 Foo 2026 25:61:61 GMT", "content-type": "application/x-protobuf"},
)


class AnswerScenarios:
    """What a codec promises of its verdicts and errors."""

    def test_no_answer_is_an_exception(self, rig: CodecRig) -> None:
        """Any status, headers and body, whole or cut off, leads to ``None``, verdicts or an error that is returned."""
        batch = _batch(rig)
        few = (200, 202, 204, 207, 301, 400, 413, 429, 503, 999)
        cases = [
            *product(STATUSES, HEADERS[:2], (b"", b"{}"), (True, False)),
            *product(few, HEADERS, BODIES, (True, False)),
        ]

        for status, headers, body, complete in cases:
            check_answer(batch, rig.codec.response(batch, status, headers, body, complete), status)

    def test_no_answer_made_up_at_random_is_an_exception(self, rig: CodecRig) -> None:
        """JSON of any shape, with ids of the batch in it, and any bytes."""
        pytest.importorskip("hypothesis", reason="hypothesis makes up the answers")
        from hypothesis import Phase, given, settings
        from hypothesis import strategies as st

        batch = _batch(rig)

        @settings(max_examples=_EXAMPLES, deadline=None, database=None, phases=(Phase.generate, Phase.shrink))
        @given(
            st.sampled_from((200, 200, 202, 207, 400, 422, 429, 503)),
            st.sampled_from(HEADERS),
            _bodies(batch),
            st.booleans(),
        )
        def check(status: int, headers: Mapping[str, str], body: bytes, complete: bool) -> None:
            check_answer(batch, rig.codec.response(batch, status, headers, body, complete), status)

        check()

    @pytest.mark.parametrize("complete", [True, False], ids=["complete", "incomplete"])
    def test_a_2xx_refuses_nothing(self, rig: CodecRig, complete: bool) -> None:
        """It accepts the batch, or has to be read; one that was cut off may be worth another attempt."""
        batch = _batch(rig)

        for status, body in product(range(200, 300), BODIES[:4]):
            answer = rig.codec.response(batch, status, {}, body, complete)

            assert not isinstance(answer, PermanentSinkError)
            assert not (isinstance(answer, TransientSinkError) and complete)

    def test_any_other_status_is_an_error_as_everywhere(self, rig: CodecRig) -> None:
        """One policy for all formats: what may pass is transient, the rest is permanent and says what is to blame."""
        batch = _batch(rig)

        for status in STATUSES:
            if 200 <= status <= 299:
                continue
            error = rig.codec.response(batch, status, {}, b"", True)

            kind = TransientSinkError if status in _TRANSIENT else PermanentSinkError
            assert (status, type(error)) == (status, kind)
            assert isinstance(error, SinkError)
            assert error.status == status
            if isinstance(error, PermanentSinkError):
                assert (status, error.scope) == (status, _SCOPES.get(status, "batch"))

    @pytest.mark.parametrize(
        ("value", "seconds"),
        [("7", 7.0), ("0", None), ("-5", None), ("soon", None), ("nan", None), ("", None)],
        ids=["seconds", "zero", "negative", "a word", "not a number", "nothing"],
    )
    def test_retry_after_is_in_seconds(self, rig: CodecRig, value: str, seconds: float | None) -> None:
        """The wait that the far end asks for, and ``None`` for what means nothing."""
        for status in (429, 503):
            error = rig.codec.response(_batch(rig), status, {"retry-after": value}, b"", True)

            assert isinstance(error, TransientSinkError)
            assert error.retry_after == seconds

    def test_verdicts_come_one_per_event(self, rig: CodecRig) -> None:
        """What the answer says of each event, in the order of the batch, in every combination."""
        rig.need("answer")
        assert rig.answer is not None
        batch = _batch(rig)

        for kinds in product(rig.kinds, repeat=len(batch.events)):
            reply = rig.answer(batch, kinds)
            answer = rig.codec.response(batch, reply.status, _lowered(reply.headers), reply.body, True)

            check_answer(batch, answer, reply.status)
            assert kinds_of(batch, answer) == list(kinds)

    def test_an_event_that_an_answer_leaves_out_is_unanswered(self, rig: CodecRig) -> None:
        """It is dropped and counted apart; its neighbours are as the answer says, where that can be told."""
        rig.need("answer")
        assert rig.answer is not None
        batch = _batch(rig, least=2)
        kinds = [rig.kinds[0]] * len(batch.events)
        fewer = _of(batch, batch.events[:-1])
        reply = rig.answer(fewer, kinds[:-1])

        answer = rig.codec.response(batch, reply.status, _lowered(reply.headers), reply.body, True)

        check_answer(batch, answer, reply.status)
        assert isinstance(answer, Sequence)
        assert (answer[-1].kind, answer[-1].reason) == (OutcomeKind.DROPPED, DropReason.UNANSWERED)
        for verdict in answer[:-1]:
            assert verdict.kind is rig.kinds[0] or verdict.reason == DropReason.UNANSWERED

    def test_an_event_that_is_not_of_the_batch_changes_nothing(self, rig: CodecRig) -> None:
        """An answer that says too much settles the events of the batch at most, each once."""
        rig.need("answer")
        assert rig.answer is not None
        batch = _batch(rig, least=2)
        kinds = [rig.kinds[0]] * len(batch.events)
        reply = rig.answer(batch, kinds)

        answer = rig.codec.response(
            _of(batch, batch.events[1:]), reply.status, _lowered(reply.headers), reply.body, True
        )

        check_answer(_of(batch, batch.events[1:]), answer, reply.status)
        for verdict in answer if isinstance(answer, Sequence) else ():
            assert verdict.kind is rig.kinds[0] or verdict.reason == DropReason.UNANSWERED

    def test_an_answer_with_verdicts_that_is_cut_off_is_worth_another_attempt(self, rig: CodecRig) -> None:
        """Wherever it is cut: the same batch goes again, because nobody knows what the rest would have said."""
        rig.need("answer")
        assert rig.answer is not None
        batch = _batch(rig)
        reply = rig.answer(batch, [rig.kinds[-1]] * len(batch.events))

        for end in range(len(reply.body)):
            error = rig.codec.response(batch, reply.status, _lowered(reply.headers), reply.body[:end], False)

            assert isinstance(error, TransientSinkError)


def check_answer(batch: Batch, answer: object, status: int) -> None:
    """Check that ``answer`` is one that a sink can act on."""
    if isinstance(answer, SinkError):
        assert isinstance(answer, (TransientSinkError, PermanentSinkError))
        assert isinstance(answer.reason, str)
        assert answer.reason
        assert answer.status in (status, None)
        if isinstance(answer, TransientSinkError):
            _check_wait(answer.retry_after)
    elif answer is None:
        assert 200 <= status <= 299, "an answer that is no success was taken for one"
    else:
        assert isinstance(answer, Sequence)
        assert len(answer) == len(batch.events)
        for verdict in answer:
            _check_verdict(verdict)


def _check_verdict(verdict: object) -> None:
    assert isinstance(verdict, Verdict)
    assert verdict.kind in (OutcomeKind.DELIVERED, OutcomeKind.DROPPED, OutcomeKind.RETRY)
    assert isinstance(verdict.reason, (str, NoneType))
    if verdict.kind is OutcomeKind.DROPPED:
        assert verdict.reason in {None, *DropReason}
    assert isinstance(verdict.detail, (str, NoneType))
    assert len(verdict.detail or "") <= _MAX_DETAIL
    _check_wait(verdict.retry_after)


def _check_wait(seconds: object) -> None:
    if seconds is not None:
        assert isinstance(seconds, (int, float))
        assert math.isfinite(seconds)
        assert seconds > 0


def kinds_of(batch: Batch, answer: Answer) -> list[OutcomeKind]:
    """What an answer makes of each event; ``None`` is a delivery of all."""
    if answer is None:
        return [OutcomeKind.DELIVERED] * len(batch.events)
    assert isinstance(answer, Sequence), f"{answer!r} is no verdict of single events"
    return [verdict.kind for verdict in answer]


def _batch(rig: CodecRig, *, least: int = 1) -> Batch:
    """A batch of three events, or as many as the codec wants in one."""
    batch = batches(rig.codec, plain_events(rig.codec, 3))[0]
    if len(batch.events) < least:
        pytest.skip(f"a request holds at most {len(batch.events)} events")
    return batch


def _of(batch: Batch, events: Sequence[Any]) -> Batch:  # Any: captured events
    return dataclasses.replace(batch, events=tuple(events))


def _lowered(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _bodies(batch: Batch) -> Any:  # Any: a strategy, whose type only hypothesis has
    """Bytes: JSON that resembles an answer, or anything."""
    from hypothesis import strategies as st

    ids = [event.uuid for event in batch.events]
    words = st.sampled_from(
        ["results", "result", "items", "status", "error", "errors", "details", "partialSuccess", "rejectedLogRecords",
         "errorMessage", "success", "code", "ok", "warning", "drop", "retry", "limited", "create", *ids]
    )  # fmt: skip
    scalars = st.none() | st.booleans() | st.integers() | st.floats() | words | st.text(max_size=8)
    shapes = st.recursive(
        scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4), max_leaves=12
    )
    results = st.fixed_dictionaries(
        {"results": st.dictionaries(words, st.dictionaries(st.sampled_from(["result", "details"]), shapes) | shapes)}
    )
    return (shapes | results).map(lambda value: json.dumps(value).encode()) | st.binary(max_size=64)
