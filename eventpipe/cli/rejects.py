"""The file of lines that were not delivered."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import orjson

from eventpipe.cli.failures import CommandError, reason_of
from eventpipe.cli.text import readable


class Rejects:
    """Writes one JSON object per line that was not delivered: ``file``, ``line``, ``reason``, ``detail``, ``text``.

    Without a path it only counts. The file is made anew, and readable by its owner only.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self.count = 0

    def open(self) -> None:
        """Make the file.

        Raises:
            CommandError: It cannot be made.
        """
        if self._path is None:
            return
        with self._translated():
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        self._file = os.fdopen(descriptor, "wb")

    def add(self, file: str, line: int, text: bytes, reason: str, detail: str | None) -> None:
        """Write one line.

        Args:
            file: The name of the input.
            line: The number of the line in it.
            text: The line as it was; bytes that are no UTF-8 become U+FFFD.
            reason: ``malformed`` or a ``DropReason``.
            detail: What is wrong with it, or what the far end said; ``None`` when nobody said anything.

        Raises:
            CommandError: The disk is full, or fails otherwise.
        """
        self.count += 1
        if self._file is None:
            return
        words = {"file": file, "line": line, "reason": reason, "detail": detail}
        with self._translated():
            self._file.write(orjson.dumps({**words, "text": text.decode(errors="replace")}) + b"\n")

    def close(self) -> None:
        """Close the file. May come twice.

        Raises:
            CommandError: What was left could not be written.
        """
        file, self._file = self._file, None
        if file is not None:
            with self._translated():
                file.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise CommandError(f"cannot write {readable(str(self._path))}: {reason_of(error)}") from error
