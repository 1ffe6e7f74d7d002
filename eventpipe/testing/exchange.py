"""What a scripted server answers, and what it was sent."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Literal, get_args

import orjson

Behaviour = Literal[
    "answer",
    "answer_then_close",
    "answer_early",
    "hang",
    "close",
    "reset",
    "garbage",
    "reset_body",
    "short_body",
    "stall_body",
    "drip",
    "drip_body",
]
UNANSWERED: frozenset[Behaviour] = frozenset({"hang", "close", "reset", "garbage"})

_NO_CONTENT = frozenset({204, 304})


@dataclass(frozen=True, slots=True)
class Reply:
    """What a scripted server does with one request, after it has read all of it unless said otherwise.

    Attributes:
        status: The status code.
        headers: Headers; one named Content-Length takes the place of the true one.
        body: The body, sent as it is.
        latency: Seconds before anything is sent.
        interval: Seconds between two bytes of a drip.
        behaviour: ``"answer"``: well. ``"answer_then_close"``: well, then closes without having said so.
            ``"answer_early"``: well, when it has read the head, and then reads no more. ``"hang"``: never.
            ``"close"``: closes without an answer. ``"reset"``: resets the connection without an answer.
            ``"garbage"``: something that is no HTTP, then closes. The others send the head, and of the body:
            ``"reset_body"``: half of it, then a reset; ``"short_body"``: half of it, then the end; ``"stall_body"``:
            half of it, then nothing; ``"drip_body"``: a byte at a time. ``"drip"``: all a byte at a time.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    latency: float = 0.0
    interval: float = 0.005
    behaviour: Behaviour = "answer"

    @classmethod
    def of(cls, short: Reply | int | Behaviour) -> Reply:
        """Read a reply, or the short form of one: a status or a behaviour.

        Raises:
            ValueError: It is none of them.
        """
        if isinstance(short, Reply):
            return short
        if isinstance(short, int):
            return cls(short)
        if short not in get_args(Behaviour):
            raise ValueError(f"a reply must be a Reply, a status or one of {get_args(Behaviour)}, not {short!r}")
        return cls(behaviour=short)

    @property
    def accepts(self) -> bool:
        """Whether the far end took the events: it answers 2xx, however the body fares."""
        return 200 <= self.status <= 299 and self.behaviour not in UNANSWERED

    @property
    def head(self) -> bytes:
        """The status line and the headers."""
        try:
            phrase = HTTPStatus(self.status).phrase
        except ValueError:
            phrase = "Unknown"
        headers = {name.lower(): value for name, value in self.headers.items()}
        if self.status not in _NO_CONTENT:
            headers.setdefault("content-length", str(len(self.body)))
        lines = [f"HTTP/1.1 {self.status} {phrase}", *(f"{name}: {value}" for name, value in headers.items())]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")


def gzip_bomb(mebibytes: int = 64, status: int = 200) -> Reply:
    """A reply whose body is small and inflates to many mebibytes of zeros."""
    packer = zlib.compressobj(9, wbits=31)
    body = b"".join(packer.compress(bytes(1 << 20)) for _ in range(mebibytes)) + packer.flush()
    return Reply(status, {"Content-Encoding": "gzip"}, body)


@dataclass(frozen=True, slots=True)
class Received:
    """One request that a scripted server read.

    Attributes:
        number: Counted from 1, in the order in which requests were read.
        connection: The connection it came on, counted from 1.
        at: When, on the loop clock.
        method: Such as ``POST``.
        path: With its query.
        headers: Names in lower case.
        raw: The body as it was sent.
        reply: What was, or was to be, answered.
    """

    number: int
    connection: int
    at: float
    method: str
    path: str
    headers: Mapping[str, str]
    raw: bytes
    reply: Reply

    @property
    def body(self) -> bytes:
        """The body, decompressed."""
        match self.headers.get("content-encoding"):
            case None | "identity":
                return self.raw
            case "gzip":
                return zlib.decompress(self.raw, wbits=31)
            case "deflate":
                return zlib.decompress(self.raw)
            case other:
                raise ValueError(f"cannot read content-encoding {other!r}")

    @property
    def json(self) -> Any:  # Any: JSON
        """The body, decompressed and decoded."""
        return orjson.loads(self.body)

    @property
    def events(self) -> list[dict[str, Any]]:  # Any: JSON
        """Its events in order, decoded: of an array, of lines, of ``batch`` or ``events``, or the object itself."""
        if "ndjson" in self.headers.get("content-type", ""):
            return [orjson.loads(line) for line in self.body.splitlines()]
        content = self.json
        if isinstance(content, dict):
            content = content.get("batch") or content.get("events") or [content]
        events: list[dict[str, Any]] = content
        return events

    @property
    def uuids(self) -> list[str]:
        """The ids of its events, in order."""
        return [event["uuid"] for event in self.events]
