"""A subscriber's view of the outcomes: bounded, in order, with an end."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Final, Self

from eventpipe.checked import shown
from eventpipe.core.deadline import Deadline
from eventpipe.core.hook import HookError
from eventpipe.core.log import contained_logger
from eventpipe.core.waking import wake
from eventpipe.errors import ClosedError
from eventpipe.outcomes import Outcome, OutcomeKind
from eventpipe.subscriptions.buffer import OVERFLOWS, Buffer, Gap, Sized, SubscriptionOverflow
from eventpipe.subscriptions.interest import Filter, Interest

logger = contained_logger("eventpipe")

# Twice the longest list that a batch of the default size leads to, one outcome an event: a reader may be one behind.
BUFFER: Final = 1000

# What a client's queue holds by default: a subscriber that never reads at most doubles it.
MAX_BUFFER_BYTES: Final = 32 * 1024 * 1024


class Subscription:
    """Outcomes of some kinds, in the order in which they were booked, for one reader or several.

    ``async for item in subscription`` yields each ``Outcome``, and a ``Gap`` where some were missed. What a slow reader
    misses is its own loss: nobody waits for it. Once closed, by its reader or by its client, what is buffered can still
    be read; then the iterator ends. Any thread may read and close it, on a loop of its own.

    ``offer()``, ``offer_sized()``, ``miss()``, ``disown()`` and ``on_close`` are for who feeds it, as a client does.

    Attributes:
        name: What messages call it.
        kinds: The kinds of outcomes.
        on_close: Called once, when it is closed; must not raise.
    """

    def __init__(
        self,
        *kinds: OutcomeKind | str,
        buffer: int | None = None,
        buffer_bytes: int | None = None,
        overflow: SubscriptionOverflow = "drop_newest",
        filter: Filter | None = None,  # noqa: A002  # what users know it as
        name: str | None = None,
    ) -> None:
        """Check everything; nothing comes in until somebody calls ``offer()``, as a client does.

        Args:
            kinds: At least one ``OutcomeKind``, or its word.
            buffer: Outcomes that wait to be read, at most. ``None`` means 1000.
            buffer_bytes: Encoded bytes of the events that they keep in memory, at most; one outcome that is larger
                waits alone. ``None`` means 32 MiB.
            overflow: What is missed when there is no room: ``"drop_newest"``, what comes; ``"drop_oldest"``, what has
                waited longest; ``"disconnect"``, all that comes from then on, and the iterator ends behind the gap.
            filter: A plain function of an outcome, called on the client's loop; false means it is not wanted. Where it
                raises, the outcome is missed. ``None``: all are wanted.
            name: What messages call it. ``None`` means ``"subscription"``.

        Raises:
            ValueError: An argument is wrong; the message names it.
            TypeError: A kind is no word, or the filter is no plain function.
        """
        _check_count("buffer", buffer, "outcomes")
        _check_count("buffer_bytes", buffer_bytes, "bytes")
        _check_words(overflow, name)
        self.name = name or "subscription"
        self._interest = Interest(kinds, filter, self.name)
        self.kinds = self._interest.kinds
        self.on_close: Callable[[Subscription], None] = lambda _: None
        self._buffer = Buffer(buffer or BUFFER, buffer_bytes or MAX_BUFFER_BYTES, overflow)
        self._overflow = overflow
        self._is_closed = False
        self._is_late = False  # it was told once that it is not read in time
        self._readers: list[asyncio.Future[None]] = []  # those who wait
        self._at_hand = 0  # items that may be read before others on the loop have their turn
        # Around the buffer and the readers, never around a filter. Taken before the lock of whoever is told of a close.
        # Reentrant: a signal handler or a finalizer may capture in the middle of a read, and what becomes of that event
        # may be offered at once.
        self._lock = threading.RLock()

    @property
    def missed(self) -> int:
        """Outcomes missed so far, whether their gaps were read or not."""
        return self._buffer.missed

    @property
    def filter_errors(self) -> int:
        """Calls of the filter that raised; each made the outcome a missed one."""
        return self._interest.errors

    @property
    def is_closed(self) -> bool:
        """Whether no more outcomes come in; some may still be buffered."""
        return self._is_closed or self._buffer.is_disconnected

    @property
    def is_disconnected(self) -> bool:
        """Whether it was not read in time, with ``overflow="disconnect"``."""
        return self._buffer.is_disconnected

    @property
    def is_filtering(self) -> bool:
        """Whether this very thread is inside the filter."""
        return self._interest.is_filtering

    async def receive(self, timeout: float | None = None) -> Outcome | Gap:
        """Wait for the next outcome, or the gap before it.

        Args:
            timeout: Seconds on the loop clock. ``None`` means without end.

        Raises:
            TimeoutError: Nothing came within ``timeout``.
            ClosedError: It is closed, and everything was read.

        Cancellation:
            Safe. Nothing is lost: the next reader gets what this one would have got.
        """
        if not self._at_hand and not self._buffer.is_empty:
            await self._let_others_run()
        if timeout is None:
            item = await self._next()
        else:
            try:
                async with Deadline.after(timeout).scope():
                    item = await self._next()
            except TimeoutError:
                raise TimeoutError(f"{self.name} had nothing to read within {timeout} s") from None
        if item is None:
            raise ClosedError(f"{self.name} is closed, and everything was read")
        return item

    def receive_nowait(self) -> Outcome | Gap | None:
        """The next outcome, or the gap before it; ``None`` when nothing is there, now or for ever."""
        with self._lock:
            return self._take()

    def close(self) -> None:
        """Let nothing more come in, and wake who waits; again is a no-op."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            readers = self._take_readers()
        for reader in readers:
            wake(reader)
        self.on_close(self)

    def disown(self) -> None:
        """Close it in a forked child: a thread that is not there may have held the lock.

        Who waits in a loop that goes on in the child is told the end; by no pipe, which the parent's loop shares.
        """
        self._lock = threading.RLock()
        self._is_closed = True
        for reader in self._take_readers():
            if not reader.done():
                with contextlib.suppress(RuntimeError):  # a loop that was closed, or one of another thread
                    reader.set_result(None)

    def offer(self, outcomes: Iterable[Outcome]) -> None:
        """Take what is wanted of these outcomes, without waiting; what has no room is missed."""
        self.offer_sized(list(map(Sized, outcomes)))

    def offer_sized(self, outcomes: Sequence[Sized]) -> None:
        """The same, for outcomes that several subscriptions are offered."""
        lacked_room = False
        try:
            for sized in outcomes:
                if sized.outcome.kind in self.kinds and not self._is_closed:
                    lacked_room |= not self._put(sized)
        finally:  # also when Ctrl-C meets the filter
            self._ring()
        if lacked_room and not self._is_late:
            self._is_late = True
            after = "it is disconnected" if self.is_disconnected else "further ones are counted only"
            logger.warning("%s is not read in time and missed outcomes; %s", self.name, after)

    def miss(self, outcomes: Sequence[Outcome]) -> None:
        """Count outcomes of its kinds as missed, without asking the filter: what the filter itself has caused."""
        with self._lock:
            for outcome in outcomes:
                if outcome.kind in self.kinds and not self._is_closed:
                    self._buffer.miss(outcome)
        self._ring()

    def _put(self, sized: Sized) -> bool:
        """Whether there was room, or none was needed."""
        try:
            is_wanted = self._interest.passes(sized.outcome)
        except HookError:  # counted and logged by the hook
            with self._lock:
                self._buffer.miss(sized.outcome)
            return True
        with self._lock:
            # The filter may have closed it, and so may another thread.
            return not is_wanted or self._is_closed or self._buffer.add(sized)

    async def _let_others_run(self) -> None:
        """Give the loop a turn: all that was there after the last one has been read, and more has come since.

        A reader that captures causes outcomes itself, and would find one more each time, without end and without ever
        waiting.
        """
        await asyncio.sleep(0)
        self._at_hand = len(self._buffer)

    async def _next(self) -> Outcome | Gap | None:
        """The next item; ``None`` when there will be no more."""
        while True:
            with self._lock:  # the one under which things come in: nothing can between the look and the wait
                item = self._take()
                if item is not None or self._is_closed:
                    self._at_hand -= self._at_hand > 0
                    return item
                reader = asyncio.get_running_loop().create_future()
                self._readers.append(reader)
            try:
                await reader
            except BaseException:
                with self._lock:
                    if reader in self._readers:  # not woken: whoever is has left already
                        self._readers.remove(reader)
                raise
            self._at_hand = len(self._buffer)

    def _take(self) -> Outcome | Gap | None:
        item = self._buffer.take()
        if self._buffer.is_disconnected and self._buffer.is_empty:
            self.close()
        return item

    def _ring(self) -> None:
        """Wake everybody who waits, if there is something to read: each looks for itself, so that none is forgotten."""
        with self._lock:
            readers = [] if self._buffer.is_empty else self._take_readers()
        for reader in readers:
            wake(reader)

    def _take_readers(self) -> list[asyncio.Future[None]]:
        readers, self._readers = self._readers, []
        return readers

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Outcome | Gap:
        if not self._at_hand and not self._buffer.is_empty:
            await self._let_others_run()
        item = await self._next()
        if item is None:
            raise StopAsyncIteration
        return item

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "disconnected" if self.is_disconnected else "closed" if self._is_closed else "open"
        buffered, missed = self._buffer.outcomes, self._buffer.missed
        return f"<Subscription {self.name} to {', '.join(self.kinds)}, {state}, {buffered} buffered, {missed} missed>"


def _check_words(overflow: object, name: object) -> None:
    if not isinstance(overflow, str) or overflow not in OVERFLOWS:
        raise ValueError(f"overflow must be one of {', '.join(map(repr, OVERFLOWS))}, not {shown(overflow)}")
    if name is not None and (not isinstance(name, str) or not name.strip()):
        raise ValueError(f"name must be a string that is not blank, or None, not {shown(name)}")


def _check_count(option: str, value: object, unit: str) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise ValueError(f"{option} must be a whole number of {unit}, at least 1, or None, not {shown(value)}")
