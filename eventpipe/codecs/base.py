"""What the wire formats share: one status policy, limits and their checks, and the bytes of whole events."""

from __future__ import annotations

from functools import cache
from http import HTTPStatus
from typing import TYPE_CHECKING, NoReturn

import orjson

from eventpipe.clock import Clock
from eventpipe.core.retry import is_retryable_status, parse_http_date, parse_retry_after
from eventpipe.errors import PermanentSinkError, TransientSinkError
from eventpipe.events import CLOSING
from eventpipe.outcomes import DropReason

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from eventpipe.errors import SinkError
    from eventpipe.events import Batch, CapturedEvent
    from eventpipe.outcomes import Verdict

KIB = 1024
MIB = 1024 * KIB

# Precedents, per event: PostHog 900 KiB, Segment 32 KiB. What is larger is commonly refused together with its batch.
MAX_EVENT_BYTES = 900 * KIB

# As much of an answer as is read. A far end that answers for each event of a batch of thousands stays below; one that
# never stops costs itself only.
MAX_RESPONSE_BYTES = 64 * KIB

_TOO_LARGE = 413
_ONE_IS_TO_BLAME = frozenset({400, 422})
_UNAUTHORIZED = frozenset({401, 402, 403})
_MISCONFIGURED = frozenset({404, 405, 410, 415}) | frozenset(range(300, 400))


class HttpCodec:
    """The parts of a codec that do not depend on the format of its events.

    Attributes:
        lifted: Property names wanted outside the properties.
        max_event_bytes: Largest event, in encoded bytes.
        max_batch_bytes: Largest body, in bytes before compression, that a batch should make.
        has_lanes: Whether ``lane()`` can name one; where it cannot, a sink need not ask for each event.
    """

    def __init__(self, *, max_event_bytes: int, max_batch_bytes: int, clock: Clock | None = None) -> None:
        check_bytes("max_event_bytes", max_event_bytes)
        check_bytes("max_batch_bytes", max_batch_bytes)
        self.lifted: frozenset[str] = frozenset()
        self.max_event_bytes = max_event_bytes
        self.max_batch_bytes = max_batch_bytes
        self.has_lanes = False
        self._clock = clock or Clock()

    def lane(self, event: CapturedEvent) -> str | None:
        """Name the event's lane: ``None``, all events travel together."""
        del event
        return None

    def response(
        self, batch: Batch, status: int, headers: Mapping[str, str], body: bytes, complete: bool
    ) -> Sequence[Verdict] | SinkError | None:
        """Read the answer by its status alone: 2xx accepts the whole batch, whatever the body."""
        del batch, body, complete
        is_accepted = 200 <= status <= 299  # as nearly always: then nobody needs the time
        return None if is_accepted else error_for(status, headers, self._clock.time())

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{type(self).__name__} may hold keys and is not pickled; make it where it is needed")


def error_for(status: int, headers: Mapping[str, str], now: float) -> SinkError | None:
    """Turn a status into the error that says who is to blame; the one status policy of all codecs.

    The text has the status and its standard phrase only: what the far end sent may repeat our payload or our key.

    Args:
        status: The status code.
        headers: Response headers, names in lower case.
        now: Wall clock, seconds since the epoch.

    Returns:
        ``None`` for 2xx. Transient: 408, 429 and 5xx but 501 and 505. Permanent: 413 with scope size, 400 and 422 with
        scope event, 401 to 403 and 404, 405, 410, 415 and 3xx with scope sink, the rest with scope batch.
    """
    if 200 <= status <= 299:
        return None
    said = f"the far end answered {_described(status)}"
    if is_retryable_status(status):
        return TransientSinkError(
            said, retry_after=retry_after_of(headers, now), reason=f"status_{status}", status=status
        )
    if status == _TOO_LARGE:
        return PermanentSinkError(said, scope="size", status=status)
    if status in _ONE_IS_TO_BLAME:
        return PermanentSinkError(said, scope="event", status=status)
    if status in _UNAUTHORIZED:
        said += "; check the key that the sink was given"
        return PermanentSinkError(said, scope="sink", reason=DropReason.UNAUTHORIZED, status=status)
    if status in _MISCONFIGURED:
        return PermanentSinkError(f"{said}; check the sink's URL and codec", scope="sink", status=status)
    return PermanentSinkError(said, scope="batch", status=status)


def retry_after_of(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that an answer asks to wait; ``None`` when it does not say.

    Args:
        headers: Response headers, names in lower case.
        now: Wall clock, seconds since the epoch. Where the answer has a Date, a date in Retry-After counts from that:
            both come from one clock then, and a clock that is wrong here does no harm.
    """
    sent_at = parse_http_date(headers.get("date"), now)
    return parse_retry_after(headers.get("retry-after"), now if sent_at is None else sent_at)


def _described(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def check_bytes(option: str, value: object) -> None:
    """Refuse anything but whole numbers from 1.

    Raises:
        ValueError: Names the option, the value and the rule.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{option} must be a whole number of bytes, at least 1, not {value!r}")


def check_codec(option: str, value: object) -> None:
    """Refuse what is no codec, such as the class of one.

    Raises:
        ValueError: Names the option, the kind of the value and the rule.
    """
    is_codec = not isinstance(value, type) and all(
        hasattr(value, name) for name in ("lifted", "max_event_bytes", "max_batch_bytes", "lane", "request", "response")
    )
    if not is_codec:
        kind = f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
        raise ValueError(f"{option} must be a codec, such as JsonCodec(), not {kind}")


def join_events(events: Sequence[CapturedEvent], opening: bytes, separator: bytes, closing: bytes) -> bytes:
    """Write whole events one after another, from the bytes they were captured as.

    Args:
        events: In order, never empty.
        opening: Goes before the first.
        separator: Goes between two.
        closing: Goes after the last.
    """
    parts = [event.data for event in events if event.extra is None]
    if len(parts) < len(events):
        return opening + separator.join(map(whole, events)) + closing
    # One join and no further copy of the whole: every event still lacks its two closing braces.
    parts[0] = opening + parts[0]
    parts[-1] += CLOSING + closing
    return (CLOSING + separator).join(parts)


def whole(event: CapturedEvent) -> bytes:
    """One event as a JSON object: lifted properties among the others, then ``key`` and ``headers`` if it has them."""
    extra = event.extra
    if extra is None or (extra.key is None and not extra.headers):
        return event.json
    members = [event.json[:-1]]
    if extra.key is not None:
        members.append(b'"key":' + orjson.dumps(extra.key))
    if extra.headers:
        members.append(b'"headers":' + orjson.dumps(dict(extra.headers)))
    return b",".join(members) + b"}"


@cache
def library_version() -> str:
    """The version of this library, as it was installed; ``"0"`` where it was only copied."""
    from importlib import metadata  # here: it takes 10 ms that only who sends over HTTP has to pay

    try:
        return metadata.version("eventpipe")
    except metadata.PackageNotFoundError:
        return "0"


def user_agent() -> str:
    """What requests name as their sender."""
    return f"eventpipe/{library_version()}"
