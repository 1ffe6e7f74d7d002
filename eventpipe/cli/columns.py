"""Tables with a heading: folded to the width of a terminal, and a line for each row elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from eventpipe.cli.display import say
from eventpipe.cli.failures import one_line

Row = Sequence[str]


def show_columns(console: Console, headings: Row, rows: Sequence[Row]) -> None:
    """Print rows below their headings, numbers to the right, whatever they contain as plain text.

    Args:
        console: Where to.
        headings: One for each column; ``"<event"`` is one of text, others are of numbers.
        rows: As many values each.
    """
    is_text = [heading.startswith("<") for heading in headings]
    names = [heading.removeprefix("<") for heading in headings]
    cells = [[one_line(value) for value in row] for row in rows]
    if console.is_terminal:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name, text in zip(names, is_text, strict=True):
            table.add_column(name, justify="left" if text else "right", overflow="fold", no_wrap=not text)
        for row in cells:
            table.add_row(*map(Text, row))
        console.print(table)
        return
    widths = [max(map(len, column)) for column in zip(names, *cells, strict=True)]
    for row in [names, *cells]:
        padded = [
            value.ljust(width) if text else value.rjust(width)
            for value, width, text in zip(row, widths, is_text, strict=True)
        ]
        say(console, "  ".join(padded).rstrip())
