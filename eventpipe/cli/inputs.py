"""The files that a command reads, checked before the first event is sent."""

from __future__ import annotations

import asyncio
import os
import stat
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from eventpipe.cli.failures import UsageError, reason_of
from eventpipe.cli.fields import Fields
from eventpipe.cli.rows import Format, Rows
from eventpipe.cli.text import readable

STDIN = "-"
_FORMATS: dict[str, Format] = {
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "text",
    ".log": "text",
}

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Input:
    """One file, or standard input.

    Attributes:
        name: As the user wrote it.
        form: How its lines are read.
        delimiter: What parts the values of a CSV line.
        size: Bytes; ``None`` where it is no regular file.
    """

    name: str
    form: Format
    delimiter: str
    size: int | None

    def open(self, fields: Fields) -> Rows:
        """Open it to be read from the start; blocks where a named pipe has no writer yet.

        Raises:
            OSError: It cannot be opened.
        """
        is_stdin = self.name == STDIN
        # Unbuffered, because a buffer would wait for more than a pipe has, and its lock would be held at exit.
        file = open(0 if is_stdin else self.name, "rb", buffering=0, closefd=not is_stdin)  # noqa: SIM115
        return Rows(
            "standard input" if is_stdin else readable(self.name), self.form, file, fields, delimiter=self.delimiter
        )


def check_inputs(names: Sequence[str], form: Format | None, fields: Fields, delimiter: str | None) -> list[Input]:
    """Look at every input without reading it.

    Args:
        names: Paths, or ``-`` for standard input.
        form: How lines are read. ``None``: by suffix, and standard input as NDJSON.
        fields: How values become events.
        delimiter: What parts the values of a CSV line. ``None``: a comma, and a tab in ``.tsv``.

    Raises:
        UsageError: One of them does not exist, is a directory, cannot be read, or is of a form nobody named.
    """
    if not names:
        raise UsageError("nothing to send: name a file, or - for standard input")
    if list(names).count(STDIN) > 1:
        raise UsageError("standard input can be read once only")
    if delimiter is not None and (len(delimiter) != 1 or delimiter in '\r\n"'):
        raise UsageError(f"--delimiter: must be one character, not {delimiter!r}")
    inputs = [_check(name, form, delimiter) for name in names]
    if fields.name is None and any(item.form == "text" for item in inputs):
        raise UsageError("plain lines have no event name: give them one with --event")
    return inputs


def _check(name: str, form: Format | None, delimiter: str | None) -> Input:
    if name == STDIN:
        return Input(name, form or "ndjson", delimiter or ",", None)
    try:
        status = os.stat(name)  # noqa: PTH116 - a name with a NUL is a ValueError here as well
    except (OSError, ValueError) as error:
        if name.startswith("-"):
            raise UsageError(f"unknown option: {name}; see eventpipe send --help") from error
        reason = reason_of(error) if isinstance(error, OSError) else str(error)
        raise UsageError(f"cannot read {name}: {reason}") from error
    if stat.S_ISDIR(status.st_mode):
        raise UsageError(f"cannot read {name}: it is a directory")
    if not os.access(name, os.R_OK):
        raise UsageError(f"cannot read {name}: permission denied")
    suffix = Path(name).suffix.lower()
    form = form or _FORMATS.get(suffix)
    if form is None:
        raise UsageError(f"cannot tell the format of {name} by its name: give it with --format")
    size = status.st_size if stat.S_ISREG(status.st_mode) else None
    return Input(name, form, delimiter or ("\t" if suffix == ".tsv" else ","), size)


async def in_thread(function: Callable[[], Result]) -> Result:
    """Run ``function`` in a thread of its own that nothing waits for at the end.

    The loop's own threads are joined when it ends, and a read from a silent pipe never ends.

    Cancellation:
        The thread is left behind; whatever it returns is forgotten.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()

    def answer(result: Result | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]  # there is one unless there is an error

    def work() -> None:
        result: Result | None = None
        failed: BaseException | None = None
        try:
            result = function()
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits
            failed = error
        if not loop.is_closed():
            loop.call_soon_threadsafe(answer, result, failed)

    threading.Thread(target=work, name="eventpipe read", daemon=True).start()
    return await future
