"""Lines of standard input as events to append, or what is wrong with them. Blocks; meant for a thread."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from io import FileIO
from typing import NamedTuple

import orjson

from eventpipe.cli.fields import Fields, MalformedError, Values
from eventpipe.cli.lines import MAX_LINE_BYTES, Line, Lines
from eventpipe.cli.text import size
from eventpipe.encoding import Encoder
from eventpipe.errors import InvalidEventError
from eventpipe.events import CapturedEvent

CHUNK_EVENTS = 500

Reading = Callable[[Line, Encoder], CapturedEvent]
"""Makes an event of a line, or raises ``MalformedError``."""


class Read(NamedTuple):
    """What one line came to.

    Attributes:
        line: Its number, counted from 1.
        event: The event; ``None`` where none can be made.
        fault: Why there is none; ``""`` when there is.
    """

    line: int
    event: CapturedEvent | None
    fault: str = ""


class EventInput:
    """Reads lines a chunk at a time.

    Args:
        file: Opened without a buffer.
        read: What makes events of lines.

    Attributes:
        size: Bytes that there are to read; ``None`` where it is no regular file.
    """

    def __init__(self, file: FileIO, read: Reading) -> None:
        self._lines = Lines(file.read)
        self._read = read
        self._encoder = Encoder()
        status = os.fstat(file.fileno())
        self.size = status.st_size if stat.S_ISREG(status.st_mode) else None

    @property
    def bytes_read(self) -> int:
        """Bytes read so far."""
        return self._lines.bytes_read

    def next_chunk(self) -> list[Read]:
        """The next lines that are not blank, at most 500, and fewer rather than wait for a pipe; none at the end.

        Raises:
            OSError: It cannot be read.
        """
        chunk: list[Read] = []
        for line in self._lines:
            if line.text.strip():
                chunk.append(self._one(line))
            if chunk and (len(chunk) >= CHUNK_EVENTS or self._lines.is_empty):
                break
        return chunk

    def _one(self, line: Line) -> Read:
        try:
            return Read(line.number, self._read(line, self._encoder))
        except (MalformedError, InvalidEventError) as error:
            return Read(line.number, None, str(error))


def read_object(line: Line) -> Values:
    """The fields of a line.

    Raises:
        MalformedError: It is no JSON object, or too long.
    """
    if line.is_too_long:
        raise MalformedError(f"longer than {size(MAX_LINE_BYTES)}")
    try:
        values = orjson.loads(line.text)
    except orjson.JSONDecodeError as error:
        raise MalformedError(f"not JSON: {error}") from error
    if not isinstance(values, dict):
        raise MalformedError("not a JSON object")
    return values


def read_described(line: Line, encoder: Encoder) -> CapturedEvent:
    """An event of a line of any kind, as ``eventpipe send`` reads it.

    Raises:
        MalformedError: No event can be made of it.
        InvalidEventError: Its event is not valid.
    """
    event = Fields().to_event(read_object(line))
    return encoder.encode(
        event.event,
        event.distinct_id,
        event.properties,
        event.timestamp,
        event.uuid,
        event.headers,
        event.key,
        event.lane,
    )
