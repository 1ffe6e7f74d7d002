"""Children that use one log, forked from a warmed parent, as the test that kills them sees them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


class Entry(tuple[str, ...]):
    """A line of a journal: a word, and what belongs to it.

    Attributes:
        at: When it was written, on the monotonic clock of the system.
    """

    at: float

    @classmethod
    def read(cls, line: str) -> Entry:
        at, *words = line.split()
        entry = cls(words)
        entry.at = float(at)
        return entry


class Child:
    """A program that runs, or did.

    Attributes:
        pid: Its number.
        born_at: When it was forked, on the monotonic clock.
    """

    def __init__(self, nursery: Nursery, pid: int, journal: Path, born_at: float) -> None:
        self.pid = pid
        self.born_at = born_at
        self._nursery = nursery
        self._journal = journal
        self._status: int | None = None

    def entries(self, *kinds: str) -> list[Entry]:
        """What it wrote so far, of these kinds; a line that it was killed in the middle of does not count."""
        if not self._journal.exists():
            return []
        text, end, _ = self._journal.read_text().rpartition("\n")
        found = [Entry.read(line) for line in (text + end).splitlines()]
        return [entry for entry in found if not kinds or entry[0] in kinds]

    def await_entry(self, *kinds: str, timeout: float = 20.0, after: float = 0.0) -> Entry:
        """Wait for its first line of one of these kinds, written after a moment."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            for entry in self.entries(*kinds):
                if entry.at > after:
                    return entry
            time.sleep(0.001)
        raise AssertionError(f"no {' or '.join(kinds)} within {timeout} s, but {self.entries()[-5:]}")

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def kill(self) -> float:
        """End it by force, and wait until it is gone; when that was."""
        killed_at = time.monotonic()
        self.signal(signal.SIGKILL)
        assert self.wait() == -signal.SIGKILL
        return killed_at

    def wait(self) -> int:
        """Wait until it has ended; its exit code, negative by a signal."""
        if self._status is None:
            self._status = self._nursery.ask({"wait": self.pid})
        return self._status

    @property
    def has_ended(self) -> bool:
        return self._status is not None


class Nursery:
    """Forks children; those that are left at its end are killed.

    Attributes:
        children: All of them, in order.
    """

    def __init__(self, folder: Path, parent: subprocess.Popen[str]) -> None:
        self.children: list[Child] = []
        self._folder = folder
        self._parent = parent

    def fork(self, role: str, **arguments: Any) -> Child:  # Any: JSON
        """Make a child with a role of the parent's program."""
        journal = self._folder / f"{len(self.children):05}.journal"
        born_at = time.monotonic()
        pid = self.ask({"role": role, "arguments": {**arguments, "journal": str(journal)}})
        child = Child(self, pid, journal, born_at)
        self.children.append(child)
        return child

    def ask(self, request: dict[str, object]) -> int:
        assert self._parent.stdin is not None
        self._parent.stdin.write(json.dumps(request) + "\n")
        self._parent.stdin.flush()
        return self.answer()

    def answer(self) -> int:
        assert self._parent.stdout is not None
        return int(self._parent.stdout.readline())


@contextmanager
def nursery(folder: Path, program: str = "logged") -> Iterator[Nursery]:
    """A warmed parent, a module of this package; at the end no child has written an error."""
    errors = folder / "errors"
    command = [sys.executable, "-m", f"tests.processes.{program}"]
    with (
        errors.open("w") as told,
        subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=told, text=True
        ) as parent,
    ):
        made = Nursery(folder, parent)
        assert made.answer() == 0  # it is warm
        try:
            yield made
        finally:
            for child in made.children:
                if not child.has_ended:
                    child.signal(signal.SIGKILL)
                    child.wait()
            assert parent.stdin is not None
            parent.stdin.close()  # which ends it
    assert errors.read_text() == ""
