"""Work that ends when the user asks."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from eventpipe.cli.signals import Stop


async def until(stop: Stop, work: Coroutine[Any, Any, None], times: int = 1) -> bool:  # Any: asyncio's own
    """Do ``work`` until it ends, or is cancelled because the user asks to stop; whether it ended by itself.

    Args:
        stop: The user's wish.
        work: What is done.
        times: How often the user has to ask, once or twice; then ``work`` looks for the first time itself.
    """
    working = asyncio.create_task(work, name="eventpipe command")
    stopping = asyncio.create_task(stop.wait(times))
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (working, stopping):
            task.cancel()
        await asyncio.wait({working, stopping})
    if working.cancelled():
        return False
    working.result()
    return True
