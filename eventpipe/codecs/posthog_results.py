"""What PostHog's capture v1 answers: a verdict on each event, read whatever the far end sends."""

from __future__ import annotations

import json
import re
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from eventpipe.codecs.base import MAX_RESPONSE_BYTES
from eventpipe.codecs.keys import forms_of
from eventpipe.errors import TransientSinkError
from eventpipe.events import UUID_AT
from eventpipe.outcomes import DELIVERED, DropReason, OutcomeKind, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from eventpipe.errors import SinkError
    from eventpipe.events import CapturedEvent

MAX_DETAIL = 200  # characters of the far end's words that are kept

_OPENING, _BETWEEN, _CLOSING = b'{"results":{"', b'":{"result":"ok"},"', b'":{"result":"ok"}}}'
_SPACE = b" \t\r\n"
_WITHHELD = "(withheld: it repeats the key)"
_TOO_LONG = Verdict(OutcomeKind.RETRY, "network", None, f"the answer is longer than {MAX_RESPONSE_BYTES} bytes")
_UNREADABLE = Verdict(OutcomeKind.DROPPED, DropReason.UNANSWERED, None, "the answer cannot be read")
_UNNAMED = Verdict(OutcomeKind.DROPPED, DropReason.UNANSWERED, None, "the answer does not name this event")

_ZLIB_OR_GZIP = 47  # zlib's code for: whichever of the two its header says
_INFLATED = frozenset({"gzip", "x-gzip", "deflate"})
_BEGIN, _COLON, _NEXT = (re.compile(rf"[ \t\r\n]*{mark}[ \t\r\n]*") for mark in ("{", ":", "[,}]"))
_decode = json.JSONDecoder().raw_decode


class _Answer(NamedTuple):
    """A body without its content coding; ``is_whole``: all of it."""

    body: bytes
    is_whole: bool


def are_all_ok(events: Sequence[CapturedEvent], body: bytes) -> bool:
    """Whether the answer is written as the service writes it when it took every event, in whatever order.

    As nearly always: then comparing takes 0.06 µs an event, and 0.2 where the order is not that of the batch, where to
    decode the answer and look at each verdict takes 1.5 µs.
    """
    body = body.rstrip(_SPACE)
    ids = [event.data[UUID_AT] for event in events]
    if body.startswith(ids[0], len(_OPENING)) and body == _OPENING + _BETWEEN.join(ids) + _CLOSING:
        return True
    if not (body.startswith(_OPENING) and body.endswith(_CLOSING)):
        return False
    named = body[len(_OPENING) : -len(_CLOSING)].split(_BETWEEN)
    left = set(ids)
    left.difference_update(named)
    return len(named) == len(ids) and not left


class Results:
    """Reads answers with a 2xx.

    Args:
        key: The project key, which no detail repeats, in whatever form.
    """

    def __init__(self, key: str) -> None:
        self._telling = forms_of(key)

    def read(
        self,
        events: Sequence[CapturedEvent],
        body: bytes,
        complete: bool,
        *,
        coding: str | None,
        retry_after: float | None,
    ) -> Sequence[Verdict] | SinkError:
        """Say what the far end decided about each event.

        Of an answer that is longer than what is read of it, the verdicts that came whole count; the other events go
        again, under the same id, and the next answer is shorter.

        Args:
            events: Those of the batch.
            body: As received.
            complete: Whether that is all.
            coding: Content-Encoding, or ``None``. None was asked for; gzip and deflate are read nevertheless.
            retry_after: Seconds that the answer asks to wait before its events go again, or ``None``.
        """
        if not complete and len(body) < MAX_RESPONSE_BYTES:
            return TransientSinkError("the answer was cut off", retry_after=retry_after, reason="network")
        answer = _decoded(body, complete, coding)
        said = None if answer is None else _first_verdicts(*answer)
        if answer is None or said is None:
            return [_UNREADABLE] * len(events)
        unnamed = _UNNAMED if answer.is_whole else _TOO_LONG
        ids = [event.uuid for event in events]
        return [self._verdict(said[uuid], retry_after) if uuid in said else unnamed for uuid in ids]

    def _verdict(self, said: object, retry_after: float | None) -> Verdict:
        word = said.get("result") if isinstance(said, dict) else None
        details = said.get("details") if isinstance(said, dict) else None
        match word:
            case "ok" if details is None:
                return DELIVERED
            case "ok":
                return Verdict(OutcomeKind.DELIVERED, detail=self._words(details))
            case "warning":
                return Verdict(OutcomeKind.DELIVERED, "warning", detail=self._words(details))
            case "retry":
                words = None if details is None else self._words(word, details)
                return Verdict(OutcomeKind.RETRY, "retry", retry_after, words)
            case "drop" | "limited":
                return Verdict(OutcomeKind.DROPPED, DropReason.REJECTED, detail=self._words(word, details))
            case str():
                return Verdict(OutcomeKind.DROPPED, DropReason.UNKNOWN_VERDICT, detail=self._words(word, details))
        return Verdict(OutcomeKind.DROPPED, DropReason.UNKNOWN_VERDICT, detail="a verdict that cannot be read")

    def _words(self, *said: object) -> str | None:
        """The far end's words as something that can be shown: bounded, printable, and without the key."""
        words = [_WITHHELD if self._tells(text) else text for text in map(_text, said) if text]
        shown = ": ".join(words)[:MAX_DETAIL]
        return "".join(character if character.isprintable() else "?" for character in shown) or None

    def _tells(self, text: str) -> bool:
        return any(form in text for form in self._telling)


def _text(said: object) -> str:
    if said is None or isinstance(said, str):
        return said or ""
    try:
        return orjson.dumps(said).decode()
    except TypeError:  # too deep, or with a lone surrogate
        return ""


def _decoded(body: bytes, complete: bool, coding: str | None) -> _Answer | None:
    """Undo the content coding, as far as an answer may be long; ``None``: it cannot be undone."""
    coding = (coding or "identity").strip().lower()
    if coding == "identity":
        return _Answer(body, complete)
    if coding not in _INFLATED:
        return None
    inflater = zlib.decompressobj(_ZLIB_OR_GZIP)
    try:
        inflated = inflater.decompress(body, MAX_RESPONSE_BYTES + 1)
    except zlib.error:
        return None
    if len(inflated) > MAX_RESPONSE_BYTES:
        return _Answer(inflated[:MAX_RESPONSE_BYTES], False)
    if complete and not inflater.eof:
        return None
    return _Answer(inflated, inflater.eof)


def _first_verdicts(body: bytes, is_whole: bool) -> Mapping[str, Any] | None:  # Any: JSON
    """What an answer says of each id, the first where it says more; ``None``: it cannot be read.

    Members are decoded one after another, so that of an answer without its end those count that came whole.
    """
    found: dict[str, Any] = {}
    if is_whole:
        try:
            whole = orjson.loads(body)
        except ValueError:
            return None
        if not isinstance(whole, dict) or not isinstance(whole.get("results"), dict):
            return None
    text = body.decode(errors="replace")
    try:
        at = _past(_BEGIN, text, 0)
        while True:
            name, at = _decode(text, at)
            at = _past(_COLON, text, at)
            if name == "results":
                break
            _, at = _decode(text, at)
            at = _past(_NEXT, text, at)
        at = _past(_BEGIN, text, at)
        while True:
            uuid, at = _decode(text, at)
            at = _past(_COLON, text, at)
            verdict, at = _decode(text, at)
            at = _past(_NEXT, text, at)
            if isinstance(uuid, str):  # of a part of an answer nobody has said that it is JSON
                found.setdefault(uuid, verdict)
    except (ValueError, RecursionError):
        pass  # the end, or what does not belong there
    return found


def _past(mark: re.Pattern[str], text: str, at: int) -> int:
    match = mark.match(text, at)
    if match is None:
        raise ValueError
    return match.end()
