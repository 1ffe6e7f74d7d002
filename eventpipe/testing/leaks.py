"""What a piece of code leaves behind: tasks, threads, open files."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

GRACE = 1.0  # seconds that a thread which was told to end may take over it, on a machine with more to do

# Linux has both and tells more in /proc; macOS has /dev/fd.
_OPEN_FILES = next((path for path in (Path("/proc/self/fd"), Path("/dev/fd")) if path.is_dir()), None)

# Helper threads that live as long as their loop, and end with it.
_THREADS_OF_A_LOOP = ("asyncio_", "AnyIO worker thread")


class LeakError(AssertionError):
    """Something was left behind; the message names each piece."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """What there was at one moment; take it before the first task of what is to be checked.

    Attributes:
        tasks: The unfinished tasks of the running loop; empty outside a loop.
        threads: The threads alive.
        files: Open descriptors and what each stands for; empty where the system does not tell.
    """

    tasks: frozenset[asyncio.Task[object]]
    threads: frozenset[threading.Thread]
    files: frozenset[tuple[int, str]]

    @classmethod
    def take(cls) -> Baseline:
        """Look now. Inside a loop, threads that belong to the loop itself are not looked at."""
        return cls(_tasks(), _threads(), _files())

    def tasks_left(self) -> list[str]:
        """One line per task that was not there before and is not done; the current task is not counted."""
        current = _current_task()
        return sorted(
            f"task {task.get_name()}: {task.get_coro()!r}" for task in _tasks() - self.tasks if task is not current
        )

    def threads_left(self, grace: float = GRACE) -> list[str]:
        """One line per thread that was not there before and lives.

        Args:
            grace: Seconds that they get to end, all together; the calling thread waits for them.
        """
        return sorted(f"thread {thread.name}" for thread in _outlive(_threads() - self.threads, grace))

    def files_left(self) -> list[str]:
        """One line per descriptor that was not open before, or stood for something else."""
        return [f"file {number}: {target}" for number, target in sorted(_files() - self.files)]

    def check(self, grace: float = GRACE) -> None:
        """Compare tasks, threads and files with now.

        Args:
            grace: Seconds that threads get to end, all together.

        Raises:
            LeakError: Something was left behind.
        """
        fail_on([*self.tasks_left(), *self.threads_left(grace), *self.files_left()])


def fail_on(leaks: list[str]) -> None:
    """Raise ``LeakError`` if there is any line in ``leaks``."""
    if leaks:
        raise LeakError("\n  ".join([f"{len(leaks)} left behind:", *leaks]))


@contextmanager
def no_leaks(grace: float = GRACE) -> Iterator[Baseline]:
    """Check that the block leaves no task, thread or open file behind; an error of the block itself goes first.

    Args:
        grace: Seconds that threads, all together, get to end.

    Raises:
        LeakError: Something was left behind.
    """
    baseline = Baseline.take()
    yield baseline
    baseline.check(grace)


def _loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _current_task() -> asyncio.Task[object] | None:
    return asyncio.current_task() if _loop() is not None else None


def _tasks() -> frozenset[asyncio.Task[object]]:
    return frozenset(asyncio.all_tasks()) if _loop() is not None else frozenset()


def _threads() -> frozenset[threading.Thread]:
    threads = threading.enumerate()
    if _loop() is not None:
        threads = [thread for thread in threads if not thread.name.startswith(_THREADS_OF_A_LOOP)]
    return frozenset(threads)


def _outlive(threads: frozenset[threading.Thread], grace: float) -> list[threading.Thread]:
    deadline = time.monotonic() + grace
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return [thread for thread in threads if thread.is_alive()]


def _files() -> frozenset[tuple[int, str]]:
    if _OPEN_FILES is None:
        return frozenset()
    found = set()
    for entry in _OPEN_FILES.iterdir():
        try:
            found.add((int(entry.name), _target(entry)))
        except OSError:  # the descriptor that listed the directory, closed by now
            continue
    return frozenset(found)


def _target(entry: Path) -> str:
    status = os.fstat(int(entry.name))
    try:
        return str(entry.readlink())
    except OSError:  # not a link: macOS
        return f"device {status.st_dev}, inode {status.st_ino}"
