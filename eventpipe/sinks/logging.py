"""A sink that writes each event to a logger."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from eventpipe.codecs.base import whole
from eventpipe.sinks.base import BaseSink

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eventpipe.contracts import Where
    from eventpipe.events import Batch
    from eventpipe.outcomes import Verdict

LOGGER_NAME: Final = "eventpipe.events"

# A handler that turns log records into events must pass over the records that were events before, or each event
# would become another one for ever. The mark is an attribute of the record: it outlives a QueueHandler and a thread.
SINK_ATTRIBUTE: Final = "eventpipe_sink"


class LoggingSink(BaseSink):
    """Logs one line per event: its JSON object, alone.

    The one place where eventpipe logs payloads, and only because it was asked to. Every record carries the attribute
    ``eventpipe_sink``, the sink's name, by which a handler that captures log records knows what not to capture. An
    event counts as delivered even where the logger's level turns its line away. Handlers run on the event loop; put
    a ``logging.handlers.QueueHandler`` before one that does slow I/O.

    Args:
        logger: Where the lines go. ``None`` means the logger ``eventpipe.events``.
        level: Level of the lines, a number as ``logging`` has them.
        where: See ``BaseSink``.
        name: See ``BaseSink``.

    Raises:
        ValueError: An option is wrong.
    """

    def __init__(
        self,
        logger: logging.Logger | None = None,
        level: int = logging.INFO,
        *,
        where: Where | None = None,
        name: str | None = None,
    ) -> None:
        _check(logger, level)
        super().__init__(where=where, name=name)
        self._logger = logging.getLogger(LOGGER_NAME) if logger is None else logger
        self._level = level

    async def send(self, batch: Batch) -> Sequence[Verdict] | None:
        """Log the events of ``batch``, in order.

        Raises:
            ClosedError: ``aclose()`` was called before.

        Cancellation:
            Does not suspend.
        """
        self._check_open()
        if self._logger.isEnabledFor(self._level):
            extra = {SINK_ATTRIBUTE: self.name}
            for event in batch.events:
                self._logger.log(self._level, "%s", whole(event).decode(), extra=extra)
        return None


def _check(logger: object, level: object) -> None:
    # Not a LoggerAdapter: it would put its own attributes in the place of ours, and the mark would be gone.
    if logger is not None and not isinstance(logger, logging.Logger):
        raise ValueError(f"logger must be a logging.Logger or None, not {logger!r}")
    if isinstance(level, bool) or not isinstance(level, int) or level < 1:
        raise ValueError(f"level must be a whole number of at least 1, such as logging.INFO, not {level!r}")
