"""structlog's events as events: what each becomes, anywhere in a chain, and that the chain notices nothing."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import structlog

from eventpipe import AsyncClient, Batch, Event
from eventpipe.integrations.structlog import EventProcessor
from eventpipe.sinks import CallbackSink, LoggingSink, MemorySink
from eventpipe.testing import check_ledger

PAYLOAD = "nobody-may-see-this"

Made = tuple[tuple[Any, ...], dict[str, Any]]  # Any: arguments of a logger


class Last:
    """What stands at the end of a chain in place of a logger; keeps what it is called with."""

    name = "shop"

    def __init__(self) -> None:
        self.calls: list[Made] = []

    def __getattr__(self, method: str) -> Callable[..., None]:
        return lambda *args, **kwargs: self.calls.append((args, kwargs))


class Rig:
    """A client, a processor in a chain, and what comes out at its end."""

    def __init__(self, client: AsyncClient, sink: MemorySink, processor: EventProcessor, chain: list[Any]) -> None:
        self.client = client
        self.sink = sink
        self.processor = processor
        self.last = Last()
        self.log: Any = structlog.wrap_logger(
            self.last,
            processors=chain,
            wrapper_class=structlog.make_filtering_bound_logger(logging.NOTSET),
            context_class=dict,
            cache_logger_on_first_use=False,
        )

    async def told(self) -> list[dict[str, Any]]:  # Any: JSON
        """The properties of what has arrived, once everything has."""
        await self.client.flush()
        check_ledger(self.client, received=self.sink.uuids)
        return [event.properties for event in self.sink.events]


@asynccontextmanager
async def rig(*, before: tuple[Any, ...] = (), after: tuple[Any, ...] = (), **options: Any) -> AsyncIterator[Rig]:
    """A chain of ``before``, the processor made with ``options``, and ``after``."""
    sink = MemorySink()
    async with AsyncClient(sink) as client:
        processor = EventProcessor(client, **options)
        yield Rig(client, sink, processor, [*before, processor, *after])


# -- what becomes of an event dict ------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_event_dict_is_captured_and_goes_on_unchanged() -> None:
    """The same object, with the same members."""
    seen: list[dict[str, Any]] = []

    def look(logger: object, name: str, event_dict: dict[str, Any]) -> dict[str, Any]:
        seen.append(event_dict)
        return event_dict

    def changed(logger: object, name: str, event_dict: dict[str, Any]) -> dict[str, Any]:
        assert event_dict is seen[0]
        return event_dict

    async with rig(before=(look,), after=(changed,), distinct_id="user") as here:
        here.log.bind(user="u1").warning("paid", amount=7, items=[1, {"a": object()}])

        (told,) = await here.told()
        assert told == {
            "level": "WARNING",
            "logger": "shop",
            "message": "paid",
            "user": "u1",
            "amount": 7,
            "items": [1, {"a": "<type object>"}],
        }
        assert [(event.event, event.distinct_id) for event in here.sink.events] == [("log", "u1")]
        assert list(seen[0]) == ["user", "amount", "items", "event"]
        assert here.last.calls == [((), seen[0])]


@pytest.mark.asyncio
async def test_later_changes_of_the_event_dict_change_no_event() -> None:
    """It is encoded before the next processor sees it."""

    def scrub(logger: object, name: str, event_dict: dict[str, Any]) -> dict[str, Any]:
        event_dict.clear()
        return {"event": "scrubbed"}

    async with rig(after=(scrub,)) as here:
        here.log.info("hello", deep=[1])

        assert [(told["message"], told["deep"]) for told in await here.told()] == [("hello", [1])]


STANDARD = structlog.stdlib


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("before", "message"),
    [
        ((), "hello"),
        ((STANDARD.add_log_level, structlog.processors.TimeStamper(fmt="iso")), "hello"),
        ((structlog.processors.EventRenamer("message"),), "hello"),
        ((structlog.processors.EventRenamer("msg"),), "hello"),
        ((STANDARD.render_to_log_kwargs,), "hello"),
        ((STANDARD.render_to_log_args_and_kwargs,), "hello"),
        ((STANDARD.ProcessorFormatter.wrap_for_formatter,), "hello"),
        ((structlog.processors.JSONRenderer(sort_keys=True),), '{"event": "hello", "user": "u1"}'),
        ((lambda *arguments: b"user=u1 hello\xff",), "user=u1 hello\ufffd"),
        ((structlog.dev.ConsoleRenderer(colors=False, pad_event_to=0, sort_keys=True),), "hello user=u1"),
    ],
    ids=["first", "level", "renamed", "renamed msg", "kwargs", "args", "formatter", "json", "bytes", "console"],
)
async def test_it_works_anywhere_in_a_chain(before: tuple[Any, ...], message: str) -> None:
    """Also behind what renders, or prepares for a logger of the standard library: that goes on as it is."""
    async with rig(before=before) as here:
        here.log.info("hello", user="u1")

        (told,) = await here.told()

        assert (told["message"], told["level"], told["logger"]) == (message, "INFO", "shop")
        assert told.get("user") == (None if "user" in message else "u1")
        assert not {"event", "msg", "extra"} & told.keys()
        assert here.processor.errors == 0
        assert len(here.last.calls) == 1


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("method", "level"),
    [
        ("debug", "DEBUG"),
        ("info", "INFO"),
        ("warn", "WARNING"),
        ("warning", "WARNING"),
        ("error", "ERROR"),
        ("exception", "ERROR"),
        ("fatal", "CRITICAL"),
        ("critical", "CRITICAL"),
    ],
)
async def test_level_is_that_of_the_method(method: str, level: str) -> None:
    """By the names of logging, and below the threshold nothing is captured."""
    async with rig() as here, rig(level="ERROR") as strict:
        for one in (here, strict):
            getattr(one.log, method)("hello")

        assert [told["level"] for told in await here.told()] == [level]
        assert len(await strict.told()) == (level in ("ERROR", "CRITICAL"))


@pytest.mark.asyncio
async def test_context_variables_are_captured_as_they_are_merged() -> None:
    """By the processor of structlog that stands before."""
    async with rig(before=(structlog.contextvars.merge_contextvars,)) as here:
        with structlog.contextvars.bound_contextvars(request="r1"):
            here.log.info("hello")

        assert [told["request"] for told in await here.told()] == ["r1"]


@pytest.mark.asyncio
@pytest.mark.wallclock
@pytest.mark.parametrize("wrapper", [structlog.make_filtering_bound_logger(0), structlog.stdlib.BoundLogger],
    ids=["filtering", "stdlib"])  # fmt: skip
async def test_asynchronous_methods_are_captured_in_their_thread(wrapper: type) -> None:
    """``ainfo()`` runs the chain in another thread, with the context of the caller."""
    threads: set[int] = set()

    def look(logger: object, name: str, event_dict: dict[str, Any]) -> dict[str, Any]:
        threads.add(threading.get_ident())
        return event_dict

    async with rig() as here:
        chain: list[Any] = [structlog.contextvars.merge_contextvars, look, here.processor]
        log = structlog.wrap_logger(here.last, processors=chain, wrapper_class=wrapper)
        with structlog.contextvars.bound_contextvars(request="r1"):
            await log.ainfo("hello")

        assert [(told["message"], told["request"]) for told in await here.told()] == [("hello", "r1")]
        assert threads.isdisjoint({threading.get_ident()})


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "before",
    [(), (structlog.processors.format_exc_info,), (structlog.processors.dict_tracebacks,)],
    ids=["raw", "formatted", "dictionaries"],
)
@pytest.mark.parametrize("given", [True, "error", "tuple"])
async def test_exceptions_are_told_by_their_types_alone(before: tuple[Any, ...], given: object) -> None:
    """Whatever became of them before: texts quote payloads, and structlog's dictionaries have local variables."""
    async with rig(before=before) as here:
        try:
            raise LookupError(PAYLOAD)
        except LookupError as error:
            kinds = {"error": error, "tuple": sys.exc_info()}
            here.log.error("failed", exc_info=kinds.get(str(given), True), stack="at " + PAYLOAD)

        (told,) = await here.told()

        assert PAYLOAD not in str(told)
        assert told.get("exception") == (None if before else "LookupError")


@pytest.mark.asyncio
@pytest.mark.parametrize("before", [(), (structlog.processors.format_exc_info,)], ids=["raw", "formatted"])
async def test_tracebacks_are_told_when_asked_for(before: tuple[Any, ...]) -> None:
    """By us, or as a processor before has formatted them; and stacks."""
    async with rig(before=(structlog.processors.StackInfoRenderer(), *before), traceback=True) as here:
        try:
            raise LookupError(PAYLOAD)
        except LookupError:
            here.log.exception("failed", stack_info=True)

        (told,) = await here.told()

        assert told["traceback"].startswith("Traceback (most recent call last):")
        assert told["traceback"].endswith(f"LookupError: {PAYLOAD}")
        assert told["stack"].startswith("Stack (most recent call last):")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("extra", "names"),
    [(True, {"user", "card"}), (("user", "absent"), {"user"}), (False, set())],
    ids=["all", "names", "none"],
)
async def test_keys_are_told_by_an_allow_list(extra: Any, names: set[str]) -> None:  # Any: rows
    """All by default, for each was named at the call; what is structlog's own is never told."""
    async with rig(extra=extra) as here:
        here.log.info("hello", user="u1", card="c1", _private=PAYLOAD, level="mine")

        (told,) = await here.told()

        assert told.keys() - {"level", "logger", "message"} == names
        assert told["level"] == "INFO"


@pytest.mark.asyncio
async def test_long_texts_are_cut() -> None:
    """Each by itself."""
    async with rig(max_text=5) as here:
        here.log.info("x" * 9, field="y" * 6, short="z" * 5)

        (told,) = await here.told()

        assert [told["message"], told["field"], told["short"]] == ["xxxx…", "yyyy…", "zzzzz"]


@pytest.mark.asyncio
async def test_functions_get_a_copy() -> None:
    """What they do to it, and what they raise, changes nothing for the chain."""

    def name(event_dict: dict[str, Any]) -> str:
        return str(event_dict.pop("event"))

    def who(event_dict: dict[str, Any]) -> str:
        raise LookupError(PAYLOAD)

    async with rig(event=name, distinct_id=who) as here:
        here.log.info("signed_up", plan="pro")
        await here.told()

        (event,) = here.sink.events
        assert (event.event, event.distinct_id, event.properties["plan"]) == ("signed_up", None, "pro")
        assert here.last.calls == [((), {"event": "signed_up", "plan": "pro"})]
        assert here.processor.errors == 1


# -- what goes on -----------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_drop_ends_here_what_was_captured_and_nothing_else() -> None:
    """What is passed over is rendered as if the processor were not there."""
    async with rig(drop=True, level="INFO", ignore=("noisy",)) as here:
        here.log.debug("too low")
        here.log.info("noise", logger="noisy")
        here.log.info("captured")

        assert [told["message"] for told in await here.told()] == ["captured"]
        assert [kwargs["event"] for _, kwargs in here.last.calls] == ["too low", "noise"]


class Odd(dict[str, Any]):
    """An event dict that cannot be read."""

    def keys(self) -> Any:
        raise LookupError(PAYLOAD)

    __iter__ = items = keys


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, None),
        (7, "7"),
        ((), "()"),
        (((), {}), None),
        (((1,), {2: 3}), "1"),
        (("a", "b"), "('a', 'b')"),
        ({"event": None, "msg": 1}, None),
        ({"message": 1.5}, "1.5"),
    ],
    ids=str,
)
async def test_whatever_is_passed_comes_back(given: object, message: str | None) -> None:
    """Nothing is raised, whatever a processor before returned."""
    async with rig() as here:
        assert here.processor(None, "info", given) is given

        assert [told.get("message") for told in await here.told()] == [message]
        assert here.processor.errors == 0


@pytest.mark.asyncio
async def test_what_cannot_be_read_comes_back() -> None:
    """And is counted."""
    given = Odd(a=1)
    async with rig() as here:
        assert here.processor(None, "info", given) is given

        assert await here.told() == []
        assert here.processor.errors == 1


class Refusing:
    """A client that fails."""

    def capture_nowait(self, event: str, **given: object) -> None:
        raise OSError(PAYLOAD)


def test_what_a_client_raises_is_counted_and_named_once(caplog: pytest.LogCaptureFixture) -> None:
    """By its type alone; the chain goes on, also where captured events would end."""
    processor = EventProcessor(Refusing(), drop=True)
    for _ in range(2):
        assert processor(None, "info", {"event": PAYLOAD}) == {"event": PAYLOAD}

    assert processor.errors == 2
    assert [record.getMessage() for record in caplog.records] == [
        "EventProcessor: OSError was raised while a record was captured; further errors are counted only"
    ]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"client": 1}, TypeError, "client must have capture_nowait(), as an AsyncClient does, not 1"),
        ({"level": "loud"}, ValueError, "level must be a number such as logging.INFO, or one of CRITICAL"),
        ({"event": 1}, TypeError, "event must be a text that is not empty, or a plain function, not 1"),
        ({"extra": None}, TypeError, "extra must be True, False or names of fields, such as ('user',), not NoneType"),
        ({"ignore": "a"}, TypeError, "ignore must be names of loggers, such as ('aiohttp',), not 'a'"),
        ({"drop": 1}, TypeError, "drop must be True or False, not 1"),
        ({"traceback": 1}, TypeError, "traceback must be True or False, not 1"),
        ({"max_text": -1}, ValueError, "max_text must be a whole number of at least 1, not -1 (default: 8192)"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_wrong_argument_is_named(options: dict[str, Any], error: type[Exception], message: str) -> None:
    """With its value, and what it may be."""
    with pytest.raises(error) as raised:
        EventProcessor(**{"client": AsyncClient(MemorySink()), **options})

    assert message in str(raised.value)


# -- no circle --------------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize("is_async", [False, True], ids=["info", "ainfo"])
@pytest.mark.wallclock
async def test_what_is_logged_while_sending_is_no_event(is_async: bool) -> None:
    """It goes on through the chain, and ends at the logger."""
    chain: list[Any] = []
    last = Last()
    log: Any = structlog.wrap_logger(last, processors=chain, wrapper_class=structlog.make_filtering_bound_logger(0))

    async def send(batch: Batch) -> None:
        if is_async:
            await log.ainfo("sending")
        else:
            log.info("sending")

    client = AsyncClient(CallbackSink(send), batch_events=1)
    chain.append(EventProcessor(client, drop=True))
    async with client:
        log.info("one")
        await client.flush()
        await client.flush()

    assert check_ledger(client, drained=True).captured == 1
    assert [kwargs["event"] for _, kwargs in last.calls] == ["sending"]


@pytest.mark.asyncio
async def test_hooks_that_log_cost_no_event() -> None:
    """``before_send``, and a text that is asked for while something is captured."""
    chain: list[Any] = []
    log: Any = structlog.wrap_logger(Last(), processors=chain, wrapper_class=structlog.make_filtering_bound_logger(0))

    class Talkative:
        def __str__(self) -> str:
            log.info("being told")
            return "told"

    def look(event: Event) -> Event:
        log.info("looking")
        return event

    client = AsyncClient(sink := MemorySink(), before_send=look)
    chain.append(EventProcessor(client))
    async with client:
        await client.capture("one")
        log.info(Talkative())

    assert [event.event for event in sink.events] == ["one", "log"]
    assert check_ledger(client, received=sink.uuids, drained=True).captured == 2


@pytest.mark.asyncio
async def test_formatter_of_the_standard_library_captures_its_records_but_those_of_a_sink() -> None:
    """Where it stands in a ``ProcessorFormatter``, which has every record of other libraries pass through it."""
    async with rig() as here:
        chain: list[Any] = [
            here.processor,
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            lambda *given: "line",
        ]
        formatter = structlog.stdlib.ProcessorFormatter(processors=chain)
        record = logging.LogRecord("library", logging.ERROR, "lib.py", 1, "from %s", ("afar",), None)
        assert formatter.format(record) == "line"
        record.eventpipe_sink = LoggingSink().name
        assert formatter.format(record) == "line"

        assert [(told["message"], told["logger"], told["level"]) for told in await here.told()] == [
            ("from afar", "library", "ERROR")
        ]


@pytest.mark.wallclock
def test_without_structlog_its_import_says_what_to_install() -> None:
    """The rest of the package does without."""
    program = "import sys; sys.modules['structlog'] = None; import eventpipe.integrations.structlog"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert done.stderr.splitlines()[-1] == (
        "ImportError: eventpipe.integrations.structlog needs structlog: pip install structlog"
    )


@pytest.mark.asyncio
@pytest.mark.wallclock
async def test_threads_that_log_at_once_lose_nothing() -> None:
    """A chain has no lock, and neither has the processor."""
    async with rig() as here:
        names = [f"{number}" for number in range(200)]
        await asyncio.gather(*(asyncio.to_thread(here.log.info, name) for name in names))

        assert sorted(told["message"] for told in await here.told()) == sorted(names)
