"""``python -m benchmarks all``: everything that ``docs/benchmarks.md`` shows, then the page and its pictures."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib import import_module

from benchmarks.peers import PEERS

# The libraries take ten times as long for each event: three processes of each, where eventpipe has five.
STEPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("parts", ()),
    ("scenarios", ()),
    ("scenarios", ("--subjects", ",".join(PEERS), "--runs", "3")),
    ("handlers", ()),
    ("log", ()),
    ("deliveries", ()),
    ("spool", ()),
    ("report", ()),
)


def main(arguments: Sequence[str] = ()) -> int:
    """Take every step, one after the other; 1 when one of them failed."""
    argparse.ArgumentParser(prog="python -m benchmarks all", description=__doc__).parse_args(arguments)
    codes: list[int] = [import_module(f"benchmarks.{name}").main(given) for name, given in STEPS]
    return max(codes)
