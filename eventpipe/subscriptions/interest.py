"""Which outcomes somebody wants."""

from __future__ import annotations

from collections.abc import Callable
from types import CoroutineType
from typing import Final

from eventpipe.checked import shown, suggestion
from eventpipe.core.hook import Hook
from eventpipe.outcomes import Outcome, OutcomeKind

Filter = Callable[[Outcome], object]  # what it returns is taken as true or false

_WORDS: Final[list[str]] = [str(kind) for kind in OutcomeKind]


class Interest:
    """Some kinds of outcomes, and a filter among them.

    Attributes:
        kinds: The kinds, each once.
    """

    def __init__(self, kinds: tuple[OutcomeKind | str, ...], filter: Filter | None, name: str) -> None:  # noqa: A002  # its name for users
        """Check everything.

        Args:
            kinds: At least one.
            filter: A plain function of the outcome. ``None``: all of these kinds.
            name: Whose it is, for messages.

        Raises:
            ValueError: There is no kind, or an unknown one.
            TypeError: A kind is no string, or the filter no plain function.
        """
        if not kinds:
            raise ValueError(f"{name} needs at least one kind of outcome: {', '.join(_WORDS)}")
        self.kinds = tuple(dict.fromkeys(map(_checked, kinds)))  # not a set, which hashes an enum in 0.2 µs
        self._filter: Hook[Outcome, bool] | None = None
        if filter is not None:
            self._filter = Hook(f"filter of {name}", filter)  # type: ignore[arg-type]  # judged in the next line
            self._filter.function = lambda outcome: _truth(filter(outcome))

    @property
    def errors(self) -> int:
        """Calls of the filter that raised."""
        return 0 if self._filter is None else self._filter.errors

    @property
    def slowest(self) -> float:
        """Seconds the slowest call of the filter took."""
        return 0.0 if self._filter is None else self._filter.slowest

    @property
    def is_filtering(self) -> bool:
        """Whether this very thread is inside the filter."""
        return self._filter is not None and self._filter.is_running

    def passes(self, outcome: Outcome) -> bool:
        """Whether the filter lets an outcome of these kinds pass.

        Raises:
            HookError: It raised; counted.
        """
        return self._filter is None or self._filter(outcome)


def _checked(kind: object) -> OutcomeKind:
    if not isinstance(kind, str):
        raise TypeError(f"a kind must be an OutcomeKind or its word, one of {', '.join(_WORDS)}, not {shown(kind)}")
    if kind not in _WORDS:
        raise ValueError(f"unknown kind {shown(kind)}{suggestion(kind, _WORDS)}; there are {', '.join(_WORDS)}")
    return OutcomeKind(kind)


def _truth(answer: object) -> bool:
    """What a filter says; one that has to be awaited says nothing, and its coroutine would never be."""
    if type(answer) is CoroutineType:
        answer.close()
        raise TypeError("a filter cannot be awaited")
    return bool(answer)
