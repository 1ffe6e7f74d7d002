"""OTLP/HTTP logs: ``POST {endpoint}/v1/logs``, in protobuf or in JSON."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, Literal, get_args
from urllib.parse import urlsplit

import orjson

from eventpipe.checked import shown
from eventpipe.codecs.base import MAX_EVENT_BYTES, MIB, HttpCodec, library_version
from eventpipe.codecs.otlp_records import Attributes, Record, Spelling, record
from eventpipe.contracts import Request
from eventpipe.outcomes import DELIVERED, DropReason, OutcomeKind, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from eventpipe.clock import Clock
    from eventpipe.errors import SinkError
    from eventpipe.events import Batch

Encoding = Literal["protobuf", "json"]

# Of encoded events. Collectors read bodies of 20 MiB over HTTP unless told otherwise, and JSON grows fourfold in OTLP.
MAX_BATCH_BYTES: Final = 4 * MIB
# A record of 432 bytes takes 14 µs to write in protobuf and 11 in JSON, thirty times as much as other formats take, and
# the loop waits for a whole request: with 500 it would for 7 ms.
MAX_BATCH_EVENTS: Final = 100
MAX_DETAIL: Final = 200  # characters of the far end's words that are kept

_PATH: Final = "/v1/logs"
_SCOPE: Final = "eventpipe"
_CONTENT_TYPES: Final[dict[Encoding, str]] = {"protobuf": "application/x-protobuf", "json": "application/json"}
_COUNT: Final = re.compile(r"-?\d{1,19}", re.ASCII)


class OtlpLogs(HttpCodec):
    """Writes a batch as OpenTelemetry logs, one log record per event.

    The event's name is ``event_name`` and the body, its properties are attributes beside ``log.record.uid`` and
    ``user.id``, and a ``traceparent`` among its headers makes the trace and span ids. ``docs/codecs.md`` says how
    everything travels, and how it is read back.

    A far end that rejects some of a batch says how many, and not which: as many events at the end of the batch are
    dropped as rejected, and never sent again. What cannot be read in an answer of 2xx changes nothing.

    Args:
        encoding: ``"protobuf"`` needs the extra ``otlp``; ``"json"`` needs nothing.
        resource: What the events come from: attributes such as ``service.name``, ``deployment.environment.name``.
            ``None``, or without a name of the service, means ``unknown_service``.
        scope_name: The instrumentation scope. ``None`` means eventpipe with its version.
        max_event_bytes: Largest event, in encoded bytes. ``None`` means 900 KiB.
        max_batch_bytes: Encoded bytes of the events of a batch. ``None`` means 4 MiB.
        clock: Reads the time that a date in Retry-After counts from. ``None`` means this machine's.

    Attributes:
        compressions: ``gzip`` and no other.
        max_batch_events: 100, whatever the client's option: no request holds up the loop for long.

    Raises:
        ValueError: An option is wrong.
        ImportError: The extra is missing.
    """

    def __init__(
        self,
        *,
        encoding: Encoding = "protobuf",
        resource: Mapping[str, Any] | None = None,  # Any: text, numbers, booleans, lists and mappings of these
        scope_name: str | None = None,
        max_event_bytes: int | None = None,
        max_batch_bytes: int | None = None,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(
            max_event_bytes=MAX_EVENT_BYTES if max_event_bytes is None else max_event_bytes,
            max_batch_bytes=MAX_BATCH_BYTES if max_batch_bytes is None else max_batch_bytes,
            clock=clock,
        )
        if encoding not in get_args(Encoding):
            raise ValueError(f"encoding must be 'protobuf' or 'json', not {shown(encoding)}")
        self.compressions: Mapping[str | None, frozenset[str]] = {None: frozenset({"gzip"})}
        self.max_batch_events = MAX_BATCH_EVENTS
        self._encoding = encoding
        self._headers = {"Content-Type": _CONTENT_TYPES[encoding]}
        self._spelling = Spelling(is_json=encoding == "json")
        self._resource = {"attributes": _resource(resource, self._spelling)}
        self._scope = _scope(scope_name)
        self._messages = _messages() if encoding == "protobuf" else None

    def base_url(self, url: str) -> str:
        """Turn the sink's URL into the one that takes logs: ``/v1/logs`` is put after it where it is not its end."""
        split = urlsplit(url)
        path = split.path.rstrip("/")
        return split._replace(path=path if path.endswith(_PATH) else path + _PATH).geturl()

    def request(self, batch: Batch, attempt: int, now: float) -> Request:
        """Write one attempt; all attempts are alike."""
        del attempt, now
        fields = self._spelling.fields
        records = [record(event, batch.created_at, self._spelling) for event in batch.events]
        scoped = fields(scope=self._scope, log_records=records)
        whole = fields(resource_logs=[fields(resource=self._resource, scope_logs=[scoped])])
        if self._messages:
            return Request("", self._headers, self._messages.request(**whole).SerializeToString())
        return Request("", self._headers, orjson.dumps(whole))

    def response(
        self, batch: Batch, status: int, headers: Mapping[str, str], body: bytes, complete: bool
    ) -> Sequence[Verdict] | SinkError | None:
        """Read the answer: by its status, and for 2xx how many events were rejected.

        Nothing in a 2xx leads to another attempt: it would send the events again that were accepted.
        """
        error = super().response(batch, status, headers, body, complete)
        if error is not None or not complete or not body:
            return error
        partial = self._partial(headers, body)
        if partial is None:
            return None
        rejected, message = partial
        count = len(batch.events)
        rejected = min(max(rejected, 0), count)
        if not rejected:
            return [Verdict(OutcomeKind.DELIVERED, "warning", detail=message)] * count if message else None
        detail = f"the far end rejected {rejected} of {count} events and does not say which"
        dropped = Verdict(
            OutcomeKind.DROPPED, DropReason.REJECTED, detail=f"{detail}: {message}" if message else detail
        )
        return [DELIVERED] * (count - rejected) + [dropped] * rejected

    def _partial(self, headers: Mapping[str, str], body: bytes) -> tuple[int, str] | None:
        """How many events were rejected, and what the far end has to say; ``None`` where that cannot be read."""
        if headers.get("content-encoding", "identity") != "identity":
            return None
        kind = headers.get("content-type", self._headers["Content-Type"]).partition(";")[0].strip().lower()
        if kind == _CONTENT_TYPES["json"]:
            return _partial_json(body)
        if kind == _CONTENT_TYPES["protobuf"] and self._messages:
            try:
                found = self._messages.response.FromString(body).partial_success
            except self._messages.error:
                return None
            return found.rejected_log_records, _words(found.error_message)
        return None

    def __repr__(self) -> str:
        return f"OtlpLogs(encoding={self._encoding!r})"


class _Messages:
    """What of protobuf is needed; imported when a codec is made, because only that needs the extra."""

    def __init__(self, request: Any, response: Any, error: type[Exception]) -> None:  # Any: generated classes
        self.request = request
        self.response = response
        self.error = error


def _messages() -> _Messages:
    try:
        from google.protobuf.message import DecodeError
        from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
            ExportLogsServiceRequest,
            ExportLogsServiceResponse,
        )
    except ImportError as error:
        raise ImportError(
            "OtlpLogs needs opentelemetry-proto: pip install 'eventpipe[otlp]', or pass encoding='json'"
        ) from error
    return _Messages(ExportLogsServiceRequest, ExportLogsServiceResponse, DecodeError)


def _scope(name: object) -> Record:
    if name is None:
        return {"name": _SCOPE, "version": library_version()}
    if not isinstance(name, str) or not name or not _is_unicode(name):
        raise ValueError(f"scope_name must be a text that is not empty, or None, not {shown(name)}")
    return {"name": name}


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _resource(resource: object, spelling: Spelling) -> list[Record]:
    try:
        # As what is decoded of an event; values may be secrets, and no message shows one.
        given: dict[str, Any] = orjson.loads(orjson.dumps(dict(resource or {})))  # type: ignore[call-overload]
    except (TypeError, ValueError):
        raise ValueError("resource must be a mapping of names to text, numbers, booleans, lists or mappings") from None
    attributes = Attributes(spelling)
    for name, value in {"service.name": "unknown_service", **given}.items():
        if not name:
            raise ValueError("resource must have names that are not empty")
        if value is None or not attributes.add(name, value):
            raise ValueError(
                f"resource[{shown(name)}] must be a value that an attribute can have, not {type(value).__name__}"
            )
    return attributes.written


def _partial_json(body: bytes) -> tuple[int, str] | None:
    try:
        found = _field(orjson.loads(body), "partial_success", "partialSuccess")
        rejected = _field(found, "rejected_log_records", "rejectedLogRecords")
        message = _field(found, "error_message", "errorMessage")
    except (orjson.JSONDecodeError, TypeError):
        return None
    rejected, message = 0 if rejected is None else rejected, "" if message is None else message
    is_count = isinstance(rejected, float) and rejected.is_integer()
    if is_count or (isinstance(rejected, str) and _COUNT.fullmatch(rejected)):
        rejected = int(rejected)
    if type(rejected) is not int or not isinstance(message, str):
        return None
    return rejected, _words(message)


def _field(message: object, declared: str, name: str) -> Any:  # Any: JSON
    """A field under its name in JSON, or the one that it is declared by; ``None`` where it is not there, or null.

    Raises:
        TypeError: ``message`` is none.

    Source:
        ProtoJSON format: parsers accept both names, and null for the default.
    """
    if not isinstance(message, dict):
        raise TypeError
    found = message.get(name)
    return message.get(declared) if found is None else found


def _words(message: str) -> str:
    """The far end's words as something that can be shown."""
    return "".join(character if character.isprintable() else " " for character in message[:MAX_DETAIL]).strip()
