"""What a store of deliveries keeps, in dictionaries and loops: slow, and easy to believe."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from eventpipe.stores.delivery_values import (
    MAX_ATTEMPTS_KEPT,
    OPEN,
    AttemptRecord,
    Change,
    DeliveryFilter,
    DeliveryRow,
    DeliveryState,
    DueEndpoint,
    EndpointInfo,
    EndpointState,
    EndpointStats,
    FailureReason,
    Place,
    Publication,
    Published,
)


@dataclass(eq=False)
class ModelEndpoint:
    info: EndpointInfo
    private: bytes | None


@dataclass(eq=False)
class ModelRow:
    row: DeliveryRow
    endpoint: ModelEndpoint
    attempts: list[AttemptRecord] = field(default_factory=list)


@dataclass(eq=False)
class ModelEvent:
    publication: Publication
    rows: dict[str, int]
    went_somewhere: bool

    @property
    def uuid(self) -> str:
        return self.publication.event.uuid


@dataclass(eq=False)
class ModelDeliveries:
    """Each method is that of the store, and says what it answers."""

    endpoints: list[ModelEndpoint] = field(default_factory=list)
    rows: dict[int, ModelRow] = field(default_factory=dict)
    events: list[ModelEvent] = field(default_factory=list)
    last_id: int = 0

    def current(self, name: str) -> ModelEndpoint | None:
        for endpoint in self.endpoints:
            if endpoint.info.name == name and endpoint.info.state is not EndpointState.REMOVED:
                return endpoint
        return None

    def put(self, info: EndpointInfo, private: bytes | None) -> EndpointInfo:
        there = self.current(info.name)
        if there is not None:
            old = there.info
            there.private = private
            there.info = replace(
                info,
                created_at=old.created_at,
                state=old.state,
                state_reason=old.state_reason,
                version=old.version + 1,
            )
            return there.info
        taken = {one.info.created_at for one in self.endpoints if one.info.name == info.name}
        while info.created_at in taken:
            info = replace(info, created_at=math.nextafter(info.created_at, math.inf))
        self.endpoints.append(ModelEndpoint(info, private))
        return info

    def set_state(self, name: str, state: EndpointState, reason: str | None) -> EndpointInfo:
        there = self.current(name)
        assert there is not None
        if there.info.state is not state:
            there.info = replace(there.info, state=state, state_reason=reason, version=there.info.version + 1)
            self._forget()
        return there.info

    def known(self, publication: Publication) -> ModelEvent | None:
        for event in self.events:
            if event.uuid == publication.event.uuid:
                return event
        for event in self.events:
            if publication.dedupe_key is not None and event.publication.dedupe_key == publication.dedupe_key:
                return event
        return None

    def unknown_endpoint(self, publications: list[Publication]) -> bool:
        """Whether one of them would ask for an endpoint that there is not."""
        trial = ModelDeliveries(self.endpoints, {}, [*self.events])
        for publication in publications:
            if trial.known(publication) is None:
                if any(self.current(name) is None for name in publication.endpoints):
                    return True
                trial.events.append(ModelEvent(publication, {}, False))
        return False

    def publish(self, publication: Publication) -> Published:
        event = self.known(publication)
        if event is not None:
            return Published(event.uuid, dict(event.rows), False)
        event = ModelEvent(publication, {}, bool(publication.endpoints))
        self.events.append(event)
        for name in dict.fromkeys(publication.endpoints):
            endpoint = self.current(name)
            assert endpoint is not None
            self.last_id += 1
            event.rows[name] = self.last_id
            is_off = endpoint.info.state is EndpointState.DISABLED
            self.rows[self.last_id] = ModelRow(
                DeliveryRow(
                    id=self.last_id,
                    event_uuid=event.uuid,
                    event_name=publication.event.name,
                    endpoint=name,
                    state=DeliveryState.FAILED if is_off else DeliveryState.PENDING,
                    reason=FailureReason.ENDPOINT_DISABLED if is_off else None,
                    attempts=0,
                    total_attempts=0,
                    resends=0,
                    created_at=publication.now,
                    due_at=None if is_off else publication.now,
                    deadline_at=publication.deadline_at,
                    settled_at=publication.now if is_off else None,
                    claimed_until=None,
                    holder=None,
                    version=1,
                ),
                endpoint,
            )
        return Published(event.uuid, dict(event.rows), True)

    def due(self) -> list[DueEndpoint]:
        return [
            DueEndpoint(endpoint.info, min(moments))
            for endpoint in self._sorted()
            if (moments := [row.due_at for row in self._of(endpoint) if row.due_at is not None])
        ]

    def claim(
        self, endpoint: ModelEndpoint, holder: str, cutoff: float, after: Place | None, now: float, until: float,
        limit: int,
    ) -> list[DeliveryRow]:  # fmt: skip
        due = sorted(Place(row.due_at, row.id) for row in self._of(endpoint) if row.due_at is not None)
        claimed: list[DeliveryRow] = []
        for place in due:
            kept = self.rows[place.id]
            is_free = kept.row.claimed_until is None or kept.row.claimed_until <= now
            if is_free and place.due_at <= cutoff and (after is None or place > after) and len(claimed) < limit:
                kept.row = replace(kept.row, claimed_until=until, holder=holder, version=kept.row.version + 1)
                claimed.append(kept.row)
        return claimed

    def release(self, row: DeliveryRow) -> bool:
        kept = self.rows.get(row.id)
        if kept is None or kept.row.version != row.version or kept.row.claimed_until is None:
            return False
        kept.row = replace(kept.row, claimed_until=None, holder=None, version=kept.row.version + 1)
        return True

    def change(self, change: Change) -> bool:
        kept = self.rows.get(change.id)
        if kept is None or kept.row.version != change.version:
            return False
        kept.row = replace(
            kept.row,
            state=change.state,
            reason=change.reason,
            attempts=change.attempts,
            due_at=change.due_at,
            deadline_at=change.deadline_at,
            settled_at=change.settled_at,
            claimed_until=None,
            holder=None,
            resends=kept.row.resends + (1 if change.is_resend else 0),
            version=kept.row.version + 1,
        )
        if change.attempt is not None:
            kept.attempts = [*kept.attempts, change.attempt][-MAX_ATTEMPTS_KEPT:]
            number, status, error = change.attempt.number, change.attempt.status, change.attempt.error
            kept.row = replace(kept.row, total_attempts=number, last_status=status, last_error=error)
        return True

    def rescue(self, now: float, claimed_before: float, due_before: float, unattempted_after: float) -> int:
        count = 0
        for kept in self.rows.values():
            row = kept.row
            is_held = row.claimed_until is not None and row.claimed_until >= claimed_before
            is_late = row.due_at is not None and row.due_at >= due_before
            if row.due_at is not None and row.due_at > unattempted_after and not row.attempts:
                is_late = is_late or is_held or row.claimed_until is None or row.claimed_until <= now
            if is_held:
                kept.row = replace(kept.row, claimed_until=None, holder=None)
            if is_late:
                kept.row = replace(kept.row, due_at=now)
            if is_held or is_late:
                kept.row = replace(kept.row, version=row.version + 1)
                count += 1
        return count

    def find(self, wanted: DeliveryFilter) -> list[DeliveryRow]:
        """Where names are not patterns."""
        found = [kept.row for _, kept in sorted(self.rows.items(), reverse=True)]
        if wanted.states:
            found = [row for row in found if row.state in wanted.states]
        if wanted.endpoint is not None:
            found = [row for row in found if row.endpoint == wanted.endpoint]
        if wanted.event_name is not None:
            found = [row for row in found if row.event_name == wanted.event_name]
        if wanted.event_uuid is not None:
            found = [row for row in found if row.event_uuid == wanted.event_uuid]
        if wanted.reason is not None:
            found = [row for row in found if row.reason is wanted.reason]
        if wanted.due_before is not None:
            found = [row for row in found if row.due_at is not None and row.due_at < wanted.due_before]
        if wanted.published_after is not None:
            found = [row for row in found if row.created_at >= wanted.published_after]
        if wanted.published_before is not None:
            found = [row for row in found if row.created_at < wanted.published_before]
        return found

    def newest(self) -> list[str]:
        return [uuid for _, uuid in sorted(((one.publication.now, one.uuid) for one in self.events), reverse=True)]

    def stats(self, now: float) -> list[EndpointStats]:
        answer: list[EndpointStats] = []
        for endpoint in self._sorted():
            rows = [*self._of(endpoint)]
            claimed = sum(row.claimed_until is not None and row.claimed_until > now for row in rows)
            first = min((row.due_at for row in rows if row.due_at is not None), default=None)
            answer.append(EndpointStats(endpoint.info, Counter(row.state for row in rows), first, claimed))
        return answer

    def purge(self, before: float, limit: int) -> int:
        settled = sorted(
            (kept.row.settled_at, id_)
            for id_, kept in self.rows.items()
            if kept.row.settled_at is not None and kept.row.settled_at < before
        )[:limit]
        for _, id_ in settled:
            row = self.rows.pop(id_).row
            (event,) = [event for event in self.events if event.uuid == row.event_uuid]
            del event.rows[row.endpoint]
        alone = sorted(
            (event.publication.now, event.uuid)
            for event in self.events
            if not event.went_somewhere and event.publication.now < before
        )[: limit - len(settled)]
        over = {uuid for _, uuid in alone}
        self.events = [
            event for event in self.events if event.uuid not in over and (event.rows or not event.went_somewhere)
        ]
        self._forget()
        return len(settled) + len(alone)

    def check(self) -> None:
        """What holds of all rows, whatever was done."""
        for kept in self.rows.values():
            assert (kept.row.due_at is None) == (kept.row.state not in OPEN)
            assert (kept.row.settled_at is None) == (kept.row.state in OPEN)

    def _of(self, endpoint: ModelEndpoint) -> Iterator[DeliveryRow]:
        return (kept.row for kept in self.rows.values() if kept.endpoint is endpoint)

    def _sorted(self) -> list[ModelEndpoint]:
        return sorted(self.endpoints, key=lambda endpoint: (endpoint.info.name, endpoint.info.created_at))

    def _forget(self) -> None:
        with_rows = {id(kept.endpoint) for kept in self.rows.values()}
        self.endpoints = [
            endpoint
            for endpoint in self.endpoints
            if endpoint.info.state is not EndpointState.REMOVED or id(endpoint) in with_rows
        ]
