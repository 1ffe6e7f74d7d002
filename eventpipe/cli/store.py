"""The file that a collector appends what it takes to."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from io import FileIO
from pathlib import Path

import orjson

from eventpipe.cli.wires.base import Event

FILE_NAME = "events.ndjson"


class EventFile:
    """Appends events to ``events.ndjson``, one object per line with the time it was received.

    That is also the time of an event whose sender gave none, as it is for the real services.

    The file is readable by its owner only, because events are about people.
    """

    def __init__(self, directory: Path) -> None:
        self.path = directory / FILE_NAME
        self._file: FileIO | None = None

    def open(self) -> None:
        """Make the directory if need be, and open the file to append.

        Raises:
            OSError: Either cannot be done.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._file = FileIO(descriptor, "ab")  # no buffer, which would keep what could not be written

    def append(self, events: Sequence[Event], received_at: str) -> None:
        """Write the events of one request, all of them or none, and hand them to the operating system.

        Raises:
            OSError: The disk is full, or fails otherwise.
            JSONEncodeError: An event is nested too deeply.
        """
        if self._file is None:
            raise ValueError("the file is not open")
        lines = b"".join(orjson.dumps(_stamped(event, received_at)) + b"\n" for event in events)
        end = os.fstat(self._file.fileno()).st_size
        rest = memoryview(lines)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError:
            with suppress(OSError):
                self._file.truncate(end)  # its sender is told that nothing was taken, and sends it again
            raise

    def close(self) -> None:
        """Close the file. May come twice."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _stamped(event: Event, received_at: str) -> Event:
    return {**event, "timestamp": event.get("timestamp") or received_at, "received_at": received_at}
