"""structlog's events as events: a processor for any place of a chain."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, TypeGuard

from eventpipe.core.own import is_own
from eventpipe.encoding.foreign import contained
from eventpipe.events import DistinctId
from eventpipe.integrations.logged import MAX_TEXT, Capturing, ExcInfo, LogFeed, check_flags, level_number
from eventpipe.sinks.logging import SINK_ATTRIBUTE

try:
    from structlog import DropEvent
except ImportError as error:
    raise ImportError("eventpipe.integrations.structlog needs structlog: pip install structlog") from error

__all__ = ["EventProcessor"]

_Fields = dict[str, Any]  # Any: what users log

# Names of methods that are no names of levels.
_METHODS: Final = {"exception": "ERROR", "warn": "WARNING", "fatal": "CRITICAL", "msg": "INFO"}
# What is told in words of our own, or in none: exceptions, which processors before us may have turned into texts.
_TOLD: Final = ("level", "logger", "exc_info", "exception", "stack", "stack_info")
# Where the message is: at first, where processors for the standard library's logging put it, and other formats.
_MESSAGE: Final = ("event", "msg", "message")
_LEVELS: Final = logging.getLevelNamesMapping()


class EventProcessor:
    """Captures what passes through it, and returns it unchanged: from any thread, without waiting or raising.

    It may stand anywhere in a chain, after a renderer as well, where what is told is the text. What is logged while a
    batch of any client is sent, in a hook of a client, or while something else is captured in the same thread, goes
    on and is not captured.
    """

    def __init__(
        self,
        client: Capturing,
        level: int | str = logging.NOTSET,
        *,
        event: str | Callable[[_Fields], str | None] = "log",
        distinct_id: str | Callable[[_Fields], DistinctId | None] | None = None,
        extra: bool | Collection[str] = True,
        traceback: bool = False,
        ignore: Collection[str] = (),
        max_text: int = MAX_TEXT,
        drop: bool = False,
    ) -> None:
        """Check everything and start nothing.

        Args:
            client: Where events go, by its ``capture_nowait()``.
            level: What is below it is passed over; a number or a name that logging knows.
            event: The name of the events, or a function that makes one of a copy of the event dict; ``None`` from
                it: no event.
            distinct_id: The key that says whom it is about, or a function of a copy of the event dict. ``None``:
                nobody in particular.
            extra: Which other keys become properties, those from context variables included: ``True`` all, else
                those named. Keys that begin with an underscore are structlog's own, and never do.
            traceback: Whether tracebacks are told, which quote the texts of exceptions, and stacks.
            ignore: Loggers that are passed over, with those below them.
            max_text: Characters of a text at most; longer ones are cut.
            drop: Whether what was captured ends here, so that it is rendered nowhere.

        Raises:
            TypeError: The client takes no events in, or an argument is of a wrong type.
            ValueError: An argument is wrong; the message names it.
        """
        check_flags(traceback=traceback, drop=drop)
        self._level = level_number(level)
        self._feed = LogFeed[_Fields](
            type(self).__name__,
            client,
            event=event,
            distinct_id=distinct_id,
            extra=extra,
            ignore=ignore,
            max_text=max_text,
        )
        self._traceback = traceback
        self._drop = drop

    @property
    def errors(self) -> int:
        """Calls of functions of yours that raised, and what could not be captured at all."""
        return self._feed.errors

    def __call__(self, logger: Any, name: str, event_dict: Any) -> Any:  # Any: as structlog has them
        """Capture ``event_dict``, or what a processor before has made of it, and return it.

        Raises:
            DropEvent: It was captured, and ``drop`` says that it ends here.
        """
        if not is_own() and self._feed.guarded(self._capture, logger, name, event_dict) and self._drop:
            raise DropEvent
        return event_dict

    def _capture(self, logger: object, method: str, event_dict: object) -> bool:
        level = _METHODS.get(method) or method.upper()
        if _LEVELS.get(level, self._level) < self._level:
            return False
        feed = self._feed
        given = _read(event_dict)
        name = _logger_name(logger, given)
        if feed.ignores(name or "") or SINK_ATTRIBUTE in getattr(given.get("_record"), "__dict__", ()):
            return False
        properties = {"level": level, "logger": name}
        key = next((key for key in _MESSAGE if key in given), "event")
        if given.get(key) is not None:
            properties["message"] = feed.text(given[key])
        exc_info = _exc_info(given.get("exc_info"))
        if exc_info is not None:
            properties.update(feed.exception(exc_info, traceback=self._traceback))
        if self._traceback:
            texts = (("traceback", given.get("exception")), ("stack", given.get("stack")))
            properties.update((name, feed.text(text)) for name, text in texts if isinstance(text, str))
        told = (key, *_TOLD)
        fields = {name: value for name, value in given.items() if name not in told and str(name)[:1] != "_"}
        return feed.capture(given, fields, properties)


def _read(given: Any) -> _Fields:  # Any: what a processor before has returned
    """A copy of an event dict, whatever became of it."""
    if _is_call(given):  # positional and named arguments of a standard library's logger
        positional, named = given
        first = positional[0] if positional else None
        given = {**named, **first} if isinstance(first, Mapping) else {"event": first, **named}
    if not isinstance(given, Mapping):
        text = bytes(given).decode(errors="replace") if isinstance(given, (bytes, bytearray)) else given
        return {"event": text}
    fields = dict(given)
    extra = fields.get("extra")
    if type(extra) is dict:  # where processors put all else for the standard library's
        del fields["extra"]
        fields = {**extra, **fields}
    return fields


def _is_call(given: object) -> TypeGuard[tuple[tuple[object, ...], Mapping[str, Any]]]:
    return type(given) is tuple and list(map(type, given)) == [tuple, dict]


def _logger_name(logger: object, given: _Fields) -> str | None:
    for name in (given.get("logger"), getattr(given.get("_record"), "name", None), contained(getattr, logger, "name")):
        if isinstance(name, str):
            return name
    return None


def _exc_info(given: object) -> ExcInfo | None:
    """What ``exc_info`` may be, as ``sys.exc_info()`` has it."""
    if isinstance(given, BaseException):
        return type(given), given, given.__traceback__
    if isinstance(given, tuple) and len(given) == 3:
        return given
    return sys.exc_info() if given else None
