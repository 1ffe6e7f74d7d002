"""What log records and structlog's events have in common on their way to a client: no wait, no error, no circle."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Generic, Protocol, TypeVar

from eventpipe.checked import shown
from eventpipe.core.hook import is_async
from eventpipe.core.log import contained_logger
from eventpipe.core.own import OWN
from eventpipe.encoding.foreign import Failed, contained, type_name
from eventpipe.events import DistinctId, Properties

logger = contained_logger("eventpipe")

MAX_TEXT: Final = 8 * 1024  # characters of one text: a long message or a deep traceback, and 100 of them in 900 KiB
_FRAMES: Final = 50  # of a traceback, innermost last

T = TypeVar("T")
R = TypeVar("R")
ExcInfo = tuple[type[BaseException] | None, BaseException | None, TracebackType | None]


class Capturing(Protocol):
    """What takes events in without waiting: an ``AsyncClient``, a ``SyncClient``, or what a test has in their place."""

    def capture_nowait(
        self,
        event: str,
        *,
        distinct_id: DistinctId | None = None,
        properties: Properties | None = None,
        timestamp: datetime | None = None,
    ) -> object:
        """Take an event in, from any thread."""


class LogFeed(Generic[T]):
    """Hands what was logged to a client; never waits, never raises, and passes over what the client itself causes.

    Attributes:
        errors: Calls of functions of a user's that raised, and what could not be captured at all.
        reads_fields: Whether ``capture()`` looks at fields.
    """

    def __init__(
        self,
        owner: str,
        client: Capturing,
        *,
        event: str | Callable[[T], str | None],
        distinct_id: str | Callable[[T], DistinctId | None] | None,
        extra: bool | Collection[str],
        ignore: Collection[str],
        max_text: int,
    ) -> None:
        """Check everything; the arguments are those of ``EventHandler`` and ``EventProcessor``.

        Args:
            owner: What messages call it.
            client: Where events go.
            event: Their name, or what names each.
            distinct_id: The name of the field that says whom they are about, or what says so of each.
            extra: The fields that become properties.
            ignore: Names of loggers.
            max_text: Characters.

        Raises:
            TypeError: The client takes no events in, or an argument is of a wrong type.
            ValueError: An argument is wrong.
        """
        if not callable(getattr(client, "capture_nowait", None)):
            raise TypeError(f"client must have capture_nowait(), as an AsyncClient does, not {shown(client)}")
        _check_name("event", event)
        if distinct_id is not None:
            _check_name("distinct_id", distinct_id)
        if not isinstance(extra, bool) and not _are_names(extra):
            raise TypeError(f"extra must be True, False or names of fields, such as ('user',), not {shown(extra)}")
        if not _are_names(ignore):
            raise TypeError(f"ignore must be names of loggers, such as ('aiohttp',), not {shown(ignore)}")
        if type(max_text) is not int or max_text < 1:
            raise ValueError(
                f"max_text must be a whole number of at least 1, not {shown(max_text)} (default: {MAX_TEXT})"
            )
        self.owner = owner
        self.errors = 0
        self._client = client
        self._event = event
        self._distinct_id = distinct_id
        self._extra = extra if isinstance(extra, bool) else frozenset(extra)
        self.reads_fields = self._extra is not False or isinstance(distinct_id, str)
        self._ignored = tuple(f"{name}." for name in ("eventpipe", *ignore))
        self._max_text = max_text

    def ignores(self, name: str) -> bool:
        """Whether what the logger of that name logs is passed over."""
        return f"{name}.".startswith(self._ignored)

    def guarded(self, work: Callable[..., R], *arguments: object) -> R | None:
        """Do ``work``; what is logged meanwhile, in this thread, is not captured. ``None`` where it raised."""
        token = OWN.set(True)
        try:
            return work(*arguments)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001  # whatever it is, it says nothing to the code that logs
            self.failed(type_name(error))
            return None
        finally:
            OWN.reset(token)

    def capture(
        self,
        subject: T,
        fields: Mapping[str, Any],  # Any: what users log
        properties: dict[str, Any],  # Any: as above
        timestamp: datetime | None = None,
    ) -> bool:
        """Hand one event over; ``False`` where a function of the user's has no name for it, so that it is none.

        Args:
            subject: What the user's functions are called with.
            fields: Where ``extra`` and ``distinct_id`` look.
            properties: What is known of each event of this kind; they win over fields.
            timestamp: When it happened. ``None``: now.
        """
        name: object = self._event
        if callable(name):
            name = contained(name, subject)
            if type(name) is Failed:
                self.failed(name.error)
                name = "log"
            elif name is None:
                return False
        who: object = self._distinct_id
        if callable(who):
            who = contained(who, subject)
            if type(who) is Failed:
                self.failed(who.error)
                who = None
        elif who is not None:
            who = fields.get(who)  # type: ignore[call-overload]  # checked: a name
        known = self._chosen(fields)
        known.update(properties)
        self._client.capture_nowait(name, distinct_id=who, properties=known, timestamp=timestamp)  # type: ignore[arg-type]  # judged by the encoder
        return True

    def text(self, value: object) -> str:
        """A value as text, cut where it is long."""
        text = contained(str, value)
        if type(text) is Failed:
            return f"<error {text.error}>"
        plain = str.__str__(text)  # of a subclass, whatever it overrides
        return plain if len(plain) <= self._max_text else plain[: self._max_text - 1] + "…"

    def exception(self, exc_info: ExcInfo, *, traceback: bool) -> dict[str, str]:
        """What is said of an exception: its type, and its traceback where that is wanted, which quotes its text."""
        kind, error, _ = exc_info
        if kind is None:
            return {}
        name: str = type.__dict__["__name__"].__get__(kind)
        told = {"exception": name[:60]}
        if traceback and error is not None:
            lines = contained(_formatted, exc_info)
            told["traceback"] = f"<error {lines.error}>" if type(lines) is Failed else self._tail(lines)
        return told

    def _tail(self, text: str) -> str:
        """The end of a traceback, which says the most."""
        return text if len(text) <= self._max_text else "…" + text[len(text) - self._max_text + 1 :]

    def failed(self, error: str) -> None:
        """Count a failure, and name the first one: the type of the error, which is all that may be repeated of it."""
        self.errors += 1
        if self.errors == 1:
            logger.warning(
                "%s: %s was raised while a record was captured; further errors are counted only", self.owner, error
            )

    def _chosen(self, fields: Mapping[str, Any]) -> dict[str, Any]:  # Any: what users log
        extra = self._extra
        if extra is False:
            return {}
        chosen = fields if extra is True else {name: fields[name] for name in extra & fields.keys()}
        return {name: self.text(value) if issubclass(type(value), str) else value for name, value in chosen.items()}


def level_number(level: object) -> int:
    """A level that ``logging`` knows, by its number or its name, as a number.

    Raises:
        ValueError: It is neither.
    """
    names = logging.getLevelNamesMapping()
    if isinstance(level, str) and level in names:
        return names[level]
    if isinstance(level, bool) or not isinstance(level, int) or level < 0:
        known = ", ".join(names)
        raise ValueError(f"level must be a number such as logging.INFO, or one of {known}, not {shown(level)}")
    return level


def check_flags(**flags: object) -> None:
    """Raise ``TypeError`` where one of ``flags`` is neither true nor false."""
    for option, value in flags.items():
        if not isinstance(value, bool):
            raise TypeError(f"{option} must be True or False, not {shown(value)}")


def _check_name(option: str, value: object) -> None:
    if callable(value) and not is_async(value):
        return
    if not isinstance(value, str) or not value:
        raise TypeError(f"{option} must be a text that is not empty, or a plain function, not {shown(value)}")


def _are_names(value: object) -> bool:
    if not isinstance(value, Collection) or isinstance(value, (str, bytes)):
        return False
    return all(isinstance(name, str) and name for name in value)


def _formatted(exc_info: ExcInfo) -> str:
    kind, error, frames = exc_info
    return "".join(traceback.format_exception(kind, error, frames, limit=-_FRAMES)).rstrip("\n")
