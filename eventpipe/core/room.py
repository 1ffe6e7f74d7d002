"""Producers that wait for capacity."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

SLACK = 64  # a line this short is not worth closing up


class Waiter(Generic[T]):
    """One producer in line.

    Attributes:
        item: What it wants to put in.
        size: Bytes that the item needs.
        epoch: The newest barrier when it got in line: it belongs to later ones.
        future: Resolved with ``True`` once the item is in, with ``False`` when it was turned away.
        is_admitted: Whether its item is in.
        in_line: Whether it still waits; who left stays in the deque for a while.
    """

    __slots__ = ("epoch", "future", "in_line", "is_admitted", "item", "size")

    def __init__(self, item: T, size: int, epoch: int, future: asyncio.Future[bool]) -> None:
        self.item = item
        self.size = size
        self.epoch = epoch
        self.future = future
        self.is_admitted = False
        self.in_line = True

    def answer(self, admitted: bool) -> None:
        """Wake the producer, unless it was cancelled in this very step or its loop is gone."""
        self.in_line = False
        self.is_admitted = admitted
        if not self.future.done() and not self.future.get_loop().is_closed():
            with contextlib.suppress(asyncio.InvalidStateError):  # a signal handler came between, and let it in
                self.future.set_result(admitted)


class Room(Generic[T]):
    """A first-come-first-served line of producers, each woken once, when its own item is in.

    The item is put in by the grant itself, not by the producer after it woke: a cancelled producer has either left
    the line or is in already, so no grant can get lost, and nobody can overtake between grant and wake-up. Wake-ups
    therefore grow with the number of producers, not with its square, and leaving costs the same in any line.
    """

    def __init__(self, fits: Callable[[int], bool], admit: Callable[[T], None]) -> None:
        """Make an empty line.

        Args:
            fits: Whether an item of that many bytes has room now.
            admit: Puts an item in; called in line order.
        """
        self._fits = fits
        self._admit = admit
        self._line: deque[Waiter[T] | Callable[[], None]] = deque()
        self.waiting = 0
        self._gone = 0  # those who left and still stand there

    def join(self, item: T, size: int, epoch: int) -> Waiter[T]:
        """Get in line; the caller awaits ``waiter.future`` and calls ``leave()`` when it gives up."""
        waiter = Waiter(item, size, epoch, asyncio.get_running_loop().create_future())
        self._line.append(waiter)
        self.waiting += 1
        return waiter

    def leave(self, waiter: Waiter[T]) -> bool:
        """Get out of line; ``False`` when the item is in already, or was turned away."""
        if not waiter.in_line:
            return False
        waiter.in_line = False
        self.waiting -= 1
        self._gone += 1
        self._head()
        if self._gone > self.waiting + SLACK:
            self._close_up()
        return True

    def mark(self, reached: Callable[[], None]) -> None:
        """Call ``reached`` when everybody now in line is in or has left; at once when nobody is."""
        self._line.append(reached)
        self._head()

    def grant(self) -> None:
        """Let in whoever fits, in order."""
        while (waiter := self._head()) is not None and self._fits(waiter.size):
            self._line.popleft()
            self.waiting -= 1
            self._admit(waiter.item)
            waiter.answer(True)

    def turn_away(self) -> list[Waiter[T]]:
        """Empty the line; everybody's future is resolved with ``False``.

        Returns:
            Those who waited, in order.
        """
        turned = []
        while (waiter := self._head()) is not None:
            self._line.popleft()
            self.waiting -= 1
            waiter.answer(False)
            turned.append(waiter)
        return turned

    def _close_up(self) -> None:
        """Forget those who left, wherever they stood: the head may wait for long, and many may come and go behind it.

        Done when they are most of the line, so that leaving costs the same in any line.
        """
        self._line = deque(entry for entry in self._line if not isinstance(entry, Waiter) or entry.in_line)
        self._gone = 0

    def _head(self) -> Waiter[T] | None:
        """The first who still waits; calls the marks before it and forgets those who left."""
        while self._line:
            entry = self._line[0]
            if isinstance(entry, Waiter):
                if entry.in_line:
                    return entry
                self._line.popleft()
                self._gone -= 1
            else:
                self._line.popleft()
                entry()
        return None
