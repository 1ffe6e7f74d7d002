"""``python -m benchmarks log``: what the log costs, in memory and in SQLite, beside bare loops over the same rows.

Every load runs in fresh processes, one after the other. In each it takes turns with what it is held against. A file is
kept where temporary ones are: set TMPDIR to a folder on the disk that matters.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.log_loads import append_bounded, append_memory, append_sqlite, backlog, consume_sqlite
from benchmarks.log_parked import parked
from benchmarks.turns import Load, command

LOADS = (
    Load("append_power", append_sqlite, ("power",), 8, 20_000),
    Load("append_process", append_sqlite, ("process",), 8, 20_000),
    Load("consume", consume_sqlite, (), 6, 50_000),
    Load("append_bounded", append_bounded, (), 8, 20_000),
    Load("append_memory", append_memory, (), 10, 100_000),
    Load("backlog_memory", backlog, ("memory",), 50, 5_000_000),
    Load("backlog_sqlite", backlog, ("sqlite",), 25, 1_000_000),
    Load("parked", parked, (), 4, 20_000),
)


def main(arguments: Sequence[str] = ()) -> int:
    """Run what is asked for; 1 when a promise of the log is not kept."""
    return command("log", LOADS, (__doc__ or "").split("\n\n")[1], arguments)
