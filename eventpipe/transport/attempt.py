"""One call of a sink, whatever it does, as a value."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from itertools import islice
from pathlib import PurePath
from types import MappingProxyType, NoneType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from eventpipe.contracts import Send, Sink
from eventpipe.core.waking import is_running
from eventpipe.errors import PermanentSinkError, SinkError, TransientSinkError
from eventpipe.events import Batch, CapturedEvent
from eventpipe.outcomes import DropReason, OutcomeKind, Verdict

if TYPE_CHECKING:
    from eventpipe.errors import Scope

_Words = TypeVar("_Words")  # reason and detail of verdicts
Around = Callable[[Batch, Send], Awaitable[Sequence[Verdict] | None]]
_SECONDS = (int, float, NoneType)
_MAX_ERROR = 300  # characters of an error's text that are kept; some libraries put whole responses into it


class Answer(NamedTuple):
    """What became of the events of one attempt.

    Attributes:
        delivered: Events that were accepted without a word.
        dropped: Events that were refused for good, by reason and the far end's words.
        again: Events to send again, because of ``error``.
        error: Why the events of ``again`` were not accepted; ``None`` when there are none.
        remarked: Events that were accepted, and of which the far end had something to say; as ``dropped``.
    """

    delivered: tuple[CapturedEvent, ...] = ()
    dropped: Mapping[tuple[str, str | None], tuple[CapturedEvent, ...]] = MappingProxyType({})
    again: tuple[CapturedEvent, ...] = ()
    error: SinkError | None = None
    remarked: Mapping[tuple[str | None, str | None], tuple[CapturedEvent, ...]] = MappingProxyType({})


async def attempt(sink: Sink, batch: Batch, around: Around | None = None) -> Answer:
    """Send ``batch`` once.

    Args:
        sink: The far end.
        batch: What to send.
        around: Awaits the sink's ``send`` in the sink's place. ``None``: nobody does.

    Cancellation:
        Only the cancellation of this very task leaves; a ``CancelledError`` that the sink raised itself is its error.
    """
    task = asyncio.current_task()
    try:
        verdicts = await (sink.send(batch) if around is None else around(batch, sink.send))
        return Answer(delivered=batch.events) if verdicts is None else _sorted(batch, verdicts)
    except asyncio.CancelledError:
        if task is not None and task.cancelling():
            raise
        return Answer(again=batch.events, error=TransientSinkError("send() raised CancelledError"))
    except SinkError as exc:
        return Answer(again=batch.events, error=_sound(exc))
    except KeyboardInterrupt:
        raise
    except BaseException as exc:  # invariant: a worker never raises
        if isinstance(exc, GeneratorExit) and not is_running(task):  # its loop was closed under it
            raise
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


def _sound(error: SinkError) -> SinkError:
    """The error, with parts that decisions and counters may read, or one in its place.

    A subclass of a user's may have left a part out, or compute it and raise, at the second look as well. Where the
    answer is booked the batch is out of flight already: raised there, it would be in nobody's hands.
    """
    try:
        parts = _Parts(
            error.reason,
            error.status,
            getattr(error, "retry_after", None),
            error.scope if isinstance(error, PermanentSinkError) else None,
        )
        if parts.are_plain and not _computes(type(error)):
            return error
        return parts.error(describe(error), is_permanent=isinstance(error, PermanentSinkError))
    except BaseException:  # noqa: BLE001  # a property of it may do anything
        return TransientSinkError(describe(error))


class _Parts(NamedTuple):
    """What an error says, read once."""

    reason: object
    status: object
    retry_after: object
    scope: object

    @property
    def are_plain(self) -> bool:
        return (
            type(self.reason) in (str, DropReason)
            and type(self.retry_after) in _SECONDS
            and all(type(part) in (str, int, NoneType) for part in (self.status, self.scope))
        )

    def error(self, text: str, *, is_permanent: bool) -> SinkError:
        """An error of ours that says the same.

        Raises:
            BaseException: A part is not what it should be.
        """
        made: SinkError
        if is_permanent:
            made = PermanentSinkError(text)
            made.scope = cast("Scope", str.__str__(cast("str", self.scope)))
        else:
            seconds: Any = self.retry_after  # Any: a number, if nothing else is raised here
            if type(seconds) not in _SECONDS:
                seconds = float.__float__(seconds) if isinstance(seconds, float) else int.__float__(seconds)
            made = TransientSinkError(text, retry_after=seconds)
        made.reason = str.__str__(cast("str", self.reason))
        made.status = self.status if type(self.status) is int else None
        return made


def _computes(kind: type[SinkError]) -> bool:
    """Whether reading a part of such an error may run code of a user's."""
    if kind.__getattribute__ is not BaseException.__getattribute__:
        return True
    return any(name in vars(base) for base in kind.__mro__ for name in _Parts._fields)


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
    remarked: dict[tuple[str | None, str | None], list[CapturedEvent]] = {}
    first: Verdict | None = None
    retry_after: float | None = None
    for event, verdict in zip(batch.events, verdicts, strict=True):
        if verdict.kind == OutcomeKind.DELIVERED:  # or the plain word, as a far end may have said it
            if verdict.reason is verdict.detail is None:
                delivered.append(event)
            else:
                remarked.setdefault((verdict.reason, verdict.detail), []).append(event)
        elif verdict.kind == OutcomeKind.DROPPED:
            dropped.setdefault((DropReason.listed(verdict.reason), verdict.detail), []).append(event)
        else:  # any odd word as well: an event must be in somebody's hands
            first = first or verdict
            again.append(event)
            retry_after = max(retry_after or 0.0, verdict.retry_after) if verdict.retry_after else retry_after
    error = None
    if first is not None:
        text = first.detail or "the far end asked for these events again"
        error = _sound(TransientSinkError(text, retry_after=retry_after, reason=first.reason or "retry"))
    return Answer(tuple(delivered), _frozen(dropped), tuple(again), error, _frozen(remarked))


def _frozen(by_words: Mapping[_Words, list[CapturedEvent]]) -> Mapping[_Words, tuple[CapturedEvent, ...]]:
    return {words: tuple(events) for words, events in by_words.items()}
