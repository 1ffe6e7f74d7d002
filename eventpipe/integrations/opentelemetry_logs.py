"""Logs that are written while a batch is sent stay out of OpenTelemetry, which might send them with the next batch."""

from __future__ import annotations

import logging
import weakref
from typing import Final

from opentelemetry import context
from opentelemetry.context import Context

from eventpipe.transport.journal import NAME as JOURNAL

# One key that the instrumentations of OpenTelemetry read by its plain name, and two that exporters set beside it, whose
# names differ from process to process; and ours, because somebody else's suppression says nothing of sending.
_SENDING: Final = context.create_key("eventpipe-sending")
_SUPPRESSED: Final = (
    "suppress_instrumentation",
    *(
        key
        for name in ("_SUPPRESS_INSTRUMENTATION_KEY", "_SUPPRESS_HTTP_INSTRUMENTATION_KEY")
        if isinstance(key := getattr(context, name, None), str)
    ),
)
# What attempts run in. Their workers are started in an empty context, so that there is nothing to add it to.
QUIET: Final = Context(dict.fromkeys((*_SUPPRESSED, _SENDING), True))

_LOGGERS: Final = (logging.root, logging.getLogger("eventpipe"))


class SendingFilter(logging.Filter):
    """Lets no record through that was written while a batch is sent, nor the lines on each batch's life.

    ``instrument()`` puts one before each handler of OpenTelemetry. Put one before any other handler that leads to the
    client itself: ``handler.addFilter(SendingFilter())``.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether ``record`` may go on."""
        return record.name != JOURNAL and not context.get_value(_SENDING)


class Bridges:
    """The handlers that hand records to OpenTelemetry, as far as our own reach them, each with a filter before it."""

    def __init__(self) -> None:
        self._filter = SendingFilter()
        self._filtered: weakref.WeakSet[logging.Handler] = weakref.WeakSet()
        self._seen: tuple[list[logging.Handler], ...] = ()

    def look(self) -> None:
        """Put the filter before handlers that came since the last look; as good as nothing where none did."""
        seen = tuple(logger.handlers for logger in _LOGGERS)
        if seen == self._seen:
            return
        self._seen = tuple(map(list, seen))
        for handler in (handler for handlers in self._seen for handler in handlers if _is_bridge(handler)):
            handler.addFilter(self._filter)
            self._filtered.add(handler)

    def release(self) -> None:
        """Take every filter away."""
        for handler in list(self._filtered):
            handler.removeFilter(self._filter)


def _is_bridge(handler: logging.Handler) -> bool:
    """Whether it is one of OpenTelemetry's, or made of one."""
    return any(kind.__module__.partition(".")[0] == "opentelemetry" for kind in type(handler).__mro__)
