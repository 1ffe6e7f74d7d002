"""The contracts that a far end and a wire format keep; implementations live in ``sinks`` and ``codecs``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from eventpipe.errors import SinkError
from eventpipe.events import Batch, CapturedEvent
from eventpipe.outcomes import Verdict


@runtime_checkable
class Sink(Protocol):
    """The far end of batches. Errors are ``TransientSinkError`` or ``PermanentSinkError``; any other is transient.

    A sink may also have these attributes, read once when a client is made: ``name`` (default: the class name),
    ``where`` (a plain function of the event; one it turns away is not captured by that sink), ``lifted`` (property
    names wanted outside the properties), ``max_event_bytes``, ``max_batch_bytes``, ``lane`` (a plain function of the
    captured event, which names its lane), ``lane_event_bytes``, ``max_batch_events`` and ``unique_ids``; ``Codec`` says
    what the last three mean.
    """

    async def send(self, batch: Batch) -> Sequence[Verdict] | None:
        """Deliver ``batch``; return when the far end has answered for it.

        Returns:
            ``None`` when every event was accepted, else one verdict per event, in order.

        Raises:
            TransientSinkError: The same batch may succeed later.
            PermanentSinkError: The same batch would fail again.

        Cancellation:
            Passes through untouched and leaves no task and no connection.
        """

    async def aclose(self) -> None:
        """Release connections and files. May come twice, and before the first send."""


@dataclass(frozen=True, slots=True)
class Request:
    """One attempt, as a codec writes it; its ``repr`` shows neither keys nor payloads.

    Attributes:
        url: Joined to the sink's own; ``""`` means the sink's own.
        headers: Headers of this attempt, ``Content-Type`` included; the same dictionary again where they are the same.
        body: The body before compression.
    """

    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


class Codec(Protocol):
    """A wire format: a batch into one request per attempt, a response into verdicts or an error. Pure.

    More attributes are optional; a codec that has one keeps it unchanged.

    - ``has_lanes``: false where ``lane()`` never names one, so that a sink need not ask for each event.
    - ``lane_event_bytes``: lanes whose events may be of another size than ``max_event_bytes``, each with its limit.
    - ``max_batch_events``: how many events one request can hold. Absent: any number.
    - ``unique_ids``: true where the far end refuses a request that holds one id twice; the second event then travels
      in a later batch.
    - ``compressions``: the content codings that the far end reads, such as ``"gzip"``, by lane; those of ``None`` hold
      for every lane that is not named. Absent: it reads all that a sink can write.
    - ``base_url(url)``: the address that requests are joined to, given the one that the user wrote.
    """

    lifted: frozenset[str]
    """Property names wanted outside the properties, and every property that the codec itself may set."""
    max_event_bytes: int
    """Largest event, in encoded bytes, that the far end takes."""
    max_batch_bytes: int
    """Largest body, in bytes before compression, that a batch should make."""

    def lane(self, event: CapturedEvent) -> str | None:
        """The lane that an event travels in; events of two lanes never share a batch."""

    def request(self, batch: Batch, attempt: int, now: float) -> Request:
        """Write one attempt.

        Args:
            batch: What to send.
            attempt: Counted from 1.
            now: Wall clock, seconds since the epoch.
        """

    def response(
        self, batch: Batch, status: int, headers: Mapping[str, str], body: bytes, complete: bool
    ) -> Sequence[Verdict] | SinkError | None:
        """Read the answer.

        Args:
            batch: What was sent.
            status: The status code.
            headers: Response headers, names in lower case; values of one name joined by a comma and a space.
            body: At most the first 64 KiB, as received.
            complete: Whether ``body`` is all of it.

        Returns:
            ``None``: every event was accepted. Verdicts: one per event, in order. An error: to be raised.
        """


Where = Callable[[CapturedEvent], bool]
Send = Callable[[Batch], Awaitable[Sequence[Verdict] | None]]


class Instrument(Protocol):
    """Sees where events come from and every attempt to send them: tracing, for one.

    It stands in the way of events, so it has to be quick and must not fail: what it raises counts as the sink's error.
    """

    def origin(self) -> object:
        """What is to be kept of the place that captures; called at each capture, in its thread and its context.

        Returns:
            Kept as ``event.origin``, in memory only, until the event is settled. ``None`` keeps nothing.
        """

    async def around(self, sink: str, batch: Batch, send: Send) -> Sequence[Verdict] | None:
        """Await ``send(batch)`` once, and pass on what it returns or raises.

        Args:
            sink: Its name.
            batch: What is sent.
            send: The sink's own, or what another instrument has made of it.
        """
