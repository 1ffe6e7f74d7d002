"""A subject seen from the process that started it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from types import TracebackType
from typing import IO, Any, Self, cast

from benchmarks.workload import Result

RUN_TIMEOUT = 60.0  # seconds that one process may take; usual are one to five


class SubjectProcess:
    """One subject in a process of its own, that works when it is its turn; a context manager that waits for its end."""

    def __init__(self, command: dict[str, Any]) -> None:  # Any: JSON
        self._command = json.dumps(command)

    def turn(self) -> Result:
        """Let it work until it has its next result."""
        self._turns.write("\n")
        self._turns.flush()
        answer = self._answers.readline()
        if not answer:
            raise SystemExit(f"{self._command} ended with exit code {self._process.wait()}")
        result: Result = json.loads(answer)
        return result

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.subjects", self._command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._turns = cast("IO[str]", self._process.stdin)
        self._answers = cast("IO[str]", self._process.stdout)
        self._end = threading.Timer(RUN_TIMEOUT, self._process.kill)
        self._end.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._turns.close()
        self._process.wait()
        self._end.cancel()
        self._answers.close()
        if error is None and self._process.returncode:
            raise SystemExit(f"{self._command} ended with exit code {self._process.returncode}")
