"""Logs that sending causes never become events: by whatever library, task, thread or hook they are written."""

from __future__ import annotations

import asyncio
import logging
import logging.handlers
import queue
import threading
import uuid
from collections.abc import Callable

import httpx
import loguru
import pytest

from eventpipe import AsyncClient, Batch, Event, Outcome, OutcomeKind, RetryPolicy, TransientSinkError
from eventpipe.core import own
from eventpipe.core.hook import Hook
from eventpipe.core.own import OWN, is_own, own_context
from eventpipe.integrations.logging import EventHandler, SendingFilter
from eventpipe.sinks import CallbackSink, HttpSink, LoggingSink, MemorySink
from eventpipe.testing import GatedSink, ScriptedServer, check_ledger
from tests.integrations.logs import attached

app = logging.getLogger("shop")


class Sink(MemorySink):
    """Does something before it takes a batch, and when it is closed."""

    def __init__(self, act: Callable[[], object], *, name: str | None = None) -> None:
        super().__init__(name=name)
        self.act = act

    async def send(self, batch: Batch) -> None:
        done = self.act()
        if asyncio.iscoroutine(done):
            await done
        await super().send(batch)

    async def aclose(self) -> None:
        app.info("closing")
        await super().aclose()

    @property
    def messages(self) -> list[str]:
        return [event.properties["message"] for event in self.events]


# -- while a batch is sent --------------------------------------------------------------------------------------------


async def in_task() -> None:
    await asyncio.create_task(asyncio.sleep(0))
    app.info("sending")


async def in_thread() -> None:
    await asyncio.to_thread(app.info, "sending")


async def in_callback() -> None:
    done = asyncio.Event()

    def call() -> None:
        app.info("sending")
        done.set()

    asyncio.get_running_loop().call_later(0.001, call)
    await done.wait()


@pytest.mark.asyncio
@pytest.mark.parametrize("act", [lambda: app.info("sending"), in_task, in_thread, in_callback],
    ids=["plain", "task", "thread", "callback"])  # fmt: skip
async def test_what_is_logged_while_sending_is_no_event(act: Callable[[], object]) -> None:
    """In the sink, in its tasks, in threads that ``asyncio.to_thread()`` starts, in callbacks, and at its close."""
    client = AsyncClient(sink := Sink(act), batch_events=1)
    with attached(EventHandler(client)):
        async with client:
            app.info("one")
            app.info("two")

        assert sink.messages == ["one", "two"]
        assert check_ledger(client, received=sink.uuids, drained=True).captured == 2


@pytest.mark.asyncio
async def test_program_goes_on_being_captured_while_a_batch_is_sent() -> None:
    """What is passed over is told by who writes it, not by when."""
    sink = GatedSink()
    async with AsyncClient(sink, batch_events=1) as client:
        with attached(EventHandler(client)):
            app.info("one")
            await sink.reached(1)
            app.info("two")
            await asyncio.create_task(in_task())
            await asyncio.to_thread(app.info, "three")
        sink.release()
        await client.flush()

        assert check_ledger(client, received=sink.uuids).captured == 4


@pytest.mark.asyncio
async def test_far_end_that_fails_and_is_logged_multiplies_nothing() -> None:
    """One record, ten attempts with a line each, one event."""
    attempts = 0

    async def send(batch: Batch) -> None:
        nonlocal attempts
        attempts += 1
        app.error("attempt %d failed", attempts)
        raise TransientSinkError("down")

    client = AsyncClient(CallbackSink(send), retry=RetryPolicy(max_attempts=10, initial=0.1))
    with attached(EventHandler(client)):
        async with client:
            app.info("one")
            await client.flush(600)

        statistics = check_ledger(client, received=[], drained=True)

    assert (statistics.captured, statistics.attempts, attempts) == (1, 10, 10)
    assert dict(statistics.dropped_by_reason) == {"exhausted": 1}


@pytest.mark.asyncio
async def test_two_clients_that_log_for_each_other_come_to_rest() -> None:
    """Each sees every record, and the sink of each logs when it sends: two events, one each, and then silence."""
    first, second = Sink(lambda: app.info("first sends")), Sink(lambda: app.info("second sends"))
    clients = AsyncClient(first, batch_events=1), AsyncClient(second, batch_events=1)
    with attached(*map(EventHandler, clients)):
        async with clients[0], clients[1]:
            app.info("one")
            for client in clients:
                await client.flush()
            for client in clients:
                await client.flush()

    assert (first.messages, second.messages) == (["one"], ["one"])
    assert [check_ledger(client, drained=True).captured for client in clients] == [1, 1]


@pytest.mark.asyncio
@pytest.mark.wallclock
async def test_libraries_that_log_requests_feed_nothing() -> None:
    """With every logger at DEBUG: a sink of ours, by aiohttp, and one that somebody has made of httpx."""
    async with ScriptedServer() as server, httpx.AsyncClient() as http:

        async def post(batch: Batch) -> None:
            (await http.post(server.url, content=b"[]")).raise_for_status()

        client = AsyncClient(HttpSink(server.url, name="ours"), CallbackSink(post, name="theirs"), batch_events=1)
        logger = logging.getLogger()
        with attached(EventHandler(client), logger=""):
            async with client:
                logger.info("one")
                await client.flush()
                await client.flush()
                statistics = client.statistics()

        assert {name: sink.captured for name, sink in statistics.by_sink.items()} == {"ours": 1, "theirs": 1}
        assert len(server.requests) == 2


@pytest.mark.asyncio
@pytest.mark.parametrize("name", [None, "shop"], ids=["usual logger", "logger of the program"])
async def test_events_that_are_logged_are_no_events_again(name: str | None) -> None:
    """``LoggingSink`` marks its records, and the mark outlives a queue and its thread."""
    sink = LoggingSink(logging.getLogger(name) if name else None)
    records: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    client = AsyncClient(sink, batch_events=1)
    handler = EventHandler(client)
    with attached(logging.handlers.QueueHandler(records), logger=""):
        async with client:
            app.info("one")
            for _ in range(2):
                while not records.empty():
                    handler.handle(records.get())
                await client.flush()

            assert client.statistics().captured == 1


@pytest.mark.asyncio
async def test_filter_before_a_queue_keeps_what_is_sent_out_of_it() -> None:
    """Behind the queue, in another thread, nobody can tell any more."""
    records: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    before = logging.handlers.QueueHandler(records)
    before.addFilter(SendingFilter())
    client = AsyncClient(sink := Sink(lambda: app.info("sending")), batch_events=1)
    handler = EventHandler(client)
    with attached(before, logger=""):
        async with client:
            app.info("one")
            for _ in range(3):
                while not records.empty():
                    handler.handle(records.get())
                await client.flush()

    assert sink.messages == ["one"]


@pytest.mark.asyncio
@pytest.mark.wallclock
async def test_thread_of_a_sinks_own_is_told_by_its_logger_alone() -> None:
    """``threading.Thread`` copies no context, unless Python is told to: such libraries are named in ``ignore``."""

    def start() -> None:
        thread = threading.Thread(target=logging.getLogger("driver").info, args=("sending",))
        thread.start()
        thread.join()

    client = AsyncClient(sink := Sink(start), batch_events=1)
    with attached(EventHandler(client, ignore=("driver",)), logger=""):
        async with client:
            app.info("one")
            await client.flush()
            await client.flush()

    assert sink.messages == ["one"]


@pytest.mark.asyncio
async def test_what_the_client_says_of_itself_is_no_event() -> None:
    """Of a full queue, in the very task that captures; ``SendingFilter`` has no such line pass either."""
    sink = GatedSink()
    async with AsyncClient(sink, queue_events=1, batch_events=1) as client:
        with attached(EventHandler(client), logger=""):
            await client.capture("one")
            await sink.reached(1)
            await client.capture("two")
        sink.release()
        await client.flush()

        assert check_ledger(client, received=sink.uuids).captured == 2
    lines = [logging.makeLogRecord({"name": name}) for name in ("eventpipe", "eventpipe.batches", "eventpipes")]
    assert [SendingFilter().filter(line) for line in lines] == [False, False, True]


@pytest.mark.asyncio
async def test_function_that_makes_ids_may_log() -> None:
    """The client's own task asks it for the ids of batches."""

    def new_id() -> str:
        app.info("making an id")
        return str(uuid.uuid4())

    client = AsyncClient(sink := MemorySink(), batch_events=1, new_id=new_id)
    with attached(EventHandler(client)):
        async with client:
            app.info("one")
            await client.flush()
            await client.flush()

    assert len(sink.events) == 1


# -- inside hooks -----------------------------------------------------------------------------------------------------


def logged(event: Event) -> Event:
    app.info("looking")
    return event


@pytest.mark.asyncio
@pytest.mark.parametrize("is_keyed", [False, True], ids=["plain", "keyed"])
async def test_before_send_that_logs_costs_no_event(is_keyed: bool) -> None:
    """Whether it looks at a record or at what the program captured: neither a drop nor another event."""
    client = AsyncClient(sink := MemorySink(), before_send=logged)
    key = "k" if is_keyed else None
    with attached(EventHandler(client)):
        async with client:
            await client.capture("one", key=key)
            app.info("two")
            client.capture_nowait("three", key=key)

        statistics = check_ledger(client, received=sink.uuids, drained=True)

    assert [event.event for event in sink.events] == ["one", "log", "three"]
    assert (statistics.captured, statistics.dropped, statistics.hook_errors) == (3, 0, 0)


@pytest.mark.asyncio
async def test_before_send_that_logs_in_another_thread_costs_no_event() -> None:
    """It runs in the thread that captures."""
    client = AsyncClient(sink := MemorySink(), before_send=logged)
    with attached(EventHandler(client)):
        async with client:
            await asyncio.to_thread(client.capture_nowait, "one")
            await asyncio.to_thread(app.info, "two")

        assert check_ledger(client, received=sink.uuids, drained=True).captured == 2


@pytest.mark.asyncio
async def test_hook_in_one_thread_silences_no_other() -> None:
    """While a hook is at work here, what another thread logs is captured."""

    def look(event: Event) -> Event:
        if event.event == "one":
            thread = threading.Thread(target=app.info, args=("two",))
            thread.start()
            thread.join()
        return event

    client = AsyncClient(sink := MemorySink(), before_send=look)
    with attached(EventHandler(client)):
        async with client:
            await client.capture("one")

    assert sorted(event.event for event in sink.events) == ["log", "one"]


@pytest.mark.asyncio
async def test_callbacks_that_log_feed_nothing() -> None:
    """Told in the client's own task or in the middle of a capture that found the queue full; nor do their filters."""
    told: list[str] = []

    def tell(outcome: Outcome) -> None:
        told.append(str(outcome.reason))
        app.error("lost")

    def judge(outcome: Outcome) -> bool:
        app.error("judging")
        return True

    sink = GatedSink()
    client = AsyncClient(sink, queue_events=1, batch_events=1, retry=RetryPolicy(max_attempts=1), on_drop=tell)
    client.on_outcome(tell, OutcomeKind.DROPPED, filter=judge)
    with attached(EventHandler(client)):
        async with client:
            app.info("one")
            await sink.reached(1)
            app.info("two")
            sink.release(error=TransientSinkError("down"))
            await client.flush()

        statistics = check_ledger(client, received=[], drained=True)

    assert told == ["queue_full"] * 2 + ["exhausted"] * 2
    assert statistics.captured == 2


@pytest.mark.asyncio
async def test_code_that_logs_while_a_record_is_captured_comes_to_rest() -> None:
    """Texts, functions of the handler, ``where`` of a sink, ``json_default``: each is called once per record."""

    class Talkative:
        def __str__(self) -> str:
            app.info("being told")
            return "told"

    def name(record: logging.LogRecord) -> str:
        app.info("naming")
        return "named"

    def where(event: object) -> bool:
        app.info("choosing")
        return True

    def default(value: object) -> str:
        app.info("encoding")
        return "encoded"

    sink = MemorySink(where=where)
    client = AsyncClient(sink, json_default=default)
    with attached(EventHandler(client, event=name, distinct_id=name, extra=True)):
        app.propagate = False  # the handlers of pytest would have it told, too
        try:
            async with client:
                app.info("%s", Talkative(), extra={"odd": Talkative()})
        finally:
            app.propagate = True

        assert check_ledger(client, received=sink.uuids, drained=True).captured == 1
    (event,) = sink.events
    assert (event.properties["message"], event.properties["odd"]) == ("told", "encoded")


@pytest.mark.asyncio
async def test_loguru_feeds_on_nothing_of_its_own() -> None:
    """A sink that logs through loguru."""
    client = AsyncClient(sink := Sink(lambda: loguru.logger.info("sending")), batch_events=1)
    handle = loguru.logger.add(EventHandler(client))
    try:
        async with client:
            loguru.logger.info("one")
            await client.flush()
            await client.flush()
    finally:
        loguru.logger.remove(handle)

    assert sink.messages == ["one"]


class Intercept(logging.Handler):
    """What loguru's documentation puts on the root logger, to have all records of the standard library."""

    def emit(self, record: logging.LogRecord) -> None:
        loguru.logger.opt(depth=6, exception=record.exc_info).log(record.levelname, record.getMessage())


@pytest.mark.asyncio
async def test_records_on_a_detour_through_loguru_are_told_apart_as_well() -> None:
    """Those of the program from those that sending causes."""
    client = AsyncClient(sink := Sink(in_thread), batch_events=1)
    handle = loguru.logger.add(EventHandler(client))
    try:
        with attached(Intercept()):
            async with client:
                app.info("one")
                await client.flush()
                await client.flush()
    finally:
        loguru.logger.remove(handle)

    assert sink.messages == ["one"]


# -- the mark ---------------------------------------------------------------------------------------------------------


def test_context_of_a_client_has_the_mark_and_nothing_else() -> None:
    """No value of a request's gets into a task that outlives it, and each task has a context of its own."""
    here, there = own_context(), own_context()

    assert list(here.items()) == [(OWN, True)]
    here.run(OWN.set, False)
    assert there.run(is_own)
    assert not is_own()


def test_hooks_that_are_gone_are_forgotten() -> None:
    """With the client that they were made for."""
    hook = Hook[int, int]("hook", abs)
    watched = set(own._hooks)
    key = id(hook)
    assert key in watched

    del hook

    assert key not in own._hooks


@pytest.mark.asyncio
async def test_tasks_of_a_program_have_no_mark() -> None:
    """Neither the one that captures nor those that wait: a flush, a subscription, a receipt."""
    async with AsyncClient(MemorySink()) as client, client.subscribe(OutcomeKind.DELIVERED) as outcomes:
        receipt = await client.capture("one")
        await receipt.outcome()
        assert not is_own()
        await client.flush()
        assert not is_own()
        async for _ in outcomes:
            assert not is_own()
            break
