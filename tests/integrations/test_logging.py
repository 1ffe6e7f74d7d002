"""Log records as events: what each becomes, from anywhere, and that no record costs the program anything."""

from __future__ import annotations

import asyncio
import datetime
import logging
import logging.handlers
import os
import queue
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import loguru
import pytest
from freezegun import freeze_time

from eventpipe import AsyncClient, Batch, default, scope
from eventpipe.integrations.logging import EventHandler, SendingFilter
from eventpipe.sinks import CallbackSink, MemorySink
from eventpipe.sync import SyncClient
from eventpipe.testing import GatedSink, check_ledger
from tests.client.test_forks import run_forking
from tests.integrations.logs import attached, rig

PAYLOAD = "nobody-may-see-this"


class Hostile:
    """An argument whose text cannot be had."""

    def __init__(self, error: type[BaseException] = ValueError) -> None:
        self.error = error

    def __str__(self) -> str:
        raise self.error(PAYLOAD)

    __repr__ = __str__


# -- what a record becomes --------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_record_is_an_event_with_its_parts_as_properties() -> None:
    """Its message with and without arguments, where it was written, and by whom."""
    async with rig() as here:
        here.log.warning("paid %d", 7, extra={"card": PAYLOAD})
        line = sys._getframe().f_lineno - 1

        event = await here.event()

        assert (event.event, event.distinct_id) == ("log", None)
        assert event.properties == {
            "level": "WARNING",
            "logger": "shop",
            "message": "paid 7",
            "template": "paid %d",
            "module": "test_logging",
            "function": "test_record_is_an_event_with_its_parts_as_properties",
            "line": line,
            "process": os.getpid(),
            "thread": threading.current_thread().name,
        }


@pytest.mark.asyncio
async def test_time_is_that_of_the_record() -> None:
    """Of one that waited, too: in a queue, or in a ``MemoryHandler`` that is flushed later."""
    waiting = logging.handlers.MemoryHandler(capacity=100)
    async with rig() as here:
        waiting.setTarget(here.handler)
        with attached(waiting, logger="slow") as slow, freeze_time("2026-05-01 10:00", real_asyncio=True) as clock:
            slow.info("first")
            clock.move_to("2026-05-01 11:00")
            here.log.info("second")
            waiting.flush()
            waiting.setTarget(None)  # as its own close() does

            stamps = {event.properties["message"]: event.timestamp for event in await here.events()}

    day = datetime.datetime(2026, 5, 1, tzinfo=datetime.UTC)
    assert stamps == {"first": day.replace(hour=10), "second": day.replace(hour=11)}


@pytest.mark.asyncio
@pytest.mark.parametrize("created", [float("nan"), 1e300, "yesterday"], ids=["nan", "far", "text"])
async def test_time_that_is_none_costs_the_time_alone(created: object) -> None:
    """``makeLogRecord()`` takes anything; the event is of now."""
    async with rig() as here:
        began = datetime.datetime.now(datetime.UTC) - datetime.timedelta(milliseconds=1)
        here.handler.handle(logging.makeLogRecord({"msg": "odd", "created": created, "levelno": 20}))

        assert (await here.event()).timestamp >= began
        assert here.handler.errors == 0


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("message", "arguments", "told"),
    [
        ("%d", ("x",), {"message": "%d", "template": "%d", "format_error": "TypeError"}),
        ("%s %s", ("x",), {"message": "%s %s", "template": "%s %s", "format_error": "TypeError"}),
        ("%(a)s", ({"b": 1},), {"message": "%(a)s", "template": "%(a)s", "format_error": "KeyError"}),
        ("to %s", (Hostile(),), {"message": "to %s", "template": "to %s", "format_error": "ValueError"}),
        ("%s", (Hostile(RecursionError),), {"message": "%s", "template": "%s", "format_error": "RecursionError"}),
        ("%s", (Hostile(GeneratorExit),), {"message": "%s", "template": "%s", "format_error": "GeneratorExit"}),
        (Hostile(), (), {"message": "<error ValueError>", "format_error": "ValueError"}),
        (42, (), {"message": "42"}),
        ("", (), {"message": "", "template": ""}),
    ],
    ids=["type", "too few", "key", "hostile", "recursion", "exit", "hostile message", "number", "empty"],
)  # fmt: skip
async def test_message_that_cannot_be_made_costs_the_message_alone(
    message: object, arguments: tuple[object, ...], told: dict[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    """The event has the template and the type of the error, and nothing is printed; the caller notices nothing."""
    async with rig() as here:
        here.log.propagate = False  # the handlers of pytest would raise
        try:
            here.log.info(message, *arguments)
        finally:
            here.log.propagate = True

        properties = await here.properties()

        assert {
            name: properties[name] for name in ("message", "template", "format_error") if name in properties
        } == told
        assert here.handler.errors == 0
    assert capfd.readouterr() == ("", "")


@pytest.mark.asyncio
async def test_long_texts_are_cut() -> None:
    """To ``max_text`` characters each: message, template, fields."""
    async with rig(max_text=10, extra=True) as here:
        here.log.info("%s and more", "x" * 100, extra={"field": "y" * 11, "short": "z" * 10})

        properties = await here.properties()

        assert [properties[name] for name in ("message", "template", "field", "short")] == [
            "x" * 9 + "…",
            "%s and mo…",
            "y" * 9 + "…",
            "z" * 10,
        ]


def fail() -> None:
    raise LookupError(PAYLOAD)


@pytest.mark.asyncio
async def test_exception_is_told_by_its_type_alone() -> None:
    """Its text, and the lines it came through, quote payloads: they are asked for."""
    async with rig() as here:
        try:
            fail()
        except LookupError:
            here.log.exception("failed", stack_info=True)

        event = await here.event()

        assert event.properties["exception"] == "LookupError"
        assert PAYLOAD.encode() not in event.json
        assert not {"traceback", "stack"} & event.properties.keys()


@pytest.mark.asyncio
async def test_traceback_is_told_when_asked_for_and_keeps_its_end() -> None:
    """The end of it names the error."""
    async with rig(traceback=True, max_text=100) as here:
        try:
            fail()
        except LookupError:
            here.log.exception("failed", stack_info=True)

        properties = await here.properties()

        assert properties["traceback"].endswith(f"LookupError: {PAYLOAD}")
        assert len(properties["traceback"]) == 100
        assert properties["traceback"][0] == "…"
        assert properties["stack"].startswith("Stack (most recent call last)")


@pytest.mark.asyncio
async def test_exception_of_nothing_is_none() -> None:
    """``exc_info=True`` outside of a handler of exceptions."""
    async with rig(traceback=True) as here:
        here.log.error("nothing", exc_info=True)

        assert not {"exception", "traceback"} & (await here.properties()).keys()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("extra", "told"),
    [
        (False, {}),
        ((), {}),
        (("user", "absent"), {"user": "u1"}),
        (True, {"user": "u1", "level": "INFO", "deep": {"list": [1, "<type Hostile>"]}}),
    ],
    ids=["none", "no names", "names", "all"],
)
async def test_fields_are_told_by_an_allow_list(extra: bool | tuple[str, ...], told: dict[str, Any]) -> None:
    """None by default; what is not JSON is repaired as everywhere, and no field hides a property of the record's."""
    async with rig(extra=extra) as here:
        here.log.info("hello", extra={"user": "u1", "level": PAYLOAD, "deep": {"list": [1, Hostile()]}})

        properties = await here.properties()

        assert properties["level"] == "INFO"
        assert {name: properties[name] for name in ("user", "level", "deep") if name in properties} == {
            **told,
            "level": "INFO",
        }


@pytest.mark.asyncio
async def test_message_can_be_left_out() -> None:
    """The template stays, which has no argument in it."""
    async with rig(message=False) as here:
        here.log.info("card %s", PAYLOAD)

        event = await here.event()

        assert event.properties["template"] == "card %s"
        assert PAYLOAD.encode() not in event.json


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("distinct_id", "told", "errors"),
    [
        ("user", "u1", 0),
        ("absent", None, 0),
        (lambda record: record.user.upper(), "U1", 0),
        (lambda record: record.absent, None, 1),
        (lambda record: None, None, 0),
    ],
    ids=["attribute", "absent", "function", "failing function", "nobody"],
)
async def test_whom_a_record_is_about(distinct_id: Any, told: str | None, errors: int) -> None:  # Any: rows
    """An attribute or a function says so; one that fails costs the id and is counted."""
    async with rig(distinct_id=distinct_id) as here:
        here.log.info("hello", extra={"user": "u1"})

        assert (await here.event()).distinct_id == told
        assert here.handler.errors == errors


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("event", "told", "errors"),
    [
        ("app_log", ["app_log"], 0),
        (lambda record: f"log_{record.levelname.lower()}", ["log_info"], 0),
        (lambda record: None, [], 0),
        (lambda record: 1 / 0, ["log"], 1),
    ],
    ids=["name", "function", "no event", "failing function"],
)
async def test_name_of_the_event(event: Any, told: list[str], errors: int) -> None:  # Any: rows
    """A name or a function of the record; one that fails costs the name and is counted."""
    async with rig(event=event) as here:
        here.log.info("hello")

        assert [event.event for event in await here.events()] == told
        assert here.handler.errors == errors


@pytest.mark.asyncio
async def test_scope_reaches_what_is_logged_in_it() -> None:
    """As any other capture in it."""
    async with rig() as here:
        with scope(distinct_id="u1", properties={"tenant": "t1", "level": "none"}):
            here.log.info("hello")

        event = await here.event()

        assert (event.distinct_id, event.properties["tenant"], event.properties["level"]) == ("u1", "t1", "INFO")


# -- which records ----------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize("level", [logging.WARNING, "WARNING"], ids=["number", "name"])
async def test_records_below_the_level_are_passed_over(level: int | str) -> None:
    """By whatever way they come: a ``QueueListener`` and loguru do not ask for the level."""
    async with rig(level=level) as here:
        here.log.info("no")
        here.handler.handle(logging.makeLogRecord({"msg": "no", "levelno": logging.INFO}))
        here.handler.emit(logging.makeLogRecord({"msg": "no", "levelno": logging.INFO}))
        here.log.warning("yes")

        assert (await here.properties())["message"] == "yes"


@pytest.mark.asyncio
async def test_loggers_can_be_ignored_with_those_below_them() -> None:
    """By whole names, not by their beginnings."""
    handler_names = ("aiohttp", "aiohttp.client", "aiohttpx")
    async with rig(ignore=("aiohttp",)) as here:
        for name in handler_names:
            here.handler.handle(logging.makeLogRecord({"msg": name, "name": name, "levelno": 20}))

        assert (await here.properties())["message"] == "aiohttpx"


@pytest.mark.asyncio
async def test_filters_decide_first_and_one_that_raises_lets_nothing_pass(capfd: pytest.CaptureFixture[str]) -> None:
    """It may be there for privacy; the program goes on."""

    def judge(record: logging.LogRecord) -> bool:
        return bool(1 / int(record.getMessage()) > 0)

    async with rig() as here:
        here.handler.addFilter(judge)
        here.log.info("-1")
        here.log.info("0")
        here.log.info("1")

        assert (await here.properties())["message"] == "1"
        assert here.handler.errors == 1
    assert capfd.readouterr() == ("", "")


@pytest.mark.asyncio
async def test_filter_that_logs_is_not_asked_of_what_it_logs() -> None:
    """It would be asked for ever."""

    def judge(record: logging.LogRecord) -> bool:
        record_log.info("judging")
        return True

    async with rig() as here:
        record_log = here.log
        here.handler.addFilter(judge)
        here.log.info("hello")

        assert (await here.properties())["message"] == "hello"


@pytest.mark.asyncio
async def test_closed_handler_captures_nothing_and_leaves_the_client_open() -> None:
    """``logging.config`` closes handlers that it replaces; a client is closed by whom it belongs to."""
    async with rig() as here:
        here.handler.close()
        here.handler.close()
        here.log.info("no")
        await here.client.capture("yes")

        assert (await here.event()).event == "yes"


@pytest.mark.asyncio
async def test_flush_does_not_wait() -> None:
    """``logging`` calls it on event loops, too."""
    sink = GatedSink()
    async with AsyncClient(sink, batch_events=1) as client:
        handler = EventHandler(client)
        with attached(handler) as log:
            log.info("hello")
            await sink.reached(1)

            handler.flush()

            assert client.statistics().pending == 1
        sink.release()


# -- nothing costs the program anything -------------------------------------------------------------------------------


class Refusing:
    """A client that fails."""

    def __init__(self, error: BaseException) -> None:
        self.error = error
        self.calls = 0

    def capture_nowait(self, event: str, **given: object) -> None:
        self.calls += 1
        raise self.error


@pytest.mark.asyncio
@pytest.mark.parametrize("error", [OSError(PAYLOAD), asyncio.CancelledError(PAYLOAD), GeneratorExit(PAYLOAD)], ids=repr)
async def test_what_a_client_raises_is_counted_and_named_once(
    error: BaseException, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """By its type alone, in the log of eventpipe; logging's own way would print the record and its arguments."""
    client = Refusing(error)
    handler = EventHandler(client)
    with attached(handler) as log:
        log.info(PAYLOAD)
        log.info(PAYLOAD)

    assert (client.calls, handler.errors) == (2, 2)
    lines = [record.getMessage() for record in caplog.records if record.name == "eventpipe"]
    assert lines == [
        f"EventHandler: {type(error).__name__} was raised while a record was captured; further errors are counted only"
    ]
    assert PAYLOAD not in "".join(capfd.readouterr())


def test_record_is_printed_nowhere(capfd: pytest.CaptureFixture[str]) -> None:
    """As ``logging`` does with a record that a handler fails on, with its arguments."""
    handler = EventHandler(Refusing(OSError()))
    handler.handleError(logging.makeLogRecord({"msg": PAYLOAD}))
    handler.close()

    assert capfd.readouterr() == ("", "")


@pytest.mark.asyncio
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
async def test_end_of_the_program_is_not_held_up(error: type[BaseException]) -> None:
    """Ctrl-C in the middle of a capture is no fault of a record's."""
    with attached(EventHandler(Refusing(error()))) as log, pytest.raises(error):
        log.info("hello")


@pytest.mark.asyncio
async def test_strict_client_raises_nothing_into_a_program_that_logs() -> None:
    """What it refuses is counted by the client, as always, and as an error of the handler."""
    async with AsyncClient(MemorySink(), strict=True) as client:
        handler = EventHandler(client, extra=True)
        with attached(handler) as log:
            log.info("hello", extra={"field": object()})

        assert (handler.errors, dict(client.statistics().dropped_by_reason)) == (1, {"invalid": 1})
        check_ledger(client)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"client": None}, TypeError, "client must have capture_nowait(), as an AsyncClient does, not NoneType"),
        ({"level": "LOUD"}, ValueError, "level must be a number such as logging.INFO, or one of CRITICAL"),
        ({"level": -1}, ValueError, "level must be a number such as logging.INFO, or one of CRITICAL"),
        ({"level": True}, ValueError, "not True"),
        ({"event": ""}, TypeError, "event must be a text that is not empty, or a plain function, not ''"),
        ({"event": asyncio.sleep}, TypeError, "or a plain function, not function"),
        ({"distinct_id": 7}, TypeError, "distinct_id must be a text that is not empty, or a plain function, not 7"),
        ({"extra": "user"}, TypeError, "extra must be True, False or names of fields, such as ('user',), not 'user'"),
        ({"extra": [1]}, TypeError, "extra must be True, False or names of fields"),
        ({"ignore": "aiohttp"}, TypeError, "ignore must be names of loggers, such as ('aiohttp',), not 'aiohttp'"),
        ({"message": 1}, TypeError, "message must be True or False, not 1"),
        ({"traceback": None}, TypeError, "traceback must be True or False, not NoneType"),
        ({"max_text": 0}, ValueError, "max_text must be a whole number of at least 1, not 0 (default: 8192)"),
        ({"max_text": True}, ValueError, "max_text must be a whole number of at least 1, not True"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
async def test_wrong_argument_is_named(options: dict[str, Any], error: type[Exception], message: str) -> None:
    """With its value, and what it may be."""
    client = AsyncClient(MemorySink())

    with pytest.raises(error) as raised:
        EventHandler(**{"client": client, **options})

    assert message in str(raised.value)


# -- ways in ----------------------------------------------------------------------------------------------------------


@pytest.mark.wallclock
def test_dictionary_of_logging_config_makes_one() -> None:
    """With its client by its place, and options as they are written there."""
    run_forking(
        """
        import logging, logging.config
        client = AsyncClient(sink := MemorySink())
        handler = {
            "()": "eventpipe.integrations.logging.EventHandler",
            "client": "ext://__main__.client",
            "level": "INFO",
            "extra": ["user"],
            "ignore": ["noisy"],
            "filters": ["sending"],
        }
        logging.config.dictConfig({
            "version": 1,
            "filters": {"sending": {"()": "eventpipe.integrations.logging.SendingFilter"}},
            "handlers": {"events": handler},
            "root": {"handlers": ["events"], "level": "DEBUG"},
        })
        log = logging.getLogger("shop")
        log.debug("no")
        log.info("yes", extra={"user": "u1", "card": "nobody-may-see-this"})
        logging.getLogger("noisy").info("no")
        asyncio.run(client.aclose())
        (event,) = sink.events
        assert (event.properties["message"], event.properties["user"]) == ("yes", "u1"), event.properties
        assert b"nobody-may-see-this" not in event.json
    """
    )


@pytest.mark.asyncio
@pytest.mark.wallclock
async def test_queue_of_logging_leads_to_it() -> None:
    """The handler runs in the listener's thread; message, level, logger and line are those of the record."""
    records: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    before = logging.handlers.QueueHandler(records)
    before.addFilter(SendingFilter())
    async with AsyncClient(sink := MemorySink()) as client:
        listener = logging.handlers.QueueListener(records, EventHandler(client))
        listener.start()
        with attached(before) as log:
            log.warning("paid %d", 7)
            line = sys._getframe().f_lineno - 1
        await asyncio.to_thread(listener.stop)
        await client.flush()

        (event,) = sink.events
        assert {name: event.properties[name] for name in ("message", "level", "logger", "line")} == {
            "message": "paid 7",
            "level": "WARNING",
            "logger": "shop",
            "line": line,
        }
        check_ledger(client, received=sink.uuids)


@pytest.mark.asyncio
@pytest.mark.wallclock
async def test_thousand_threads_that_log_lose_nothing() -> None:
    """Each of their records arrives, once."""
    threads, each = 1_000, 5
    async with AsyncClient(sink := MemorySink(), queue_events=threads * each) as client:
        with attached(EventHandler(client)) as log:
            log.propagate = False  # the handlers of pytest keep every record

            def work(number: int) -> None:
                for turn in range(each):
                    log.info("%d", number * each + turn)

            def run() -> None:
                workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
                for worker in workers:
                    worker.start()
                for worker in workers:
                    worker.join()

            try:
                await asyncio.to_thread(run)
            finally:
                log.propagate = True
        await client.flush()

        told = sorted(int(event.properties["message"]) for event in sink.events)
        assert told == list(range(threads * each))
        check_ledger(client, received=sink.uuids)


@pytest.mark.asyncio
@pytest.mark.wallclock
async def test_thread_that_logs_does_not_wait_for_a_loop_that_is_held_up() -> None:
    """Nor for another thread that is in the middle of a record: the handler takes no lock."""
    is_inside, may_go_on = threading.Event(), threading.Event()

    class Slow:
        def __str__(self) -> str:
            is_inside.set()
            assert may_go_on.wait(10)
            return "slow"

    async with rig() as here:
        here.log.propagate = False
        slow = threading.Thread(target=here.log.info, args=("%s", Slow()))
        slow.start()
        assert is_inside.wait(10)
        quick = threading.Thread(target=here.log.info, args=("quick",))
        quick.start()
        quick.join(10)  # this holds up the loop
        is_through = not quick.is_alive()
        may_go_on.set()
        slow.join(10)
        here.log.propagate = True

        assert is_through
        assert sorted(event.properties["message"] for event in await here.events()) == ["quick", "slow"]


@pytest.mark.asyncio
@pytest.mark.wallclock
async def test_what_is_logged_before_there_is_a_loop_is_kept() -> None:
    """By the main thread as well, which has none yet."""
    client = AsyncClient(sink := MemorySink())
    with attached(EventHandler(client)) as log:
        await asyncio.to_thread(log.info, "early")
    async with client:
        await client.flush()

        assert [event.properties["message"] for event in sink.events] == ["early"]


@pytest.mark.wallclock
def test_client_for_plain_code_takes_records() -> None:
    """From its caller's thread, and what its own thread logs while it sends is none."""
    log = logging.getLogger("shop")
    sent: list[str] = []

    def send(batch: Batch) -> None:
        log.info("sending")
        sent.extend(event.properties["message"] for event in batch.events)

    with SyncClient(CallbackSink(send), batch_events=1) as client, attached(EventHandler(client)):
        log.info("one")
        client.flush()
        log.info("two")
        client.flush()

        assert check_ledger(client).captured == 2
    assert sent == ["one", "two"]


@pytest.mark.asyncio
async def test_module_of_the_default_client_takes_records_once_there_is_one() -> None:
    """Logging may be set up first: until then, and afterwards, records are nobody's, and cost nothing."""
    with attached(EventHandler(default)) as log:
        log.info("before")
        async with AsyncClient(sink := MemorySink()) as client:
            default.set_default(client)
            log.info("meanwhile")
            default.set_default(None)
            log.info("after")

    assert [event.properties["message"] for event in sink.events] == ["meanwhile"]


@pytest.mark.wallclock
def test_forked_child_logs_into_its_own_client() -> None:
    """Nothing of its parent's arrives from there, also when the fork came in the middle of a record."""
    run_forking(
        """
        import logging
        from eventpipe.integrations.logging import EventHandler
        sent = []
        def message(event):
            return event.properties["message"]
        client = AsyncClient(CallbackSink(lambda batch: sent.extend(map(message, batch.events))))
        log = logging.getLogger("shop")
        log.setLevel("INFO")
        log.addHandler(EventHandler(client))
        def child():
            log.info("child")
            report = asyncio.run(client.aclose())
            assert (report.delivered, sent) == (1, ["child"]), (report, sent)
        class Forking:
            def __str__(self):
                in_child(child_inside)
                return "inside"
        def child_inside():
            log.info("passed over: the record that forked is being captured")
        log.info("parent")
        in_child(child)
        log.info("%s", Forking())
        report = asyncio.run(client.aclose())
        assert (report.delivered, sent) == (2, ["parent", "inside"]), (report, sent)
    """
    )


@pytest.mark.wallclock
def test_example_says_what_a_record_costs() -> None:
    """One line for each place where records may go."""
    command = [sys.executable, "-W", "error", "-m", "examples.logging_cost", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])

    assert [line.split()[-1] for line in done.stdout.splitlines()] == ["µs"] * 5
    assert done.stderr == ""


# -- loguru -----------------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_loguru_takes_it_as_a_sink() -> None:
    """With the message as it is, what was bound, and the place; by default nothing of an exception but its type."""
    async with rig(extra=("user",), distinct_id="user") as here:
        sink = loguru.logger.add(here.handler, level="DEBUG")
        try:
            loguru.logger.bind(user="u1", card=PAYLOAD).info("paid {}", 7)
            try:
                fail()
            except LookupError:
                loguru.logger.exception("failed")
        finally:
            loguru.logger.remove(sink)

        paid, failed = await here.events()

        assert paid.distinct_id == "u1"
        assert paid.properties == {
            "user": "u1",
            "level": "INFO",
            "logger": __name__,
            "message": "paid 7",
            "module": "test_logging",
            "function": "test_loguru_takes_it_as_a_sink",
            "line": paid.properties["line"],
            "process": os.getpid(),
            "thread": threading.current_thread().name,
        }
        assert (failed.properties["message"], failed.properties["exception"]) == ("failed", "LookupError")
        assert PAYLOAD.encode() not in paid.json + failed.json


@pytest.mark.asyncio
async def test_loguru_says_when_and_how_grave_it_is() -> None:
    """In its own words, which the standard library has no name for."""
    moment = datetime.datetime(2026, 5, 1, 10, tzinfo=datetime.UTC)

    def patch(record: loguru.Record) -> None:
        record["time"] = moment

    async with rig() as here:
        sink = loguru.logger.add(here.handler)
        try:
            loguru.logger.patch(patch).success("paid")
        finally:
            loguru.logger.remove(sink)

        event = await here.event()

        assert (event.timestamp, event.properties["level"]) == (moment, "SUCCESS")


@pytest.mark.asyncio
async def test_loguru_tells_tracebacks_when_asked_to() -> None:
    """In Python's words: without the values of variables, which loguru adds to its own."""
    async with rig(traceback=True) as here:
        sink = loguru.logger.add(here.handler)
        try:
            secret = PAYLOAD
            try:
                int(f"{secret!s:.0}x")
            except ValueError:
                loguru.logger.exception("failed")
        finally:
            loguru.logger.remove(sink)

        event = await here.event()

        assert event.properties["traceback"].endswith("ValueError: invalid literal for int() with base 10: 'x'")
        assert PAYLOAD.encode() not in event.json


@pytest.mark.asyncio
async def test_text_that_is_no_message_of_loguru_is_counted() -> None:
    """``write()`` is for loguru: a handler is no stream."""
    async with rig() as here:
        here.handler.write(PAYLOAD)

        assert await here.events() == []
        assert here.handler.errors == 1
