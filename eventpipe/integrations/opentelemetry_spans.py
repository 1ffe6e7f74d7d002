"""A span around each attempt, with links to where its events were captured."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextvars import ContextVar, Token
from typing import Final

from opentelemetry import context
from opentelemetry.context import Context
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext
from opentelemetry.trace import (
    INVALID_SPAN,
    Link,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    Tracer,
    set_span_in_context,
)

from eventpipe.contracts import Send
from eventpipe.core.hook import Hook
from eventpipe.errors import SinkError
from eventpipe.events import Batch, CapturedEvent
from eventpipe.integrations.families import label
from eventpipe.integrations.opentelemetry_attempts import Attempts
from eventpipe.integrations.opentelemetry_logs import QUIET, Bridges
from eventpipe.outcomes import OutcomeKind, Verdict
from eventpipe.transport.attempt import describe

# Of the specification, which bounds the links of a span; more would be left out by the SDK.
MAX_LINKS: Final = 128

_NOBODY: Final = Context()  # a span in it is nobody's child
_NONE: Final[Counter[str]] = Counter()  # of an attempt that went well

# Where a context keeps its span.
[_SPAN] = set_span_in_context(INVALID_SPAN, Context())


def context_reader() -> Callable[[], Context]:
    """``context.get_current()`` without its two layers, where they are what they are known to be: 0.04 µs an event."""
    runtime = getattr(context, "_RUNTIME_CONTEXT", None)
    variable = getattr(runtime, "_current_context", None)
    if type(runtime) is ContextVarsRuntimeContext and isinstance(variable, ContextVar):
        return variable.get
    return context.get_current


class _Attempt:
    """One attempt, while it runs and when it is over.

    Attributes:
        sink: The sink's name.
        batch: What is sent.
        span: Its span; ``None`` when none could be started.
        context: What it runs in.
        token: Puts back what was before; ``None`` when nothing could be attached.
        took: Seconds on the loop clock.
        error: What ``send`` raised, if it did.
        verdicts: What it returned.
    """

    __slots__ = ("batch", "context", "error", "sink", "span", "token", "took", "verdicts")

    def __init__(self, sink: str, batch: Batch) -> None:
        self.sink = sink
        self.batch = batch
        self.span: Span | None = None
        self.context = QUIET
        self.token: Token[Context] | None = None
        self.took = 0.0
        self.error: BaseException | None = None
        self.verdicts: object = None

    def failures(self) -> Counter[str]:
        """Events that were not accepted, by why."""
        events = len(self.batch.events)
        if self.error is not None:
            return Counter({error_type(self.error): events})
        if self.verdicts is None or not isinstance(self.verdicts, Sequence) or len(self.verdicts) != events:
            return _NONE  # None: all accepted; what is no list of verdicts becomes an error elsewhere
        return Counter(
            label(str(verdict.reason or verdict.kind))
            for verdict in self.verdicts
            if isinstance(verdict, Verdict) and verdict.kind != OutcomeKind.DELIVERED
        )


class Origins:
    """Where events were captured: up to their first attempt the context there, from then on that of its span alone.

    A capture keeps what the context variable holds, 0.02 µs an event; what is in it is asked once a batch. A context
    holds a span and its attributes, which an event that waits for a retry has no need to keep in memory.

    Attributes:
        errors: Spans of somebody's own that could not be asked.
    """

    def __init__(self) -> None:
        self.errors = 0

    def of(self, events: Sequence[CapturedEvent]) -> list[SpanContext]:
        """The spans that ``events`` were captured in, each once, in capture order."""
        try:
            origins = [event.origin for event in events]
        except AttributeError:  # some were captured before there was an instrument
            origins = [getattr(event, "origin", None) for event in events]
        first = origins[0]
        if origins.count(first) == len(origins):  # of one handler, or of none: 0.01 µs an event
            span = self._found(first)
            if span is not first and first:
                for event in events:
                    event.origin = span
            return [] if span is None else [span]
        distinct = dict(zip(map(id, origins), origins, strict=True))
        found = {place: self._found(origin) for place, origin in distinct.items()}
        for event, origin in zip(events, origins, strict=True):
            event.origin = found[id(origin)]
        return [span for span in found.values() if span is not None]

    def _found(self, origin: object) -> SpanContext | None:
        if not isinstance(origin, Context):
            return origin if isinstance(origin, SpanContext) else None
        try:
            span = origin.get(_SPAN)
            return None if span is None else span.get_span_context()  # type: ignore[attr-defined]  # it is an object
        except KeyboardInterrupt:
            raise
        except BaseException:  # noqa: BLE001  # a span of somebody's own may do anything
            self.errors += 1
            return None


class Tracing:
    """The instrument: sees where events come from, and every attempt.

    Whatever fails here, in a tracer, a processor or a histogram, is counted, and no event notices.

    What runs once a batch finds nothing of itself in the processor's caches, and takes several times as long as in a
    loop of its own. So there are few functions on the way, and the hooks keep time and errors without being called.
    """

    def __init__(self, tracer: Tracer, attempts: Attempts, bridges: Bridges) -> None:
        self._tracer = tracer
        self._attempts = attempts
        self._bridges = bridges
        self._begin = Hook("OpenTelemetry, at the start of an attempt,", self._started)
        self._end = Hook("OpenTelemetry, at the end of an attempt,", self._ended)
        self._origins = Origins()
        self.origin: Callable[[], object] = context_reader()

    @property
    def errors(self) -> int:
        """What was raised here, and kept from the events."""
        return self._origins.errors + self._attempts.errors + self._begin.errors + self._end.errors

    async def around(self, sink: str, batch: Batch, send: Send) -> Sequence[Verdict] | None:
        """Await ``send(batch)`` in a span, with all that OpenTelemetry would see and write of it suppressed."""
        now = asyncio.get_running_loop().time
        attempt = _Attempt(sink, batch)
        self._started(attempt)
        began = now()
        try:
            verdicts = await send(batch)
        except GeneratorExit:  # its loop was closed: this is another context, in which there is nothing to put back
            raise
        except BaseException as error:
            attempt.took, attempt.error = now() - began, error
            self._ended(attempt)
            raise
        attempt.took, attempt.verdicts = now() - began, verdicts
        self._ended(attempt)
        return verdicts

    def _started(self, attempt: _Attempt) -> None:
        began = time.perf_counter()
        batch = attempt.batch
        try:
            try:
                self._bridges.look()
                at = self._attempts.at(attempt.sink)
                attributes = {
                    **at.span,
                    "messaging.batch.message_count": len(batch.events),
                    "eventpipe.batch.id": batch.id,
                    "eventpipe.attempt": batch.attempt,
                }
                if batch.lane is not None:
                    attributes["eventpipe.lane"] = label(batch.lane)
                # Nobody's child, because it serves many captures; not a PRODUCER, whose context would travel on.
                attempt.span = self._tracer.start_span(
                    at.span_name, _NOBODY, SpanKind.CLIENT, attributes, links(self._origins.of(batch.events))
                )
                attempt.context = set_span_in_context(attempt.span, QUIET)
            finally:
                attempt.token = context.attach(attempt.context)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001  # the attempt goes on without a span
            self._begin.failed(error)
        self._begin.took(time.perf_counter() - began)

    def _ended(self, attempt: _Attempt) -> None:
        began = time.perf_counter()
        failures = _NONE
        try:
            if attempt.token is not None:
                context.detach(attempt.token)
            try:
                failures = attempt.failures()
                self._attempts.note(attempt.sink, len(attempt.batch.events), attempt.took, failures, attempt.context)
            finally:
                if attempt.span is not None:
                    try:
                        _conclude(attempt.span, attempt, failures)
                    finally:
                        attempt.span.end()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001  # what became of the attempt is known
            self._end.failed(error)
        self._end.took(time.perf_counter() - began)


def links(origins: Sequence[SpanContext]) -> list[Link]:
    """A link to each of these spans, once; of too many, the sampled ones are taken first."""
    sampled: dict[tuple[int, int], SpanContext] = {}
    others: dict[tuple[int, int], SpanContext] = {}
    for origin in origins:
        if origin.is_valid:
            found = sampled if origin.trace_flags.sampled else others
            found.setdefault((origin.trace_id, origin.span_id), origin)
            if len(sampled) == MAX_LINKS:
                break
    return [Link(origin) for origin in [*sampled.values(), *others.values()][:MAX_LINKS]]


def error_type(error: BaseException) -> str:
    """A word for counters: the reason of an error of ours, the name of any other's type."""
    if isinstance(error, asyncio.CancelledError):
        return str(OutcomeKind.INTERRUPTED)
    if isinstance(error, SinkError):
        return label(str(error.reason))
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _conclude(span: Span, attempt: _Attempt, failures: Counter[str]) -> None:
    """Say on the span how its attempt went; nothing more where every event was accepted."""
    if not failures:
        return
    failed, events = failures.total(), len(attempt.batch.events)
    span.set_attribute("error.type", next(iter(failures)))
    span.set_attribute("eventpipe.failed", failed)
    if isinstance(attempt.error, SinkError) and attempt.error.status is not None:
        span.set_attribute("eventpipe.status", attempt.error.status)
    said = f"{failed} of {events} events were not accepted" if attempt.error is None else describe(attempt.error)
    span.set_status(StatusCode.ERROR, said)
