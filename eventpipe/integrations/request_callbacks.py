"""What users' functions say of a request: what they raise costs their answer, and never the request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any, Final, Generic, TypeVar

from eventpipe.core.hook import Hook, HookError, is_async
from eventpipe.core.log import contained_logger
from eventpipe.encoding.foreign import contained, type_name
from eventpipe.scopes import Scope, scope

logger = contained_logger("eventpipe")

R = TypeVar("R")

_SCOPE_WORDS: Final = frozenset({"distinct_id", "properties", "headers"})
_NO_SCOPE: Final = nullcontext()


class Callback(Generic[R]):
    """A user's function of a request: what it raises costs its answer, and never the request.

    Attributes:
        name: What messages call it.
    """

    def __init__(self, name: str, function: Callable[[Any], R]) -> None:  # Any: the framework's request
        """Check the function.

        Raises:
            TypeError: It is no plain function.
        """
        if is_async(function):
            raise TypeError(
                f"{name} must be a plain function, not an async one, because every request would wait for it; "
                f"what has to be awaited belongs into a middleware that leaves it where {name} finds it"
            )
        self.name = name
        self._hook = Hook[Any, R](name, function)
        self._odd = 0

    @property
    def errors(self) -> int:
        """Calls that raised or returned what makes no sense; the first of either kind is logged."""
        return self._hook.errors + self._odd

    def __call__(self, request: Any) -> R | None:  # Any: the framework's request
        """Ask it; ``None`` where it raised."""
        try:
            return self._hook(request)
        except HookError:
            return None  # counted and logged by the hook

    def is_odd(self, rule: str, value: object) -> None:
        """Count an answer that makes no sense; the message names its type, as its content may be about people."""
        self._odd += 1
        if self._odd == 1:
            logger.warning("%s %s, not %s; further errors are counted only", self.name, rule, type_name(value))


class RequestScope:
    """Opens a scope for each request, with what a user's function says of it."""

    def __init__(self, function: Callable[[Any], Mapping[str, Any] | None] | None, name: str = "scope") -> None:
        """Check the function; ``None``: there are no scopes.

        Raises:
            TypeError: It is no plain function.
        """
        self._callback = None if function is None else Callback(name, function)

    @property
    def errors(self) -> int:
        """Calls that raised or returned what makes no scope."""
        return 0 if self._callback is None else self._callback.errors

    def of(self, request: Any) -> Scope | nullcontext[None]:  # Any: the framework's request
        """What to enter for the time of the request; nothing, where the function failed."""
        if self._callback is None:
            return _NO_SCOPE
        said = self._callback(request)
        if said is None:
            return _NO_SCOPE
        here = contained(_scope_of, said)
        if isinstance(here, Scope):
            return here
        self._callback.is_odd("must return a mapping with distinct_id, properties and headers at most, or None", said)
        return _NO_SCOPE


def _scope_of(said: Any) -> Scope | None:  # Any: whatever a user's function says
    return scope(**said) if _SCOPE_WORDS.issuperset(said) else None
