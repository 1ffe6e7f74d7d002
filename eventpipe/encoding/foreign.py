"""Code that is not ours: called so that nothing it raises gets further, and told apart without asking it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Failed:
    """Foreign code raised.

    Attributes:
        error: The name of the exception's type; its text may hold a payload.
    """

    __slots__ = ("error",)

    def __init__(self, error: str) -> None:
        self.error = error


def contained(call: Callable[..., Any], *arguments: Any) -> Any:  # Any: whatever foreign code takes and returns
    """Call foreign code.

    ``CancelledError``, ``GeneratorExit`` and ``MemoryError`` stay here too: raised by a property or a ``__str__``, they
    say nothing about the task that read it.

    Returns:
        Its result, or ``Failed``.
    """
    try:
        return call(*arguments)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - the reason is above
        return Failed(type_name(error))


def type_name(value: object) -> str:
    """The name of a value's type, cut at 60 characters, whatever ``__class__`` or a metaclass say."""
    name: str = type.__dict__["__name__"].__get__(type(value))
    return name[:60]
