"""What is known of every event that is captured in a stretch of code: a request, a job, a tenant.

A scope is held by a context variable, so that tasks and ``asyncio.to_thread()`` have that of whoever started them, and
two requests at once have each their own. A plain ``threading.Thread`` begins without one, as a rule:
``contextvars.copy_context().run`` takes it there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar, Token
from dataclasses import replace
from types import MappingProxyType, TracebackType
from typing import Any, Protocol, TypeVar

from eventpipe.checked import shown
from eventpipe.core.log import contained_logger
from eventpipe.encoding.foreign import Failed, contained
from eventpipe.events import DistinctId, Event, Properties

logger = contained_logger("eventpipe")

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class _Prepare(Protocol[R_co]):
    def __call__(self, event: object, distinct_id: object, properties: object, /) -> R_co: ...


# Whether there ever was a scope in this process: until then nobody looks for one, and a capture costs what it did.
in_use = False


class Scope:
    """Values that each event captured inside it has too, unless the call gives its own.

    Attributes:
        distinct_id: Whom the events are about; ``None``: the scope does not say.
    """

    __slots__ = ("_headers", "_is_used", "_outer", "_properties", "_token", "distinct_id")

    def __init__(self, distinct_id: DistinctId | None, properties: dict[str, Any], headers: dict[str, str]) -> None:
        self.distinct_id = distinct_id
        self._properties = properties
        self._headers = headers
        self._token: Token[Scope | None] | None = None
        self._outer: Scope | None = None  # the next one that is open in the context it was entered in
        self._is_used = False

    @property
    def properties(self) -> Mapping[str, Any]:  # Any: whatever JSON can carry
        """What is known of each event; while it is entered, with what outer scopes know."""
        return MappingProxyType(self._properties)

    @property
    def headers(self) -> Mapping[str, str]:
        """Values that travel beside the properties, as above."""
        return MappingProxyType(self._headers)

    def __enter__(self) -> Scope:
        global in_use
        if self._is_used:
            raise RuntimeError("a scope can be entered once; call scope() for each `with`")
        self._is_used = in_use = True
        for source in _sources:
            found = contained(source)
            if type(found) is not Failed:
                self._properties = {**found, **self._properties}
        outer = self._outer = _current.get()
        if outer is not None:
            if self.distinct_id is None:
                self.distinct_id = outer.distinct_id
            self._properties = {**outer._properties, **self._properties}
            self._headers = {**outer._headers, **self._headers}
        self._token = _current.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._token is not None  # noqa: S101  # of __enter__
        here = inner = _current.get()
        try:
            _current.reset(self._token)
        except ValueError:  # an async generator or a thread pool ran the end elsewhere; that context has no such scope
            _warn_of_elsewhere()
            return
        # What reset() put back may have been left since: generators that take turns leave their scopes in any order.
        if here is self:
            _current.set(self._outer)
            return
        while inner is not None and inner._outer is not self:
            inner = inner._outer
        if inner is not None:
            inner._outer = self._outer
        _current.set(here)

    def filled(self, event: Event) -> Event:
        """``event`` with what it does not say itself; what cannot be read of it stays as it is."""
        properties = _joined(self._properties, event.properties)
        headers = _joined(self._headers, event.headers)
        distinct_id = self.distinct_id if event.distinct_id is None else event.distinct_id
        return replace(event, distinct_id=distinct_id, properties=properties, headers=headers)

    def __repr__(self) -> str:
        # Names alone: the values are about people.
        return f"<Scope of {', '.join(map(repr, self._properties)) or 'no properties'}>"


def scope(
    *,
    distinct_id: DistinctId | None = None,
    properties: Properties | None = None,
    headers: Mapping[str, str] | None = None,
) -> Scope:
    """Have every event that is captured inside its ``with`` block say this too.

    What a call of ``capture()`` gives wins, and so does an inner scope; properties are joined key by key. It is added
    before ``before_send`` sees the event.

    Args:
        distinct_id: Whom the events are about. ``None``: as outside.
        properties: What is known of each. The mapping is copied, its values are not. ``None`` means none.
        headers: Values that travel beside the properties. ``None`` means none.

    Returns:
        The scope, to be entered once. Left open, it ends with the task or thread that entered it.

    Raises:
        TypeError: ``properties`` or ``headers`` is no mapping.
    """
    return Scope(distinct_id, _copied("properties", properties), _copied("headers", headers))


def current() -> Scope | None:
    """The scope that this code runs in; ``None``: there is none."""
    return _current.get()


def plain(prepare: _Prepare[R]) -> _Prepare[R | None]:
    """``prepare`` for events that may be captured in a scope; ``None``: what it adds is not plain, or the event.

    Costs 0.05 µs where there is no scope, and a new dictionary where there is one.
    """

    def scoped(event: object, distinct_id: object, properties: object) -> R | None:
        here = _current.get()
        if here is None:
            return prepare(event, distinct_id, properties)
        if here._headers or not (type(properties) is dict or properties is None):
            return None
        # Always a new one: a hook may change it.
        joined = {**here._properties, **(properties or {})}
        return prepare(event, here.distinct_id if distinct_id is None else distinct_id, joined)

    return scoped


def filled(event: Event) -> Event:
    """``event`` with what the current scope adds to it."""
    here = _current.get() if in_use else None
    return event if here is None else here.filled(event)


def add_source(source: Callable[[], Mapping[str, Any]]) -> None:
    """Have each scope that is entered from now on say what ``source`` finds then; again is a no-op.

    Args:
        source: Returns properties. What it raises costs the scope what it would have said, and nothing else.
    """
    if source not in _sources:
        _sources.append(source)


def _copied(name: str, given: Mapping[str, Any] | None) -> dict[str, Any]:  # Any: whatever JSON can carry
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise TypeError(f"{name} must be a mapping of names to values, not {shown(given)}")
    return dict(given)


def _joined(outer: dict[str, Any], given: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    if not outer:
        return given
    if given is None:
        return dict(outer)
    joined = contained(lambda: {**outer, **given})
    return given if type(joined) is Failed else joined


def _warn_of_elsewhere() -> None:
    global _has_warned
    if not _has_warned:
        _has_warned = True
        logger.warning(
            "a scope was left in another context than the one it was entered in, where it goes on; "
            "enter and leave it in one task, not in a generator that a framework finishes elsewhere"
        )


_current: ContextVar[Scope | None] = ContextVar("eventpipe_scope", default=None)
_sources: list[Callable[[], Mapping[str, Any]]] = []  # Any: whatever JSON can carry
_has_warned = False
