"""Who holds consumers of a log, and is told when one is moved, and when the log stops."""

from __future__ import annotations

import asyncio
import weakref
from typing import Protocol

from eventpipe.stores.values import ConsumerKey


class Holder(Protocol):
    """Who holds a consumer, such as a receiver.

    Attributes:
        key: The consumer.
    """

    key: ConsumerKey

    def moved(self) -> None:
        """See that the consumer was moved or removed: what was claimed before can be settled no more."""

    async def aclose(self) -> None:
        """Give back what was not begun with, because the log stops. May come twice."""


class Holders:
    """Whoever holds a consumer of one log, for as long as somebody else keeps them: one that is forgotten is gone."""

    def __init__(self) -> None:
        self._holders: weakref.WeakSet[Holder] = weakref.WeakSet()

    def add(self, holder: Holder) -> None:
        """Tell ``holder`` of moves, and of the end."""
        self._holders.add(holder)

    def remove(self, holder: Holder) -> None:
        """Tell it nothing more."""
        self._holders.discard(holder)

    def moved(self, key: ConsumerKey) -> None:
        """Tell whoever holds a consumer that it was moved or removed, once the store has done so."""
        for holder in list(self._holders):
            if holder.key == key:
                holder.moved()

    async def aclose(self) -> None:
        """Let everybody give back what they have, before the store is closed."""
        await asyncio.gather(*(holder.aclose() for holder in list(self._holders)))
