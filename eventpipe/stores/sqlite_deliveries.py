"""Deliveries in the SQLite file of a store, beside its log."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from eventpipe.stores import sqlite_delivery_listing as listing
from eventpipe.stores import sqlite_delivery_passes as passes
from eventpipe.stores import sqlite_endpoints, sqlite_published
from eventpipe.stores.delivery_values import (
    AttemptRecord,
    Change,
    ClaimedRow,
    DeliveryFilter,
    DeliveryRow,
    DeliveryState,
    DueEndpoint,
    EndpointInfo,
    EndpointState,
    EndpointStats,
    Place,
    Publication,
    Published,
    PublishedEvent,
    Rule,
)
from eventpipe.stores.sqlite_faults import NoRoomError
from eventpipe.stores.sqlite_jobs import Need, Work
from eventpipe.stores.sqlite_port import Port

# What a ``StoreFullError`` says is full.
_SUBJECT = "deliveries"
# On a full disk as few rows at a time as have pages that fit into the reserve.
_MIN_PURGE_STEP = 20


class Relieve(Protocol):
    """Makes room on a full disk, as ``SqliteStore`` does for its log."""

    async def __call__(self, topic: str, error: NoRoomError, until: float | None) -> float:
        """Have what can be done without go; until when it may be asked again, as it was told to the last time.

        Raises:
            StoreFullError: There is no room.
        """


class SqliteDeliveries:
    """Keeps deliveries; see ``DeliveryStore``, whose methods these are.

    On a full disk nothing is published, while rows are claimed and changed in the room that the store has in reserve;
    the attempts that led to changes are not recorded then, only what they came to.

    Args:
        port: The way to the file; raises ``ClosedError`` when there is none.
        now: The wall clock.
        relieve: Makes room.
    """

    def __init__(self, port: Callable[[], Port], now: Callable[[], float], relieve: Relieve) -> None:
        self._port = port
        self._now = now
        self._relieve = relieve

    # -- endpoints and rules ------------------------------------------------------------------------------------------

    async def put_endpoint(self, endpoint: EndpointInfo, private: bytes | None, *, replace: bool) -> EndpointInfo:
        """See ``DeliveryStore``.

        Raises:
            StoreFullError: There is no room. Nothing was changed.
        """
        kept: EndpointInfo = await self._grow(sqlite_endpoints.put, (endpoint, private, replace))
        return kept

    async def change_endpoint(self, endpoint: EndpointInfo, private: bytes | None) -> EndpointInfo | None:
        """See ``DeliveryStore``.

        Raises:
            StoreFullError: There is no room. Nothing was changed.
        """
        kept: EndpointInfo | None = await self._grow(sqlite_endpoints.change, (endpoint, private))
        return kept

    async def set_endpoint_state(self, name: str, state: EndpointState, reason: str | None) -> EndpointInfo:
        """See ``DeliveryStore``.

        Raises:
            StoreError: What is kept of it is damaged, and it is not to be removed.
        """
        kept: EndpointInfo = await self._run(sqlite_endpoints.set_state, (name, state, reason))
        return kept

    async def endpoints(self, name: str | None = None) -> list[EndpointInfo]:
        """See ``DeliveryStore``; one that is damaged is paused, and its ``state_reason`` says so."""
        found: list[EndpointInfo] = await self._run(sqlite_endpoints.endpoints, name, Need.READ)
        return found

    async def private(self, name: str) -> bytes | None:
        """See ``DeliveryStore``.

        Raises:
            StoreError: They are damaged.
        """
        found: bytes | None = await self._run(sqlite_endpoints.private, name, Need.READ)
        return found

    async def put_rule(self, rule: Rule) -> None:
        """See ``DeliveryStore``.

        Raises:
            StoreFullError: There is no room. Nothing was changed.
        """
        await self._grow(sqlite_endpoints.put_rule, rule)

    async def remove_rule(self, name: str) -> bool:
        """See ``DeliveryStore``."""
        is_gone: bool = await self._run(sqlite_endpoints.remove_rule, name)
        return is_gone

    async def rules(self) -> list[Rule]:
        """See ``DeliveryStore``.

        Raises:
            StoreError: One of them is damaged; the message names it.
        """
        found: list[Rule] = await self._run(sqlite_endpoints.rules, None, Need.READ)
        return found

    # -- publishing ---------------------------------------------------------------------------------------------------

    async def publish(self, publications: Sequence[Publication]) -> list[Published]:
        """See ``DeliveryStore``; those who publish at once share a commit."""
        published: list[Published] = await self._grow(sqlite_published.publish, publications, takes_many=True)
        return published

    # -- passes -------------------------------------------------------------------------------------------------------

    async def due(self) -> list[DueEndpoint]:
        """See ``DeliveryStore``."""
        found: list[DueEndpoint] = await self._run(passes.due, None, Need.READ)
        return found

    async def claim(
        self, endpoint: EndpointInfo, *, holder: str, cutoff: float, after: Place | None, now: float, until: float,
        limit: int,
    ) -> list[ClaimedRow]:  # fmt: skip
        """See ``DeliveryStore``; a row that is damaged is handed out without its event.

        Those who claim at once share a transaction.
        """
        ask = passes.Ask(endpoint, holder, cutoff, after, now, until, limit, self._shift())
        # What a loss of power takes from a claim are rows that nobody has any more.
        claimed: list[ClaimedRow] = await self._port().submit(passes.claim, ask, Need.NOTE, takes_many=True)
        return claimed

    async def release(self, rows: Sequence[DeliveryRow]) -> int:
        """See ``DeliveryStore``."""
        count: int = await self._run(passes.release, rows, Need.NOTE)
        return count

    async def change(self, changes: Sequence[Change]) -> list[bool]:
        """See ``DeliveryStore``; those who change rows at once share a commit."""
        try:
            done: list[bool] = await self._port().submit(passes.change, changes, Need.GROW, takes_many=True)
        except NoRoomError:
            # What became of an event is kept where there is any room for it: else it would be sent again.
            done = await self._port().submit(passes.change_alone, changes, takes_many=True)
        return done

    async def rescue(
        self, *, now: float, claimed_before: float, due_before: float, unattempted_after: float = math.inf
    ) -> int:
        """See ``DeliveryStore``."""
        count: int = await self._run(passes.rescue, passes.Rescue(now, claimed_before, due_before, unattempted_after))
        return count

    # -- looking ------------------------------------------------------------------------------------------------------

    async def rows(self, wanted: DeliveryFilter, *, after: int | None = None, limit: int = 100) -> list[DeliveryRow]:
        """See ``DeliveryStore``; in steps, so that nobody waits for a filter that wants few of many."""
        found: list[DeliveryRow] = []
        while True:
            ask = listing.Listing(wanted, after, limit - len(found))
            some, after = await self._run(listing.rows, ask, Need.READ)
            found += some
            if after is None:
                return found

    async def row(self, id: int) -> DeliveryRow | None:  # noqa: A002  # as the protocol has it
        """See ``DeliveryStore``."""
        found: DeliveryRow | None = await self._run(listing.row, id, Need.READ)
        return found

    async def attempts(self, id: int) -> list[AttemptRecord]:  # noqa: A002  # as above
        """See ``DeliveryStore``."""
        found: list[AttemptRecord] = await self._run(listing.attempts, id, Need.READ)
        return found

    async def event(self, uuid: str) -> PublishedEvent | None:
        """See ``DeliveryStore``."""
        found: PublishedEvent | None = await self._run(sqlite_published.event, (uuid, self._shift()), Need.READ)
        return found

    async def events(
        self, *, name: str | None = None, after: str | None = None, limit: int = 100
    ) -> list[PublishedEvent]:
        """See ``DeliveryStore``; in steps, as ``rows()``."""
        found: list[PublishedEvent] = []
        while True:
            ask = sqlite_published.Listing(name, after, limit - len(found))
            some, after = await self._run(sqlite_published.events, ask, Need.READ)
            found += some
            if after is None:
                return found

    async def stats(self) -> list[EndpointStats]:
        """See ``DeliveryStore``; rows are counted in steps, each once, as ``rows()``."""
        counts: list[tuple[int, DeliveryState, int]] = []
        start: int | None = 0
        while start is not None:
            some, start = await self._run(listing.count, start, Need.READ)
            counts += some
        found: list[EndpointStats] = await self._run(listing.stats, (counts, self._now()), Need.READ)
        return found

    async def purge(self, *, before: float, limit: int) -> int:
        """See ``DeliveryStore``; on a full disk in several transactions, each as large as there is room for.

        Cancellation:
            What is deleted is deleted.
        """
        total, step = 0, limit
        while True:
            try:
                count: int = await self._run(sqlite_published.purge, (before, min(step, limit - total)))
            except NoRoomError:
                if step <= _MIN_PURGE_STEP:
                    raise
                step = max(step // 4, _MIN_PURGE_STEP)
                continue
            total += count
            if count < step or total >= limit:
                return total

    # -- inside -------------------------------------------------------------------------------------------------------

    async def _run(self, work: Work, argument: Any, need: Need = Need.WRITE) -> Any:  # Any: as in Job
        return await self._port().submit(work, argument, need)

    async def _grow(self, work: Work, argument: Any, *, takes_many: bool = False) -> Any:  # Any: as in Job
        until = None
        while True:
            try:
                return await self._port().submit(work, argument, Need.GROW, takes_many=takes_many)
            except NoRoomError as error:
                until = await self._relieve(_SUBJECT, error, until)

    def _shift(self) -> float:
        """What makes a moment on the loop clock of a stamp."""
        return asyncio.get_running_loop().time() - self._now()
