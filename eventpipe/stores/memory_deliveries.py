"""Deliveries in the memory of their process."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice

import orjson

from eventpipe.stores.delivery_values import (
    AttemptRecord,
    Change,
    ClaimedRow,
    DeliveryFilter,
    DeliveryRow,
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
from eventpipe.stores.memory_endpoints import MemoryEndpoint, MemoryEndpoints
from eventpipe.stores.memory_published import MemoryPublished
from eventpipe.stores.memory_rows import MemoryRows, new_row
from eventpipe.stores.names import fits


@dataclass(frozen=True, slots=True)
class KeptDeliveries:
    """What is kept while a store is open and while it is closed.

    Attributes:
        endpoints: Those that were not removed, and those that are kept for their rows.
        rules: By name, each without its conditions, and these as JSON, so that nobody else can change them.
        events: What was published.
        rows: The deliveries.
    """

    endpoints: MemoryEndpoints = field(default_factory=MemoryEndpoints)
    rules: dict[str, tuple[Rule, bytes]] = field(default_factory=dict)
    events: MemoryPublished = field(default_factory=MemoryPublished)
    rows: MemoryRows = field(default_factory=MemoryRows)


class MemoryDeliveries:
    """Keeps deliveries as ``DeliveryStore`` asks for; what each method promises is said there.

    Nothing suspends, so that each call is done as a whole, or not begun. Nothing is bounded but by ``purge()``: rows
    that are settled cost memory, and no time of a pass.

    Args:
        kept: What is kept.
        check_open: Raises ``ClosedError`` unless the store is open.
        moved: Moves the version of ``DELIVERIES``.
        now: Tells the wall time.
    """

    def __init__(
        self,
        kept: KeptDeliveries,
        *,
        check_open: Callable[[], None],
        moved: Callable[[], None],
        now: Callable[[], float],
    ) -> None:
        self._endpoints = kept.endpoints
        self._rules = kept.rules
        self._events = kept.events
        self._rows = kept.rows
        self._check_open = check_open
        self._moved = moved
        self._now = now

    # -- endpoints and rules ------------------------------------------------------------------------------------------

    async def put_endpoint(self, endpoint: EndpointInfo, private: bytes | None, *, replace: bool) -> EndpointInfo:
        """See ``DeliveryStore``."""
        self._check_open()
        kept = self._endpoints.put(endpoint, private, may_replace=replace)
        self._moved()
        return kept

    async def change_endpoint(self, endpoint: EndpointInfo, private: bytes | None) -> EndpointInfo | None:
        """See ``DeliveryStore``."""
        self._check_open()
        kept = self._endpoints.change(endpoint, private)
        if kept is not None:
            self._moved()
        return kept

    async def set_endpoint_state(self, name: str, state: EndpointState, reason: str | None) -> EndpointInfo:
        """See ``DeliveryStore``."""
        self._check_open()
        endpoint = self._endpoints.current(name)
        if endpoint.info.state is not state:
            self._endpoints.set_state(endpoint, state, reason)
            self._moved()
        return endpoint.info

    async def endpoints(self, name: str | None = None) -> list[EndpointInfo]:
        """See ``DeliveryStore``."""
        self._check_open()
        return self._endpoints.infos(name)

    async def private(self, name: str) -> bytes | None:
        """See ``DeliveryStore``."""
        self._check_open()
        return self._endpoints.current(name).private

    async def put_rule(self, rule: Rule) -> None:
        """See ``DeliveryStore``."""
        self._check_open()
        bare = Rule(rule.name, tuple(rule.events), tuple(rule.endpoints))
        self._rules[rule.name] = (bare, orjson.dumps(dict(rule.where)))
        self._moved()

    async def remove_rule(self, name: str) -> bool:
        """See ``DeliveryStore``."""
        self._check_open()
        was_there = self._rules.pop(name, None) is not None
        if was_there:
            self._moved()
        return was_there

    async def rules(self) -> list[Rule]:
        """See ``DeliveryStore``."""
        self._check_open()
        return [
            Rule(name, bare.events, bare.endpoints, orjson.loads(where))
            for name, (bare, where) in sorted(self._rules.items())
        ]

    # -- publishing ---------------------------------------------------------------------------------------------------

    async def publish(self, publications: Sequence[Publication]) -> list[Published]:
        """See ``DeliveryStore``."""
        self._check_open()
        published: list[Published] = []
        is_any_due = False
        for publication, endpoints in zip(publications, self._meant(publications), strict=True):
            uuid = self._events.known(publication)
            if uuid is None:
                uuid = publication.event.uuid
                ids = {endpoint.info.name: id_ for id_, endpoint in enumerate(endpoints, self._rows.next_id)}
                event = self._events.add(publication, ids)
                for endpoint in endpoints:
                    row = new_row(self._rows.next_id, publication, endpoint.info)
                    is_any_due |= row.due_at is not None
                    self._rows.add(row, endpoint, event)
                published.append(Published(uuid, ids, is_new=True))
            else:
                published.append(Published(uuid, self._events.rows(uuid), is_new=False))
        if is_any_due:
            self._moved()
        return published

    def _meant(self, publications: Sequence[Publication]) -> list[list[MemoryEndpoint]]:
        """The endpoints of each; of what is known already, or will be by then, none: it gets no rows.

        Raises:
            UnknownEndpointError: There is no such endpoint.
        """
        uuids: set[str] = set()
        keys: set[str | None] = set()
        meant: list[list[MemoryEndpoint]] = []
        for publication in publications:
            uuid, key = publication.event.uuid, publication.dedupe_key
            if self._events.known(publication) is not None or uuid in uuids or (key is not None and key in keys):
                meant.append([])
                continue
            uuids.add(uuid)
            keys.add(key)
            meant.append([self._endpoints.current(name) for name in dict.fromkeys(publication.endpoints)])
        return meant

    # -- passes -------------------------------------------------------------------------------------------------------

    async def due(self) -> list[DueEndpoint]:
        """See ``DeliveryStore``."""
        self._check_open()
        return [
            DueEndpoint(endpoint.info, first[0])
            for endpoint in self._endpoints
            if (first := endpoint.due.first()) is not None
        ]

    async def claim(
        self, endpoint: EndpointInfo, *, holder: str, cutoff: float, after: Place | None, now: float, until: float,
        limit: int,
    ) -> list[ClaimedRow]:  # fmt: skip
        """See ``DeliveryStore``."""
        self._check_open()
        kept = self._endpoints.same(endpoint)
        if kept is None or kept.info.version != endpoint.version:
            return []
        return self._rows.claim(kept, holder, cutoff, after, now, until, limit)

    async def release(self, rows: Sequence[DeliveryRow]) -> int:
        """See ``DeliveryStore``."""
        self._check_open()
        return sum([self._rows.release(row) for row in rows])

    async def change(self, changes: Sequence[Change]) -> list[bool]:
        """See ``DeliveryStore``."""
        self._check_open()
        were_done = [self._rows.change(change) for change in changes]
        if any(was_done and change.is_resend for change, was_done in zip(changes, were_done, strict=True)):
            self._moved()
        return were_done

    async def rescue(
        self, *, now: float, claimed_before: float, due_before: float, unattempted_after: float = math.inf
    ) -> int:
        """See ``DeliveryStore``."""
        self._check_open()
        count = sum(
            self._rows.rescue(endpoint, now, claimed_before, due_before, unattempted_after)
            for endpoint in self._endpoints
        )
        if count:
            self._moved()
        return count

    # -- looking ------------------------------------------------------------------------------------------------------

    async def rows(self, wanted: DeliveryFilter, *, after: int | None = None, limit: int = 100) -> list[DeliveryRow]:
        """See ``DeliveryStore``."""
        self._check_open()
        ids = None if wanted.event_uuid is None else sorted(self._events.rows(wanted.event_uuid).values())
        endpoints = [endpoint for endpoint in self._endpoints if wanted.endpoint in (None, endpoint.info.name)]
        return [*islice(self._rows.find(wanted, endpoints, ids, after), limit)]

    async def row(self, id: int) -> DeliveryRow | None:  # noqa: A002  # the word of everybody who asks for one
        """See ``DeliveryStore``."""
        self._check_open()
        kept = self._rows.get(id)
        return None if kept is None else kept.row

    async def attempts(self, id: int) -> list[AttemptRecord]:  # noqa: A002  # as above
        """See ``DeliveryStore``."""
        self._check_open()
        kept = self._rows.get(id)
        return [] if kept is None else [*kept.attempts]

    async def event(self, uuid: str) -> PublishedEvent | None:
        """See ``DeliveryStore``."""
        self._check_open()
        return self._events.get(uuid)

    async def events(
        self, *, name: str | None = None, after: str | None = None, limit: int = 100
    ) -> list[PublishedEvent]:
        """See ``DeliveryStore``."""
        self._check_open()
        wanted = (event for event in self._events.newest(after) if name is None or fits(name, event.name))
        return [dataclasses.replace(event, event=None) for event in islice(wanted, limit)]

    async def stats(self) -> list[EndpointStats]:
        """See ``DeliveryStore``."""
        self._check_open()
        now = self._now()
        return [endpoint.stats(now) for endpoint in self._endpoints]

    async def purge(self, *, before: float, limit: int) -> int:
        """See ``DeliveryStore``."""
        self._check_open()
        taken = self._rows.take_settled(before, limit)
        for kept in taken:
            self._events.remove_row(kept.row.event_uuid, kept.row.endpoint)
            self._endpoints.forget_if_over(kept.endpoint)
        return len(taken) + self._events.remove_alone(before, limit - len(taken))
