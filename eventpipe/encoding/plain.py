"""Whether orjson may be handed a value as it is.

Of what it takes, an enum member and a half-built UUID can end the process. It reads the value of a member through the
Python code of ``enum``, in the middle of a container: where that raises (a property of the user's, a signal handler,
the recursion limit), or lets another thread change the container, orjson reads memory that is no longer there. A
fragment is written unread, so that one that holds no JSON breaks the envelope.
"""

from __future__ import annotations

from itertools import chain
from typing import Any, Final
from uuid import UUID

LEAVES: Final = frozenset({str, int, float, bool, type(None)})
"""Types of values that run no code and hold no others."""

MAX_LEVELS: Final = 254  # what orjson takes
# A container that is in several places is written as often as it is met, so that a few lists could fill the memory.
# The smallest one takes three bytes: an event of 900 KiB, more than codecs take, has no more than these.
MAX_CONTAINERS: Final = 300_000

_CONTAINERS: Final = frozenset({dict, list, tuple})
_BEYOND_UUID: Final = 2**128


def is_plain(value: Any) -> bool:  # Any: whatever a caller passed
    """Say whether orjson can take or refuse ``value`` without running any code but its own.

    Args:
        value: A dictionary, a list or a tuple, not of a subclass; another thread may go on changing it.

    Returns:
        False also for what is too deep, has too many containers, or contains itself.

    Raises:
        BaseException: A metaclass raised, or a container changed size in this very moment.
    """
    containers = 1
    level = [_inside(value)]
    for _ in range(MAX_LEVELS):
        values = list(chain.from_iterable(level))  # at a stroke: one container after another takes twice as long
        kinds = set(map(type, values)) - LEAVES
        if not all(map(_is_plain_kind, kinds)) or (UUID in kinds and not all(map(_is_whole, values))):
            return False
        if kinds.isdisjoint(_CONTAINERS):
            return True
        level = [_inside(child) for child in values if type(child) in _CONTAINERS]
        containers += len(level)
        if containers > MAX_CONTAINERS:
            return False
    return False


def _inside(container: Any) -> Any:  # Any: as above, and an iterable of the same
    return container.values() if type(container) is dict else container


def _is_plain_kind(kind: type) -> bool:
    """Whether orjson runs no code for a value of ``kind``: of a subclass of text too, unless that is an enum."""
    return kind in _CONTAINERS or kind is UUID or (type(kind) is type and issubclass(kind, (str, int, float)))


def _is_whole(value: object) -> bool:
    if type(value) is not UUID:
        return True
    number: object = getattr(value, "int", None)
    return type(number) is int and 0 <= number < _BEYOND_UUID
