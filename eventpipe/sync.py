"""The client for code without an ``async def``: scripts, Celery tasks, WSGI."""

from __future__ import annotations

import datetime
import os
import uuid as uuidlib
from collections.abc import Mapping
from typing import NoReturn, Unpack

from eventpipe.blocking import LOOK_TIMEOUT, Blocking
from eventpipe.client import AsyncClient
from eventpipe.contracts import Sink
from eventpipe.core.log import contained_logger
from eventpipe.core.loop_thread import HeldUpError, LoopEndedError, LoopThread
from eventpipe.events import Capturable, DistinctId, Durability, Event, Overflow, Properties
from eventpipe.options import ClientOptions, ClientOptionsDict
from eventpipe.transport.calls import describe, overflow_of
from eventpipe.transport.hooks import BeforeSend, OnOutcome
from eventpipe.transport.receipts import Receipt
from eventpipe.transport.runtime import ANSWER_TIMEOUT

logger = contained_logger("eventpipe")

THREAD = "eventpipe"


class SyncClient(Blocking):
    """Takes events in without waiting, from any thread, and delivers them in a thread of its own.

    An ``AsyncClient`` on an event loop in a daemon thread, with the same options, guarantees and counters. Use it as a
    context manager, or call ``close()``. Making one starts nothing: the thread starts at the first capture.
    """

    _has_warned_of_thread = False

    def __init__(
        self,
        *sinks: Sink,
        options: ClientOptions | None = None,
        spool: str | os.PathLike[str] | None = None,
        before_send: BeforeSend | None = None,
        on_drop: OnOutcome | None = None,
        on_error: OnOutcome | None = None,
        **overrides: Unpack[ClientOptionsDict],
    ) -> None:
        """Check everything and start nothing.

        Hooks run on the thread of the caller or on the client's own; callbacks and plain functions of sinks run on the
        client's own, where what takes long holds up nobody but this client.

        Args and Raises are those of ``AsyncClient``.
        """
        self._client = AsyncClient(
            *sinks,
            options=options,
            spool=spool,
            before_send=before_send,
            on_drop=on_drop,
            on_error=on_error,
            **overrides,
        )
        self._home = LoopThread(THREAD, begin=self._begin, end=self._end, at_exit=self._at_exit)
        # Now, and not at the first capture: what a program registers for its exit after this, close() for instance,
        # comes before the line that says how many events were pending.
        self._client._runtime.watch()

    def __reduce__(self) -> NoReturn:
        raise TypeError("a SyncClient cannot be pickled; make one in each process, or let a forked one inherit it")

    # -- capture --------------------------------------------------------------------------------------------------

    def capture(
        self,
        event: Capturable,
        *,
        distinct_id: DistinctId | None = None,
        properties: Properties | None = None,
        timestamp: datetime.datetime | None = None,
        uuid: str | uuidlib.UUID | None = None,
        headers: Mapping[str, str] | None = None,
        key: str | None = None,
        lane: str | None = None,
        overflow: Overflow | None = None,
        durability: Durability | None = None,
    ) -> Receipt:
        """Take an event in, waiting for nothing unless ``overflow`` is ``"wait"``; it is sent in the background.

        With ``"wait"`` this thread, and no other, waits for room, at most for ``overflow_timeout``; with ``"raise"`` it
        asks the client's thread whether there is room; with a ``durability`` above ``"memory"`` it waits until the
        event is on disk. Inside a hook or a sink of the client nothing is waited for.

        Args are those of ``AsyncClient.capture()``.

        Returns:
            A receipt, also for an event that was not taken in; ``receipt.accepted`` is ``None`` until the client's
            thread has seen the event.

        Raises:
            QueueFullError: The queue is full and ``overflow`` is ``"raise"``.
            InvalidEventError: The event cannot be sent, in strict mode.
            ClosedError: The client was closed, in strict mode.
            ValueError: ``overflow`` or ``durability`` is not one of the words.

        Where a hook or a sink holds the client's thread up, ``"raise"`` and ``overflow_timeout`` wait half a second and
        a tenth longer at most; then the event is left for the thread, as with ``"drop_newest"``.
        """
        client = self._client
        described = describe(event, distinct_id, properties, timestamp, uuid, headers, key, lane, overflow, durability)
        if client._options.enabled and not (client._entrance.is_closed or self._home.is_here):
            overflow = overflow_of(described, client._options, has_spool=client._spool is not None)
            is_durable = (described.durability or client._options.durability) != "memory"
            if is_durable or overflow in ("wait", "raise"):
                return self._hand_over(described, overflow, is_durable=is_durable)
        return self._leave(described)

    def capture_nowait(
        self,
        event: Capturable,
        *,
        distinct_id: DistinctId | None = None,
        properties: Properties | None = None,
        timestamp: datetime.datetime | None = None,
        uuid: str | uuidlib.UUID | None = None,
        headers: Mapping[str, str] | None = None,
        key: str | None = None,
        lane: str | None = None,
        overflow: Overflow | None = None,
        durability: Durability | None = None,
    ) -> Receipt:
        """Take an event in as ``capture()`` does, and never wait: ``"wait"`` and ``"raise"`` mean ``"drop_newest"``.

        Args, Returns and Raises are those of ``capture()``; ``QueueFullError`` is raised on the client's thread alone.
        """
        return self._leave(
            describe(event, distinct_id, properties, timestamp, uuid, headers, key, lane, overflow, durability)
        )

    def _hand_over(self, described: Event, overflow: Overflow, *, is_durable: bool) -> Receipt:
        """Have the client's thread take the event in, and wait for what comes of it."""
        self._warn_on_a_loop("capture")
        longest = LOOK_TIMEOUT if overflow == "raise" else self._client._options.overflow_timeout
        timeout = None if is_durable or longest is None else longest + ANSWER_TIMEOUT
        try:
            return self._home.run(self._client.capture(described), timeout)
        except (HeldUpError, LoopEndedError) as exc:
            if exc.has_begun:
                raise
        return self._leave(described)

    def _leave(self, described: Event) -> Receipt:
        receipt = self._client.capture_nowait(described)
        if not self._home.is_alive and self._client._options.enabled:
            self._take_over()
        return receipt

    def _take_over(self) -> None:
        """See to it that somebody takes what was left for the client's thread, which is not there."""
        if self._client._entrance.is_closed:
            self._end()
            return
        try:
            self._home.start()
        except RuntimeError as exc:  # too many threads, or the interpreter ends: close() needs none
            if not self._has_warned_of_thread:
                self._has_warned_of_thread = True
                logger.warning("no thread can be started to send events, which wait meanwhile: %s", exc)

    def _begin(self) -> None:
        self._client._runtime.ensure()

    def _at_exit(self) -> None:
        """End in order, sending nothing: what was pending has been told, and is dropped with its reason."""
        if self._home.is_alive:
            self.close(0)

    def _end(self) -> None:
        """Take over what came while the loop was being closed: no loop ever will."""
        entrance = self._client._entrance
        if entrance.is_closed:
            with entrance._late:
                entrance.drain()
