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


class _Known:
    """What an attempt came to.

    Attributes:
        row: As it was claimed.
        change: What it came to.
        writer: Who writes it. ``None``: nobody does any more.
    """

    __slots__ = ("change", "row", "writer")

    def __init__(self, row: DeliveryRow, change: Change, writer: object) -> None:
        self.row = row
        self.change = change
        self.writer = writer


class Books:
    """Remembers what attempts came to until it is written."""

    def __init__(self) -> None:
        self._known: dict[int, _Known] = {}
        self._outdated: set[int] = set()  # of these, others have changed the rows since

    @property
    def unwritten(self) -> int:
        """How many changes are neither written nor refused."""
        return len(self._known) - len(self._outdated)

    def remember(self, row: DeliveryRow, change: Change, writer: object) -> None:
        """Keep what an attempt came to until it is written.

        Args:
            row: As it was claimed.
            change: What it came to.
            writer: Who is going to write it.
        """
        while len(self._known) >= MAX_KNOWN:
            self._forget(next(iter(self._known)))
        self._known[row.id] = _Known(row, change, writer)
        self._outdated.discard(row.id)

    def forget(self, row: DeliveryRow) -> None:
        """Keep nothing of a row, which was written."""
        self._forget(row.id)

    def leave(self, writer: object, row: DeliveryRow | None = None) -> None:
        """See that somebody does not write any more what is known of a row; ``None``: of any."""
        for known in [*self._known.values()] if row is None else [self._known[row.id]] if row.id in self._known else []:
            if known.writer is writer:
                known.writer = None

    def left(self) -> list[tuple[DeliveryRow, Change]]:
        """What nobody writes, and may be written with the claims that it was sent with: rows, and what they came to."""
        return [
            (known.row, known.change)
            for number, known in self._known.items()
            if known.writer is None and number not in self._outdated
        ]

    def outdate(self, row: DeliveryRow) -> None:
        """See that a row is not as it was claimed any more; what is known of it may help whoever claims it here."""
        if row.id in self._known:
            self._outdated.add(row.id)

    def known(self, row: DeliveryRow) -> Change | None:
        """What an earlier attempt came to that was not written; ``None``: nothing is known, or the row changed since.

        Args:
            row: As it is with a new claim, which says nothing of the attempt.
        """
        found = self._known.get(row.id)
        if found is None:
            return None
        if _history(found.row) != _history(row):
            self._forget(row.id)
            return None
        return replace(found.change, version=row.version)

    def _forget(self, number: int) -> None:
        self._known.pop(number, None)
        self._outdated.discard(number)


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
