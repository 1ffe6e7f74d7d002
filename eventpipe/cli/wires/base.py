"""What the wires of a collector share: a request as it was asked, the answer to give, and how one is refused."""

from __future__ import annotations

import datetime
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

Event = dict[str, Any]  # Any: JSON

Judge = Callable[[], str]
"""Gives the verdict on the next event: ``"ok"`` unless another was asked for."""

MAX_WIRE_BYTES = 20 * 1024 * 1024  # PostHog's limit for a body as it travels
MAX_BODY_BYTES = 50 * 1024 * 1024  # and for one inflated

# Values of JSON, told by what stands before, between and around them; commas in texts count as well. 20 MiB of events
# of 432 bytes have half as many. Two bytes of JSON may take 64 of memory: 50 MiB of them take 1.6 GiB, and seconds.
MAX_VALUES = 2_000_000

CODINGS = frozenset({"gzip", "deflate", "br", "zstd"})

OK = "ok"
TAKEN = frozenset({OK, "warning"})  # verdicts that mean that the event was taken
_JSON = "application/json"


class RefusedError(Exception):
    """A request that gets an error status.

    Attributes:
        status: The status to answer with.
        detail: Why, for whoever sent it.
        code: The same as one word, for formats that have one. ``None``: by the status.
    """

    def __init__(self, status: int, detail: str, code: str | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.code = code


@dataclass(frozen=True, slots=True)
class Asked:
    """The head of a request.

    Attributes:
        path: The path, without a slash at the end.
        content_type: The media type, without parameters, in lower case.
        headers: By name in any case.
        query: The parameters of the URL.
    """

    path: str
    content_type: str
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)

    @property
    def encoding(self) -> str:
        """The content encoding, which PostHog's browsers name in the query."""
        named = self.headers.get("Content-Encoding", "").strip().lower()
        return "gzip" if not named and self.query.get("compression") in ("gzip", "gzip-js") else named


@dataclass(frozen=True, slots=True)
class Answer:
    """What a sender is told.

    Attributes:
        status: The status.
        body: The body.
        content_type: Its media type.
        headers: Headers beside that.
    """

    status: int
    body: bytes
    content_type: str = _JSON
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, status: int, value: object, headers: Mapping[str, str] | None = None) -> Answer:
        """An answer in JSON."""
        return cls(status, orjson.dumps(value), headers=headers or {})


@dataclass(frozen=True, slots=True)
class Taken:
    """What a request brought.

    Attributes:
        format: The name of its format, by which events are counted.
        events: The events to keep, in our own form.
        answer: What its sender is told.
    """

    format: str
    events: Sequence[Event]
    answer: Answer


class Wire(ABC):
    """One wire format: which requests are its own, what events they hold, how they are answered.

    Attributes:
        max_wire_bytes: Bytes that a body may have as it travels.
        max_body_bytes: Bytes that it may have inflated.
        codings: The content encodings that are read.
    """

    max_wire_bytes = MAX_WIRE_BYTES
    max_body_bytes = MAX_BODY_BYTES
    codings = CODINGS

    @abstractmethod
    def claims(self, asked: Asked) -> bool:
        """Whether a request is of this format."""

    def check(self, asked: Asked) -> None:  # noqa: B027 - most formats have nothing to look at
        """Look at the head of a request before its body is inflated.

        Raises:
            RefusedError: It is refused whatever its body.
        """

    @abstractmethod
    def read(self, asked: Asked, body: bytes, judge: Judge) -> Taken:
        """Read the events of a request.

        Args:
            asked: The head of the request.
            body: Its inflated body.
            judge: Asked once for each event by formats that answer for each.

        Raises:
            RefusedError: The request is refused as a whole; none of its events counts.
        """

    def refuse(self, asked: Asked, error: RefusedError) -> Answer:
        """Say no in the words of the format."""
        del asked
        return Answer.of(error.status, {"error": error.detail})


def accepted(number: int) -> Answer:
    """The answer of formats that have none of their own."""
    return Answer.of(200, {"status": "ok", "accepted": number})


def check_values(data: bytes, what: str) -> None:
    """Look at JSON before it is read.

    Raises:
        RefusedError: 413, it has more values than anybody sends.
    """
    if len(data) > MAX_VALUES and sum(map(data.count, (b"{", b"[", b","))) > MAX_VALUES:
        raise RefusedError(413, f"{what} holds more than {MAX_VALUES} values")


def decode(data: bytes, what: str) -> Any:  # Any: JSON
    """Read JSON.

    Raises:
        RefusedError: 413, it has more values than anybody sends; 400, it is none, or nested too deeply.
    """
    check_values(data, what)
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise RefusedError(400, f"{what} is not JSON: {error}") from error


def own_form(
    name: str,
    distinct_id: str | None,
    properties: Event,
    *,
    uuid: str | None = None,
    timestamp: str | None = None,
    key: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Event:
    """An event in our own form, as ``eventpipe send`` reads it; what is not known is left out."""
    parts = {
        "uuid": uuid,
        "event": name,
        "distinct_id": distinct_id,
        "timestamp": timestamp,
        "properties": properties,
        "key": key,
        "headers": headers or None,
    }
    return {part: value for part, value in parts.items() if value is not None or part == "distinct_id"}


def rfc3339(moment: datetime.datetime) -> str:
    """A moment in UTC as our own form has it."""
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def text_or_none(value: object) -> str | None:
    """A text that is one; ``None`` for any other value."""
    return value if isinstance(value, str) else None


def headers_or_none(value: object) -> dict[str, str] | None:
    """What can be an event's headers, texts by name; ``None`` for any other value."""
    is_sound = isinstance(value, dict) and all(isinstance(part, str) for part in value.values())
    return value if is_sound else None  # type: ignore[return-value]  # just looked at


def check_each(events: Sequence[Any], fault_of: Callable[[Any], str | None]) -> None:  # Any: JSON
    """Look at each event.

    Raises:
        RefusedError: 400, naming the first with a fault.
    """
    for index, event in enumerate(events):
        if fault := fault_of(event):
            raise RefusedError(400, f"event {index} {fault}")


def named_fault(event: Any) -> str | None:  # Any: JSON
    """What is wrong with an event that should be an object with a name; ``None``: nothing."""
    if not isinstance(event, dict):
        return "is not an object"
    if not isinstance(event.get("event"), str) or not event["event"]:
        return "has no event name"
    return None
