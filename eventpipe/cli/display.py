"""Numbers while a command runs: a live table on a terminal, plain lines elsewhere and in the background."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

from rich.console import Console, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from eventpipe.cli.failures import one_line

LIVE_INTERVAL = 0.25  # seconds between frames; drawing one costs the loop a millisecond or two
LINE_INTERVAL = 1.0  # seconds between plain lines

Rows = Iterable[tuple[str, str]]


def table(rows: Rows, *, title: str | None = None) -> Table:
    """Names on the left, values on the right, whatever they contain shown as plain text."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", min_width=12)
    grid.add_column(justify="left")
    if title is not None:
        grid.add_row(Text(title, style="bold"), Text())
    for name, value in rows:
        grid.add_row(Text(one_line(name)), Text(one_line(value)))
    return grid


def say(console: Console, line: str) -> None:
    """Print one line as it is: no markup, no colours, no wrapping."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def is_picture(console: Console) -> bool:
    """Whether frames may be shown: on a terminal, and not while a command in front of this one writes there too."""
    if not console.is_terminal:
        return False
    try:
        return os.tcgetpgrp(console.file.fileno()) == os.getpgrp()
    except OSError:  # no file, or a terminal that no shell shares among commands
        return True


@asynccontextmanager
async def shown(
    console: Console, frame: Callable[[], RenderableType], line: Callable[[], str | None]
) -> AsyncIterator[None]:
    """Show numbers until the block ends, and once more then.

    Args:
        console: Where to.
        frame: What a terminal shows, made anew four times a second.
        line: What anything else shows once a second, and a terminal that runs this in the background; ``None``:
            nothing this time.

    Cancellation:
        Safe. The terminal is left as it was found.
    """
    if is_picture(console):
        with Live(frame(), console=console, auto_refresh=False, transient=False) as live:

            def draw() -> None:
                if is_picture(console):  # else it was sent to the background meanwhile
                    live.update(frame(), refresh=True)

            async with _repeated(LIVE_INTERVAL, draw):
                yield
        return

    def say_line() -> None:
        text = line()
        if text is not None:
            say(console, text)

    async with _repeated(LINE_INTERVAL, say_line):
        yield


@asynccontextmanager
async def _repeated(interval: float, action: Callable[[], None]) -> AsyncIterator[None]:
    async def repeat() -> None:
        while True:
            await asyncio.sleep(interval)
            action()

    task = asyncio.create_task(repeat(), name="eventpipe display")
    try:
        yield
        if task.done():
            task.result()  # a terminal that cannot be written to ends the command
        action()
    finally:
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()
