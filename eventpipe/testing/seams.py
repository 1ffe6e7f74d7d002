"""Where a test sees what clients capture, and where it keeps events from their sinks.

Clients are made long before a test, at the import of an application or in its lifespan, and whoever captures may hold
nothing but a bound method: a logging handler, a partial, a thread. So neither a sink of the test's own nor a wrapper
around ``AsyncClient.capture()`` sees all. Every event passes the queue of a sink, the inbox of a loop or the door for
refusals, however it was captured, and these are looked up by their classes at each call. They are internals of this
package, so all that knows of them is here and in ``stranded``; outside a test they are as they were made.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import wraps
from types import FrameType
from typing import Any

from eventpipe.contracts import Sink
from eventpipe.events import Batch, CapturedEvent
from eventpipe.outcomes import DropReason, Settlement
from eventpipe.testing.notes import Note, Notes
from eventpipe.testing.stranded import settle_stranded
from eventpipe.transport import dispatcher
from eventpipe.transport.attempt import Answer, Around
from eventpipe.transport.attempt import attempt as real_attempt
from eventpipe.transport.calls import NOBODY
from eventpipe.transport.entrance import _NOT_WANTED, Entrance
from eventpipe.transport.exit import Exit
from eventpipe.transport.inbox import Entry, Inbox
from eventpipe.transport.intake import FanOut, Intake
from eventpipe.transport.nobody import Nobody
from eventpipe.transport.receipts import Receipt

_TAKING_OVER = Entrance.drain.__code__
# Calls from there to a seam: distribute(), as it is and around that, and push_out(). A hook that captures is farther.
_DEPTH = 5

# Everybody who takes notes now, the outermost first; replaced as a whole, so that other threads need no lock.
_watching: tuple[Notes, ...] = ()
# Captured in a test that is over, and not settled yet: a client that goes on running must not send them. By id().
_left_over: dict[int, Note] = {}
# What the seams stand in for, by place.
_originals: dict[tuple[type, str], Any] = {}  # Any: functions of every kind


def begin(notes: Notes) -> None:
    """Have everything captured from now on noted in ``notes``, and sent nowhere."""
    global _watching  # one for the process, as the seams are
    _forget_settled()
    if not _watching:
        _open_seams()
    _watching = (*_watching, notes)


def end(notes: Notes) -> None:
    """Note nothing more in ``notes``; what is still pending of it goes nowhere, however long its client lives."""
    global _watching  # as above
    others = tuple(other for other in _watching if other is not notes)
    gone: set[int] = set()
    for inbox in notes.inboxes.values():
        if not inbox._request_drain():
            gone.update(_take_back(inbox, notes, others))
    try:
        settle_stranded([*notes.unsettled, *_left_over.values()])
    finally:
        # First: between the two another thread may send.
        for note in notes.unsettled:
            if not (id(note.event) in gone or any(other.knows(note.event) for other in others)):
                _left_over[id(note.event)] = note
        _watching = others
        if not _watching:
            _close_seams()
        _forget_settled()


def innermost() -> Notes | None:
    """The notes that were begun last, of those that are still taken."""
    return _watching[-1] if _watching else None


# -- what is captured ---------------------------------------------------------------------------------------------


Offer = Callable[[Any, CapturedEvent, int], bool]  # Any: an Intake or a FanOut


def _offer(original: Offer) -> Offer:
    def offer(self: Intake | FanOut, event: CapturedEvent, held: int) -> bool:
        is_in = original(self, event, held)
        if is_in:
            for notes in _who_heard(event):
                notes.taken(event, self if isinstance(self, Intake) else self._intakes[0])
        return is_in

    return offer


def _join(original: Callable[[Intake, CapturedEvent, int], object]) -> Callable[[Intake, CapturedEvent, int], object]:
    def join(self: Intake, event: CapturedEvent, epoch: int) -> object:
        for notes in _watching:
            notes.taken(event, self)
        return original(self, event, epoch)

    return join


def _put(original: Callable[[Inbox, Entry], bool]) -> Callable[[Inbox, Entry], bool]:
    def put(self: Inbox, entry: Entry) -> bool:
        for notes in _watching:  # first: the loop may take the event over before put() has returned
            notes.left(entry.event, self)
            if entry.reason is not None:
                notes.refused(entry.event, entry.reason, entry.error)
        has_room = original(self, entry)
        if not has_room:
            for notes in _watching:
                notes.refused(entry.event, entry.reason or DropReason.QUEUE_FULL, entry.error)
        return has_room

    return put


def _distribute(original: Callable[..., Any]) -> Callable[..., Any]:  # Any: handed through
    def distribute(self: Entrance, event: CapturedEvent, *given: Any, **named: Any) -> Any:  # Any: as above
        answer = original(self, event, *given, **named)
        if event.settlement is _NOT_WANTED:
            for notes in _who_heard(event):
                notes.refused(event, None, _NOT_WANTED.error)
        return answer

    return distribute


def _refuse(original: Callable[..., None]) -> Callable[..., None]:
    def refuse(self: Exit, event: CapturedEvent, reason: DropReason, error: str | None = None) -> None:
        for notes in _who_heard(event):  # first: a callback that is told of the drop may look
            notes.refused(event, reason, error)
        original(self, event, reason, error)

    return refuse


def _receipt(original: Callable[..., None]) -> Callable[..., None]:
    def init(self: Receipt, event: CapturedEvent, *given: Any, **named: Any) -> None:  # Any: handed through
        original(self, event, *given, **named)
        if event.data is NOBODY.data and isinstance(event.settlement, Settlement):  # NOBODY, or a copy
            for notes in _watching:
                notes.unheard[event.settlement.error or ""] += 1

    return init


def _who_heard(event: CapturedEvent) -> Sequence[Notes]:
    """Whose test the event is of, now that a sink has it or refuses it.

    What a loop takes over from other threads was captured when it was left for it, perhaps before the test. The loop
    may be in the middle of that when a test begins, so that only the calls that led here can tell.
    """
    watching = _watching
    if not watching:
        return ()
    frame: FrameType | None = sys._getframe(2)
    for _ in range(_DEPTH):
        if frame is None:
            break
        if frame.f_code is _TAKING_OVER:
            return [notes for notes in watching if notes.knows(event)]
        frame = frame.f_back
    return watching


_SEAMS: Sequence[tuple[type, str, Callable[[Any], Any]]] = (  # Any: functions of every kind
    (Intake, "offer", _offer),
    (FanOut, "offer", _offer),
    (Intake, "join", _join),
    (Inbox, "put", _put),
    (Entrance, "distribute", _distribute),
    (Exit, "refuse", _refuse),
    (Receipt, "__init__", _receipt),
)


def _open_seams() -> None:
    for owner, name, around in _SEAMS:
        original = vars(owner)[name]
        _originals[owner, name] = original
        setattr(owner, name, wraps(original)(around(original)))
    setattr(dispatcher, "attempt", _attempt)  # noqa: B010  # by its name there, where mypy knows of no variable


def _close_seams() -> None:
    for (owner, name), original in _originals.items():
        setattr(owner, name, original)
    _originals.clear()


# -- what is sent -------------------------------------------------------------------------------------------------


class _Refusing:
    """A sink that raises what a test asked for."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    async def send(self, batch: Batch) -> None:
        raise self._error

    async def aclose(self) -> None:
        """Do nothing."""


async def _attempt(sink: Sink, batch: Batch, around: Around | None = None) -> Answer:
    """Answer in the sink's place during a test, and afterwards for what is left of it."""
    watching = _watching
    if watching:
        watching[0].earlier.update(
            (id(event), event) for event in batch.events if not (_is_known(event) or id(event) in _left_over)
        )
        for notes in reversed(watching):
            if notes.failures:
                return await real_attempt(_Refusing(notes.failures.popleft()), batch, around)
        return await real_attempt(Nobody(), batch, around)
    ours = tuple(event for event in batch.events if id(event) in _left_over)
    if not ours:
        return await real_attempt(sink, batch, around)
    others = tuple(event for event in batch.events if id(event) not in _left_over)
    if not others:
        return await real_attempt(Nobody(), batch, around)
    answer = await real_attempt(sink, replace(batch, events=others), around)
    return answer._replace(delivered=ours + answer.delivered)


def _is_known(event: CapturedEvent) -> bool:
    return any(notes.knows(event) for notes in _watching)


def _forget_settled() -> None:
    for key, note in list(_left_over.items()):
        if isinstance(note.event.settlement, Settlement):
            del _left_over[key]
    if not _left_over and not _watching:
        setattr(dispatcher, "attempt", real_attempt)  # noqa: B010  # as above


def _take_back(inbox: Inbox, notes: Notes, others: Sequence[Notes]) -> list[int]:
    """Empty an inbox that no loop empties of what a test left in it: nothing has counted these events yet.

    Without this a client that is made at import, and captures in many tests and in no loop, is full one day.

    Returns:
        The ``id()`` of each event that is nowhere any more.
    """
    gone = []
    kept: list[Entry] = []
    with inbox._lock:
        while inbox._entries:
            entry = inbox._entries.popleft()
            if notes.knows(entry.event) and not any(other.knows(entry.event) for other in others):
                inbox._bytes -= entry.event.size
                gone.append(id(entry.event))
            else:
                kept.append(entry)
        inbox._entries.extend(kept)
    return gone
