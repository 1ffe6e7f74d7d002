"""Far ends that say when to come back, and what they say is no time at all, or the end of days."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from itertools import pairwise
from math import inf
from typing import TypeVar

import pytest

from eventpipe import OutcomeKind, RetryPolicy
from tests.edge.conftest import Record
from tests.edge.jumping_loop import JumpingLoop
from tests.edge.pipeline import PATIENT, Pipelines
from tests.edge.raw_server import RawServer, answer
from tests.edge.rows import Row

ROW = Row.RETRY_AFTER
pytestmark = pytest.mark.wallclock

Result = TypeVar("Result")

BACKOFF = 4.0  # what comes next where nothing was said
MAX_RETRY_AFTER = 300.0
CALM = RetryPolicy(initial=BACKOFF, max_delay=BACKOFF, jitter=0)
STEADY = RetryPolicy(initial=0.02, max_delay=0.02, min_delay=0.02, jitter=0, max_attempts=4)
REAL = 0.01  # seconds for what would happen at once, if it happened

NOW = time.time()
ABSENT: dict[str, tuple[str, ...]] = {
    "nan": ("nan",),
    "inf": ("inf",),
    "Infinity": ("Infinity",),
    "1e400": ("1e400",),
    "1e2": ("1e2",),
    "-5": ("-5",),
    "-999999999": ("-999999999",),
    "0": ("0",),
    "-0": ("-0",),
    "00": ("00",),
    "1.5": ("1.5",),
    "+7": ("+7",),
    "0x10": ("0x10",),
    "1_000": ("1_000",),
    "empty": ("",),
    "spaces": ("   ",),
    "words": ("in a while",),
    "a past date": ("Mon, 01 Jan 2024 00:00:00 GMT",),
    "the first of dates": ("Mon, 01 Jan 0001 00:00:00 GMT",),
    "now": (formatdate(NOW - 5, usegmt=True),),
    "a date that is none": ("Mon, 31 Feb 2099 25:61:61 GMT",),
    "a date of another zone": ("Mon, 01 Jan 2099 00:00:00 +0100",),
    "year 99999": ("Mon, 01 Jan 99999 00:00:00 GMT",),
    "10 kB of letters": ("a" * 10_240,),
    # Longer than aiohttp takes a header: the answer cannot be read, and the attempt failed as any other.
    "10 kB of digits": ("9" * 10_240,),
}
CLAMPED: dict[str, tuple[str, ...]] = {
    "301": ("301",),
    "999999999": ("999999999",),
    "8 kB of digits": ("9" * 8_000,),
    "2 to the 64": (str(2**64),),
    "a future date": ("Fri, 31 Dec 9999 23:59:59 GMT",),
    "a future date of RFC 850": (f"Thursday, 31-Dec-{time.gmtime(NOW).tm_year % 100 + 9:02} 23:59:59 GMT",),
    "a future date of asctime": ("Fri Dec 31 23:59:59 9999",),
    "two, the last of them huge": ("7", "999999999"),
}
OBEYED: dict[str, tuple[tuple[str, ...], float]] = {
    "7": (("7",), 7),
    "300": (("300",), 300),
    "spaces around": (("  7\t",), 7),
    "zeros before": (("0007",), 7),
    "a list": (("7, 9",), 9),
    "two, 9 then 7": (("9", "7"), 9),
    "two, the last of them garbage": (("7", "soon"), 7),
}
WAITS: dict[str, tuple[tuple[str, ...], float]] = {
    **{case: (values, BACKOFF) for case, values in ABSENT.items()},
    **{case: (values, MAX_RETRY_AFTER) for case, values in CLAMPED.items()},
    **OBEYED,
}


def refusal(values: tuple[str, ...], status: int = 503) -> bytes:
    return answer(status, b"", *(f"Retry-After: {value}" for value in values))


def run(main: Callable[[JumpingLoop], Awaitable[Result]]) -> Result:
    """Run on a loop whose clock can be put forward."""
    loop = JumpingLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:

        async def entered() -> Result:
            return await main(loop)

        return runner.run(entered())


@pytest.mark.parametrize("case", WAITS)
def test_what_is_said_is_obeyed_clamped_or_absent(case: str, pipeline: Pipelines, record: Record) -> None:
    """To a moment, with a real far end and a clock that is put forward."""
    values, wait = WAITS[case]

    async def main(loop: JumpingLoop) -> tuple[float, int]:
        async with RawServer(refusal(values)) as server, pipeline(server.url, retry=CALM) as pipe:
            (receipt,) = await pipe.capture()
            await pipe.failed.wait()
            loop.jump(wait - BACKOFF / 2)
            before = loop.steps
            await asyncio.sleep(REAL)
            steps = loop.steps - before
            assert len(server.requests) == 1
            loop.jump(BACKOFF / 2)
            async with asyncio.timeout(PATIENT):
                outcome = await receipt.outcome()

            assert (outcome.kind, outcome.attempt) == (OutcomeKind.DELIVERED, 2)
            first, second = server.requests
            return second.at - first.at, steps

    seconds, steps = run(main)

    assert wait <= seconds < wait + BACKOFF / 2
    assert steps < 10
    record(case, seconds=seconds, steps_while_paused=steps)


@pytest.mark.asyncio
@pytest.mark.parametrize("status", [429, 503])
async def test_no_header_makes_a_busy_loop(status: int, pipeline: Pipelines, record: Record) -> None:
    """Whatever counts as absent leaves the backoff as it is: attempts keep their distance, and come to an end."""
    closest, most = inf, 0
    for values in [*ABSENT.values(), ()]:
        async with RawServer(default=refusal(values, status)) as server, pipeline(server.url, retry=STEADY) as pipe:
            (outcome,) = await pipe.outcomes()

        assert outcome.kind is OutcomeKind.DROPPED
        moments = [request.at for request in server.requests]
        closest = min(closest, *(later - earlier for earlier, later in pairwise(moments)))
        most = max(most, len(moments))

    assert closest >= STEADY.min_delay
    assert most == STEADY.max_attempts
    record(f"{status}, again and again", closest_seconds=closest, attempts=most, headers=len(ABSENT) + 1)


@pytest.mark.asyncio
async def test_a_pause_holds_up_no_other_sink_and_no_close(pipeline: Pipelines, record: Record) -> None:
    """One sink waits five minutes; the other delivers all, and closing gives up at once what is beyond its deadline."""
    async with RawServer(default=refusal(("999999999",))) as paused, RawServer() as other:
        sinks = (pipeline.sink(paused.url, name="paused"), pipeline.sink(other.url, name="other"))
        async with pipeline.client(*sinks) as pipe:
            loop = asyncio.get_running_loop()
            await pipe.capture(20)
            await other.reached(20)
            began = loop.time()
            report = await pipe.client.aclose(timeout=2.0)
            took = loop.time() - began

    assert took < 1.0
    assert (len(other.requests), len(paused.requests)) == (20, 1)
    assert (report.delivered, dict(report.dropped_by_reason)) == (20, {"close_deadline": 20})
    record("another sink, and aclose()", others_delivered=20, aclose_seconds=took)
