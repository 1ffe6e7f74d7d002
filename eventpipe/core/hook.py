"""The functions that users hand in: timed, isolated, never re-entered."""

from __future__ import annotations

import inspect
import os
import time
import weakref
from collections.abc import Callable
from threading import get_ident
from typing import Any, Generic, TypeVar

from eventpipe.core.log import contained_logger
from eventpipe.core.own import watch

logger = contained_logger("eventpipe")

# A hook runs on the event loop: above this it holds up every handler of the process, and is named in the log.
SLOW_HOOK = 0.1

A = TypeVar("A")
R = TypeVar("R")


def is_async(function: object) -> bool:
    """Whether calling ``function`` makes a coroutine, as far as one can tell without calling it."""
    return any(map(inspect.iscoroutinefunction, (function, getattr(type(function), "__call__", None))))  # noqa: B004


def is_plain(function: object) -> bool:
    """Whether it can be called, and is not known to make a coroutine."""
    return callable(function) and not is_async(function)


class HookError(Exception):
    """A hook failed; the message names the hook and the type of its error, never its text, which may hold payload."""


class Hook(Generic[A, R]):
    """One user's function.

    Attributes:
        function: It itself.
        thread: The one that is inside it now without having come through ``__call__()``, which costs 0.13 µs more.
        errors: Calls that raised.
        slowest: Seconds the slowest call took.
    """

    def __init__(self, name: str, function: Callable[[A], R]) -> None:
        if not callable(function):
            raise TypeError(f"{name} must be a function of one argument, not {function!r}")
        if is_async(function):
            raise TypeError(
                f"{name} must be a plain function, not an async one, because it runs inside capture() and settlement; "
                f"to await something, hand the value to a task or a queue of your own"
            )
        self.function = function
        self._name = name
        self._inside: set[int] = set()
        self.thread: int | None = None
        self.errors = 0
        self.slowest = 0.0
        watch(self)
        _living.add(self)

    @property
    def is_running(self) -> bool:
        """Whether this very thread is inside a call."""
        thread = get_ident()
        return thread == self.thread or thread in self._inside

    def __call__(self, argument: A) -> R:
        """Call the function.

        Raises:
            HookError: It raised, whatever it was; only Ctrl-C passes through.
        """
        thread = get_ident()
        self._inside.add(thread)
        began = time.perf_counter()
        try:
            return self.function(argument)
        except KeyboardInterrupt:
            raise
        except BaseException as exc:  # noqa: BLE001  # a hook costs itself, nobody else
            raise self.failed(exc) from None
        finally:
            self._inside.discard(thread)
            self.took(time.perf_counter() - began)

    def failed(self, error: BaseException) -> HookError:
        """Count an error of the function."""
        self.errors += 1
        # A hook made of several says which of them it was.
        name = str(error) if type(error) is HookError else type(error).__name__
        if self.errors == 1:
            logger.warning("%s raised %s; further errors are counted only", self._name, name)
        return HookError(f"{self._name} raised {name}")

    def took(self, duration: float) -> None:
        """Keep the time of a call, if it is the slowest."""
        if duration > self.slowest:
            self.slowest = duration  # first: a log handler may capture, which comes here again
            if duration > SLOW_HOOK:
                logger.warning("%s held up its caller for %.3f s", self._name, duration)


_living: weakref.WeakSet[Hook[Any, Any]] = weakref.WeakSet()  # Any: of whatever a hook is given and returns


def _start_clean() -> None:
    """Forget the other threads, in a forked child: they are not there, and new ones get their numbers."""
    here = get_ident()
    for hook in list(_living):
        hook._inside &= {here}
        if hook.thread != here:
            hook.thread = None


os.register_at_fork(after_in_child=_start_clean)
