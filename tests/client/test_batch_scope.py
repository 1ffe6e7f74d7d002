"""What a block leaves behind on a platform that freezes the process when it has answered."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest

from eventpipe import AsyncClient, FlushReport
from eventpipe.sinks import MemorySink
from eventpipe.testing import GatedSink, check_ledger

pytestmark = pytest.mark.asyncio


async def test_everything_is_settled_when_the_block_has_ended() -> None:
    """What was captured before and inside; each block anew, on a client that stays open between them."""
    sink = MemorySink()
    async with AsyncClient(sink, max_batch_age=60) as client:
        await client.capture("before")
        block = client.batch_scope()
        for number in (1, 2):
            async with block:
                await client.capture("inside")
            assert len(sink.events) == number + 1
            assert block.report is not None
            assert (block.report.delivered, block.report.pending) == (2 if number == 1 else 1, 0)
        check_ledger(client)


async def test_an_error_of_the_block_comes_through_after_the_flush() -> None:
    """What led to it is delivered."""
    sink = MemorySink()
    async with AsyncClient(sink, max_batch_age=60) as client:

        async def job() -> None:
            async with client.batch_scope():
                await client.capture("inside")
                raise KeyError

        with pytest.raises(KeyError):
            await job()
        assert len(sink.events) == 1


@pytest.mark.parametrize(
    ("arguments", "took"),
    [
        ({"timeout": 3}, 3.0),
        ({}, 10.0),
        ({"timeout": 30, "remaining": lambda: 5.0}, 4.5),
        ({"timeout": 3, "remaining": lambda: 5.0}, 3.0),
        ({"remaining": lambda: 5, "margin": 1}, 4.0),
        ({"remaining": lambda: 0.3}, 0.0),
        ({"remaining": lambda: -1.0}, 0.0),
        ({"remaining": lambda: math.inf}, 10.0),
        ({"remaining": lambda: math.nan}, 10.0),
        ({"remaining": lambda: "soon"}, 10.0),
        ({"remaining": lambda: True}, 10.0),
        ({"remaining": lambda: 1 / 0}, 10.0),
    ],
    ids=[
        "timeout",
        "the client's own",
        "the platform's time",
        "the shorter",
        "margin",
        "no time",
        "late",
        "endless",
        "nan",
        "words",
        "true",
        "error",
    ],
)
async def test_it_waits_no_longer_than_there_is_time(arguments: dict[str, Any], took: float) -> None:
    """A far end that does not answer holds the block up for exactly so long; what is pending is in the report."""
    sink = GatedSink()
    async with AsyncClient(sink) as client:
        block = client.batch_scope(**arguments)
        async with block:
            await client.capture("e")
        assert block.report is not None
        assert block.report.pending == 1
        assert block.report.elapsed == pytest.approx(took)
        sink.release()


async def test_the_time_left_is_asked_for_at_the_end_of_the_block() -> None:
    """A platform's clock runs while the block does; one call of the function for each block."""
    asked: list[int] = []

    def remaining() -> float:
        asked.append(len(sink.events))
        return 5.0

    sink = MemorySink()
    async with AsyncClient(sink) as client:
        async with client.batch_scope(remaining=remaining):
            await client.capture("e")
            await client.flush()
        assert asked == [1]


async def test_a_block_that_closes_the_client_has_no_report() -> None:
    """The close sent what there was, and reports it."""
    async with AsyncClient(sink := MemorySink()) as client:
        block = client.batch_scope()
        async with block:
            await client.capture("e")
            assert (await client.aclose()).delivered == 1
        assert block.report is None
        assert len(sink.events) == 1


@pytest.mark.wallclock
@pytest.mark.parametrize("error", [None, KeyError("mine")], ids=["answer", "error"])
async def test_a_flush_that_cannot_be_costs_the_block_nothing(
    error: Exception | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the client lives on a loop that rests: the answer or the error comes through, the report has the number."""
    client = AsyncClient(MemorySink(), max_batch_age=60)
    block = client.batch_scope()

    async def handle() -> str:
        async with block:
            await client.capture("second")
            if error is not None:
                raise error
        return "answer"

    home = asyncio.Runner()
    await asyncio.to_thread(home.run, client.capture("first"))
    [answer] = await asyncio.gather(handle(), return_exceptions=True)
    report = await asyncio.to_thread(home.run, client.aclose())
    await asyncio.to_thread(home.close)

    assert answer is error or (error, answer) == (None, "answer")
    assert block.report == FlushReport(pending=2)
    assert caplog.messages == [
        "a batch_scope could not flush, and 2 events are pending: the client's event loop is neither running nor "
        "closed; run this there, or close that loop first"
    ]
    assert report.delivered == 2


async def _later() -> float:
    return 1.0


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"timeout": -1}, ValueError, "timeout must be a number of seconds, at least 0, not -1"),
        ({"timeout": math.nan}, ValueError, "timeout must be a number of seconds, at least 0, not nan"),
        ({"timeout": True}, ValueError, "timeout must be a number of seconds, at least 0, not True"),
        ({"margin": math.inf}, ValueError, "margin must be a number of seconds, at least 0, not inf"),
        ({"margin": "1"}, ValueError, "margin must be a number of seconds, at least 0, not '1'"),
        ({"remaining": 5}, TypeError, "remaining must be a plain function that returns seconds, not 5"),
        ({"remaining": _later}, TypeError, "remaining must be a plain function that returns seconds, not function"),
    ],
    ids=["negative", "nan", "true", "endless", "text", "number", "async"],
)
async def test_wrong_arguments_are_named(arguments: dict[str, Any], error: type[Exception], says: str) -> None:
    """At the call, before anything runs."""
    with pytest.raises(error, match=f"^{says}$"):
        AsyncClient(MemorySink()).batch_scope(**arguments)
