"""``python -m benchmarks NAME``: run one of the measurements, or write what they found."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module

# Each is a module with a ``main(arguments)``, imported when it is asked for: some need libraries that others do not.
COMMANDS = ("all", "check", "deliveries", "handlers", "imports", "log", "parts", "report", "scenarios", "spool")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure eventpipe.")
    parser.add_argument("name", choices=COMMANDS, help="what to do; `NAME --help` has its options")
    name: str = parser.parse_args(sys.argv[1:2]).name
    code: int = import_module(f"benchmarks.{name}").main(sys.argv[2:])
    return code


if __name__ == "__main__":
    raise SystemExit(main())
