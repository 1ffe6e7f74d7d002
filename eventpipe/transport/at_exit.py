"""The end of the interpreter with events pending: a last attempt where one was asked for, and a line with numbers."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import importlib
import threading
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Protocol

from eventpipe.core.log import contained_logger
from eventpipe.outcomes import CloseReport

logger = contained_logger("eventpipe")

LastAttempt = Callable[[], Coroutine[Any, Any, CloseReport]]  # Any: as Coroutine's own


class Holder(Protocol):
    """What may hold events when the interpreter ends.

    Attributes:
        loop: The loop that its events were on last.
        last_attempt: Sends what is pending, and ends by a deadline of its own. ``None``: nobody asked for it.
    """

    loop: asyncio.AbstractEventLoop | None
    last_attempt: LastAttempt | None

    @property
    def pending(self) -> int:
        """Events not settled."""

    @property
    def kept(self) -> int:
        """How many of these are on disk."""


def look_after(holders: Iterable[Holder]) -> None:
    """Look at ``holders``, as they are then, when the interpreter ends."""
    atexit.register(lambda: _count(list(holders)))
    # By the time of atexit no thread can be started any more, and names are resolved and files written in threads. This
    # comes before, in the way that concurrent.futures itself does; where it is missing, the events are counted only.
    # The last registered is called first, so that theirs has to be there.
    importlib.import_module("concurrent.futures.thread")
    register = getattr(threading, "_register_atexit", None)
    if register is not None:
        with contextlib.suppress(RuntimeError):  # the end has begun
            register(lambda: _attempt(list(holders)))


def _attempt(holders: Iterable[Holder]) -> None:
    for holder in holders:
        pending = holder.pending
        if pending and holder.last_attempt is not None:
            _settle(holder.loop, holder.last_attempt, pending)


def _settle(home: asyncio.AbstractEventLoop | None, attempt: LastAttempt, pending: int) -> None:
    # A loop that stands still has to do it itself; one that runs in a thread, or is closed, leaves it to another.
    is_at_rest = home is not None and not home.is_closed() and not home.is_running()
    loop = home if is_at_rest and home is not None else asyncio.new_event_loop()
    try:
        report = loop.run_until_complete(attempt())
    except BaseException as error:  # noqa: BLE001  # Ctrl-C too: the interpreter ends either way, and what is left is counted
        logger.error(
            "%s pending at exit, and the last attempt to send them raised %s", _were(pending), type(error).__name__
        )
    else:
        logger.warning(
            "a client was not closed; %s pending at exit and had a last attempt; in all, %s delivered and %d dropped",
            _were(pending),
            _were(report.delivered),
            report.dropped,
        )
    finally:
        with contextlib.suppress(BaseException):
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()


def _count(holders: Iterable[Holder]) -> None:
    for holder in holders:
        in_memory = holder.pending - holder.kept
        if in_memory > 0:
            logger.error(
                "a client was not closed, and %s pending at exit; use `async with AsyncClient(...)`, "
                "`await client.aclose()`, or `with SyncClient(...)`; or set exit_timeout",
                _were(in_memory),
            )
        if holder.kept:
            logger.warning(
                "a client was not closed; %s pending at exit and on disk, and will be sent by the next one that has"
                " the spool",
                _were(holder.kept),
            )


def _were(number: int) -> str:
    return "1 event was" if number == 1 else f"{number} events were"
