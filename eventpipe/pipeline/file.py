"""A pipeline as a TOML file describes it."""

from __future__ import annotations

import contextlib
import os
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from eventpipe.checked import shown, suggestion
from eventpipe.client import AsyncClient
from eventpipe.clock import Clock
from eventpipe.contracts import Sink
from eventpipe.delivery import Deliveries
from eventpipe.log.consumer import Consumer
from eventpipe.log.consumer_options import ConsumerOptions
from eventpipe.log.eventlog import EventLog
from eventpipe.log.shards import Shard
from eventpipe.options import ClientOptions, RetryPolicy
from eventpipe.pipeline.delivery_tables import read_deliveries
from eventpipe.pipeline.far_ends import delivery_sink, local_path, make_sink
from eventpipe.pipeline.functions import taken_function
from eventpipe.pipeline.tables import (
    FLAG,
    NONE,
    NUMBER,
    POSITION,
    TABLES,
    TEXT,
    WHOLE,
    Kind,
    Source,
    Table,
)
from eventpipe.retention import Retention
from eventpipe.sinks import LogSink
from eventpipe.stores.base import Store
from eventpipe.stores.memory import MemoryStore
from eventpipe.stores.sqlite import SqliteStore

MAX_FILE_BYTES: Final = 256 * 1024  # one of a hundred consumers has a tenth of it

_WITH_NONE: Final = frozenset({"ordered_by", "max_attempts"})
_MEMORY: Final[Mapping[str, Kind]] = {
    "max_events": WHOLE,
    "max_bytes": WHOLE,
    "on_full": TEXT,
    "dedupe_window": NUMBER,
}
_SQLITE: Final[Mapping[str, Kind]] = {"shared": FLAG, "durability": TEXT, "dedupe_window": NUMBER, "poll": NUMBER}
_STORES: Final = ("memory", "sqlite")


class Parts(NamedTuple):
    """What a file describes.

    Attributes:
        log: The log.
        client: What feeds it; ``None``: nothing does, in this process.
        consumers: Its consumers, in the order of the file.
        options: Keywords of ``Pipeline``.
    """

    log: EventLog
    client: AsyncClient | None
    consumers: list[Consumer]
    options: dict[str, Any]  # Any: each keyword has a type of its own


def read(path: str | os.PathLike[str], environ: Mapping[str, str], clock: Clock | None) -> Parts:
    """Make what a file describes, and open nothing of it.

    Raises:
        ValueError: The file cannot be read, or something is wrong with what it says; one line each.
    """
    file = Path(path)
    with contextlib.suppress(RuntimeError):  # nobody's home: the name is taken as it is
        file = file.expanduser()
    called = str(file) if str(file).isprintable() else repr(str(file))[1:-1]
    source = Source(called, file.absolute().parent, environ)
    table = Table(source, _parsed(_bytes_of(file, called), called))
    options = _pipeline(table)
    (store, kept), topics = _store(table, clock), _topics(table)
    # The rest is looked at even where the store is wrong, so that all faults come at once.
    log = table.make(EventLog, MemoryStore() if store is None else store, topics=topics, clock=clock)
    log = EventLog(MemoryStore()) if log is None else log
    described = read_deliveries(table, kept, clock)
    client = _client(table, log, described.deliveries, clock)
    consumers = _consumers(table, log, described.deliveries)
    table.end()
    if source.faults:
        raise ValueError("\n".join(source.faults))
    return Parts(log, client, consumers, options | described._asdict())


def _pipeline(top: Table) -> dict[str, Any]:  # Any: keywords of Pipeline
    table = top.below("pipeline")
    if table is None:
        return {}
    options = {"name": table.take("name", TEXT), "stop_timeout": table.take("stop_timeout", NUMBER)}
    seconds = options["stop_timeout"]
    if seconds is not None and not 0 < seconds < float("inf"):
        table.fault(f"{table.key_called('stop_timeout')} must be above 0 and finite, not {shown(seconds)}")
    options["restart"] = _policy(table, "restart")
    table.end()
    return {key: value for key, value in options.items() if value is not None}


def _store(top: Table, clock: Clock | None) -> tuple[Store | None, dict[str, Any] | None]:  # Any: what TOML carries
    """The store, and what makes another one of the same file; ``None``: it is in memory, or there is none."""
    table = top.below("store")
    if table is None:
        if "store" not in top:
            top.fault(f'[store] is missing in {top.source.called}: add it, with kind = "sqlite" or kind = "memory"')
        return None, None
    kind = table.need("kind", TEXT, '"sqlite"')
    if kind is None:
        return None, None
    if kind not in _STORES:
        near = suggestion(kind, _STORES)
        table.fault(f"{table.key_called('kind')} must be one of 'memory', 'sqlite', not {shown(kind)}{near}")
        return None, None
    store: Store | None = None
    kept: dict[str, Any] | None = None  # Any: same
    if kind == "memory":
        options: dict[str, Any] = {}  # Any: what TOML carries
        for key, of in _MEMORY.items():
            is_none = key in ("max_events", "max_bytes") and table.is_word(key, NONE)
            if is_none or (value := table.take(key, of)) is not None:
                options[key] = None if is_none else value
        store = table.make(MemoryStore, clock=clock, **options)
    else:
        path = table.need("path", TEXT, '"events.db"')
        options = {key: value for key, of in _SQLITE.items() if (value := table.take(key, of)) is not None}
        kept = options
        if path is not None:
            kept = {"path": local_path(table, path), **options}
            store = table.make(SqliteStore, clock=clock, **kept)
    own = {"memory": _MEMORY, "sqlite": {"path": TEXT, **_SQLITE}}
    table.end({key: f"kind {other!r}" for other in _STORES if other != kind for key in own[other]})
    return store, kept


def _topics(top: Table) -> dict[str, Retention]:
    topics: dict[str, Retention] = {}
    table = top.below("topics")
    for name in () if table is None else table:
        assert table is not None  # noqa: S101  # else there was no name
        below = table.below(name)
        if below is not None:
            retention = below.make(Retention, **below.options(Retention))
            below.end()
            if retention is not None:
                topics[name] = retention
    return topics


def _client(top: Table, log: EventLog, deliveries: Deliveries | None, clock: Clock | None) -> AsyncClient | None:
    table = top.below("client")
    if table is None:
        return None
    below = table.below("deliveries")
    topic = table.take("topic", TEXT) if "deliveries" in table else table.need("topic", TEXT, '"events"')
    options = table.options(ClientOptions)
    retry, spool = _policy(table, "retry"), table.take("spool", TEXT)
    sinks: list[Sink | None] = [] if topic is None else [table.make(LogSink, log, topic)]
    if below is not None:
        sinks.append(delivery_sink(below, deliveries))
        below.end()
    table.end()
    if retry is not None:
        options["retry"] = retry
    spool = None if spool is None else local_path(table, spool)
    made = [sink for sink in sinks if sink is not None]
    if not made:
        table.make(ClientOptions, **options)  # what else is wrong is told as well
        return None
    return table.make(AsyncClient, *made, clock=clock, spool=spool, **options)


def _consumers(top: Table, log: EventLog, deliveries: Deliveries | None) -> list[Consumer]:
    consumers: dict[object, Consumer] = {}
    for number, values in enumerate(top.take_raw("consumers", TABLES) or (), 1):
        name = values.get("name")
        owner = f" of consumer {shown(name)}" if isinstance(name, str) and name else f" of consumer number {number}"
        table = Table(top.source, values, "", owner)
        consumer = _consumer(table, log, deliveries)
        table.end()
        if consumer is not None and consumer.key in consumers:
            table.fault(f"{table.called}: topic {consumer.key.topic!r} has another consumer of that name above")
        elif consumer is not None:
            consumers[consumer.key] = consumer
    return list(consumers.values())


def _consumer(table: Table, log: EventLog, deliveries: Deliveries | None) -> Consumer | None:
    topic, name = table.need("topic", TEXT, '"orders"'), table.need("name", TEXT, '"audit"')
    options = table.options(ConsumerOptions, with_none=_WITH_NONE)
    for key, value in (
        ("start", table.take("start", POSITION)),
        ("retry", _policy(table, "retry")),
        ("filter", taken_function(table, "filter")),
        ("shard", _shard(table)),
    ):
        if value is not None:
            options[key] = value
    far: Any = None  # Any: a sink or a handler, which the consumer checks
    below, handler = table.below("sink"), taken_function(table, "handler")
    if below is not None:
        far = make_sink(below, lambda table: delivery_sink(table, deliveries))
    if "sink" in table and "handler" in table:
        table.fault(
            f"{table.called} has both a sink and a handler: give one of them, and the other to a second consumer"
        )
        return None
    if "sink" not in table and "handler" not in table:
        table.fault(f'{table.called} needs a table sink, or handler = "package.module:function"')
        return None
    far = handler if far is None else far
    if None in (topic, name, far):
        options.pop("start", None)
        table.make(ConsumerOptions, **options)  # what else is wrong is told as well
        return None
    return table.make(Consumer, log, topic, name, far, **options)


def _shard(table: Table) -> Shard | None:
    below = table.below("shard")
    if below is None:
        return None
    index, count = below.need("index", WHOLE, "0"), below.need("count", WHOLE, "4")
    below.end()
    return None if index is None or count is None else below.make(Shard, index, count)


def _policy(table: Table, key: str) -> RetryPolicy | None:
    below = table.below(key)
    if below is None:
        return None
    policy = below.make(RetryPolicy, **below.options(RetryPolicy))
    below.end()
    return policy


def _bytes_of(file: Path, called: str) -> bytes:
    """Read a regular file of a bounded size; a pipe or a device is told apart before it can make us wait."""
    why, data = "", b""
    try:
        number = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
        try:
            if not stat.S_ISREG(os.fstat(number).st_mode):
                why = "it is no file"
            while not why and len(data) <= MAX_FILE_BYTES and (part := os.read(number, MAX_FILE_BYTES + 1)):
                data += part
        finally:
            os.close(number)
    except (OSError, ValueError) as error:  # the latter where a name has a NUL in it
        why = (getattr(error, "strerror", None) or "it cannot be a file's name").lower()
    if why:
        raise ValueError(f"cannot read {called}: {why}; name a TOML file that describes a pipeline")
    if len(data) > MAX_FILE_BYTES:
        raise ValueError(
            f"{called} must have at most {MAX_FILE_BYTES // 1024} KiB, and has more; make two pipelines of it"
        )
    return data


def _parsed(data: bytes, called: str) -> dict[str, Any]:  # Any: what TOML carries
    try:
        return tomllib.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{called} must be UTF-8, and line {line} is not") from None
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{called} is no TOML: {error}") from None
    except (ValueError, RecursionError):  # a number of thousands of digits, brackets in brackets
        raise ValueError(f"{called} is no TOML: a value is too long, or nested too deeply") from None
