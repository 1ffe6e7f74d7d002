"""``eventpipe top``: the live picture of a running process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field

from rich.console import Console

from eventpipe.cli.display import is_picture, say, shown
from eventpipe.cli.failures import FAILURE, CommandError, UsageError
from eventpipe.cli.parse import parse_duration, parse_seconds
from eventpipe.cli.signals import Stop, stop_signals
from eventpipe.cli.text import duration
from eventpipe.cli.top_address import check_secrecy, parse_address, parse_headers
from eventpipe.cli.top_endpoint import Endpoint, NoAnswerError
from eventpipe.cli.top_tables import By
from eventpipe.cli.top_view import TopView
from eventpipe.sinks.urls import shown_url

MIN_INTERVAL = 0.1  # seconds: an answer costs the other process a millisecond


@dataclass(frozen=True, slots=True)
class TopOptions:
    """What ``eventpipe top`` was asked for, as the command line spells it.

    Attributes:
        interval: Time from one question to the next.
        seconds: Stop by itself after so many seconds.
        once: Show one picture; the exit code is 0 when the process is ready, else 1.
        patience: How long an endpoint that does not answer is asked again before the command fails; 0s: not at all.
        header: Send this with each question, such as 'Authorization: Bearer …'. May be given more than once, and better
            put into EVENTPIPE_TOP_HEADER, a line each, where no process list shows it.
        by: Show a line for each sink, or for each name of events, where the endpoint tells them.
        allow_insecure: Send headers over plain http to other machines too.
    """

    interval: str = "1s"
    seconds: float | None = None
    once: bool = False
    patience: str = "60s"
    header: tuple[str, ...] | None = field(default=None, repr=False)
    by: By = "sink"
    allow_insecure: bool = False


def top(address: str, options: TopOptions, console: Console) -> int:
    """Show how a process does until Ctrl-C, SIGTERM, or the end of ``seconds``; return the exit code.

    Args:
        address: Of its health endpoint; without a scheme it is one of plain http.
        options: The rest of the command line.
        console: Where to.

    Raises:
        CommandError: Nobody answers there for longer than ``patience``, or somebody who is no health endpoint.
    """
    url, headers = parse_address(address), parse_headers(options.header)
    check_secrecy(url, headers, allow_insecure=options.allow_insecure)
    interval, patience = parse_duration("--interval", options.interval), parse_duration("--patience", options.patience)
    if interval < MIN_INTERVAL:
        raise UsageError(f"--interval: must be at least {duration(MIN_INTERVAL)}, not {options.interval}")
    if options.seconds is not None:
        parse_seconds("--seconds", options.seconds)
    view = TopView(shown_url(url), options.by, interval, time.monotonic, time.time)

    async def run() -> int:
        async with Endpoint.open(url, headers) as endpoint:
            if options.once:
                return await _once(endpoint, view, console)
            await _watch(endpoint, view, console, interval, patience, options.seconds)
            return 0

    return asyncio.run(run())


async def _once(endpoint: Endpoint, view: TopView, console: Console) -> int:
    picture = await endpoint.read()
    view.take(picture)
    console.print(view.frame())
    return 0 if picture.is_ready else FAILURE


async def _watch(
    endpoint: Endpoint, view: TopView, console: Console, interval: float, patience: float, seconds: float | None
) -> None:
    def tell(lines: Sequence[str]) -> None:
        for line in lines:
            say(console, line)

    with stop_signals() as stop:
        if is_picture(console):
            async with shown(console, view.frame, lambda: None):
                await _until(stop, seconds, _read_on(endpoint, view, interval, patience, lambda _lines: None))
        else:
            await _until(stop, seconds, _read_on(endpoint, view, interval, patience, tell))
    if view.latest is None and not stop.is_asked:
        raise CommandError(view.silence or f"no answer within {seconds:g} s")


async def _read_on(
    endpoint: Endpoint, view: TopView, interval: float, patience: float, tell: Callable[[Sequence[str]], None]
) -> None:
    """Ask again and again, until there is no sense in it."""
    while True:
        asked = time.monotonic()
        try:
            lines = view.take(await endpoint.read())
        except NoAnswerError as error:
            lines = view.miss(str(error), asked)
            if view.silent_for >= patience:
                raise CommandError(f"{error}; gave up after {patience:g} s" if patience else str(error)) from error
        tell(lines)
        await asyncio.sleep(max(0.0, asked + interval - time.monotonic()))


async def _until(stop: Stop, seconds: float | None, work: Coroutine[None, None, None]) -> None:
    """Do ``work`` until it ends, the user asks to stop, or time is up."""
    working = asyncio.create_task(work, name="eventpipe top")
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({working, stopping}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (working, stopping):
            task.cancel()
        await asyncio.wait({working, stopping})
    if not working.cancelled():
        working.result()
