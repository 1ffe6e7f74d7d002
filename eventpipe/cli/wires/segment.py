"""Segment's tracking API, with the paths of RudderStack and Jitsu, which speak it too."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from eventpipe.cli.wires.base import (
    Answer,
    Asked,
    Event,
    Judge,
    RefusedError,
    Taken,
    Wire,
    decode,
    own_form,
    text_or_none,
)
from eventpipe.vocabulary import (
    ALIAS,
    ALIAS_ID,
    ANONYMOUS_ID,
    GROUP,
    GROUP_KEY,
    GROUP_TRAITS,
    IDENTIFY,
    PAGE,
    SCREEN,
    SCREEN_NAME,
    TRAITS,
)

MAX_MESSAGE_BYTES = 32 * 1024
MAX_BATCH_BYTES = 500_000

_ROOTS = ("/v1", "/api/s/s2s", "/api/s")  # the last two are Jitsu's
_BATCHES = frozenset({"batch", "import"})
_OWN_LIBRARY = "eventpipe"


def _track(message: Event, properties: Event) -> str:
    del properties
    name = message.get("event")
    if not isinstance(name, str) or not name:
        raise _BadError("has no event name")
    return name


def _identify(message: Event, properties: Event) -> str:
    _move(message, "traits", properties, TRAITS)
    return IDENTIFY


def _group(message: Event, properties: Event) -> str:
    if _text(message.get("groupId")) is None:
        raise _BadError("has no groupId")
    properties[GROUP_KEY] = _text(message["groupId"])
    _move(message, "traits", properties, GROUP_TRAITS)
    return GROUP


def _alias(message: Event, properties: Event) -> str:
    if _text(message.get("previousId")) is None or _text(message.get("userId")) is None:
        raise _BadError("has no previousId or no userId")
    properties[ALIAS_ID] = _text(message["userId"])
    return ALIAS


def _page(message: Event, properties: Event) -> str:
    _move(message, "name", properties, "name")
    _move(message, "category", properties, "category")
    return PAGE


def _screen(message: Event, properties: Event) -> str:
    _move(message, "name", properties, SCREEN_NAME)
    _move(message, "category", properties, "category")
    return SCREEN


# Each gives the event's name, and puts into its properties what the message has outside of them.
_CALLS: Mapping[str, Callable[[Event, Event], str]] = {
    "track": _track,
    "identify": _identify,
    "group": _group,
    "alias": _alias,
    "page": _page,
    "screen": _screen,
}


class SegmentWire(Wire):
    """``{"batch": [...]}``, or one message at the path of its call."""

    codings = frozenset({"gzip"})

    def claims(self, asked: Asked) -> bool:
        """By the path."""
        return _call_of(asked.path) is not None

    def check(self, asked: Asked) -> None:
        """Look for the write key."""
        scheme, _, credentials = asked.headers.get("Authorization", "").partition(" ")
        has_key = scheme.lower() == "basic" and bool(_user(credentials))
        if not has_key and not asked.headers.get("X-Write-Key"):  # that one is Jitsu's
            raise RefusedError(401, "the request has no write key", "unauthorized")

    def read(self, asked: Asked, body: bytes, judge: Judge) -> Taken:
        """Read the messages of a request."""
        del judge
        if len(body) > MAX_BATCH_BYTES:
            raise RefusedError(400, f"the body is larger than {MAX_BATCH_BYTES} bytes", "too_large")
        value = decode(body, "the body")
        call = _call_of(asked.path)
        if call in _BATCHES:
            messages = value.get("batch") if isinstance(value, dict) else None
            if not isinstance(messages, list):
                raise RefusedError(400, "expected an object with a batch, an array of messages")
            events = [_own(index, message, None) for index, message in enumerate(messages)]
        else:
            events = [_own(0, value, call)]
        return Taken("segment", events, Answer.of(200, {"success": True}))

    def refuse(self, asked: Asked, error: RefusedError) -> Answer:
        """Say no with a ``code`` and a ``message``, which Segment's clients report."""
        del asked
        refusal = {"success": False, "code": error.code or "invalid_request", "message": error.detail}
        return Answer.of(error.status, refusal)


class _BadError(Exception):
    """What is wrong with one message."""


def _call_of(path: str) -> str | None:
    root, _, call = path.rpartition("/")
    return call if root in _ROOTS and (call in _CALLS or call in _BATCHES) else None


def _user(credentials: str) -> bytes:
    try:
        return base64.b64decode(credentials.strip(), validate=True).partition(b":")[0]
    except (binascii.Error, ValueError):
        return b""


def _own(index: int, message: Any, kind: str | None) -> Event:  # Any: JSON
    """A message in our own form.

    Raises:
        RefusedError: 400, it is not one.
    """
    try:
        _check(message)
        kind = message.get("type") if kind is None else kind
        if not isinstance(kind, str) or kind not in _CALLS:
            raise _BadError("has no type that is known")
        properties: Event = dict(message.get("properties") or {})
        name = _CALLS[kind](message, properties)
        distinct_id = _who(message, properties, kind)
    except _BadError as error:
        raise RefusedError(400, f"message {index} {error}") from None
    _move_context(message, properties)
    _move(message, "integrations", properties, "$integrations")
    stamp = message.get("timestamp") or message.get("originalTimestamp")
    return own_form(name, distinct_id, properties, uuid=message.get("messageId") or None, timestamp=text_or_none(stamp))


def _check(message: Any) -> None:  # Any: JSON
    if not isinstance(message, dict):
        raise _BadError("is not an object")
    for name in ("properties", "traits", "context", "integrations"):
        if not isinstance(message.get(name), dict | None):
            raise _BadError(f"has {name} that is no object")
    if not isinstance(message.get("messageId"), str | None):
        raise _BadError("has a messageId that is no text")
    try:
        length = len(orjson.dumps(message))
    except orjson.JSONEncodeError:  # read at a depth that it cannot be written at
        raise _BadError("is nested too deeply") from None
    if length > MAX_MESSAGE_BYTES:
        raise _BadError(f"is larger than {MAX_MESSAGE_BYTES} bytes")


def _who(message: Event, properties: Event, kind: str) -> str | None:
    """Whom a message is about; an anonymous id that is the message's own was made up for nobody in particular."""
    user, anonymous = _text(message.get("userId")), _text(message.get("anonymousId"))
    if user is None and anonymous is None:
        raise _BadError("has no userId and no anonymousId")
    if anonymous is not None and (user is not None or anonymous != message.get("messageId")):
        properties[ANONYMOUS_ID] = anonymous
    return _text(message["previousId"]) if kind == "alias" else user


def _text(value: object) -> str | None:
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return str(value) if is_number or (isinstance(value, str) and value) else None


def _move(message: Event, member: str, properties: Event, name: str) -> None:
    if message.get(member):
        properties[name] = message[member]


def _move_context(message: Event, properties: Event) -> None:
    """Keep what a sender says of itself, beside that it is this library, which it would say again."""
    context = dict(message.get("context") or {})
    library = context.get("library")
    if isinstance(library, dict) and library.get("name") == _OWN_LIBRARY:
        del context["library"]
    if context:
        properties["$context"] = context
