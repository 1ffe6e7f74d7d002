"""A progress bar with a few words."""

from __future__ import annotations

from rich.console import RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from eventpipe.cli.failures import one_line

BAR_WIDTH = 40


def bar(doing: str, done: int, total: int | None, words: str) -> RenderableType:
    """How much is done.

    Args:
        doing: What is being done.
        done: How much of ``total``.
        total: All of it. ``None``: nobody knows, and the bar only pulses.
        words: What else there is to say.
    """
    grid = Table.grid(padding=(0, 1))
    share = "" if total is None else f"{100 * min(done, total) // total if total else 100} %"
    shown = ProgressBar(total, done, width=BAR_WIDTH, pulse=total is None)
    grid.add_row(Text(doing), shown, Text(share), Text(one_line(words)))
    return grid
