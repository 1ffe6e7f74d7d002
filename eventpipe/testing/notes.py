"""What a test has seen of events, in the order in which they were captured."""

from __future__ import annotations

from collections import Counter, deque
from itertools import islice
from typing import TYPE_CHECKING

from eventpipe.outcomes import DropReason, Settlement

if TYPE_CHECKING:
    from eventpipe.events import CapturedEvent
    from eventpipe.transport.inbox import Inbox


class Note:
    """One event, and whether it got in.

    Attributes:
        event: The event.
        is_taken: A sink has it in its queue, or has its caller wait for room.
        place: That queue, the first of several; before that the inbox that it was left in, or ``None``.
        is_refused: A sink, or all of them, refused it.
        reason: Why; ``None`` when nobody wanted it.
        error: The same in words, or ``None``.
    """

    __slots__ = ("error", "event", "is_refused", "is_taken", "place", "reason")

    def __init__(self, event: CapturedEvent) -> None:
        self.event = event
        self.is_taken = False
        self.place: object = None
        self.is_refused = False
        self.reason: DropReason | None = None
        self.error: str | None = None

    @property
    def is_captured(self) -> bool:
        """Whether it is on its way: in at one sink at least, or with a loop that has not looked at it yet."""
        return self.is_taken or not self.is_refused


class Notes:
    """The events of one test; any thread may add to them, and none waits.

    Every step is one call of a dictionary, a list or a deque, so that no lock is
    needed, which a fork could leave taken.

    Attributes:
        earlier: Events captured before, and accepted now in the place of their sink, by ``id()``.
        failures: What the next attempts raise.
        inboxes: Where other threads have left events, by ``id()``.
        unheard: Captures of nobody, and why: their client is disabled, or there is none.
    """

    def __init__(self) -> None:
        self._notes: dict[int, Note] = {}  # by id(): the events are kept, so that no other one gets the same
        self._cleared = 0
        self.earlier: dict[int, CapturedEvent] = {}
        self.failures: deque[BaseException] = deque()
        self.inboxes: dict[int, Inbox] = {}
        self.unheard: Counter[str] = Counter()

    def taken(self, event: CapturedEvent, place: object) -> None:
        """A sink has ``event``, in the queue ``place``."""
        note = self._note(event)
        if not note.is_taken:
            note.place = place
            note.is_taken = True

    def left(self, event: CapturedEvent, inbox: Inbox) -> None:
        """``event`` was captured away from its loop, which will see to it."""
        self.inboxes[id(inbox)] = inbox
        self._note(event).place = inbox

    def refused(self, event: CapturedEvent, reason: DropReason | None, error: str | None) -> None:
        """A sink refused ``event``; of several refusals the last is kept, as by the receipt."""
        note = self._note(event)
        note.reason, note.error = reason, error
        note.is_refused = True

    def knows(self, event: CapturedEvent) -> bool:
        """Whether ``event`` was captured while these notes were taken."""
        return id(event) in self._notes

    def clear(self) -> None:
        """Show only what is captured from now on."""
        # Kept, because they may come by again: from the inbox, or at a second sink.
        self._cleared = len(self._notes)
        self.unheard.clear()

    @property
    def shown(self) -> list[Note]:
        """What was captured since the last ``clear()``, in order."""
        return list(islice(list(self._notes.values()), self._cleared, None))

    @property
    def unsettled(self) -> list[Note]:
        """Events that are on their way to a sink still."""
        notes = list(self._notes.values())
        return [note for note in notes if note.is_captured and not isinstance(note.event.settlement, Settlement)]

    def _note(self, event: CapturedEvent) -> Note:
        return self._notes.setdefault(id(event), Note(event))
