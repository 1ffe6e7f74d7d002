"""Log records as events: a handler for the standard library's logging, which works under loguru as well."""

from __future__ import annotations

import datetime
import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from eventpipe.core.own import is_own
from eventpipe.encoding.foreign import Failed, contained
from eventpipe.events import DistinctId
from eventpipe.integrations.logged import MAX_TEXT, Capturing, LogFeed, check_flags, level_number
from eventpipe.sinks.logging import SINK_ATTRIBUTE

__all__ = ["EventHandler", "SendingFilter"]

# What every record has, and what formatters, Python 3.12 and our own sink add: no field of the caller's.
_STANDARD: Final = frozenset(vars(logging.LogRecord("", 0, "", 0, "", (), None))) | {
    "message",
    "asctime",
    "taskName",
    SINK_ATTRIBUTE,
}
_BOUND: Final = "extra"  # where loguru puts what is bound to a logger
# A record that is younger is captured with the time of the capture, which is to the millisecond in any case. A time of
# its own has to be written for each event, outside the plain path: 9 µs, above the 6 of all else.
_PROMPT: Final = 0.001


class SendingFilter(logging.Filter):
    """Lets no record through that was written while a batch is sent, in a hook, or by eventpipe itself.

    ``EventHandler`` asks by itself, where it is called by the code that logs. Put this before a
    ``logging.handlers.QueueHandler`` with an ``EventHandler`` behind it, which runs in another thread.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether ``record`` may go on."""
        return not is_own() and not f"{record.name}.".startswith("eventpipe.")


class EventHandler(logging.Handler):
    """Captures each log record as an event: from any thread, without waiting, and without an error for the program.

    It takes no lock, and needs no queue before it. Records are passed over that were written by eventpipe, while a
    batch of any client is sent, in a hook of a client, or while another record is captured in the same thread.
    """

    def __init__(
        self,
        client: Capturing,
        level: int | str = logging.NOTSET,
        *,
        event: str | Callable[[logging.LogRecord], str | None] = "log",
        distinct_id: str | Callable[[logging.LogRecord], DistinctId | None] | None = None,
        extra: bool | Collection[str] = False,
        message: bool = True,
        traceback: bool = False,
        ignore: Collection[str] = (),
        max_text: int = MAX_TEXT,
    ) -> None:
        """Check everything and start nothing.

        Args:
            client: Where events go, by its ``capture_nowait()``. It is not closed with the handler.
            level: Records below it are passed over, wherever they come from; a number or a name that logging knows.
            event: The name of the events, or a function that makes one of a record; ``None`` from it: no event.
            distinct_id: The attribute of a record that says whom it is about, or a function of the record. ``None``:
                nobody in particular.
            extra: Which fields of ``extra={…}`` become properties: ``True`` all, else those named.
            message: Whether the message is told with its arguments in it; its template is told in any case.
            traceback: Whether tracebacks are told, which quote the texts of exceptions, and stacks.
            ignore: Loggers that are passed over, with those below them.
            max_text: Characters of a text at most; longer ones are cut.

        Raises:
            TypeError: The client takes no events in, or an argument is of a wrong type.
            ValueError: An argument is wrong; the message names it.
        """
        super().__init__(level_number(level))
        check_flags(message=message, traceback=traceback)
        self._feed = LogFeed[logging.LogRecord](
            type(self).__name__,
            client,
            event=event,
            distinct_id=distinct_id,
            extra=extra,
            ignore=ignore,
            max_text=max_text,
        )
        self._message = message
        self._traceback = traceback
        self._is_closed = False
        self._filtering = threading.local()  # of the thread that is inside a filter: an attribute

    @property
    def errors(self) -> int:
        """Calls of functions and filters of yours that raised, and records that could not be captured at all."""
        return self._feed.errors

    def handle(self, record: logging.LogRecord) -> bool:
        """Pass ``record`` through the filters and capture it; a filter that raises lets nothing pass."""
        if self.filters:
            if self._filtering.__dict__ or not self._concerns(record):
                return False
            passed = self._passed(record)
            if not passed:
                return False
            if isinstance(passed, logging.LogRecord):  # another one in its place, since Python 3.12
                record = passed
        self.emit(record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        """Capture ``record``, unless it is to be passed over."""
        if self._concerns(record):
            self._feed.guarded(self._capture, record)

    def write(self, message: object) -> None:
        """Capture what loguru writes: the message as it is, not the line that loguru made of it.

        That line has the values of variables in it where an exception is told.
        """
        record = self._feed.guarded(_of_loguru, message)
        if record is not None:
            self.handle(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # its name in logging
        """Do nothing: errors are counted, and the record, which may hold a payload, is printed nowhere."""

    def flush(self) -> None:
        """Return at once: logging calls this on event loops, too. What is captured leaves with the client's flush."""

    def close(self) -> None:
        """Capture nothing more; the client stays as it is. May come twice."""
        self._is_closed = True
        super().close()

    def _concerns(self, record: logging.LogRecord) -> bool:
        return (
            record.levelno >= self.level
            and not self._is_closed
            and not is_own()
            and not self._feed.ignores(record.name)
            and SINK_ATTRIBUTE not in record.__dict__
        )

    def _passed(self, record: logging.LogRecord) -> object:
        """What the filters say; not as work of the client's, which they may be there to ask for."""
        self._filtering.is_inside = True  # what a filter logs would come here again
        try:
            passed = contained(self.filter, record)
        finally:
            self._filtering.__dict__.clear()
        if type(passed) is not Failed:
            return passed
        self._feed.failed(passed.error)
        return False

    def _capture(self, record: logging.LogRecord) -> None:
        feed = self._feed
        template = record.msg
        properties: dict[str, Any] = {"level": record.levelname, "logger": record.name}  # Any: what JSON has
        if self._message:
            message = contained(record.getMessage)
            if type(message) is Failed:  # arguments that do not fit, or that raise: the rest is still worth having
                properties["format_error"] = message.error
                message = template if isinstance(template, str) else f"<error {message.error}>"
            properties["message"] = feed.text(message)
        if isinstance(template, str):
            properties["template"] = feed.text(template)
        properties["module"] = record.module
        properties["function"] = record.funcName
        properties["line"] = record.lineno
        properties["process"] = record.process
        properties["thread"] = record.threadName
        if record.exc_info:
            properties.update(feed.exception(record.exc_info, traceback=self._traceback))
        if self._traceback and record.stack_info:
            properties["stack"] = feed.text(record.stack_info)
        moment = contained(_moment, record)
        fields = _fields(record) if feed.reads_fields else {}
        feed.capture(record, fields, properties, None if type(moment) is Failed else moment)


class _Formatted:
    """A message that has its arguments in it already, and no template."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __str__(self) -> str:
        return self._text


def _of_loguru(message: Any) -> logging.LogRecord:  # Any: a text with an attribute, of a type that loguru hides
    """The record that loguru made a message of."""
    told = message.record
    exception = told["exception"]
    record = logging.LogRecord(
        told["name"] or "root",
        told["level"].no,
        told["file"].path,
        told["line"],
        _Formatted(told["message"]),
        (),
        (exception.type, exception.value, exception.traceback) if exception else None,
        told["function"],
    )
    record.levelname = told["level"].name
    record.created = told["time"].timestamp()
    record.process, record.threadName = told["process"].id, told["thread"].name
    record.__dict__[_BOUND] = told["extra"]
    return record


def _fields(record: logging.LogRecord) -> Mapping[str, Any]:  # Any: what users log
    """What the caller added to a record: by ``extra={…}``, and by what loguru binds."""
    fields = {name: value for name, value in record.__dict__.copy().items() if name not in _STANDARD}
    bound = fields.get(_BOUND)
    if type(bound) is dict:
        del fields[_BOUND]
        fields = {**bound, **fields}
    return fields


def _moment(record: logging.LogRecord) -> datetime.datetime | None:
    """When a record was made, where that is not now: it waited in a queue, or in a ``MemoryHandler``."""
    if 0 <= time.time() - record.created < _PROMPT:
        return None
    return datetime.datetime.fromtimestamp(record.created, datetime.UTC)
