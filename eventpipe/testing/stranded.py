"""What a test leaves with a client that lives on: settled at the test's end, while nothing of it is sent.

A client that a program makes at import and never closes is none the worse for a test whose loop ended before its batch
was due. Its next loop would carry the events over, and where there is none, the end of the process counts them.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
from threading import get_ident
from typing import TYPE_CHECKING, Final

from eventpipe.core.deadline import Deadline
from eventpipe.core.waking import running_loop
from eventpipe.transport import runtime as runtimes
from eventpipe.transport.flushing import flush

if TYPE_CHECKING:
    from collections.abc import Iterable

    from eventpipe.testing.notes import Note
    from eventpipe.transport.runtime import Runtime

# Where nothing is sent, a flush takes a millisecond, unless a far end that was sent to before asked for a pause, or the
# loop of another thread is held up.
_TIMEOUT: Final = 0.2


def settle_stranded(notes: Iterable[Note]) -> None:
    """Have clients settle what they hold, each if all of it is among ``notes``; nothing while a loop runs here."""
    places = [note.place for note in notes]
    if not places or running_loop() is not None:
        return
    for runtime in list(runtimes._watched):
        queues = [dispatcher.intake for dispatcher in runtime._dispatchers]
        inbox = getattr(runtime._held, "__self__", None)  # whose length that is
        left = sum(place is inbox for place in places)
        taken = sum(any(place is queue for queue in queues) for place in places)
        is_all = runtime._held() <= left and all(
            dispatcher.pending <= left + taken for dispatcher in runtime._dispatchers
        )
        if runtime.pending and is_all and not runtime._is_closed():
            _settle(runtime)


def _settle(runtime: Runtime) -> None:
    loop = runtime.loop
    if loop is None:
        return
    if loop.is_closed():
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            runner.run(_flush(runtime))
    elif loop.is_running():
        _settle_there(runtime, loop)
    elif runtime.thread == get_ident():  # another thread may be about to run its own
        loop.run_until_complete(_flush(runtime))


def _settle_there(runtime: Runtime, loop: asyncio.AbstractEventLoop) -> None:
    work = _flush(runtime)
    try:
        answer = asyncio.run_coroutine_threadsafe(work, loop)
    except RuntimeError:  # it was closed meanwhile
        work.close()
        return
    with contextlib.suppress(TimeoutError, concurrent.futures.CancelledError):
        answer.result(_TIMEOUT)
    answer.cancel()


async def _flush(runtime: Runtime) -> None:
    if not runtime._is_closed() and runtime.ensure():
        runtime._drain()
        await flush(runtime._dispatchers, Deadline.after(_TIMEOUT).when, "settled", hurry=True)
