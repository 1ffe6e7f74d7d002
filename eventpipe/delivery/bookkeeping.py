"""Writing down what became of deliveries, so that what was sent is not sent again because it could not be written."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final, TypeVar

from eventpipe.errors import ClosedError, LeaseLostError, UnknownEndpointError
from eventpipe.stores.delivery_values import Change, DeliveryRow

T = TypeVar("T")

# Seconds between tries, 6 s in all: a store that is locked for 5 s costs a slot that long, and nothing else.
PAUSES: Final = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2)

# Deliveries that were sent and are not written, at most: what is older was perhaps attempted by others long since.
MAX_KNOWN: Final = 10_000


class Books:
    """Remembers what attempts came to until it is written."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[DeliveryRow, Change]] = {}

    @property
    def unwritten(self) -> int:
        """How many changes are neither written nor refused."""
        return len(self._known)

    def remember(self, row: DeliveryRow, change: Change) -> None:
        """Keep what an attempt came to until it is written.

        Args:
            row: As it was claimed.
            change: What it came to.
        """
        while len(self._known) >= MAX_KNOWN:
            del self._known[next(iter(self._known))]
        self._known[row.id] = (row, change)

    def forget(self, row: DeliveryRow) -> None:
        """Keep nothing of a row, which was written."""
        self._known.pop(row.id, None)

    def known(self, row: DeliveryRow) -> Change | None:
        """What an earlier attempt came to that was not written; ``None``: nothing is known, or the row changed since.

        Args:
            row: As it is with a new claim, which says nothing of the attempt.
        """
        found = self._known.get(row.id)
        if found is None:
            return None
        before, change = found
        if _history(before) != _history(row):
            del self._known[row.id]
            return None
        return replace(change, version=row.version)


async def insist(call: Callable[[], Awaitable[T]], check: Callable[[], object]) -> T:
    """Ask the store for something that may be asked for twice, for a while, until it answers.

    Args:
        call: Asks.
        check: Called before each try; raises where nothing may be written any more.

    Raises:
        LeaseLostError: Nothing may be written any more.
        ClosedError: The store is closed.
        UnknownEndpointError: There is no such endpoint any more.
        Exception: What the store raised at the last try.
    """
    for pause in PAUSES:
        check()
        try:
            return await call()
        except (ClosedError, LeaseLostError, UnknownEndpointError):
            raise
        except Exception:  # noqa: BLE001  # whatever it is, there is another try
            await asyncio.sleep(pause)
    check()
    return await call()


def _history(row: DeliveryRow) -> tuple[object, ...]:
    """What of a row no claim changes, and each attempt and each resend does."""
    return row.state, row.attempts, row.total_attempts, row.resends
