"""The rows of deliveries in memory, found by id, endpoint and state, and by when they are due or were settled."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, takewhile

from eventpipe.stores.delivery_values import (
    MAX_ATTEMPTS_KEPT,
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
    PublishedEvent,
)
from eventpipe.stores.memory_endpoints import MemoryEndpoint
from eventpipe.stores.memory_order import Ordered
from eventpipe.stores.names import fits


@dataclass(slots=True, eq=False)
class KeptRow:
    """A row and what belongs to it.

    Attributes:
        row: As it is now.
        endpoint: Its endpoint: of two that have had the same name, the one that it was published for.
        event: Its event.
        attempts: The newest of its attempts, in their order.
    """

    row: DeliveryRow
    endpoint: MemoryEndpoint
    event: PublishedEvent
    attempts: tuple[AttemptRecord, ...] = ()


class MemoryRows:
    """Rows by id, and what keeps claims and purges from looking at others; takes the time, and never waits.

    Attributes:
        next_id: Of the row that comes next; none is given twice.
    """

    def __init__(self) -> None:
        self.next_id = 1
        self._rows: dict[int, KeptRow] = {}
        self._settled: Ordered[tuple[float, int]] = Ordered()  # moments and ids of rows that are settled

    def get(self, id_: int) -> KeptRow | None:
        """One of them."""
        return self._rows.get(id_)

    def add(self, row: DeliveryRow, endpoint: MemoryEndpoint, event: PublishedEvent) -> None:
        """Keep a new row, which nobody has."""
        self.next_id = row.id + 1
        self._rows[row.id] = KeptRow(row, endpoint, event)
        self._enter(row, endpoint)

    def claim(
        self, endpoint: MemoryEndpoint, holder: str, cutoff: float, after: Place | None, now: float, until: float,
        limit: int,
    ) -> list[ClaimedRow]:  # fmt: skip
        """See ``DeliveryStore.claim()``."""
        claimed: list[ClaimedRow] = []
        for due_at, id_ in endpoint.due.above(after):
            if due_at > cutoff or len(claimed) >= limit:
                break
            kept = self._rows[id_]
            if kept.row.claimed_until is None or kept.row.claimed_until <= now:
                # Not by _put(), which looks for what else is another: the order that is gone through stays as it is.
                kept.row = replace(kept.row, claimed_until=until, holder=holder, version=kept.row.version + 1)
                endpoint.claimed[id_] = until
                claimed.append(ClaimedRow(kept.row, kept.event))
        return claimed

    def release(self, row: DeliveryRow) -> bool:
        """Whether it could be given back; see ``DeliveryStore.release()``."""
        kept = self._rows.get(row.id)
        if kept is None or kept.row.version != row.version or kept.row.claimed_until is None:
            return False
        self._put(kept, replace(kept.row, claimed_until=None, holder=None, version=row.version + 1))
        return True

    def change(self, change: Change) -> bool:
        """Whether the row was as it was when that was decided; see ``DeliveryStore.change()``."""
        kept = self._rows.get(change.id)
        if kept is None or kept.row.version != change.version:
            return False
        row, attempt = kept.row, change.attempt
        changed = DeliveryRow(  # in half the time of replace(), of a step that every attempt takes
            id=row.id,
            event_uuid=row.event_uuid,
            event_name=row.event_name,
            endpoint=row.endpoint,
            state=change.state,
            reason=change.reason,
            attempts=change.attempts,
            total_attempts=row.total_attempts if attempt is None else attempt.number,
            resends=row.resends + change.is_resend,
            created_at=row.created_at,
            due_at=change.due_at,
            deadline_at=change.deadline_at,
            settled_at=change.settled_at,
            claimed_until=None,
            holder=None,
            version=row.version + 1,
            last_status=row.last_status if attempt is None else attempt.status,
            last_error=row.last_error if attempt is None else attempt.error,
        )
        self._put(kept, changed)
        if attempt is not None:
            kept.attempts = (*kept.attempts, attempt)[-MAX_ATTEMPTS_KEPT:]
        return True

    def rescue(
        self, endpoint: MemoryEndpoint, now: float, claimed_before: float, due_before: float, unattempted_after: float
    ) -> int:
        """How many rows of an endpoint were freed; see ``DeliveryStore.rescue()``."""
        held = {id_ for id_, until in endpoint.claimed.items() if until >= claimed_before}
        late = {id_ for _, id_ in takewhile(lambda place: place[0] >= due_before, endpoint.due.below())}
        for _, id_ in takewhile(lambda place: place[0] > unattempted_after, endpoint.due.below()):
            row = self._rows[id_].row
            if not row.attempts and (row.claimed_until is None or row.claimed_until <= now or id_ in held):
                late.add(id_)
        for id_ in late | held:
            kept = self._rows[id_]
            row = replace(kept.row, version=kept.row.version + 1)
            if id_ in late:
                row = replace(row, due_at=now)
            if id_ in held:
                row = replace(row, claimed_until=None, holder=None)
            self._put(kept, row)
        return len(late | held)

    def find(
        self, wanted: DeliveryFilter, endpoints: Sequence[MemoryEndpoint], ids: Sequence[int] | None, after: int | None
    ) -> Iterator[DeliveryRow]:
        """Rows that a filter wants, newest first, with ids below ``after``; they must not change meanwhile.

        Args:
            wanted: Which.
            endpoints: Those that it can be rows of.
            ids: Those that it can be, ascending; ``None``: any.
            after: ``None``: from the newest on.
        """
        if ids is not None:
            candidates: Iterator[int] = (id_ for id_ in reversed(ids) if after is None or id_ < after)
        else:
            states = wanted.states or DeliveryState
            orders = [order for endpoint in endpoints for state in states if (order := endpoint.states[state])]
            candidates = heapq.merge(*(order.below(after) for order in orders), reverse=True)
        return (row for id_ in candidates if _fits(wanted, row := self._rows[id_].row))

    def take_settled(self, before: float, limit: int) -> list[KeptRow]:
        """Forget rows that were settled before a moment, those that were settled first; which they were."""
        places = [*islice(takewhile(lambda place: place[0] < before, self._settled.above()), limit)]
        taken = [self._rows.pop(id_) for _, id_ in places]
        for kept in taken:
            self._leave(kept.row, kept.endpoint)
        return taken

    def _put(self, kept: KeptRow, row: DeliveryRow) -> None:
        self._leave(kept.row, kept.endpoint)
        kept.row = row
        self._enter(row, kept.endpoint)

    def _enter(self, row: DeliveryRow, endpoint: MemoryEndpoint) -> None:
        endpoint.states[row.state].add(row.id)
        if row.due_at is not None:
            endpoint.due.add((row.due_at, row.id))
        if row.settled_at is not None:
            self._settled.add((row.settled_at, row.id))
        if row.claimed_until is not None:
            endpoint.claimed[row.id] = row.claimed_until

    def _leave(self, row: DeliveryRow, endpoint: MemoryEndpoint) -> None:
        endpoint.states[row.state].remove(row.id)
        if row.due_at is not None:
            endpoint.due.remove((row.due_at, row.id))
        if row.settled_at is not None:
            self._settled.remove((row.settled_at, row.id))
        endpoint.claimed.pop(row.id, None)


def new_row(id_: int, publication: Publication, endpoint: EndpointInfo) -> DeliveryRow:
    """The row of an endpoint, as it is published."""
    event, now = publication.event, publication.now
    is_disabled = endpoint.state is EndpointState.DISABLED
    return DeliveryRow(
        id=id_,
        event_uuid=event.uuid,
        event_name=event.name,
        endpoint=endpoint.name,
        state=DeliveryState.FAILED if is_disabled else DeliveryState.PENDING,
        reason=FailureReason.ENDPOINT_DISABLED if is_disabled else None,
        attempts=0,
        total_attempts=0,
        resends=0,
        created_at=now,
        due_at=None if is_disabled else now,
        deadline_at=publication.deadline_at,
        settled_at=now if is_disabled else None,
        claimed_until=None,
        holder=None,
        version=1,
    )


def _fits(wanted: DeliveryFilter, row: DeliveryRow) -> bool:
    """Whether a filter wants a row."""
    return (
        (not wanted.states or row.state in wanted.states)
        and wanted.endpoint in (None, row.endpoint)
        and (wanted.event_name is None or fits(wanted.event_name, row.event_name))
        and wanted.event_uuid in (None, row.event_uuid)
        and wanted.reason in (None, row.reason)
        and (wanted.due_before is None or (row.due_at is not None and row.due_at < wanted.due_before))
        and (wanted.published_after is None or row.created_at >= wanted.published_after)
        and (wanted.published_before is None or row.created_at < wanted.published_before)
    )
