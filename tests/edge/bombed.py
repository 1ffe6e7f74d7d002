"""A process of its own that sends to a far end and measures what each answer costs it; run by ``test_bombs.py``.

Reads one line of JSON from its standard input, ``[[case, url], ...]``, and writes one line per case.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp

from eventpipe import AsyncClient, Codec, RetryPolicy
from eventpipe.codecs import JsonCodec, PostHogV1
from eventpipe.sinks import HttpSink

CODECS: dict[str, Codec] = {"json": JsonCodec(), "posthog-v1": PostHogV1("phc_key"), "json, lent": JsonCodec()}


def memory(name: str) -> int:
    """``VmRSS`` (now) or ``VmHWM`` (the most since the last ``forget_peak()``), in KiB."""
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1])


def forget_peak() -> None:
    """Let ``VmHWM`` begin again from what is used now."""
    Path("/proc/self/clear_refs").write_text("5")


async def measure(codec: str, url: str) -> dict[str, Any]:  # Any: JSON
    """Send one event to ``url`` with a sink of its own, whose session is lent where ``codec`` says so."""
    session = aiohttp.ClientSession() if "lent" in codec else None
    sink = HttpSink(url, CODECS[codec], timeout=20.0, session=session)
    async with contextlib.AsyncExitStack() as stack:
        if session is not None:
            await stack.enter_async_context(session)
        return await sent(sink)


async def sent(sink: HttpSink) -> dict[str, Any]:  # Any: JSON
    """Send one event; say what became of it, in which time, and how much memory was in use at most."""
    async with AsyncClient(sink, max_batch_age=0.0, retry=RetryPolicy(max_attempts=1)) as client:
        before = memory("VmRSS")
        forget_peak()
        began = time.perf_counter()
        outcome = await (await client.capture("e", distinct_id="u", properties={"a": 1})).outcome()
        took = time.perf_counter() - began
        grown = memory("VmHWM") - before
    return {
        "kind": outcome.kind,
        "reason": outcome.reason,
        "status": outcome.status,
        "seconds": took,
        "KiB": grown,
    }


async def main() -> None:
    """Measure each case that was asked for, the first of each codec twice: what is imported late is not its cost."""
    for codec, url in json.loads(sys.stdin.readline()):
        print(json.dumps(await measure(codec, url)), flush=True)  # noqa: T201  # what the test reads


if __name__ == "__main__":
    asyncio.run(main())
