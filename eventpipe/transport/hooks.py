"""The functions that users hand in: timed, isolated, never re-entered."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterable
from threading import get_ident
from types import CoroutineType
from typing import Generic, Protocol, TypeVar

from eventpipe.core.log import contained_logger
from eventpipe.events import Event
from eventpipe.outcomes import Outcome, OutcomeKind

logger = contained_logger("eventpipe")

# A hook runs on the event loop: above this it holds up every handler of the process, and is named in the log.
SLOW_HOOK = 0.1

A = TypeVar("A")
R = TypeVar("R")


class BeforeSend(Protocol):
    """Sees every event before it is encoded; returns it, another one, or ``None`` to drop it."""

    def __call__(self, event: Event, /) -> Event | None:
        """Look at ``event``."""


class OnOutcome(Protocol):
    """Is told of outcomes, once per batch and verdict."""

    def __call__(self, outcome: Outcome, /) -> object:
        """Look at ``outcome``; what it returns is ignored."""


def is_async(function: object) -> bool:
    """Whether calling ``function`` makes a coroutine, as far as one can tell without calling it."""
    return any(map(inspect.iscoroutinefunction, (function, getattr(type(function), "__call__", None))))  # noqa: B004


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
        name = type(error).__name__
        if self.errors == 1:
            logger.warning("%s raised %s; further errors are counted only", self._name, name)
        return HookError(f"{self._name} raised {name}")

    def took(self, duration: float) -> None:
        """Keep the time of a call, if it is the slowest."""
        if duration > self.slowest:
            self.slowest = duration  # first: a log handler may capture, which comes here again
            if duration > SLOW_HOOK:
                logger.warning("%s held up its caller for %.3f s", self._name, duration)


class Hooks:
    """The hooks of one client.

    Attributes:
        changes: The ``before_send``, if there is one.
    """

    def __init__(self, before_send: BeforeSend | None, on_drop: OnOutcome | None, on_error: OnOutcome | None) -> None:
        self.changes = None if before_send is None else Hook[Event, object]("before_send", before_send)
        self._on_drop = None if on_drop is None else Hook[Outcome, object]("on_drop", on_drop)
        self._on_error = None if on_error is None else Hook[Outcome, object]("on_error", on_error)

    @property
    def changes_events(self) -> bool:
        """Whether there is a ``before_send``."""
        return self.changes is not None

    @property
    def errors(self) -> int:
        """Calls that raised."""
        return sum(hook.errors for hook in self._all())

    @property
    def slowest(self) -> float:
        """Seconds the slowest call took."""
        return max((hook.slowest for hook in self._all()), default=0.0)

    def before_send(self, event: Event) -> Event | None:
        """Pass ``event`` through the hook.

        Raises:
            HookError: It raised, returned something else, or captured an event itself.
        """
        hook = self.changes
        if hook is None:
            return event
        if hook.is_running:  # it would call itself without end, and an event must not slip past a scrubber
            raise HookError("before_send captured an event itself")
        return self.checked(hook(event))

    def checked(self, changed: object) -> Event | None:
        """What ``before_send`` returned, if it is what it may return.

        Raises:
            HookError: It is something else.
        """
        if changed is None or issubclass(type(changed), Event):  # by its type: an object that is asked may raise
            return changed  # type: ignore[return-value]
        _close_coroutine(changed)
        raise HookError(f"before_send returned {type(changed).__name__}, not an Event or None")

    def observe(self, outcomes: Iterable[Outcome]) -> None:
        """Tell the callbacks what concerns them; drops that a callback itself causes are counted, not told."""
        for outcome in outcomes:
            if outcome.kind is OutcomeKind.DROPPED:
                self._tell(self._on_drop, outcome)
            if outcome.error is not None and outcome.attempt > 0 and outcome.kind is not OutcomeKind.DELIVERED:
                self._tell(self._on_error, outcome)

    def _tell(self, hook: Hook[Outcome, object] | None, outcome: Outcome) -> None:
        if hook is None or hook.is_running:
            return
        try:
            _close_coroutine(hook(outcome))
        except HookError:
            return  # counted and logged by the hook

    def _all(self) -> Iterable[Hook[Event, object] | Hook[Outcome, object]]:
        return [hook for hook in (self.changes, self._on_drop, self._on_error) if hook is not None]


def _close_coroutine(value: object) -> None:
    """A lambda that returns a coroutine gets past the check of the constructor; nobody would ever await it."""
    if type(value) is CoroutineType:
        value.close()
