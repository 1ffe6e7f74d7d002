"""``python -m benchmarks spool``: what a spool costs, beside the same client without one, and beside a bare loop.

Every load runs in fresh processes, one after the other. In each it takes turns with what it is held against. Files are
kept where temporary ones are: set TMPDIR to a folder on the disk that matters, with 2 GiB to spare.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.spool_backlog import ROWS_OF_A_GIB, drain, opening
from benchmarks.spool_loads import capture, paced, unused
from benchmarks.turns import Load, command

LOADS = (
    Load("capture_process", capture, ("process",), 8, 20_000),
    Load("capture_power", capture, ("power",), 8, 20_000),
    Load("paced_process", paced, ("process",), 4, 10_000),
    Load("paced_power", paced, ("power",), 4, 10_000),
    Load("unused", unused, (), 20, 5_000),
    Load("drain", drain, (), 4, 50_000),
    Load("opening", opening, (), 1, ROWS_OF_A_GIB),
)


def main(arguments: Sequence[str] = ()) -> int:
    """Run what is asked for; 1 when a promise of the spool is not kept."""
    return command("spool", LOADS, (__doc__ or "").split("\n\n")[1], arguments)
