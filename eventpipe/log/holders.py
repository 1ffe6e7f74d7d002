"""Who holds consumers of a log, and is told when one is moved or paused, and when the log stops."""

from __future__ import annotations

import asyncio
import weakref
from typing import Protocol

from eventpipe.core.deadline import Deadline
from eventpipe.stores.values import ConsumerKey


class Holder(Protocol):
    """Who holds a consumer, such as a receiver.

    Attributes:
        key: The consumer.
    """

    key: ConsumerKey

    def moved(self) -> None:
        """See that the consumer was moved or removed: what was claimed before can be settled no more."""

    def paused(self) -> None:
        """See that the consumer was paused: hand out no more of what was claimed before."""

    def limit(self, deadline: Deadline) -> None:
        """Cut off at ``deadline`` what still runs then, because the log stops. A later one changes nothing."""

    async def aclose(self) -> None:
        """Begin with nothing more, end what runs, and give back the rest, because the log stops. May come twice."""


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

    def paused(self, key: ConsumerKey) -> None:
        """Tell whoever holds a consumer that it was paused, once the store has done so."""
        for holder in list(self._holders):
            if holder.key == key:
                holder.paused()

    def limit(self, deadline: Deadline) -> None:
        """Tell everybody by when the log is to be let go."""
        for holder in list(self._holders):
            holder.limit(deadline)

    async def aclose(self) -> None:
        """Let everybody give back what they have, before the store is closed; nobody is told again.

        Raises:
            Exception: What the first of them raised, once all have ended.

        Cancellation:
            Safe. Who has not ended is told again by the next call.
        """
        ends = await asyncio.gather(*(self._end(holder) for holder in list(self._holders)), return_exceptions=True)
        for error in filter(None, ends):
            raise error

    async def _end(self, holder: Holder) -> None:
        try:
            await holder.aclose()
        except asyncio.CancelledError:
            raise
        except BaseException:
            self.remove(holder)
            raise
        self.remove(holder)
