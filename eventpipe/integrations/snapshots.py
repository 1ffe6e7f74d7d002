"""A client's numbers, read from any thread as they were at one moment of the client's own loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import TypeVar

from eventpipe.client import AsyncClient
from eventpipe.core.waking import running_loop
from eventpipe.statistics import Statistics

T = TypeVar("T")

# A loop that is well answers within its lag, milliseconds; whoever scrapes waits ten seconds as a rule.
PATIENCE = 0.5
LOOKS = 10  # where a loop cannot be asked: a thread is interrupted once in 5 ms, and a look takes 0.4 ms


def consistent(client: AsyncClient) -> Statistics:
    """Read ``client.statistics()`` so that the accounting identity holds in it, from any thread.

    A scrape comes in a thread of its own as a rule. What it reads there while the client's loop counts could be torn,
    so the loop is asked to read. Where the caller is on that loop already, or it does not run, it is read here; so it
    is when the loop is held up for half a second.
    """
    return read(client, partial(steady, client))


def steady(client: AsyncClient) -> Statistics:
    """Read ``client.statistics()`` wherever this runs, again while it does not add up, but not for ever."""
    numbers = client.statistics()
    for _ in range(LOOKS - 1):
        if all(_adds_up(part) for part in (numbers, *numbers.by_sink.values())):
            break
        numbers = client.statistics()
    return numbers


def read(client: AsyncClient, look: Callable[[], T], patience: float = PATIENCE) -> T:
    """Call ``look`` on the loop of ``client`` and wait for what it returns.

    Args:
        client: Whose loop is asked.
        look: Looks at the client, and waits for nothing.
        patience: Seconds to wait for the loop; then ``look`` is called here, and torn numbers are possible.
    """
    answer = _ask(client, look)
    if answer is None:
        return look()
    try:
        return answer.result(patience)
    except TimeoutError:
        return look() if answer.cancel() else answer.result()


async def read_async(client: AsyncClient, look: Callable[[], T], patience: float = PATIENCE) -> T:
    """Do as ``read()``, on another loop than the client's, which goes on meanwhile.

    Cancellation:
        Safe. Nobody looks any more.
    """
    answer = _ask(client, look)
    if answer is None:
        return look()
    waiting = asyncio.wrap_future(answer)
    try:
        await asyncio.wait({waiting}, timeout=patience)
        if waiting.done():
            return waiting.result()
    finally:
        is_late = answer.cancel()
        waiting.cancel()
    return look() if is_late else answer.result()


def _ask(client: AsyncClient, look: Callable[[], T]) -> Future[T] | None:
    """Have ``look`` called on the loop of ``client`` soon; ``None``: it may as well be called here and now."""
    loop = client._runtime.loop
    # Inside a handler of that loop, even a plain function that waited here would wait for itself.
    if loop is None or not loop.is_running() or loop is running_loop():
        return None
    answer: Future[T] = Future()
    try:
        loop.call_soon_threadsafe(_answer, answer, look)
    except RuntimeError:  # it was closed meanwhile
        return None
    return answer


def _answer(answer: Future[T], look: Callable[[], T]) -> None:
    if answer.set_running_or_notify_cancel():
        try:
            answer.set_result(look())
        except BaseException as error:
            answer.set_exception(error)
            if not isinstance(error, Exception):  # an interrupt is meant for this thread
                raise


def _adds_up(numbers: Statistics) -> bool:
    left = numbers.delivered + numbers.dropped + numbers.spooled
    places = numbers.waiting_room + numbers.queued + numbers.buffered + numbers.in_flight + numbers.waiting_retry
    return (
        numbers.captured + numbers.recovered == left + numbers.pending
        and numbers.pending == places
        and numbers.dropped == sum(numbers.dropped_by_reason.values())
    )
