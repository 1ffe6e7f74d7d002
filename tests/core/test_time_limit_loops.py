"""A limit that one event loop after the other uses."""

from __future__ import annotations

import asyncio

from eventpipe.core.time_limit import TimeLimit
from eventpipe.testing.loop import VirtualTimeLoop
from tests.core.test_time_limit import slept


def test_another_loop_begins_anew() -> None:
    """What ran when a loop was closed is forgotten, and takes nobody's time."""
    limit = TimeLimit(1.0)

    async def leave_one() -> None:
        task = asyncio.create_task(slept(limit, 100))
        await asyncio.sleep(0)
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # on purpose
        left.append(task)

    left: list[asyncio.Task[tuple[float, str]]] = []
    first = VirtualTimeLoop()
    first.run_until_complete(leave_one())
    first.close()
    second = VirtualTimeLoop()
    try:
        assert second.run_until_complete(slept(limit, 100)) == (1.0, "overdue")
        assert second.run_until_complete(slept(limit, 0.5)) == (1.5, "done")
    finally:
        second.close()
