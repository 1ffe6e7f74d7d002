"""OTLP/HTTP logs: ``POST …/v1/logs`` in protobuf or JSON, answered in the same encoding."""

from __future__ import annotations

from typing import Any

from eventpipe.cli.wires.base import TAKEN, Answer, Asked, Judge, RefusedError, Taken, Wire, decode
from eventpipe.cli.wires.otlp_count import MAX_MESSAGES, count_messages
from eventpipe.cli.wires.otlp_records import Record, read_records

PROTOBUF = "application/x-protobuf"
JSON = "application/json"
_PATH = "/v1/logs"
_REJECTED = "rejected on purpose"

# From an HTTP status to the code of google.rpc.Status; what is not here is UNKNOWN.
_CODES = {400: 3, 401: 16, 403: 7, 404: 5, 408: 4, 413: 8, 415: 3, 429: 8, 500: 13, 501: 12, 502: 14, 503: 14, 504: 4}
_UNKNOWN = 2


class OtlpWire(Wire):
    """``ExportLogsServiceRequest`` in, ``ExportLogsServiceResponse`` out; an error is a ``google.rpc.Status``."""

    def claims(self, asked: Asked) -> bool:
        """By the end of the path."""
        return asked.path.endswith(_PATH)

    def read(self, asked: Asked, body: bytes, judge: Judge) -> Taken:
        """Read the log records of a request; those with a verdict that is not ``ok`` are rejected, by their number."""
        match asked.content_type:
            case "application/x-protobuf":
                records = read_records(_unpacked(body), is_json=False)
            case "application/json":
                records = read_records(decode(body, "the body"), is_json=True)
            case other:
                raise RefusedError(415, f"content type {other[:80]!r} is not supported; send {PROTOBUF} or {JSON}")
        events = [event for event in records if judge() in TAKEN]
        is_json = asked.content_type == JSON
        answer = _partial(is_json, len(records) - len(events))
        return Taken("otlp-json" if is_json else "otlp", events, answer)

    def refuse(self, asked: Asked, error: RefusedError) -> Answer:
        """Say no in the encoding of the request."""
        code = _CODES.get(error.status, _UNKNOWN)
        if asked.content_type == PROTOBUF:
            return Answer(error.status, _number(1, code) + _text(2, error.detail), PROTOBUF)
        return Answer.of(error.status, {"code": code, "message": error.detail})


def _partial(is_json: bool, rejected: int) -> Answer:
    if is_json:
        partial = {"rejectedLogRecords": str(rejected), "errorMessage": _REJECTED}
        return Answer.of(200, {"partialSuccess": partial} if rejected else {})
    inner = _number(1, rejected) + _text(2, _REJECTED)
    return Answer(200, _field(1, inner) if rejected else b"", PROTOBUF)


def _unpacked(body: bytes) -> Record:
    """A request in protobuf as OTLP's JSON would have it, except that ids are in base64."""
    try:
        from google.protobuf.json_format import MessageToDict
        from google.protobuf.message import DecodeError
        from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
    except ImportError as error:
        needed = "protobuf needs pip install 'eventpipe[otlp]' where the collector runs; or send JSON"
        raise RefusedError(415, needed) from error
    if count_messages(body, MAX_MESSAGES) is None:
        raise RefusedError(413, f"the request holds more than {MAX_MESSAGES} messages")
    try:
        message = ExportLogsServiceRequest.FromString(body)
    except DecodeError as error:
        raise RefusedError(400, "the body is no ExportLogsServiceRequest") from error
    found: dict[str, Any] = MessageToDict(message, use_integers_for_enums=True)
    return found


# Answers are so small that they are written by hand, as protobuf's encoding says: the number of a field with the kind
# of its value, and then the value, or its length and the value.


def _varint(value: int) -> bytes:
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _text(field: int, value: str) -> bytes:
    return _field(field, value.encode(errors="replace"))


def _field(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value
