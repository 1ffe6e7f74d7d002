"""One call of a sink, whatever it does, as a value."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import PurePath

from eventpipe.contracts import Sink
from eventpipe.errors import PermanentSinkError, SinkError, TransientSinkError
from eventpipe.events import Batch, CapturedEvent
from eventpipe.outcomes import DropReason, OutcomeKind, Verdict

_MAX_ERROR = 300  # characters of an error's text that are kept; some libraries put whole responses into it


@dataclass(slots=True)
class Answer:
    """What became of the events of one attempt.

    Attributes:
        delivered: Events that were accepted.
        dropped: Events that were refused for good, by reason and the far end's words.
        again: Events to send again, because of ``error``.
        error: Why the events of ``again`` were not accepted; ``None`` when there are none.
    """

    delivered: tuple[CapturedEvent, ...] = ()
    dropped: dict[tuple[str, str | None], tuple[CapturedEvent, ...]] = field(default_factory=dict)
    again: tuple[CapturedEvent, ...] = ()
    error: SinkError | None = None


async def attempt(sink: Sink, batch: Batch) -> Answer:
    """Send ``batch`` once.

    Cancellation:
        Only the cancellation of this very task leaves; a ``CancelledError`` that the sink raised itself is its error.
    """
    try:
        verdicts = await sink.send(batch)
        return Answer(delivered=batch.events) if verdicts is None else _sorted(batch, verdicts)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        return Answer(again=batch.events, error=TransientSinkError("send() raised CancelledError"))
    except SinkError as exc:
        return Answer(again=batch.events, error=exc if _is_complete(exc) else TransientSinkError(describe(exc)))
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as exc:  # noqa: BLE001  # invariant: a worker never raises
        return Answer(again=batch.events, error=TransientSinkError(describe(exc)))


def describe(error: BaseException) -> str:
    """The type of an error with its bounded text, or, for an error that is not ours, with the place it came from.

    A sink that raises ``SinkError`` answers for its text; any other may quote the events that it failed on, and what
    is described here goes into logs.
    """
    name = type(error).__name__
    if not isinstance(error, SinkError):
        return name + _origin(error)
    try:
        text = str(error)
    except BaseException:  # noqa: BLE001  # an error's own code may do anything
        text = ""
    return f"{name}: {text[:_MAX_ERROR]}" if text else name


def _origin(error: BaseException) -> str:
    """Where an error was raised, as `` at sinks.py:12``."""
    trace = error.__traceback__
    if trace is None:
        return ""
    while trace.tb_next is not None:
        trace = trace.tb_next
    return f" at {PurePath(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"


def _is_complete(error: SinkError) -> bool:
    """Whether the error has what decisions and counters read: a subclass of a user's may have left it out."""
    try:
        return (
            isinstance(getattr(error, "reason", None), str)
            and hasattr(error, "status")
            and isinstance(getattr(error, "retry_after", None), int | float | None)
            and (hasattr(error, "scope") or not isinstance(error, PermanentSinkError))
        )
    except BaseException:  # noqa: BLE001  # a property of it may do anything
        return False


def _sorted(batch: Batch, returned: object) -> Answer:
    """Part the events by verdict."""
    # One more than there are events shows that there are more: an iterator may have no end.
    verdicts = list(islice(returned, len(batch.events) + 1)) if isinstance(returned, Iterable) else []
    if len(verdicts) != len(batch.events) or not all(isinstance(verdict, Verdict) for verdict in verdicts):
        found = f"{len(verdicts)} values" if len(verdicts) <= len(batch.events) else "more values"
        raise TransientSinkError(f"send() must return None or {len(batch.events)} verdicts, not {found}")
    delivered = []
    again = []
    dropped: dict[tuple[str, str | None], list[CapturedEvent]] = {}
    first: Verdict | None = None
    retry_after: float | None = None
    for event, verdict in zip(batch.events, verdicts, strict=True):
        if verdict.kind == OutcomeKind.DELIVERED:  # or the plain word, as a far end may have said it
            delivered.append(event)
        elif verdict.kind == OutcomeKind.DROPPED:
            dropped.setdefault((DropReason.listed(verdict.reason), verdict.detail), []).append(event)
        else:  # any odd word as well: an event must be in somebody's hands
            first = first or verdict
            again.append(event)
            retry_after = max(retry_after or 0.0, verdict.retry_after) if verdict.retry_after else retry_after
    error = None
    if first is not None:
        text = first.detail or "the far end asked for these events again"
        error = TransientSinkError(text, retry_after=retry_after, reason=first.reason or "retry")
    return Answer(tuple(delivered), {key: tuple(events) for key, events in dropped.items()}, tuple(again), error)
