"""A pipeline as a file describes it, and everything that is wrong with one at once."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from eventpipe import RetryPolicy
from eventpipe.log.shards import Shard
from eventpipe.pipeline import Pipeline
from eventpipe.retention import Retention
from eventpipe.sinks import FileSink, HttpSink, LoggingSink, WebhookSink
from eventpipe.stores.memory import MemoryStore
from eventpipe.stores.sqlite import SqliteStore
from eventpipe.testing.clock import LoopClock
from tests.pipeline import handlers
from tests.pipeline.bad_files import BAD, CONSUMER, HANDLER, HEAD, HTTP, SINK

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # of the examples of Standard Webhooks

Make = Callable[..., Pipeline]


@pytest.fixture
def make(tmp_path: Path, clock: LoopClock) -> Make:
    """Makes the pipeline of a file with this text."""

    def made(text: str, **environ: str) -> Pipeline:
        file = tmp_path / "pipeline.toml"
        file.write_text(dedent(text))
        return Pipeline.from_file(file, environ=environ, clock=clock)

    return made


@pytest.fixture(autouse=True)
def _nothing_taken() -> None:
    handlers.TAKEN.clear()


WHOLE = """
    [pipeline]
    name = "orders"
    stop_timeout = 7

    [pipeline.restart]
    max_attempts = 3

    [store]
    kind = "sqlite"
    path = "events.db"
    shared = true
    durability = "process"
    dedupe_window = 60
    poll = 0.1

    [topics.orders]
    max_events = 1000
    max_age = 86400.0
    on_full = "drop_oldest"

    [topics."orders.eu"]

    [client]
    topic = "orders"
    workers = 2
    spool = "spool"
    max_batch_age = 0
    overflow = "wait"
    [client.retry]
    max_attempts = 4

    [[consumers]]
    topic = "orders"
    name = "audit"
    start = 3
    batch_events = 10
    max_attempts = "none"
    filter = "tests.pipeline.handlers:is_paid"
    [consumers.sink]
    kind = "file"
    path = "audit-{seq}.ndjson"
    rotate_bytes = 1000
    mode = 0o640
    columns = ["uuid"]
    format = "csv"

    [[consumers]]
    topic = "orders"
    name = "warehouse"
    start = 2026-01-31T09:05:00Z
    ordered_by = "none"
    concurrency = 4
    outcomes_topic = "outcomes"
    [consumers.retry]
    initial = 2
    [consumers.shard]
    index = 1
    count = 4
    [consumers.sink]
    kind = "http"
    url = "https://collector.example/${TENANT}/batch"
    codec = { kind = "posthog", api_key = "${KEY}" }
    compression = "none"
    [consumers.sink.headers]
    Authorization = "Bearer ${TOKEN}"
    X-Team = "data$${x}"

    [[consumers]]
    topic = "orders"
    name = "hooks"
    start = "latest"
    ordered_by = "key"
    [consumers.sink]
    kind = "webhook"
    url = "https://example.com/hooks"
    secret = ["${SECRET}"]
    codec = "ndjson"

    [[consumers]]
    topic = "orders.eu"
    name = "lines"
    [consumers.sink]
    kind = "logging"
    logger = "shop"
    level = "debug"

    [[consumers]]
    topic = "orders.eu"
    name = "mine"
    handler = "tests.pipeline.handlers:Far.take"
    when_held = "raise"
"""


def test_every_table_is_read(make: Make, tmp_path: Path) -> None:
    """Store, topics, client, sinks of each kind and handlers are made as code would make them."""
    pipeline = make(WHOLE.replace('codec = "ndjson"\n', ""), TENANT="t1", KEY="phc_1", TOKEN="abc", SECRET=SECRET)

    assert (pipeline.name, pipeline.stop_timeout, len(pipeline.consumers)) == ("orders", 7, 5)
    store = pipeline.log.store
    assert isinstance(store, SqliteStore)
    assert (store.name, store.is_shared, store._durability, store._window, store._poll) == (
        f"sqlite {tmp_path / 'events.db'}",
        True,
        "process",
        60.0,
        0.1,
    )
    assert pipeline.log._declared == {
        "orders": Retention(max_events=1000, max_age=86400.0, on_full="drop_oldest"),
        "orders.eu": Retention(),
    }
    options = pipeline.client._options
    assert (options.workers, options.max_batch_age, options.overflow, options.retry) == (
        2,
        0,
        "wait",
        RetryPolicy(max_attempts=4),
    )
    assert pipeline.client._spool_path == str(tmp_path / "spool")
    audit, warehouse, hooks, lines, mine = pipeline.consumers
    assert (audit._start, audit.options.batch_events, audit.options.max_attempts) == (3, 10, None)
    assert audit.options.filter is handlers.is_paid
    assert isinstance(audit._sink, FileSink)
    assert audit._sink._path == str(tmp_path / "audit-{seq}.ndjson")
    assert warehouse._start == datetime.datetime(2026, 1, 31, 9, 5, tzinfo=datetime.UTC)
    assert (warehouse.options.ordered_by, warehouse.options.concurrency) == (None, 4)
    assert (warehouse.options.shard, warehouse.options.retry) == (Shard(1, 4), RetryPolicy(initial=2))
    assert isinstance(warehouse._sink, HttpSink)
    assert warehouse._sink._url.endswith("/t1/batch")
    assert (hooks._start, hooks.options.ordered_by) == ("latest", "key")
    assert isinstance(hooks._sink, WebhookSink)
    assert isinstance(lines._sink, LoggingSink)
    assert (lines._sink._logger.name, lines._sink._level) == ("shop", 10)
    assert (mine._sink, mine.options.when_held) == (None, "raise")


@pytest.mark.asyncio
async def test_a_pipeline_of_a_file_delivers(make: Make, tmp_path: Path) -> None:
    """From its client to the handler and the file that it names, beside the file itself."""
    pipeline = make(
        """
        [store]
        kind = "memory"
        max_events = "none"
        [client]
        topic = "orders"
        [[consumers]]
        topic = "orders"
        name = "mine"
        handler = "tests.pipeline.handlers:take"
        [[consumers]]
        topic = "orders"
        name = "audit"
        [consumers.sink]
        kind = "file"
        path = "audit.ndjson"
        """
    )
    async with pipeline:
        await pipeline.client.capture("paid")
        await pipeline.client.capture("sent")

        report = await pipeline.stop()

    assert report
    assert handlers.TAKEN == ["paid", "sent"]
    assert len((tmp_path / "audit.ndjson").read_bytes().splitlines()) == 2


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_fifty_pipelines_of_one_file_leave_nothing(kind: str, make: Make) -> None:
    """Each is started and stopped; the store in a file goes on where it was."""
    path = 'path = "events.db"\ndurability = "process"' if kind == "sqlite" else ""
    for _ in range(50):
        pipeline = make(
            f"""
[store]
kind = "{kind}"
{path}
[client]
topic = "orders"
[[consumers]]
topic = "orders"
name = "mine"
handler = "tests.pipeline.handlers:take"
"""
        )
        async with pipeline:
            await pipeline.client.capture("paid")
        assert await pipeline.stop()

    assert handlers.TAKEN == ["paid"] * 50


@pytest.mark.parametrize(("text", "faults"), BAD.values(), ids=BAD)
def test_what_is_wrong_is_named_all_at_once(text: str, faults: list[str], make: Make, tmp_path: Path) -> None:
    """Each line names the file, the table and the key, what is wrong, and what may have been meant."""
    with pytest.raises(ValueError, match="pipeline") as caught:
        make(text)

    file = str(tmp_path / "pipeline.toml")
    assert str(caught.value).splitlines() == [
        fault.replace("{file}", file).replace("{{", "{").replace("}}", "}") for fault in faults
    ]


def test_faults_of_all_tables_come_together(make: Make) -> None:
    """Those of the store hide none of a consumer, and those of one consumer none of another."""
    with pytest.raises(ValueError, match="pipeline") as caught:
        make('[store]\nkind = "x"\n[pipeline]\nnam = "x"\n[client]\n' + CONSUMER + CONSUMER)

    assert len(str(caught.value).splitlines()) == 5


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (f'{SINK}kind = "webhook"\nurl = "https://x.example"\nsecret = "${{HIDDEN}}"', "secret"),
        (f'{SINK}kind = "http"\nurl = "https://user:${{HIDDEN}}@x.example"', "url"),
        (f'{SINK}kind = "http"\nurl = "${{HIDDEN}}"', "url"),
        (f'{HTTP}name = "${{HIDDEN}}"\ntimeout = "${{HIDDEN}}"', "timeout"),
        (f'{HTTP}codec = {{ kind = "posthog", api_key = "${{HIDDEN}}" }}', "api_key"),
        (f'{HTTP}headers = {{ Authorization = "Bearer ${{HIDDEN}}" }}', "headers"),
        (f'{SINK}kind = "file"\npath = "{{${{HIDDEN}}"', "path"),
        (f'{HANDLER}start = "${{HIDDEN}}"', "start"),
        (f'{HEAD}{CONSUMER}handler = "os:${{HIDDEN}}"', "handler"),
        (f'{HEAD}{CONSUMER}handler = "${{HIDDEN}}:x"', "handler"),
        (f'{HEAD}on_full = "${{HIDDEN}}"', "on_full"),
    ],
)  # fmt: skip
def test_what_came_from_the_environment_is_in_no_message(text: str, name: str, make: Make) -> None:
    """Not a part of it either: whoever logs the error keeps no secret."""
    with pytest.raises(ValueError, match=name) as caught:
        make(text, HIDDEN="hunter2 and\nmore")

    assert "hunter2" not in str(caught.value)
    assert caught.value.__context__ is None


def test_secrets_are_in_no_repr(make: Make) -> None:
    """Neither of the pipeline nor of its parts, as a debugger or a log line would show them."""
    pipeline = make(
        WHOLE.replace('codec = "ndjson"\n', ""), TENANT="t1", KEY="phc_hidden", TOKEN="hidden", SECRET=SECRET
    )

    shown = [repr(part) for part in (pipeline, pipeline.log, pipeline.client, *pipeline.consumers)]
    shown += [repr(consumer._sink) + repr(consumer.options) for consumer in pipeline.consumers]
    assert not [text for text in shown if "hidden" in text or SECRET[6:] in text]


def test_a_module_that_raises_is_named_without_its_words(make: Make) -> None:
    """Its text may quote anything: only the kind of the error and its place are told."""
    with pytest.raises(
        ValueError, match=r"tests\.pipeline\.raising cannot be imported: OSError in .*raising\.py:3"
    ) as caught:
        make(f'{HEAD}{CONSUMER}handler = "tests.pipeline.raising:take"')

    assert "hunter2" not in str(caught.value)


def test_a_handler_that_cannot_wait_is_refused(make: Make) -> None:
    """A plain function would hold up the loop."""
    with pytest.raises(ValueError, match=r"consumer 'audit' in .*: a consumer needs a sink, or an async function"):
        make(f'{HEAD}{CONSUMER}handler = "tests.pipeline.handlers:plain"')


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe", "large", "binary", "NUL"])
def test_a_file_that_cannot_be_read_is_told(kind: str, tmp_path: Path) -> None:
    """None of them makes anybody wait, and each message names the file."""
    file = tmp_path / "pipeline.toml"
    words = "cannot read"
    if kind == "folder":
        file.mkdir()
    elif kind == "pipe":
        os.mkfifo(file)
    elif kind == "large":
        file.write_bytes(b"#" * 300_000)
        words = "at most 256 KiB"
    elif kind == "binary":
        file.write_bytes(b"[store]\nkind = '\xff'")
        words = "must be UTF-8, and line 2 is not"
    elif kind == "NUL":
        file = Path("a\0b")

    with pytest.raises(ValueError, match=words):
        Pipeline.from_file(file)


def test_a_file_of_nothing_but_a_store_is_a_pipeline(make: Make) -> None:
    """It has no client and no consumers: a program adds its own to ``pipeline.log``."""
    pipeline = make(HEAD)

    assert isinstance(pipeline.log.store, MemoryStore)
    assert (pipeline.consumers, pipeline.has_client) == ((), False)


def test_relative_paths_are_those_of_the_file(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the process was started: the log is the same one."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)

    pipeline = make('[store]\nkind = "sqlite"\npath = "var/events.db"')

    assert pipeline.log.store.name == f"sqlite {tmp_path / 'var' / 'events.db'}"
