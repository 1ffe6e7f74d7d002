"""Several hooks as one."""

from __future__ import annotations

from collections.abc import Callable
from types import CoroutineType
from typing import TypeAlias

from eventpipe.checked import shown
from eventpipe.core.hook import HookError, is_async
from eventpipe.encoding.foreign import contained
from eventpipe.events import Event
from eventpipe.outcomes import DropReason

EventHook: TypeAlias = Callable[[Event], Event | DropReason | None]


def chain(*hooks: EventHook) -> EventHook:
    """Make one hook of several, for ``before_send``: each sees what the one before it returned.

    The first that drops the event ends it. So does an error, as ``before_send``: it may be the scrubber's. The log and
    the outcome name the hook that raised.

    Args:
        hooks: At least one, in their order; plain functions.

    Raises:
        ValueError: There is none, or one is no function, or an ``async`` one.
    """
    return _Chain(hooks)


class _Chain:
    def __init__(self, hooks: tuple[EventHook, ...]) -> None:
        if not hooks:
            raise ValueError("chain() needs at least one hook; without any, leave before_send out")
        for number, hook in enumerate(hooks):
            if not callable(hook):
                raise ValueError(f"hooks[{number}] must be a function of one argument, not {shown(hook)}")
            if is_async(hook):
                raise ValueError(f"hooks[{number}] must be a plain function, not an async one, as before_send")
        self._hooks = tuple((hook, _name_of(hook)) for hook in hooks)

    def __call__(self, event: Event) -> Event | DropReason | None:
        for hook, name in self._hooks:
            try:
                changed: object = hook(event)
            except KeyboardInterrupt:
                raise
            except HookError as error:  # of a chain in this one, which has named it
                raise HookError(f"{error}, in {name}") from None
            except BaseException as error:  # noqa: BLE001  # whatever it is, its text may hold what was to be hidden
                raise HookError(f"{type(error).__name__} in {name}") from None
            if changed is event or issubclass(type(changed), Event):  # by its type: an object that is asked may raise
                event = changed  # type: ignore[assignment]
            elif changed is None or type(changed) is DropReason:
                return changed
            else:
                if type(changed) is CoroutineType:
                    changed.close()  # of a lambda: nobody would ever await it
                kind = type(changed).__name__
                raise HookError(f"TypeError in {name}: it returned {kind}, not an Event, a DropReason or None")
        return event

    def __repr__(self) -> str:
        return f"chain({', '.join(name for _, name in self._hooks)})"


def _name_of(hook: EventHook) -> str:
    name = contained(getattr, hook, "__name__", None)
    if type(hook) is _Chain:
        return "chain"
    return name if type(name) is str else type(hook).__name__
