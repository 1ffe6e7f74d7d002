"""``python -m benchmarks NAME``: run one of the measurements."""

from __future__ import annotations

import argparse

from benchmarks import core

BENCHMARKS = {"core": core.main}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure eventpipe.")
    parser.add_argument("name", choices=sorted(BENCHMARKS), help="which measurement")
    arguments, rest = parser.parse_known_args()
    return BENCHMARKS[arguments.name](rest)


if __name__ == "__main__":
    raise SystemExit(main())
