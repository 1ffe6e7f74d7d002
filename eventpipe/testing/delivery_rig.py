"""What a test of a store of deliveries is given, and how it fills and reads it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from eventpipe.clock import Clock
from eventpipe.events import CapturedEvent
from eventpipe.stores.delivery_base import DeliveringStore, DeliveryStore
from eventpipe.stores.delivery_values import (
    AttemptRecord,
    Change,
    ClaimedRow,
    DeliveryFilter,
    DeliveryRow,
    DeliveryState,
    EndpointInfo,
    EndpointState,
    FailureReason,
    Place,
    Publication,
    Published,
)
from eventpipe.testing.events import STAMP, make_event

NOW: Final = STAMP
PATIENCE: Final = 60.0  # seconds from publishing to the deadline of a row
PRIVATE: Final = b"whsec_\x00\xff"  # of endpoints, where a scenario is about something else
TTL: Final = 30.0  # seconds that a claim holds


@dataclass
class DeliveryRig:
    """A store under test.

    A scenario that needs more than the rig can do is skipped, and the reason names what is missing.

    Attributes:
        store: Open and empty; closed after the test by whoever made it.
        advance: Lets so many seconds pass on the wall clock that the store goes by.
        clock: That clock.
        reopen: Closes ``store`` and opens what it kept, as after a restart; ``None``: what is closed is gone.
    """

    store: DeliveringStore
    advance: Callable[[float], Awaitable[None]]
    clock: Clock
    reopen: Callable[[], Awaitable[DeliveringStore]] | None = None

    @property
    def kept(self) -> DeliveryStore:
        """What keeps deliveries."""
        return self.store.deliveries

    async def restart(self) -> None:
        """Close the store and open it again."""
        if self.reopen is None:
            import pytest  # not above: who only describes a store needs none

            pytest.skip("the rig has reopen=None")
        self.store = await self.reopen()

    async def endpoint(
        self, name: str = "acme", state: EndpointState = EndpointState.ACTIVE, *, created_at: float = NOW
    ) -> EndpointInfo:
        """Make an endpoint, and bring it into a state."""
        info = an_endpoint(name, created_at=created_at)
        info = await self.kept.put_endpoint(info, PRIVATE, replace=False)
        if state is not EndpointState.ACTIVE:
            info = await self.kept.set_endpoint_state(name, state, None)
        return info

    async def publish(self, *endpoints: str, name: str = "paid", at: float = NOW, key: str | None = None) -> Published:
        """Publish a new event; to ``acme``, unless said otherwise."""
        (published,) = await self.kept.publish([a_publication(*(endpoints or ("acme",)), name=name, at=at, key=key)])
        return published

    async def fill(self, count: int, *, endpoint: str = "acme", at: float = NOW) -> list[int]:
        """Publish so many new events to an endpoint at once; the ids of their rows."""
        published = await self.kept.publish([a_publication(endpoint, at=at) for _ in range(count)])
        return [one.deliveries[endpoint] for one in published]

    async def claim(
        self,
        endpoint: EndpointInfo,
        *,
        now: float = NOW,
        cutoff: float | None = None,
        after: Place | None = None,
        limit: int = 100,
        holder: str = "a test",
    ) -> list[ClaimedRow]:
        """Take what is due at ``now``, or until ``cutoff``, for ``TTL`` seconds."""
        return await self.kept.claim(
            endpoint,
            holder=holder,
            cutoff=now if cutoff is None else cutoff,
            after=after,
            now=now,
            until=now + TTL,
            limit=limit,
        )

    async def row(self, id_: int) -> DeliveryRow:
        """A row that is there."""
        row = await self.kept.row(id_)
        assert row is not None
        return row

    async def rows(self, ids: Iterable[int]) -> list[DeliveryRow]:
        """Rows that are there."""
        return [await self.row(id_) for id_ in ids]

    async def all_rows(self) -> list[DeliveryRow]:
        """Every row, newest first."""
        return await self.kept.rows(DeliveryFilter(), limit=10_000)

    async def change(self, *changes: Change) -> list[bool]:
        """Make changes."""
        return await self.kept.change(changes)

    async def settle(self, id_: int, at: float = NOW) -> None:
        """Have a row succeed."""
        assert await self.change(a_success(await self.row(id_), at=at)) == [True]


def an_endpoint(name: str = "acme", *, created_at: float = NOW) -> EndpointInfo:
    """A new endpoint."""
    return EndpointInfo(name, "webhook", f"https://{name}.example/hooks", created_at=created_at)


def a_publication(
    *endpoints: str,
    name: str = "paid",
    at: float = NOW,
    key: str | None = None,
    event: CapturedEvent | None = None,
) -> Publication:
    """A publication of a new event, or of one that is given."""
    return Publication(event or make_event(name, timestamp=at), endpoints, key, at, at + PATIENCE)


def an_attempt(number: int = 1, *, status: int | None = 503, error: str | None = "no") -> AttemptRecord:
    """An attempt that failed."""
    return AttemptRecord(number, NOW + number, 0.25, "retry", status, error, f"answer {number}")


def a_success(row: DeliveryRow, *, at: float = NOW) -> Change:
    """What settles a row."""
    return Change(row.id, row.version, DeliveryState.SUCCESS, None, 1, None, row.deadline_at, at)


def a_failure(row: DeliveryRow, reason: FailureReason, *, at: float = NOW) -> Change:
    """What settles a row for a reason."""
    return replace(a_success(row, at=at), state=DeliveryState.FAILED, reason=reason)


def a_retry(row: DeliveryRow, *, due_at: float, attempt: AttemptRecord | None = None) -> Change:
    """What has a row attempted again."""
    return Change(
        row.id, row.version, DeliveryState.SENDING, None, row.attempts + 1, due_at, row.deadline_at, None,
        attempt=attempt,
    )  # fmt: skip


def a_resend(row: DeliveryRow, *, at: float = NOW) -> Change:
    """What begins a row anew."""
    return Change(row.id, row.version, DeliveryState.RESENDING, None, 0, at, at + PATIENCE, None, is_resend=True)


def ids_of(rows: Sequence[DeliveryRow | ClaimedRow]) -> list[int]:
    """Which rows they are."""
    return [row.row.id if isinstance(row, ClaimedRow) else row.id for row in rows]
