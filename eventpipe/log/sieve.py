"""Which events of a topic a consumer is handed at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from eventpipe.core.hook import Hook, HookError
from eventpipe.events import CapturedEvent
from eventpipe.log.claimed import is_used_up
from eventpipe.log.handling import UNDECODABLE
from eventpipe.outcomes import DropReason
from eventpipe.stores.values import ClaimedEvent, ClaimedRun

FILTER_ERROR: Final = "filter_error"
"""Why an event failed whose filter raised."""

Wanted = Callable[[CapturedEvent], object]


class Sieve:
    """Turns events away by plain functions, of which each must want them; their errors are contained.

    Attributes:
        errors: Calls that raised.
    """

    def __init__(self, name: str, functions: dict[str, Wanted], max_attempts: int | None) -> None:
        """Turn nothing away yet.

        Args:
            name: The consumer's, for messages.
            functions: By what they are called.
            max_attempts: How often an event is handed out at most.

        Raises:
            TypeError: One is no plain function of one argument.
        """
        self._hooks = [Hook(f"{word} of consumer {name}", function) for word, function in functions.items()]
        self._max_attempts = max_attempts

    @property
    def errors(self) -> int:
        """Calls that raised."""
        return sum(hook.errors for hook in self._hooks)

    def lets_all_in(self, events: Sequence[ClaimedEvent]) -> bool:
        """Whether none of them is to be judged: nobody turns events away, and none was handed out before or damaged."""
        if self._hooks or isinstance(events, ClaimedRun):
            return not self._hooks
        return not [1 for claimed in events if claimed.attempt != 1 or claimed.event is None]

    def wants(self, claimed: ClaimedEvent) -> bool:
        """Whether an event is not turned away.

        Raises:
            HookError: A function raised.
        """
        event = claimed.event
        return event is None or all(hook(event) for hook in self._hooks)

    def fault_of(self, claimed: ClaimedEvent) -> str | None:
        """Why an event can be handed to nobody; ``None``: it can."""
        if claimed.event is None:
            return UNDECODABLE
        if is_used_up(claimed, self._max_attempts):
            return DropReason.EXHAUSTED
        return None

    def judge(self, claimed: ClaimedEvent) -> tuple[bool, str | None]:
        """Whether it stays, and its fault."""
        fault = self.fault_of(claimed)
        if fault is not None or not self._hooks:
            return True, fault
        try:
            return self.wants(claimed), None
        except HookError:  # counted and logged by the hook
            return True, FILTER_ERROR
