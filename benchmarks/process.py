"""The processes of a measurement, seen from the one that started them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import IO, Any, Self, cast

from benchmarks.workload import Result

ROOT = Path(__file__).parent.parent
TURN_TIMEOUT = 60.0  # seconds that one turn, or the end of a process, may take; usual are below five


class RunError(SystemExit):
    """A process ended before its work, or its events do not add up; uncaught it ends the program with its message."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What the far end does with requests.

    Attributes:
        latency: Seconds between reading a request and answering it.
        stall_every: One request in so many waits for ``stall_seconds`` in place of that; 0 for none.
        stall_seconds: How long it does.
        outage_seconds: From the first answer on, 503 for so long.
        is_mute: Requests are read and never answered.
        verify: Collect the event ids, so that repeated events show in ``Counts.unique``.
    """

    latency: float = 0.0
    stall_every: int = 0
    stall_seconds: float = 0.0
    outage_seconds: float = 0.0
    is_mute: bool = False
    verify: bool = False


PROMPT = Behaviour()


@dataclass(slots=True)
class Counts:
    """What the far end has read since the last reset.

    Attributes:
        requests: Requests read whole.
        read: Events in them, repeated ones included.
        events: Those of them that were answered with 200, on a connection that was still there.
        unique: Different event ids among these; 0 unless ids are being verified.
        bytes: Bytes of the bodies, as they came over the wire.
        connections: Connections that were opened.
        cpu: CPU seconds that the far end used.
    """

    requests: int = 0
    read: int = 0
    events: int = 0
    unique: int = 0
    bytes: int = 0
    connections: int = 0
    cpu: float = 0.0


class SinkProcess:
    """The far end; a context manager that ends it."""

    def __init__(self, cpu: int | None = None) -> None:
        arguments = [] if cpu is None else ["--cpu", str(cpu)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.sink", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        self._commands = cast("IO[str]", self._process.stdin)
        self._answers = cast("IO[str]", self._process.stdout)
        self.url = f"http://127.0.0.1:{json.loads(self._answers.readline())['port']}/batch"

    def counts(self) -> Counts:
        """What was read since the last reset."""
        return Counts(**self._tell())

    def times(self) -> dict[str, list[tuple[float, int]]]:
        """When events came that had not come before, as ``time.monotonic()`` and how many: ``reads``, ``accepts``."""
        found: dict[str, list[tuple[float, int]]] = self._tell(times=True)
        return found

    def firsts(self) -> dict[str, float]:
        """When each event was read first, by its id, as ``time.monotonic()``; with ``verify``."""
        found: dict[str, float] = self._tell(firsts=True)
        return found

    def reset(self, behaviour: Behaviour = PROMPT) -> Counts:
        """Begin a new count and behave like this; returns the counts until now."""
        return Counts(**self._tell(reset=asdict(behaviour)))

    def _tell(self, **command: object) -> Any:  # Any: JSON
        self._commands.write(json.dumps(command) + "\n")
        self._commands.flush()
        return json.loads(self._answers.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._commands.close()
        self._process.wait(timeout=10)
        self._answers.close()


class SubjectProcess:
    """One subject in a process of its own, that works when it is its turn; a context manager that waits for its end.

    Args:
        command: What ``benchmarks.loads`` is told.
        python: The interpreter; another library has an environment of its own.
    """

    def __init__(
        self,
        command: dict[str, Any],  # Any: JSON
        python: Path | str = sys.executable,
    ) -> None:
        self._command = json.dumps(command)
        self._arguments = [str(python), "-m", "benchmarks.loads", self._command]

    def turn(self, arguments: Mapping[str, Any] = MappingProxyType({})) -> Result:  # Any: JSON
        """Let it work until it has its next result; ``arguments`` are for a load that reads them each time."""
        with _ended_in_time(self._process):
            self._turns.write(json.dumps(dict(arguments)) + "\n")
            self._turns.flush()
            answer = self._answers.readline()
        if not answer:
            raise RunError(f"{self._command} ended with exit code {self._process.wait()}")
        result: Result = json.loads(answer)
        return result

    def end(self) -> None:
        """Let it close, and wait until it has ended."""
        self._turns.close()
        with _ended_in_time(self._process):
            code = self._process.wait()
        if code:
            raise RunError(f"{self._command} ended with exit code {code}")

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        self._turns = cast("IO[str]", self._process.stdin)
        self._answers = cast("IO[str]", self._process.stdout)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self.end()
        finally:
            self._process.kill()
            self._process.wait()
            with suppress(BrokenPipeError):  # a line that it did not read before it ended
                self._turns.close()
            self._answers.close()


@contextmanager
def _ended_in_time(process: subprocess.Popen[str]) -> Iterator[None]:
    """End a process that takes longer than anything here does."""
    end = threading.Timer(TURN_TIMEOUT, process.kill)
    end.start()
    try:
        yield
    finally:
        end.cancel()


def pin(cpu: int | None) -> None:
    """Keep this process on one core, where the system can."""
    if cpu is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {cpu})
