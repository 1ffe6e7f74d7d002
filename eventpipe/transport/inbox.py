"""Events captured away from the client's loop, on their way to it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from sys import maxsize
from typing import NamedTuple

from eventpipe.events import CapturedEvent, Overflow
from eventpipe.outcomes import DropReason
from eventpipe.transport.receipts import ForeignReceipt


class Entry(NamedTuple):
    """One event that another thread left.

    Attributes:
        event: The event.
        receipt: What its caller has; told when the event is taken over.
        overflow: What its caller asked for.
        reason: Why it was refused already; ``None`` when it was not.
        error: The same in words.
    """

    event: CapturedEvent
    receipt: ForeignReceipt
    overflow: Overflow
    reason: DropReason | None = None
    error: str | None = None


class Inbox:
    """A bounded box that any thread puts events into and only the client's loop empties.

    Before there is a loop the box holds. An event is appended first and the wake-up asked for afterwards; the drain
    clears the request first and empties the box afterwards: whichever comes second sees the other. The lock is held
    for the bound and the count only, never while the loop is asked for anything.

    Attributes:
        refused: Events that found the box full since the last drain.
    """

    def __init__(self, max_events: int, request_drain: Callable[[], bool], *, max_bytes: int = maxsize) -> None:
        """Make an empty box.

        Args:
            max_events: Bound on the events held.
            max_bytes: Bound on their encoded size; a single larger event is for the loop to judge.
            request_drain: Has ``drain()`` called on the client's loop, soon; ``False`` when there is none. Any thread
                may call it.
        """
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._bytes = 0  # put in since the last drain began
        self._request_drain = request_drain
        self._entries: deque[Entry] = deque()
        self._is_drain_requested = False
        # Reentrant, because a signal handler or a finalizer may capture in the middle of its own thread's put().
        self._lock = threading.RLock()
        self.refused = 0

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, entry: Entry) -> bool:
        """Leave an event for the loop; ``False`` when the box is full."""
        with self._lock:
            size = self._bytes + entry.event.size
            has_room = len(self._entries) < self._max_events and (size <= self._max_bytes or not self._bytes)
            if has_room:
                self._entries.append(entry)
                self._bytes = size
            else:
                self.refused += 1
        if not self._is_drain_requested:
            self._is_drain_requested = True
            if not self._request_drain():
                self._is_drain_requested = False  # whoever starts a loop drains first
        return has_room

    def drain(self) -> list[Entry]:
        """Empty the box, in the order in which events were put in."""
        self._is_drain_requested = False
        entries: list[Entry] = []
        if not self._entries:
            return entries  # what is being put in at this moment asks for another drain
        with self._lock:
            self._bytes = 0
        while self._entries:
            entries.append(self._entries.popleft())
        return entries

    def take_refused(self) -> int:
        """The number of refusals since the last call."""
        with self._lock:
            refused, self.refused = self.refused, 0
        return refused
