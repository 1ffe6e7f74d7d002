"""Everybody who subscribes to the outcomes of one client."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from eventpipe.errors import ClosedError
from eventpipe.outcomes import Outcome, OutcomeKind
from eventpipe.subscriptions import Subscription
from eventpipe.subscriptions.buffer import Sized


class _Publication(NamedTuple):
    """A list that waits to be handed out.

    Attributes:
        outcomes: The list.
        causes: Whose filters led to it.
        subscriptions: Those that were there when it was published; one that came later has nothing from before it.
    """

    outcomes: Sequence[Outcome]
    causes: frozenset[Subscription]
    subscriptions: tuple[Subscription, ...]


class Subscribers:
    """Hands lists of outcomes to subscriptions, one list after the other, from whatever thread they come.

    A filter that captures may cause outcomes in the middle of a list. They wait until everybody has that list, so that
    all read the same order; the filter is not asked about what it caused, or it would go on without end.

    Attributes:
        wanted: The kinds that somebody wants; empty while nobody subscribes.
        is_ended: Whether there will be no more outcomes.
    """

    def __init__(self) -> None:
        self._subscriptions: tuple[Subscription, ...] = ()
        self.wanted: tuple[OutcomeKind, ...] = ()
        self.is_ended = False
        self._changing = threading.RLock()  # who subscribes; reentrant, for a finalizer that closes a subscription
        self._waiting: deque[_Publication] = deque()
        self._turn = threading.Lock()  # held by whoever hands out; never waited for
        self._causes: frozenset[Subscription] = frozenset()  # whose filters led to what is being handed out

    def add(self, subscription: Subscription) -> None:
        """Let a subscription have what is published from now on, until it is closed.

        Raises:
            ClosedError: There will be no more outcomes.
        """
        subscription.on_close = self._remove
        with self._changing:
            if self.is_ended:
                raise ClosedError("the client was closed by aclose(), and has no more outcomes to subscribe to")
            self._set((*self._subscriptions, subscription))

    def publish(self, outcomes: Sequence[Outcome], causes: frozenset[Subscription] | None = None) -> None:
        """Hand a list to everybody, behind what is being handed out at this moment, perhaps by another thread.

        Args:
            outcomes: In the order in which they were booked.
            causes: Whose filters led to them. ``None``: those that this very thread is inside.
        """
        causes = self._filtering() if causes is None else causes
        self._waiting.append(_Publication(outcomes, causes, self._subscriptions))
        while self._waiting and self._turn.acquire(blocking=False):
            try:
                while self._waiting:
                    self._hand_out(self._waiting.popleft())
            finally:
                self._turn.release()

    @property
    def is_filtering(self) -> bool:
        """Whether this very thread is inside a filter."""
        return self._turn.locked() and any(subscription.is_filtering for subscription in self._subscriptions)

    def end(self) -> None:
        """Close every subscription; what they have buffered stays readable."""
        for subscription in self._take_all():
            subscription.close()

    def disown(self) -> None:
        """End in a forked child, whose parent goes on with these subscriptions."""
        self._changing = threading.RLock()  # a thread that is not there may have held it
        for subscription in self._take_all():
            subscription.disown()

    def _hand_out(self, publication: _Publication) -> None:
        sized = list(map(Sized, publication.outcomes))
        self._causes = publication.causes
        for subscription in publication.subscriptions:
            if subscription in publication.causes:
                subscription.miss(publication.outcomes)
            else:
                subscription.offer_sized(sized)

    def _filtering(self) -> frozenset[Subscription]:
        """Whose filters are inside this call, on this very thread, and whose led to what those filter."""
        if not self._turn.locked():
            return frozenset()
        inside = [subscription for subscription in self._subscriptions if subscription.is_filtering]
        return self._causes.union(inside) if inside else frozenset()

    def _remove(self, subscription: Subscription) -> None:
        with self._changing:
            self._set(tuple(other for other in self._subscriptions if other is not subscription))

    def _take_all(self) -> tuple[Subscription, ...]:
        with self._changing:
            self.is_ended = True
            subscriptions = self._subscriptions
            self._set(())
        return subscriptions

    def _set(self, subscriptions: tuple[Subscription, ...]) -> None:
        self._subscriptions = subscriptions
        self.wanted = tuple({kind: None for subscription in subscriptions for kind in subscription.kinds})
