"""``eventpipe run``: a pipeline as a process of its own, until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import orjson
from rich.console import Console

from eventpipe.cli.display import say, shown
from eventpipe.cli.failures import FAILURE, USAGE, CommandError, one_line
from eventpipe.cli.imports import imports_as_python_does
from eventpipe.cli.run_view import RunView, ended_json, ended_text
from eventpipe.cli.signals import Stop, stop_signals
from eventpipe.cli.text import count, duration, readable
from eventpipe.errors import ClosedError, EventPipeError
from eventpipe.pipeline import Pipeline

REFRESH_INTERVAL = 1.0  # seconds between two looks at what is pending: one query of the store

LogLevel = Literal["debug", "info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What ``eventpipe run`` was asked for, as the command line spells it.

    Attributes:
        check: Say what is wrong with the file, or what it would run, and run nothing. Modules with handlers are
            imported.
        json: Print the report as JSON.
        quiet: Show no status while it runs.
        log: The least level of log lines that are shown; info also shows what sinks of kind "logging" write.
    """

    check: bool = False
    json: bool = False
    quiet: bool = False
    log: LogLevel = "warning"


def run_pipeline(file: Path, options: RunOptions, out: Console, err: Console) -> int:
    """Run a pipeline until SIGTERM or Ctrl-C, drain it, and report; return the exit code.

    Args:
        file: What describes it.
        options: The rest of the command line.
        out: Gets the report.
        err: Gets the status, log lines, and what is wrong with the file.

    Returns:
        0 if nothing was lost and nothing is left; 1 if something was, or it failed; 2 if the file is wrong.

    Raises:
        CommandError: It could not start.
    """
    try:
        with imports_as_python_does(), contextlib.redirect_stdout(sys.stderr):  # what a module prints is no report
            pipeline = Pipeline.from_file(file)
    except ValueError as error:
        return _refuse(str(error).splitlines(), options, out, err)
    if options.check:
        _describe(file, pipeline, options, out)
        return 0
    with imports_as_python_does():  # a handler may import when it is called
        return asyncio.run(_run(one_line(readable(str(file))), pipeline, options, out, err))


async def _run(called: str, pipeline: Pipeline, options: RunOptions, out: Console, err: Console) -> int:
    with stop_signals() as stop, contextlib.ExitStack() as stack:
        obeying = asyncio.create_task(_obey(stop, pipeline, err), name="eventpipe signals")
        try:
            if await _start(pipeline, stop):
                stack.enter_context(_log_lines(options.log, err))  # before, the error says it all
                await _live(called, pipeline, options, err)
        finally:
            report = await pipeline.aclose()
            obeying.cancel()
            await asyncio.wait({obeying})
    if options.json:
        say(out, orjson.dumps(ended_json(report)).decode())
    else:
        for line in ended_text(report):
            say(out, line)
    if pipeline.error is not None:
        say(err, f"eventpipe: {called} ended: {one_line(_told(pipeline.error))}")
    return 0 if report and pipeline.error is None else FAILURE


async def _start(pipeline: Pipeline, stop: Stop) -> bool:
    """Start; whether it runs, or was told to stop meanwhile.

    Raises:
        CommandError: It could not start.
    """
    try:
        await pipeline.start()
    except ClosedError as error:
        if not stop.is_asked:
            raise CommandError(str(error)) from error
        return False
    except EventPipeError as error:
        raise CommandError(str(error)) from error
    return True


async def _live(called: str, pipeline: Pipeline, options: RunOptions, err: Console) -> None:
    """From the start to the end of the drain."""
    say(err, f"eventpipe run: {called} runs, {_parts(pipeline)}; Ctrl-C drains and stops it")
    if options.quiet:
        await pipeline.stopped()
        return
    view = RunView(pipeline, time.monotonic())
    async with _refreshed(view), shown(err, view.frame, view.line):
        await pipeline.stopped()


async def _obey(stop: Stop, pipeline: Pipeline, err: Console) -> None:
    await stop.wait()
    say(err, f"eventpipe run: draining, for at most {duration(pipeline.stop_timeout)}; once more ends it at once")
    pipeline.request_stop()
    await stop.wait(2)
    pipeline.cancel()


@asynccontextmanager
async def _refreshed(view: RunView) -> AsyncIterator[None]:
    async def refresh() -> None:
        while True:
            await view.refresh()
            await asyncio.sleep(REFRESH_INTERVAL)

    task = asyncio.create_task(refresh(), name="eventpipe status")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


def _refuse(faults: Sequence[str], options: RunOptions, out: Console, err: Console) -> int:
    """Say what is wrong with the file."""
    for fault in faults:
        say(err, f"eventpipe: {one_line(fault)}")
    if options.json:
        say(out, orjson.dumps({"ok": False, "faults": list(faults)}).decode())
    return USAGE


def _describe(file: Path, pipeline: Pipeline, options: RunOptions, out: Console) -> None:
    """Say what would run."""
    consumers = [{"topic": consumer.key.topic, "name": consumer.key.name} for consumer in pipeline.consumers]
    if options.json:
        described = {
            "ok": True,
            "store": pipeline.log.store.name,
            "client": pipeline.has_client,
            "consumers": consumers,
            "deliveries": pipeline.deliveries is not None,
            "reconciler": pipeline.reconciler is not None,
            "endpoints": [endpoint.name for endpoint in pipeline.endpoints],
        }
        say(out, orjson.dumps(described).decode())
        return
    say(out, one_line(f"{readable(str(file))} is right: {_parts(pipeline)}"))
    for consumer in consumers:
        say(out, one_line(f"  {consumer['topic']} → {consumer['name']}"))
    for endpoint in pipeline.endpoints:
        say(out, one_line(f"  deliveries → {endpoint.name}"))


def _parts(pipeline: Pipeline) -> str:
    parts = [f"a log in {readable(pipeline.log.store.name)}", count(len(pipeline.consumers), "consumer")]
    if pipeline.has_client:
        parts.append("a client")
    if pipeline.deliveries is not None:
        parts.append("deliveries" if pipeline.reconciler is not None else "deliveries that others attempt")
    return ", ".join(parts)


def _told(error: BaseException) -> str:
    """Why it ended: our errors in their own words; a foreign one may quote an event, and is named alone."""
    return str(error) if isinstance(error, EventPipeError) else f"{type(error).__name__}, see the log"


@contextlib.contextmanager
def _log_lines(level: LogLevel, err: Console) -> Iterator[None]:
    """Show log lines above the status; with ``--debug`` they are shown already."""
    root = logging.getLogger()
    if root.handlers:
        yield
        return
    handler = _LinesAbove(err)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    before = root.level
    root.addHandler(handler)
    root.setLevel(level.upper())
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(before)


class _LinesAbove(logging.Handler):
    """Writes log lines to a console, which keeps its live picture below them."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        try:
            say(self._console, self.format(record))
        except Exception:  # noqa: BLE001  # as handlers do: what cannot be written ends nobody
            self.handleError(record)
