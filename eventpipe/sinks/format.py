"""A codec as a sink uses it: which coding a lane gets, and what it means when the codec itself fails."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from eventpipe.codecs.compression import check_compression
from eventpipe.contracts import Request
from eventpipe.errors import PermanentSinkError, SinkError, TransientSinkError
from eventpipe.outcomes import Verdict
from eventpipe.sinks.urls import join_url

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from eventpipe.codecs.compression import Compression
    from eventpipe.contracts import Codec
    from eventpipe.events import Batch

_USUAL: Compression = "gzip"  # what nearly every far end reads
_MAX_URLS = 16  # a codec has an address or two; one that makes up addresses for each attempt only loses time


class Format:
    """Asks a codec for requests and for what answers mean.

    A codec is pure, so that what it cannot write twice it never can: the batch is bisected to find the event that is to
    blame. An answer that it cannot read is none. What it raises may show an event or a key, and goes no further.

    Args:
        codec: The wire format.
        url: The address that its own are joined to.
        compression: What bodies are compressed by, where the far end reads that. ``None`` means nothing.

    Raises:
        ValueError: The far end does not read ``compression``; gzip, the default, then means nothing.
    """

    def __init__(self, codec: Codec, url: str, compression: Compression | None) -> None:
        check_compression("compression", compression)
        self._codec = codec
        self._codings = _codings(codec, compression)
        self._url = url
        self._urls = {"": url}

    def coding(self, lane: str | None) -> Compression | None:
        """What compresses bodies of a lane; ``None``: nothing."""
        return self._codings.get(lane, self._codings[None])

    def request(self, batch: Batch, now: float) -> Request:
        """Have one attempt written.

        Raises:
            TransientSinkError: The codec failed for the first time, for want of memory perhaps.
            PermanentSinkError: It failed again, or returned something else.
        """
        error: SinkError
        try:
            request: object = self._codec.request(batch, max(batch.attempt, 1), now)
        except SinkError:
            raise
        except Exception as exc:  # noqa: BLE001 - whatever a codec kept elsewhere raises
            message = f"the codec could not write the batch: {_place(exc)}"
            is_first = batch.attempt <= 1
            error = TransientSinkError(message) if is_first else PermanentSinkError(message, scope="event")
        else:
            if isinstance(request, Request) and isinstance(request.body, bytes | bytearray | memoryview):
                return request
            found = f"one of {_kind(request.body)}" if isinstance(request, Request) else _kind(request)
            message = f"the codec must return a Request with a body of bytes, not {found}"
            error = PermanentSinkError(message, scope="sink")
        raise error

    def url(self, relative: str) -> str:
        """Put a codec's URL after the sink's.

        Raises:
            PermanentSinkError: It leads elsewhere or cannot be sent.
        """
        url = self._urls.get(relative)
        if url is None:
            try:
                url = join_url(self._url, relative)
            except ValueError as exc:
                raise PermanentSinkError(str(exc), scope="sink") from None
            if len(self._urls) == _MAX_URLS:
                self._urls.clear()
            self._urls[relative] = url
        return url

    def response(
        self, batch: Batch, status: int, headers: Mapping[str, str], body: bytes, *, is_complete: bool
    ) -> Sequence[Verdict] | None:
        """Have an answer read.

        Raises:
            SinkError: What the codec makes of it.
            TransientSinkError: The codec failed.
        """
        try:
            read: object = self._codec.response(batch, status, headers, body, is_complete)
        except SinkError:
            raise
        except Exception as exc:  # noqa: BLE001 - whatever a codec kept elsewhere raises
            read = TransientSinkError(f"the codec could not read the answer: {_place(exc)}", status=status)
        if isinstance(read, SinkError):
            raise read
        if read is None or (isinstance(read, Sequence) and all(isinstance(verdict, Verdict) for verdict in read)):
            return read
        raise TransientSinkError(
            f"the codec must return None, a sequence of verdicts or an error, not {_kind(read)}", status=status
        )


def _codings(codec: Codec, compression: Compression | None) -> Mapping[str | None, Compression | None]:
    """What compresses bodies, by lane; that of ``None`` is for all that are not named."""
    known: Mapping[str | None, Collection[str]] | None = getattr(codec, "compressions", None)
    if compression is None or known is None:
        return {None: compression}
    usual = known.get(None, {compression})  # a codec that names lanes only says nothing of the others
    if compression != _USUAL and compression not in usual:
        names = ", ".join(map(repr, sorted(usual))) or "none"
        raise ValueError(f"compression must be one that the far end reads ({names}) or None, not {compression!r}")
    return {
        lane: compression if compression in codings else _USUAL if _USUAL in codings else None
        for lane, codings in {**known, None: usual}.items()
    }


def _kind(value: object) -> str:
    """What a codec returned, without what is in it."""
    others = {type(part).__name__ for part in value} if isinstance(value, list | tuple) else ()
    return f"{type(value).__name__} of {', '.join(sorted(others))}" if others else type(value).__name__


def _place(exc: Exception) -> str:
    """Where an exception comes from: what it says may be an event, a key or what the far end sent."""
    trace = exc.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    at = f" at {Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace is not None else ""
    return f"{type(exc).__name__}{at}"
