"""Everything that the clients of this process capture during a test, and nothing of it reaches a network."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any, Self, overload

from eventpipe.events import CapturedEvent
from eventpipe.outcomes import DropReason
from eventpipe.testing import seams
from eventpipe.testing.expected import Expected, What
from eventpipe.testing.explained import explain
from eventpipe.testing.notes import Notes

logger = logging.getLogger("eventpipe.testing")


@dataclass(frozen=True, slots=True, repr=False)
class SeenEvent:
    """An event as it would be sent, and, unlike ``CapturedEvent``, one that shows what is in it: in a test.

    Attributes:
        event: Its name.
        distinct_id: Whom it is about, or ``None``.
        properties: What is known of it, read back from JSON.
        timestamp: When it happened, in UTC.
        uuid: Its id.
        headers: Values that travel beside the properties.
        key: Partition, shard and ordering key: the caller's, else ``distinct_id``.
        lane: The lane that the caller named, or ``None``.
    """

    event: str
    distinct_id: str | None
    properties: dict[str, Any]  # Any: JSON
    timestamp: datetime.datetime
    uuid: str
    headers: Mapping[str, str]
    key: str | None
    lane: str | None

    @classmethod
    def of(cls, event: CapturedEvent) -> Self:
        """Read ``event``."""
        return cls(**_parts(event))

    def __str__(self) -> str:
        parts = [repr(self.event)]
        parts += [] if self.distinct_id is None else [f"distinct_id={self.distinct_id!r}"]
        parts += [f"properties={self.properties!r}"] if self.properties else []
        parts += [f"headers={dict(self.headers)!r}"] if self.headers else []
        parts += [f"key={self.key!r}"] if self.key != self.distinct_id else []
        parts += [f"lane={self.lane!r}"] if self.lane is not None else []
        return ", ".join(parts)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self}>"


@dataclass(frozen=True, slots=True, repr=False)
class RefusedEvent(SeenEvent):
    """An event that was not taken in; where it was refused before it was encoded, its name and id are all there is.

    Attributes:
        reason: Why; ``None`` when every sink's ``where`` turned it away.
        error: The same in words, or ``None`` where the reason says it all.
    """

    reason: DropReason | None = None
    error: str | None = None

    def __str__(self) -> str:
        why = self.error if self.reason is None else self.reason.value
        return f"{SeenEvent.__str__(self)}: {why}" + (f" ({self.error})" if self.reason and self.error else "")


class Captured(Sequence[SeenEvent]):
    """What was captured since the test began, in the order of the calls; a sequence of ``SeenEvent``.

    The fixture ``captured`` is one, and ``capturing()`` makes them. An event is here when the call that captured it
    returns: nothing has to be flushed or waited for.
    """

    def __init__(self, notes: Notes) -> None:
        """Show ``notes``; ``capturing()`` does this."""
        self._notes = notes

    @property
    def names(self) -> list[str]:
        """The names of the events, in order."""
        return [note.event.name for note in self._notes.shown if note.is_captured]

    @property
    def refused(self) -> list[RefusedEvent]:
        """The events that were captured and not taken in, in order, each with the reason."""
        return [
            RefusedEvent(**_parts(note.event), reason=note.reason, error=note.error)
            for note in self._notes.shown
            if not note.is_captured
        ]

    @property
    def earlier(self) -> list[SeenEvent]:
        """Events captured before the test began that a client tried to send during it.

        They were accepted in the place of their sinks, as all others; the logger ``eventpipe.testing`` tells of them
        when the test is over. Empty where another ``capturing()`` is around this one.
        """
        return [SeenEvent.of(event) for event in list(self._notes.earlier.values())]

    def all(self, what: What, /) -> list[SeenEvent]:
        """Those of one kind, in order.

        Args:
            what: A name, a class of ``EventModel``, or one of its instances, whose properties all have to be there.

        Raises:
            TypeError: ``what`` is something else.
        """
        return self._matching(Expected(what))

    def one(self, what: What, /) -> SeenEvent:
        """The only one of its kind.

        Args:
            what: As in ``all()``.

        Raises:
            AssertionError: There is none, or several; the text shows what was captured.
            TypeError: ``what`` is something else.
        """
        __tracebackhide__ = True
        return self._assert(Expected(what), 1)[0]

    def assert_captured(
        self, what: What, /, *, times: int | None = None, distinct_id: object = ..., **properties: object
    ) -> list[SeenEvent]:
        """Check that an event was captured.

        Args:
            what: A name, a class of ``EventModel``, or one of its instances, whose properties all have to be there.
            times: How many such events there are. ``None``: at least one; 0: none.
            distinct_id: Whom they are about. ``...``: whoever it is.
            properties: Those that they have, beside any others; a value is compared with what it becomes as JSON, and
                one that says of itself what it is equal to, such as ``unittest.mock.ANY``, is asked.

        Returns:
            Those events, in order.

        Raises:
            AssertionError: There are none, or not so many; the text shows what was captured, and in what the closest
                event differs.
            TypeError: ``what`` is something else.
            ValueError: ``times`` is negative.
        """
        __tracebackhide__ = True
        return self._assert(Expected(what, distinct_id=distinct_id, properties=properties), times)

    def clear(self) -> None:
        """Forget what was captured and refused so far."""
        self._notes.clear()

    def fail(self, error: BaseException, *, times: int = 1) -> None:
        """Have the next attempts to send fail, of whatever client and sink, as if the sink had raised ``error``.

        Args:
            error: A ``TransientSinkError`` is tried again, after the client's delay; a ``PermanentSinkError`` is not,
                so ``deliver()`` raises.
            times: How many attempts.

        Raises:
            TypeError: ``error`` is no exception.
            ValueError: ``times`` is less than 1.
        """
        if not isinstance(error, BaseException):
            raise TypeError(f"error must be an exception that a sink raises, not {error!r}")
        if times < 1:
            raise ValueError(f"times must be at least 1, not {times!r}")
        self._notes.failures.extend([error] * times)

    def _assert(self, expected: Expected, times: int | None) -> list[SeenEvent]:
        __tracebackhide__ = True
        if times is not None and times < 0:
            raise ValueError(f"times must be None or at least 0, not {times!r}")
        found = self._matching(expected)
        if (times is None and found) or len(found) == times:
            return found
        raise AssertionError(explain(expected, times, len(found), list(self), self.refused, self._notes.unheard))

    def _matching(self, expected: Expected) -> list[SeenEvent]:
        return [event for event in self if event.event == expected.name and not expected.differences(event)]

    @overload
    def __getitem__(self, index: int) -> SeenEvent: ...
    @overload
    def __getitem__(self, index: slice) -> list[SeenEvent]: ...
    def __getitem__(self, index: int | slice) -> SeenEvent | list[SeenEvent]:
        return list(self)[index]

    def __iter__(self) -> Iterator[SeenEvent]:
        return iter([SeenEvent.of(note.event) for note in self._notes.shown if note.is_captured])

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        return f"<Captured {list(self)!r}, {len(self.refused)} refused>"


@contextmanager
def capturing() -> Iterator[Captured]:
    """See everything that any client of this process captures in the block, and have no sink called.

    The fixture ``captured`` for those who do not use pytest, or for a part of a test: inside another one it sees the
    events of its own block, and the one around it sees them as well. What is in it stays readable afterwards.

    Every attempt to send is accepted in the process, whatever client it is of and however old. What was captured in
    the block and is still pending at its end will be accepted so as well; an attempt that was under way when the block
    began goes on as it was.
    """
    notes = Notes()
    seams.begin(notes)
    try:
        yield Captured(notes)
    finally:
        seams.end(notes)
        if notes.earlier:
            logger.warning(
                "events captured before this test were not sent but accepted in the process, %d of them; "
                "flush or close the client first if they matter",
                len(notes.earlier),
            )


def assert_captured(
    what: What,
    /,
    *,
    times: int | None = None,
    distinct_id: object = ...,
    **properties: object,
) -> list[SeenEvent]:
    """Check that an event was captured in this test; needs no more than the fixture ``captured`` somewhere in it.

    Args, Returns and Raises are those of ``Captured.assert_captured()``, and

    Raises:
        RuntimeError: Neither the fixture nor ``capturing()`` is there.
    """
    __tracebackhide__ = True
    notes = seams.innermost()
    if notes is None:
        raise RuntimeError("assert_captured() needs the fixture `captured`, or to be in `with capturing():`")
    return Captured(notes).assert_captured(what, times=times, distinct_id=distinct_id, **properties)


def _parts(event: CapturedEvent) -> dict[str, Any]:  # Any: the fields of SeenEvent
    return {field.name: getattr(event, field.name) for field in fields(SeenEvent)}
