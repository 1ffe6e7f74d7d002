"""Starts and stops clients, and prints what that left: ``python -m tests.stress.lives together|"by turns" N``."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from collections.abc import Callable

import psutil

from eventpipe import AsyncClient
from eventpipe.sinks import CallbackSink
from eventpipe.testing import check_ledger

AT_ONCE = 100
WARM_UP = 3000  # lives, half as many again at a time: the allocator's arenas have their size after that


async def live() -> int:
    async with AsyncClient(CallbackSink(lambda batch: None)) as client:
        await client.capture("e")
    return check_ledger(client, drained=True).delivered


async def live_together(lives: int, at_once: int = AT_ONCE) -> tuple[int, int]:
    before = len(asyncio.all_tasks())
    delivered = 0
    for _ in range(lives // at_once):
        delivered += sum(await asyncio.gather(*(live() for _ in range(at_once))))
    return delivered, len(asyncio.all_tasks()) - before


def by_turns(lives: int) -> tuple[int, int]:
    return sum(asyncio.run(live()) for _ in range(lives)), 0


def together(lives: int) -> tuple[int, int]:
    return asyncio.run(live_together(lives))


def measure(run: Callable[[int], tuple[int, int]], lives: int) -> dict[str, int]:
    process = psutil.Process()
    asyncio.run(live_together(WARM_UP, AT_ONCE * 3 // 2))
    run(10 * AT_ONCE)
    gc.collect()
    before = process.memory_info().rss, process.num_threads(), process.num_fds()
    delivered, tasks = run(lives)
    gc.collect()
    after = process.memory_info().rss, process.num_threads(), process.num_fds()
    rss, threads, descriptors = (now - then for now, then in zip(after, before, strict=True))
    return {"delivered": delivered, "tasks": tasks, "bytes": rss, "threads": threads, "descriptors": descriptors}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure({"together": together, "by turns": by_turns}[sys.argv[1]], int(sys.argv[2]))))
