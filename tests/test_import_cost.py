"""``import eventpipe`` costs little more than the libraries it is made of."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PARTS = "import asyncio, orjson, uuid_utils; from pydantic import BaseModel"
PROBE = "import time; before = time.process_time(); {}; print(time.process_time() - before)"
RUNS = 7
HEAVY = ("aiohttp", "anyio", "cyclopts", "multiprocessing", "pydantic_settings", "rich", "sqlite3")


def environ_without(*prefixes: str) -> dict[str, str]:
    """The environment of this process, less what would change an import: coverage loads a dozen modules."""
    return {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}


def cost_of(statement: str, bytecode: Path) -> float:
    """Processor seconds that a new interpreter spends on ``statement``, with compiled files kept in ``bytecode``."""
    environ = environ_without("COVERAGE_", "PYTHONDONTWRITEBYTECODE")
    run = subprocess.run(
        [sys.executable, "-c", PROBE.format(statement)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=environ | {"PYTHONPYCACHEPREFIX": str(bytecode)},
    )
    return float(run.stdout)


@pytest.mark.wallclock
def test_import_costs_little_more_than_its_parts(tmp_path: Path) -> None:
    """At most 1.75 times asyncio, pydantic with a model, orjson and uuid-utils.

    The quickest of several runs of each: what else a busy machine does can only add.
    """
    statements = ("import eventpipe", PARTS + "\nclass Model(BaseModel): x: int = 0")
    for statement in statements:
        cost_of(statement, tmp_path)

    runs = [[cost_of(statement, tmp_path) for statement in statements] for _ in range(RUNS)]

    ours, parts = (min(column) for column in zip(*runs, strict=True))
    print(f"import eventpipe {ours * 1000:.0f} ms, its parts {parts * 1000:.0f} ms")  # noqa: T201
    assert ours < 1.75 * parts


@pytest.mark.wallclock
@pytest.mark.parametrize("library", HEAVY)
def test_import_leaves_heavy_libraries_alone(library: str) -> None:
    """What a client may never need is not loaded with it."""
    subprocess.run(
        [sys.executable, "-c", f"import eventpipe, sys; assert {library!r} not in sys.modules"],
        check=True,
        cwd=ROOT,
        env=environ_without("COVERAGE_"),
    )
