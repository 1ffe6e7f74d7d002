# ruff: noqa: ASYNC110  # threads bring about what is waited for
"""The Nth call of the system that Python makes for a spool fails: as with those of SQLite, what was kept is found."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import random
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from eventpipe import AsyncClient
from eventpipe.sinks import MemorySink
from eventpipe.spool import folder as spool_folder
from eventpipe.testing import check_ledger
from tests.scale import SCALE
from tests.spool.test_failing_disk import live

SAMPLE = 5 * SCALE  # as there
LIST = "scandir" if sys.version_info >= (3, 13) else "listdir"  # as Path.iterdir() does
BY_PATH = ("open", "mkdir", "stat", "lstat", "statvfs", LIST, "unlink", "replace")
BY_DESCRIPTOR = ("fchmod", "fsync", "ftruncate", "write", "fstat", "pread", "posix_fallocate")
ERRORS = {"open": (errno.EMFILE, errno.EACCES), "write": (errno.ENOSPC, errno.EDQUOT), "fsync": (errno.EIO,)}

pytestmark = [pytest.mark.asyncio, pytest.mark.wallclock, pytest.mark.timeout(60 + 60 * SCALE)]


class FailingCalls:
    """Calls of one function, of which one fails.

    Attributes:
        done: How many there were.
    """

    def __init__(self, name: str, folder: Path, number: int, error: int) -> None:
        self.done: Counter[str] = Counter()
        self._name = name
        self._folder = str(folder)
        self._number = number
        self._error = error
        self._lock = threading.Lock()

    def wrap(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """The function, but for one call of it that has to do with the folder."""

        def wrapped(first: Any, *rest: Any, **named: Any) -> Any:
            if self._is_ours(first):
                with self._lock:
                    self.done[self._name] += 1
                    if self.done[self._name] == self._number:
                        raise OSError(self._error, os.strerror(self._error), str(first))
            return call(first, *rest, **named)

        return wrapped

    def _is_ours(self, first: Any) -> bool:
        if isinstance(first, int):
            try:
                first = Path(f"/proc/self/fd/{first}").readlink()
            except OSError:
                return False
        return os.fsdecode(first).startswith(self._folder)


@contextmanager
def failing(name: str, folder: Path, number: int, error: int) -> Iterator[FailingCalls]:
    """Have the Nth call fail; the 0th: none."""
    calls = FailingCalls(name, folder, number, error)
    module = fcntl if name == "flock" else os
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, name, calls.wrap(getattr(module, name)))
        yield calls


@pytest.mark.parametrize("name", [*BY_PATH, *BY_DESCRIPTOR, "flock"])
async def test_call_that_fails_costs_nothing_that_was_said_to_be_kept(tmp_path: Path, name: str) -> None:
    """A client that cannot be started says where and what to do, and leaves no lock; one that runs tells the truth."""
    with failing(name, tmp_path / "whole", 0, errno.EIO) as counting:
        await live(tmp_path / "whole" / "spool", "process", counting)
    many = counting.done[name]
    assert many
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")  # noqa: T201  # to repeat a failure
    for error in ERRORS.get(name, (errno.EIO,)):
        for number in sorted(random.Random(seed).sample(range(1, many + 1), min(SAMPLE, many))):
            base, where = tmp_path / f"{error}-{number}", f"call {number} of {many}: {os.strerror(error)}"
            folder = base / "spool"
            with failing(name, base, number, error) as calls:
                life = await live(folder, "process", calls)
            assert [owned.name for owned in spool_folder._all_owned() if owned.is_ours] == [], where
            if life.error is not None:
                assert str(base) in str(life.error), where
                assert ";" in str(life.error), where
            assert life.closing <= 1.0, where
            sink = MemorySink(name="far")
            async with AsyncClient(sink, spool=folder, max_batch_age=0.001) as client, asyncio.timeout(10):
                while not life.promised <= life.arrived.union(sink.uuids):
                    await asyncio.sleep(0.002)
            check_ledger(client, drained=True)
            assert life.arrived.union(sink.uuids) <= life.captured, where
