"""What every sink of this package shares: its name, its filter, its end, and the checks of its options."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

from eventpipe.checked import is_number, shown
from eventpipe.errors import ClosedError

if TYPE_CHECKING:
    from eventpipe.contracts import Where


class BaseSink:
    """Holds the ``name`` and ``where`` of a sink, and whether it was closed.

    A sink that releases something in ``aclose()`` extends it; ``send()`` begins with ``_check_open()``.

    Attributes:
        name: What reports and counters call the sink.
        where: A plain function of the captured event; one it turns away is not captured by this sink. ``None``:
            every event is.
        is_closed: Whether ``aclose()`` was called.
    """

    def __init__(self, *, where: Where | None = None, name: str | None = None) -> None:
        check_plain_function("where", where)
        check_word("name", name)
        self.where = where
        self.name = type(self).__name__ if name is None else name
        self.is_closed = False

    async def aclose(self) -> None:
        """End the sink: ``send()`` raises ``ClosedError`` from now on. May come twice, and before the first send."""
        self.is_closed = True

    def _check_open(self) -> None:
        if self.is_closed:
            raise ClosedError(f"{self.name} was closed and sends nothing more")


def check_plain_function(option: str, value: object) -> None:
    """Refuse anything but ``None`` and callables that answer at once.

    Raises:
        ValueError: Names the option, the value and the rule.
    """
    if value is not None and (not callable(value) or inspect.iscoroutinefunction(value)):
        raise ValueError(f"{option} must be a plain function or None, not {value!r}")


def check_callable(option: str, value: object) -> None:
    """Refuse anything but ``None`` and what can be called.

    Raises:
        ValueError: Names the option, the value and the rule.
    """
    if value is not None and not callable(value):
        raise ValueError(f"{option} must be an async function or None, not {type(value).__name__}")


def check_flag(option: str, value: object) -> None:
    """Refuse anything but ``True`` and ``False``: a word from a configuration, ``"false"`` too, would be true.

    Raises:
        ValueError: Names the option, the value and the rule.
    """
    if not isinstance(value, bool):
        raise ValueError(f"{option} must be True or False, not {shown(value)}")


def check_word(option: str, value: object) -> None:
    """Refuse anything but ``None`` and strings that are not blank.

    Raises:
        ValueError: Names the option, the value and the rule.
    """
    if value is not None and (not isinstance(value, str) or not value.strip()):
        raise ValueError(f"{option} must be a string that is not blank, or None, not {value!r}")


def check_count(option: str, value: object, *, unit: str) -> None:
    """Refuse anything but ``None`` and whole numbers from 1.

    Raises:
        ValueError: Names the option, the value and the rule.
    """
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise ValueError(f"{option} must be a whole number of {unit}, at least 1, or None, not {value!r}")


def check_seconds(option: str, value: object) -> None:
    """Refuse anything but ``None`` and finite numbers above 0.

    Raises:
        ValueError: Names the option, the value and the rule.
    """
    if value is None:
        return
    if not is_number(value) or value <= 0:
        raise ValueError(f"{option} must be a finite number of seconds above 0, or None, not {shown(value)}")
