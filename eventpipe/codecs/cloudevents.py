"""CloudEvents 1.0 over HTTP: a batch, or one event in a body or in headers and a body."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Literal, get_args
from urllib.parse import quote

import orjson

from eventpipe.checked import shown
from eventpipe.codecs.base import KIB, MAX_EVENT_BYTES, MIB, HttpCodec
from eventpipe.codecs.cloudevents_parts import (
    FAMILY,
    foreign_charset,
    from_base64,
    is_json_type,
    media_type,
    text_of,
    to_base64,
)
from eventpipe.codecs.cloudevents_written import Written, written
from eventpipe.codecs.envelope import split
from eventpipe.contracts import Request

if TYPE_CHECKING:
    from eventpipe.clock import Clock
    from eventpipe.events import Batch, CapturedEvent

Mode = Literal["batch", "structured", "binary"]

# Of encoded events. Attributes come on top, a source of 2 KiB for each event at most: for the events that a client puts
# into one batch unless it is told otherwise, the body stays below the 20 MiB that `read_cloudevents()` reads.
MAX_BATCH_BYTES: Final = 16 * MIB
# Of all attributes in headers, encoded: what common servers take in one header, and in all of them.
MAX_HEADER_BYTES: Final = 8 * KIB
MAX_HEADERS: Final = 64  # servers refuse a request with more than a hundred; some are those of sinks and proxies
MAX_SOURCE: Final = 2048  # characters

_BATCH: Final = {"Content-Type": f"{FAMILY}-batch+json; charset=UTF-8"}
_STRUCTURED: Final = {"Content-Type": f"{FAMILY}+json; charset=UTF-8"}
_NULL: Final = b"null"
_EMPTY: Final = b'""'
# A relative reference has no colon before its first slash; RFC 3986, section 4.2.
_URI_REFERENCE: Final = re.compile(
    r"(?:[A-Za-z][A-Za-z0-9+.-]*:|(?![^/?#]*:))(?:[A-Za-z0-9._~:/?\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*"
    r"(?:#(?:[A-Za-z0-9._~:/?@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)?"
)
# Printable ASCII but the space, the quote and the percent sign; HTTP binding 1.0.2, section 3.1.3.2.
_SAFE: Final = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')
_HEADER_VALUE: Final = re.compile(r"[!-~](?:[ -~]*[!-~])?")


class CloudEvents(HttpCodec):
    """Writes a batch as CloudEvents 1.0.

    The event's name is ``type``, its ``distinct_id`` is ``subject``, its ``uuid`` is ``id``, its properties are
    ``data``, its key is the extension ``partitionkey``, and a header whose name an attribute may have is an extension
    of that name. What none of them can say stands in the extension ``eventpipe``, so that ``read_cloudevents()`` makes
    the same event of it.

    Args:
        source: Who sends: a URI reference such as ``"/shop/checkout"``, the ``source`` of every event.
        mode: ``"batch"`` is one JSON array of events, ``"structured"`` one event as JSON, ``"binary"`` one event with
            its attributes in headers and its properties as the body. An event whose attributes do not fit in 64
            headers of 8 KiB together goes structured.
        max_event_bytes: Largest event, in encoded bytes. ``None`` means 900 KiB.
        max_batch_bytes: Encoded bytes of the events of a batch; in the body each has its ``source`` as well. ``None``
            means 16 MiB.
        clock: Reads the time that a date in Retry-After counts from. ``None`` means this machine's.

    Attributes:
        max_batch_events: 1, except in batch mode: ``None``, any number.

    Raises:
        ValueError: An option is wrong.
    """

    def __init__(
        self,
        source: str,
        *,
        mode: Mode = "batch",
        max_event_bytes: int | None = None,
        max_batch_bytes: int | None = None,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(
            max_event_bytes=MAX_EVENT_BYTES if max_event_bytes is None else max_event_bytes,
            max_batch_bytes=MAX_BATCH_BYTES if max_batch_bytes is None else max_batch_bytes,
            clock=clock,
        )
        if mode not in get_args(Mode):
            raise ValueError(f"mode must be one of 'batch', 'structured', 'binary', not {shown(mode)}")
        self._source = _checked_source(source)
        self._mode = mode
        self.max_batch_events = None if mode == "batch" else 1
        self._opening = (
            b'{"specversion":"1.0","source":' + orjson.dumps(source) + b',"datacontenttype":"application/json","id":"'
        )

    def request(self, batch: Batch, attempt: int, now: float) -> Request:
        """Write one attempt; all attempts are alike."""
        del attempt, now
        if self._mode == "batch":
            return Request("", _BATCH, b"[" + b",".join(map(self._json, batch.events)) + b"]")
        [event] = batch.events
        if self._mode == "binary":
            said = written(event, self._source, in_headers=True)
            headers, body = _headers(said), _body(said)
            if headers is not None and body is not None:
                return Request("", headers, body)
        return Request("", _STRUCTURED, self._json(event))

    def _json(self, event: CapturedEvent) -> bytes:
        extra = event.extra
        if extra is not None and (extra.key is not None or extra.headers):
            return written(event, self._source).json
        envelope = split(event)
        if envelope.distinct_id == _EMPTY:
            return written(event, self._source).json
        parts = [self._opening, envelope.uuid, b'","time":"', envelope.timestamp, b'","type":', envelope.event]
        if envelope.distinct_id != _NULL:
            parts += [b',"subject":', envelope.distinct_id]
        parts += [b',"data":{', envelope.members, b"}}"]
        return b"".join(parts)

    def __repr__(self) -> str:
        return f"CloudEvents({self._source!r}, mode={self._mode!r})"


def _checked_source(source: object) -> str:
    if not isinstance(source, str) or not 0 < len(source) <= MAX_SOURCE or not _URI_REFERENCE.fullmatch(source):
        raise ValueError(
            f"source must be a URI reference of 1 to {MAX_SOURCE} characters, such as '/shop/checkout', "
            f"not {shown(source)}"
        )
    return source


def _headers(said: Written) -> dict[str, str] | None:
    """The headers of binary mode; ``None`` where they cannot be sent."""
    attributes = dict(said.attributes)
    content_type = attributes.pop("datacontenttype", None)
    headers = {f"ce-{name}": quote(text_of(value), safe=_SAFE) for name, value in attributes.items()}
    if content_type is not None:
        headers["Content-Type"] = str(content_type)
        if not _HEADER_VALUE.fullmatch(headers["Content-Type"]) or media_type(str(content_type)).startswith(FAMILY):
            return None
    size = sum(len(name) + len(value) + len(": \r\n") for name, value in headers.items())
    return headers if len(headers) <= MAX_HEADERS and size <= MAX_HEADER_BYTES else None


def _body(said: Written) -> bytes | None:
    """The body of binary mode; ``None`` where a reader would take it for data of another kind."""
    if said.kind in ("object", "json", "none"):
        return said.data
    text: str = orjson.loads(said.data)
    content_type = str(said.attributes.get("datacontenttype", ""))
    is_utf_8 = foreign_charset(content_type) is None
    if said.kind == "text":
        return (text.encode() or None) if is_utf_8 else None
    body = from_base64(text) or b""
    if is_json_type(content_type) or to_base64(body) != text or not body:
        return None
    if not is_utf_8:
        return body
    try:
        body.decode()
    except UnicodeDecodeError:
        return body
    return None
