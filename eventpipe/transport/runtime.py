"""The one live binding of a client's dispatchers to an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import weakref
from collections.abc import Callable, Coroutine, Sequence
from threading import get_ident
from typing import Any, Final, TypeVar

from eventpipe.core.deadline import Deadline
from eventpipe.core.own import own_context
from eventpipe.core.restarts import RESTART_AFTER
from eventpipe.core.service import Service, ServiceState
from eventpipe.transport.at_exit import LastAttempt, look_after
from eventpipe.transport.dispatcher import Dispatcher
from eventpipe.transport.feed import OutcomeFeed

T = TypeVar("T")

_ALIVE: Final = (ServiceState.STARTING, ServiceState.RUNNING, ServiceState.STOPPING)

# What a loop that is well needs to hand an answer over to another; half of what a close may take beyond its deadline.
ANSWER_TIMEOUT = 0.1


class HomeLostError(RuntimeError):
    """The loop that the client lives on does not answer another one."""


class Runtime:
    """Knows where the dispatchers run, starts them, and brings work to their loop.

    Attributes:
        thread: The thread whose loop runs the dispatchers; ``None`` while none does.
        loop: That loop.
    """

    def __init__(
        self,
        dispatchers: Sequence[Dispatcher],
        feed: OutcomeFeed,
        beside: Sequence[Service] = (),
        *,
        begin: Callable[[asyncio.AbstractEventLoop], None],
        drain: Callable[[], None],
        held: Callable[[], int],
        kept: Callable[[], int],
        is_closed: Callable[[], bool],
        after_fork: Callable[[], None],
        last_attempt: LastAttempt | None = None,
    ) -> None:
        """Bind nothing yet.

        Args:
            dispatchers: What to run.
            feed: What brings their outcomes to subscriptions; it follows them from loop to loop.
            beside: What runs beside them.
            begin: Told of the loop, whenever it is another one.
            drain: Takes the events of other threads over; called on the loop.
            held: Events that other threads have left and nobody has taken over.
            kept: Events in memory that are on disk as well.
            is_closed: Whether nothing is to be started any more.
            after_fork: Called in a forked child, which must not send what its parent will send.
            last_attempt: Called when the interpreter ends with events pending. ``None``: they are counted only.
        """
        self._dispatchers = dispatchers
        self._feed = feed
        self._beside = beside
        self._begin = begin
        self._drain = drain
        self._held = held
        self._kept = kept
        self._is_closed = is_closed
        self.after_fork = after_fork
        self.last_attempt = last_attempt
        self.thread: int | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self._is_wanted = False
        self._is_watched = False
        # Held while the dispatchers are started, which waits for nothing; reentrant for a signal handler that captures.
        self._lock = threading.RLock()
        for service in (*dispatchers, *beside):
            service.on_end = self._ended
            service.new_context = own_context

    @property
    def is_here(self) -> bool:
        """Whether the dispatchers run on the loop that is running now."""
        return self.thread == get_ident() and self.loop is asyncio.get_running_loop()

    @property
    def is_elsewhere(self) -> bool:
        """Whether they run on another loop that is alive: where one crashed, it starts again beside the others."""
        if self.loop is None or self.loop.is_closed() or self.is_here:
            return False
        if self.thread is not None:
            return True
        is_other = self.loop is not asyncio.get_running_loop()
        return is_other and any(dispatcher.state in _ALIVE for dispatcher in self._dispatchers)

    @property
    def has_loop(self) -> bool:
        """Whether there is a loop that can take over what other threads leave."""
        return self.loop is not None and not self.loop.is_closed()

    @property
    def pending(self) -> int:
        """Events not settled, at all sinks, and those that other threads have left."""
        return sum(dispatcher.pending for dispatcher in self._dispatchers) + self._held()

    @property
    def kept(self) -> int:
        """How many of those are on disk as well."""
        return self._kept()

    def ensure(self) -> bool:
        """Start the dispatchers on the running loop, unless they are alive somewhere.

        What was queued for a loop that is gone is carried over.

        Returns:
            Whether they are here.
        """
        if self.is_here:
            return True
        if self.is_elsewhere:
            return False
        self.watch()
        with self._lock:
            is_here = self._start_here()
        if is_here:
            self._drain()
        return is_here

    def follow(self) -> None:
        """Start the dispatchers on the loop that is running now, if theirs was closed; without one, nothing happens."""
        if self.loop is not None and self.loop.is_closed():
            with contextlib.suppress(RuntimeError):  # no loop is running: the next one takes over what is queued
                self.ensure()

    def _start_here(self) -> bool:
        if self.is_elsewhere:
            return False  # another thread was quicker
        loop = asyncio.get_running_loop()
        if self.loop is not None and self.loop is not loop:
            for dispatcher in self._dispatchers:
                dispatcher.flushes.forget()
        self.loop = loop
        if any(service.state is ServiceState.STOPPING for service in (*self._dispatchers, *self._beside)):
            self._is_wanted = True  # somebody cancelled one of them; it starts again when it has ended
            return True
        self._is_wanted = False
        self.thread = get_ident()
        self._begin(loop)
        self._feed.open()
        for service in (*self._dispatchers, *self._beside):
            service.launch()
        return True

    async def run(self, work: Coroutine[Any, Any, T], timeout: float | None = None) -> T:  # Any: as Coroutine's own
        """Run ``work`` on the loop of the dispatchers, and wait for it on this one.

        Args:
            work: What to run.
            timeout: Seconds that ``work`` takes at most, by itself. ``None``: nobody knows.

        Raises:
            HomeLostError: That loop ended meanwhile, or is held up so that it did not answer in time.
            RuntimeError: That loop is neither running nor closed, so that nobody knows whether it will go on.

        Cancellation:
            Cancels ``work`` there.
        """
        if self.loop is None or self.loop is asyncio.get_running_loop() or self.loop.is_closed():
            return await work
        if not self.loop.is_running():
            work.close()
            raise RuntimeError(
                "the client's event loop is neither running nor closed; run this there, or close that loop first"
            )
        answer = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self.loop))
        deadline = Deadline.after(None if timeout is None else timeout + ANSWER_TIMEOUT)
        try:
            async with deadline.scope():
                await asyncio.wait({answer})
        except TimeoutError:
            raise HomeLostError("the client's event loop is held up and does not answer") from None
        finally:
            answer.cancel()
        if answer.cancelled():
            raise HomeLostError("the client's event loop ended meanwhile")
        return answer.result()

    def watch(self) -> None:
        """Be looked after when the process forks or ends; comes before anything is held."""
        if not self._is_watched:
            self._is_watched = True
            _watch(self)

    def request_drain(self) -> bool:
        """Have the events of other threads taken over soon; any thread may call it. ``False`` when no loop is there."""
        loop = self.loop
        if loop is None:
            return False
        try:
            loop.call_soon_threadsafe(self._drain)
        except RuntimeError:  # the loop was closed
            return False
        return True

    def disown(self) -> None:
        """Leave everything to the parent, in a forked child: what goes on with its copy of the loop sends nothing."""
        self._feed.end()
        if self.thread in (None, get_ident()):  # else the thread of that loop is not there any more
            for dispatcher in self._dispatchers:
                dispatcher.disown()

    def _ended(self) -> None:
        """A dispatcher serves no more, or is over: the next capture looks for a loop again, or a timer does."""
        self.thread = None
        if self._is_wanted:
            self.ensure()
        elif any(dispatcher.state is ServiceState.FAILED for dispatcher in self._dispatchers):
            asyncio.get_running_loop().call_later(RESTART_AFTER, self._restart)

    def _restart(self) -> None:
        """Nobody captured meanwhile, and a probe that finds the client crashed may see to it that nobody does."""
        if self.thread is None and not self._is_closed():
            self.ensure()


_watched: weakref.WeakSet[Runtime] = weakref.WeakSet()
_is_watching = False
# What a forked child has of its parent's. The tasks in it never end, and one that is garbage ends with errors.
_inherited: list[Runtime] = []


def _watch(runtime: Runtime) -> None:
    """Look after a runtime that may hold events when the process forks or ends."""
    global _is_watching  # one pair of handlers a process, and none before it is needed
    if not _is_watching:
        _is_watching = True
        look_after(_watched)
        os.register_at_fork(after_in_child=_start_clean)
    _watched.add(runtime)


def _start_clean() -> None:
    runtimes = list(_watched)
    _watched.clear()
    _inherited.extend(runtimes)
    for runtime in runtimes:
        runtime.disown()
        runtime.after_fork()
