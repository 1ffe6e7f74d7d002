"""The command on a terminal."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import struct
import sys
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from signal import Signals


class Terminal:
    """A terminal of 80 columns and 24 lines, and the ``eventpipe`` that runs on it.

    Attributes:
        shown: All that was written to it, escape sequences included.
    """

    def __init__(self, master: int, process: asyncio.subprocess.Process) -> None:
        self.shown = ""
        self._master = master
        self._process = process
        self._before = termios.tcgetattr(master)
        self._came = asyncio.Event()

    def read(self) -> None:
        """Take what was written since."""
        with suppress(OSError):  # nothing yet, or the command has ended and with it the terminal
            self.shown += os.read(self._master, 65536).decode(errors="replace")
            self._came.set()

    async def shows(self, text: str) -> None:
        """Wait until it was written."""
        async with asyncio.timeout(20):
            while text not in self.shown:
                self._came.clear()
                await self._came.wait()

    def press(self, keys: bytes) -> None:
        """Type, as a person does."""
        os.write(self._master, keys)

    def signal(self, number: Signals) -> None:
        self._process.send_signal(number)

    async def end(self) -> int:
        """Wait for the command to end; its exit code."""
        async with asyncio.timeout(20):
            code = await self._process.wait()
        self.read()
        return code

    @property
    def is_as_before(self) -> bool:
        """Whether its settings are those from before the command, and the cursor is to be seen."""
        is_visible = self.shown.rfind("\x1b[?25h") >= self.shown.rfind("\x1b[?25l")
        return termios.tcgetattr(self._master) == self._before and is_visible


# A shell with jobs: the command is one in the background, and ends with the shell.
BEHIND = ("sh", "-c", 'set -m; "$@" & trap "kill $!" TERM; wait; wait', "sh")


@asynccontextmanager
async def terminal(*words: str, background: bool = False) -> AsyncIterator[Terminal]:
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    os.set_blocking(master, False)
    loop = asyncio.get_running_loop()
    process = await asyncio.create_subprocess_exec(
        *(BEHIND if background else ()),
        sys.executable,
        "-m",
        "eventpipe",
        *words,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        # A session of its own with this as its terminal, so that Ctrl-C typed there is a signal to it.
        preexec_fn=lambda: os.login_tty(slave),
        env={
            **{name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")},
            "TERM": "xterm",
        },
    )
    running = Terminal(master, process)
    loop.add_reader(master, running.read)
    try:
        yield running
    finally:
        loop.remove_reader(master)
        if process.returncode is None:
            process.kill()
            await process.wait()
        await asyncio.sleep(0)  # the transport closes one step of the loop later
        os.close(master)
        os.close(slave)
