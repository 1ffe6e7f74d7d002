"""Logs in files, at rest and in use."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.logs import Holder, Kept, Shell, make_log


@pytest.fixture(scope="session")
def made_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``make_log()`` makes; to be copied."""
    path = tmp_path_factory.mktemp("logs") / "made.db"
    asyncio.run(make_log(path))
    return path


@pytest.fixture(scope="session")
def holder() -> Iterator[Holder]:
    """A process that opens and closes logs."""
    holder = Holder()
    yield holder
    holder.end()


@pytest.fixture
def at_rest(made_log: Path, tmp_path: Path) -> Path:
    """A log that nobody has open."""
    path = tmp_path / "log.db"
    shutil.copy(made_log, path)
    return path


@pytest.fixture
def in_use(at_rest: Path, holder: Holder) -> Iterator[Kept]:
    """A log that another process has open as shared; it holds ``billing``."""
    holder.ask("share", at_rest)
    yield Kept(at_rest, holder)
    holder.ask("close")


@pytest.fixture(params=["at rest", "in use"])
def log(request: pytest.FixtureRequest, at_rest: Path, holder: Holder) -> Kept:
    """A log that nobody else, or another process, has open."""
    del holder  # begun before the test, which is not to be blamed for it
    if request.param == "in use":
        kept: Kept = request.getfixturevalue("in_use")
        return kept
    return Kept(at_rest, None)


@pytest.fixture
def shell(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Shell:
    return Shell(capfd, tmp_path)
