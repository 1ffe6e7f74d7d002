"""Standard output for lines that programs read: in bulk, and off the loop, so that a slow reader holds up nothing."""

from __future__ import annotations

import os
from functools import partial

from rich.console import Console

from eventpipe.cli.failures import CommandError, reason_of
from eventpipe.cli.inputs import in_thread

BLOCK_BYTES = 64 * 1024  # a pipe takes no more at once


class Output:
    """Writes bytes past every buffer: what waits for a reader that never comes keeps nobody from leaving.

    Args:
        console: Whose file is written to.
    """

    def __init__(self, console: Console) -> None:
        console.file.flush()
        self._descriptor = console.file.fileno()
        self._lines: list[bytes] = []
        self._size = 0

    async def add(self, line: bytes) -> None:
        """Write a line, with those before it, once they are enough.

        Raises:
            BrokenPipeError: Nobody reads any more.
            CommandError: It cannot be written.
        """
        self._lines.append(line)
        self._size += len(line) + 1
        if self._size >= BLOCK_BYTES:
            await self.flush()

    async def flush(self) -> None:
        """Write what was added.

        Raises:
            BrokenPipeError: Nobody reads any more.
            CommandError: It cannot be written.

        Cancellation:
            Some of it may be written, by a thread that is left behind.
        """
        if not self._lines:
            return
        data = b"\n".join([*self._lines, b""])
        self._lines, self._size = [], 0
        try:
            await in_thread(partial(_write_all, self._descriptor, data))
        except BrokenPipeError:
            raise
        except OSError as error:
            raise CommandError(f"cannot write to standard output: {reason_of(error)}") from error


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
