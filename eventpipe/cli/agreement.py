"""Asking before something is done that cannot be undone."""

from __future__ import annotations

import sys

from rich.console import Console

from eventpipe.cli.failures import UsageError
from eventpipe.cli.inputs import in_thread


async def agree(what: str, ways_out: str, out: Console) -> None:
    """Have somebody agree.

    Args:
        what: What would be done.
        ways_out: What to say on the command line where nobody can be asked.
        out: Where the question is put.

    Raises:
        UsageError: Nobody can, or somebody does not.
    """
    if sys.stdin is None or not sys.stdin.isatty() or not out.is_terminal:
        raise UsageError(f"{what}; say {ways_out}")
    out.print(f"{what}; go on? [y/N] ", end="", markup=False, highlight=False, soft_wrap=True)
    answer = await in_thread(sys.stdin.readline)
    if answer.strip().lower() not in ("y", "yes"):
        raise UsageError("nothing was changed")
