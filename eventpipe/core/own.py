"""What runs on behalf of clients, so that what is logged there is told from what a program has to say."""

from __future__ import annotations

import weakref
from contextvars import Context, ContextVar
from typing import Final, Protocol

OWN: Final[ContextVar[bool]] = ContextVar("eventpipe_own", default=False)
"""True in the tasks of clients, and in whatever tasks and threads copy their context."""


class Running(Protocol):
    """Code of a user's that a client calls."""

    @property
    def is_running(self) -> bool:
        """Whether this very thread is inside a call of it."""


_CONTEXT: Final = Context()
_CONTEXT.run(OWN.set, True)

# Hooks, by their ids. No lock: a fork could leave it taken, and each step on a dictionary is one for all threads.
_hooks: Final[dict[int, weakref.ref[Running]]] = {}


def own_context() -> Context:
    """A new context for what a client starts: empty, so that no request's values get there, but for the mark."""
    return _CONTEXT.copy()


def watch(hook: Running) -> None:
    """Count what runs inside ``hook`` as done on behalf of a client, for as long as the hook lives."""
    key = id(hook)
    _hooks[key] = weakref.ref(hook, lambda _: _hooks.pop(key, None))


def is_own() -> bool:
    """Whether the caller runs on behalf of a client: in one of its tasks, or inside a hook in this thread."""
    if OWN.get():
        return True
    for reference in list(_hooks.values()):
        hook = reference()
        if hook is not None and hook.is_running:
            return True
    return False
