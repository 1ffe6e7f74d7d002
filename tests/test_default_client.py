"""The default client: set once, used by name of the package, and nothing at all until then."""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from eventpipe import AsyncClient, ClosedError, CloseReport, DropReason, Event, FlushReport, OutcomeKind, default
from eventpipe.default import set_default
from eventpipe.sinks import MemorySink
from eventpipe.sync import SyncClient
from eventpipe.testing import HangingSink

FUNCTIONS = ["capture", "capture_nowait", "flush", "aclose"]


@pytest.fixture(autouse=True)
def _none_is_left() -> Iterator[None]:
    """Each test begins and ends without one."""
    set_default(None)
    yield
    set_default(None)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_take_what_the_methods_take(name: str) -> None:
    """Names, kinds, defaults and annotations, and whether it is awaited."""
    function, method = getattr(default, name), getattr(AsyncClient, name)

    signature = inspect.signature(method)
    without_self = signature.replace(parameters=list(signature.parameters.values())[1:])

    assert inspect.signature(function) == without_self
    assert inspect.iscoroutinefunction(function) == inspect.iscoroutinefunction(method)


@pytest.mark.asyncio
async def test_without_one_every_function_does_nothing() -> None:
    """Receipts of nobody, and empty reports."""
    receipts = [await default.capture("e", distinct_id="u1"), default.capture_nowait(Event("e"))]

    assert [(receipt.accepted, receipt.reason) for receipt in receipts] == [(False, None)] * 2
    outcome = await receipts[0].outcome()
    assert (outcome.kind, outcome.error) == (OutcomeKind.DROPPED, "there is no default client")
    assert await default.flush(1, until="attempted") == FlushReport()
    assert await default.aclose(1) == CloseReport()


@pytest.mark.asyncio
async def test_the_log_tells_once_that_there_is_none(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At DEBUG, and never again: what a library captures in vain fills no log."""
    monkeypatch.setattr(default, "_is_told", False)
    caplog.set_level("DEBUG", "eventpipe")

    await default.capture("e")
    for _ in range(3):
        default.capture_nowait("e")

    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("DEBUG", "there is no default client, and nothing is captured: set_default(client) sets one")
    ]


@pytest.mark.asyncio
async def test_functions_are_those_of_the_client() -> None:
    """With every argument handed on, and the same reports."""
    sink = MemorySink()
    client = AsyncClient(sink)
    set_default(client)

    given = {"distinct_id": "u1", "properties": {"n": 1}, "headers": {"h": "1"}, "key": "k", "lane": None}
    await default.capture("a", **given)  # type: ignore[arg-type]  # of different types
    default.capture_nowait("b", **given)  # type: ignore[arg-type]  # as above
    assert (await default.flush()).delivered == 2
    report = await default.aclose()

    assert [
        (event.event, event.distinct_id, event.properties, dict(event.headers), event.key) for event in sink.events
    ] == [(name, "u1", {"n": 1}, {"h": "1"}, "k") for name in "ab"]
    assert report is await client.aclose()


@pytest.mark.asyncio
async def test_timeouts_and_words_are_handed_on() -> None:
    """``flush()`` and ``aclose()`` return at the timeout they were given."""
    set_default(AsyncClient(HangingSink()))
    default.capture_nowait("e", uuid="01890000-0000-7000-8000-000000000001")
    loop = asyncio.get_running_loop()
    began = loop.time()

    assert (await default.flush(2.0)).pending == 1
    assert loop.time() - began == pytest.approx(2.0)
    with pytest.raises(ValueError, match="until must be"):
        await default.flush(until="dropped")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="overflow must be"):
        await default.capture("e", overflow="explode")  # type: ignore[arg-type]
    assert (await default.aclose(3.0)).dropped_by_reason == {"close_deadline": 1}
    assert loop.time() - began == pytest.approx(5.0)


@pytest.mark.asyncio
async def test_set_twice_is_an_error() -> None:
    """Also with the same client; the one that was set stays."""
    sink = MemorySink()
    client = AsyncClient(sink)
    set_default(client)
    for other in (AsyncClient(MemorySink()), client):
        with pytest.raises(RuntimeError, match=r"<AsyncClient to MemorySink: .*> is the default client already"):
            set_default(other)

    await default.capture("e")
    await default.aclose()

    assert len(sink.events) == 1


@pytest.mark.asyncio
async def test_another_follows_a_closed_one() -> None:
    """Until then captures are drops of the closed one, counted there."""
    first, second = AsyncClient(MemorySink()), AsyncClient(MemorySink())
    set_default(first)
    await first.aclose()
    assert (await default.capture("e")).reason == DropReason.CLOSED
    with pytest.raises(ClosedError):
        await default.flush()

    set_default(second)
    await default.capture("e")

    assert (await default.aclose()).delivered == 1
    assert first.statistics().dropped_by_reason == {"closed": 1}


@pytest.mark.asyncio
async def test_none_takes_it_away_and_closes_nothing() -> None:
    """Then another may be set."""
    first, second = AsyncClient(MemorySink()), AsyncClient(MemorySink())
    set_default(first)
    set_default(None)
    set_default(None)
    assert default.capture_nowait("e").accepted is False
    assert first.health().is_open

    set_default(second)
    assert (await default.capture("e")).accepted
    await second.aclose()
    await first.aclose()


@pytest.mark.parametrize(
    "wrong",
    [lambda: "client", lambda: AsyncClient, lambda: SyncClient(MemorySink()), object],
    ids=["text", "class", "SyncClient", "object"],
)
def test_what_is_no_client_is_refused(wrong: Callable[[], object]) -> None:
    """And nothing is set."""
    with pytest.raises(TypeError, match="the default client must be an AsyncClient or None, not"):
        set_default(wrong())  # type: ignore[arg-type]
    assert default.capture_nowait("e").accepted is False


def test_of_many_threads_one_sets_it() -> None:
    """Whoever was first, although another thread gets its turn between the question and the answer."""
    asked = threading.Barrier(2)
    outcomes: list[RuntimeError | None] = []

    class Entrance:
        @property
        def is_closed(self) -> bool:
            with suppress(threading.BrokenBarrierError):
                asked.wait(0.01)  # until both have asked, where nothing keeps them apart
            return True

    before = AsyncClient(MemorySink())
    set_default(before)
    before._entrance = Entrance()  # type: ignore[assignment]  # all that is asked of it

    def claim() -> None:
        try:
            set_default(AsyncClient(MemorySink()))
        except RuntimeError as error:
            outcomes.append(error)
        else:
            outcomes.append(None)

    threads = [threading.Thread(target=claim) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (len(outcomes), outcomes.count(None)) == (2, 1)


@pytest.mark.wallclock
def test_forked_child_has_it_and_starts_anew() -> None:
    """It sends its own events alone."""
    sink = MemorySink()
    set_default(AsyncClient(sink))
    default.capture_nowait("parent")
    if (pid := os.fork()) == 0:
        status = 1
        try:
            default.capture_nowait("child")
            report = asyncio.run(default.aclose(5))
            status = 0 if report.delivered == 1 and [event.event for event in sink.events] == ["child"] else 2
        finally:
            os._exit(status)
    _, status = os.waitpid(pid, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    assert asyncio.run(default.aclose(5)).delivered == 1
    assert [event.event for event in sink.events] == ["parent"]
