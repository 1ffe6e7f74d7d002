"""``python -m benchmarks deliveries``: what deliveries cost in SQLite, beside bare requests with the same bodies.

Every load runs in fresh processes, one after the other. In each it takes turns with what it is held against. The far
end is a process of its own. Files are kept where temporary ones are: set TMPDIR to a folder on the disk that matters.
"""

from __future__ import annotations

from collections.abc import Sequence
from tempfile import TemporaryDirectory

from benchmarks.delivery_loads import LONG, first_attempt, many_endpoints, nothing_due, through
from benchmarks.turns import Load, command

LOADS = (
    Load("through", through, (), 8, LONG),
    Load("many_endpoints", many_endpoints, (), 8, 10_000),
    Load("nothing_due", nothing_due, (), 4, LONG),
    Load("first_attempt", first_attempt, (), 2, 500),
)


def main(arguments: Sequence[str] = ()) -> int:
    """Run what is asked for; 1 when a promise of the deliveries is not kept."""
    with TemporaryDirectory() as folder:  # for files that take long to fill: each process has a copy
        loads = [load._replace(arguments=(folder,)) for load in LOADS]
        return command("deliveries", loads, (__doc__ or "").split("\n\n")[1], arguments)
