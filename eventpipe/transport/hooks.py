"""The hooks of one client: what it calls them with, and when."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from types import CoroutineType
from typing import Final, NamedTuple, Protocol

from eventpipe.core.hook import Hook, HookError
from eventpipe.events import Event
from eventpipe.outcomes import DropReason, Outcome, OutcomeKind
from eventpipe.subscriptions import Filter, Interest

# What a hook may say of an event that it drops; ``None`` is the first.
DROPS: Final = (DropReason.BEFORE_SEND, DropReason.SAMPLED, DropReason.NOT_ALLOWED)


class BeforeSend(Protocol):
    """Sees every event before it is encoded; returns it, another one, or ``None`` or a ``DropReason`` to drop it."""

    def __call__(self, event: Event, /) -> Event | DropReason | None:
        """Look at ``event``."""


class OnOutcome(Protocol):
    """Is told of outcomes, once per batch and verdict."""

    def __call__(self, outcome: Outcome, /) -> object:
        """Look at ``outcome``; what it returns is ignored."""


class OutcomeCallback:
    """A function that is told of outcomes as soon as they are booked, on the client's loop, before a flush returns.

    What it causes itself, a drop of what it captures for instance, is counted and not told to it.

    Attributes:
        name: What messages call it.
        kinds: The kinds of outcomes that it is told of.
        is_closed: Whether it is told nothing more.
    """

    def __init__(
        self,
        function: OnOutcome,
        *kinds: OutcomeKind | str,
        filter: Filter | None = None,  # noqa: A002  # what users know it as
        name: str = "on_outcome",
        on_close: Callable[[OutcomeCallback], None] = lambda _: None,
    ) -> None:
        """Check everything.

        Args:
            function: A plain function of the outcome; what it returns is ignored.
            kinds: At least one ``OutcomeKind``, or its word.
            filter: A plain function of the outcome; false means that it is not told. ``None``: it is told of all.
            name: What messages call it.
            on_close: Called once it is closed and nobody is inside it; may come twice.

        Raises:
            ValueError: There is no kind, or an unknown one.
            TypeError: A kind is no word, or a function is no plain function.
        """
        self._hook = Hook[Outcome, object](name, function)
        self._interest = Interest(kinds, filter, name)
        self._on_close = on_close
        self.name = name
        self.kinds = self._interest.kinds
        self.is_closed = False

    @property
    def errors(self) -> int:
        """Calls of it, and of its filter, that raised."""
        return self._hook.errors + self._interest.errors

    @property
    def slowest(self) -> float:
        """Seconds that the slowest call of it, or of its filter, held up the loop."""
        return max(self._hook.slowest, self._interest.slowest)

    def tell(self, outcome: Outcome) -> None:
        """Call it, if the outcome concerns it and did not come about inside it."""
        if not self._concerns(outcome):
            return
        try:
            if self._interest.passes(outcome):
                _close_coroutine(self._hook(outcome))
        except HookError:
            return  # counted and logged by the hook
        finally:
            if self.is_closed:
                self._on_close(self)

    def close(self) -> None:
        """Tell it nothing more; again is a no-op. It may close itself."""
        self.is_closed = True
        if not self._is_running:
            self._on_close(self)

    def _concerns(self, outcome: Outcome) -> bool:
        return outcome.kind in self.kinds and not self.is_closed and not self._is_running

    @property
    def _is_running(self) -> bool:
        return self._hook.is_running or self._interest.is_filtering

    def __repr__(self) -> str:
        state = "closed" if self.is_closed else "open"
        return f"<OutcomeCallback {self.name} to {', '.join(self.kinds)}, {state}, {self.errors} errors>"


class _Callbacks(NamedTuple):
    """Those of one moment, in one object: whoever reads needs no lock, which a fork could leave taken.

    Attributes:
        open: Those that are told.
        errors: Calls that raised, of those that were closed.
        slowest: Seconds that the slowest call of those took.
    """

    open: tuple[OutcomeCallback, ...] = ()
    errors: int = 0
    slowest: float = 0.0


class Hooks:
    """The hooks of one client.

    Attributes:
        changes: The ``before_send``, if there is one.
    """

    def __init__(self, before_send: BeforeSend | None, on_drop: OnOutcome | None, on_error: OnOutcome | None) -> None:
        self.changes = None if before_send is None else Hook[Event, object]("before_send", before_send)
        self._callbacks = _Callbacks()
        self._lock = threading.RLock()  # of those who change them; reentrant, for a finalizer that closes one
        if on_drop is not None:
            self.add(on_drop, OutcomeKind.DROPPED, name="on_drop")
        if on_error is not None:
            failures = (OutcomeKind.RETRY, OutcomeKind.DROPPED, OutcomeKind.SPOOLED, OutcomeKind.INTERRUPTED)
            self.add(on_error, *failures, filter=_is_failed_attempt, name="on_error")

    def start_clean(self) -> None:
        """Go on in a forked child, where a thread that is not there may have held the lock."""
        self._lock = threading.RLock()

    def add(
        self,
        function: OnOutcome,
        *kinds: OutcomeKind | str,
        filter: Filter | None = None,  # noqa: A002  # what users know it as
        name: str = "on_outcome",
    ) -> OutcomeCallback:
        """Tell ``function`` of outcomes from now on; the arguments are those of ``OutcomeCallback``.

        Raises:
            ValueError: There is no kind, or an unknown one.
            TypeError: A kind is no word, or a function is no plain function.
        """
        callback = OutcomeCallback(function, *kinds, filter=filter, name=name, on_close=self._forget)
        with self._lock:
            self._callbacks = self._callbacks._replace(open=(*self._callbacks.open, callback))
        return callback

    @property
    def changes_events(self) -> bool:
        """Whether there is a ``before_send``."""
        return self.changes is not None

    @property
    def errors(self) -> int:
        """Calls that raised, of callbacks that are closed as well."""
        callbacks = self._callbacks
        before = 0 if self.changes is None else self.changes.errors
        return before + callbacks.errors + sum(callback.errors for callback in callbacks.open)

    @property
    def slowest(self) -> float:
        """Seconds the slowest call took."""
        callbacks = self._callbacks
        before = 0.0 if self.changes is None else self.changes.slowest
        return max(before, callbacks.slowest, *(callback.slowest for callback in callbacks.open))

    def before_send(self, event: Event) -> Event | DropReason:
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

    def checked(self, changed: object) -> Event | DropReason:
        """What ``before_send`` returned, if it is what it may return; ``None`` is a drop as ``before_send``.

        Raises:
            HookError: It is something else.
        """
        if changed is None:
            return DropReason.BEFORE_SEND
        if issubclass(type(changed), Event):  # by its type: an object that is asked may raise
            return changed  # type: ignore[return-value]
        if type(changed) is DropReason:
            if changed in DROPS:
                return changed
            raise HookError(f"before_send returned {changed.value!r}, not one of {', '.join(DROPS)}")
        _close_coroutine(changed)
        raise HookError(f"before_send returned {type(changed).__name__}, not an Event, a DropReason or None")

    def observe(self, outcomes: Iterable[Outcome]) -> None:
        """Tell the callbacks what concerns them, in the order in which they were added."""
        if callbacks := self._callbacks.open:
            for outcome in outcomes:
                for callback in callbacks:
                    callback.tell(outcome)

    def _forget(self, callback: OutcomeCallback) -> None:
        with self._lock:
            callbacks = self._callbacks
            if callback in callbacks.open:
                self._callbacks = _Callbacks(
                    tuple(other for other in callbacks.open if other is not callback),
                    callbacks.errors + callback.errors,
                    max(callbacks.slowest, callback.slowest),
                )


def _is_failed_attempt(outcome: Outcome) -> bool:
    return outcome.error is not None and outcome.attempt > 0


def _close_coroutine(value: object) -> None:
    """A lambda that returns a coroutine gets past the check of the constructor; nobody would ever await it."""
    if type(value) is CoroutineType:
        value.close()
