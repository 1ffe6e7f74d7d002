"""A feed for each life of what starts, stops and may start again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Final

from eventpipe.core.service import ServiceState
from eventpipe.outcomes import Outcome
from eventpipe.subscriptions import BUFFER
from eventpipe.transport.feed import OutcomeFeed, Outlet

_GRACE: Final = 1.0  # seconds that the last outcomes may take at a stop


class FeedLives:
    """Whoever is told of outcomes, in the life that somebody is in or, before it starts, the next.

    Subscriptions end with a life, after all that happened in it.

    Args:
        name: Whose outcomes they are.
        largest_list: Outcomes that are told at once, at most.
    """

    def __init__(self, name: str, *, largest_list: int = BUFFER // 2) -> None:
        self._name = name
        self._largest_list = largest_list
        self._begin()

    @property
    def feed(self) -> OutcomeFeed:
        """What is subscribed to."""
        return self._feed

    @property
    def is_wanted(self) -> bool:
        """Whether anybody subscribes."""
        return bool(self._feed.subscribers.wanted)

    def open(self) -> None:
        """Tell by way of a task from now on, where somebody subscribes; before, subscriptions are told directly."""
        self._feed.open()
        self._outlet.open()

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        """Tell everybody."""
        self._outlet(outcomes)

    async def close(self) -> None:
        """End this life's subscriptions, once they have what there is.

        Cancellation:
            They end all the same.
        """
        feed = self._feed
        self._outlet.close()
        feed.finish()
        self._begin()
        if feed.state in (ServiceState.STARTING, ServiceState.RUNNING):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_GRACE):
                    await feed.stopped()

    def _begin(self) -> None:
        self._feed = OutcomeFeed(f"outcomes of {self._name}", largest_list=self._largest_list)
        self._outlet: Outlet = self._feed.observer(self._name)
