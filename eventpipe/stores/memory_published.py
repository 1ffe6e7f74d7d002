"""Published events in memory, by id, by dedupe key, and in the order of publishing."""

from __future__ import annotations

from collections.abc import Iterator

from eventpipe.stores.delivery_values import PAYLOAD_VERSION, Publication, PublishedEvent
from eventpipe.stores.memory_order import Ordered


class MemoryPublished:
    """What was published and is kept, and which rows each event has; takes what it is told, and never waits."""

    def __init__(self) -> None:
        self._events: dict[str, PublishedEvent] = {}
        self._rows: dict[str, dict[str, int]] = {}  # ids by endpoint, by the id of the event
        self._keys: dict[str, str] = {}  # ids of events by dedupe key
        self._order: Ordered[tuple[float, str]] = Ordered()
        self._alone: Ordered[tuple[float, str]] = Ordered()  # those that never had a row

    def known(self, publication: Publication) -> str | None:
        """The id of what was published before, if it was."""
        uuid = publication.event.uuid
        if uuid in self._events:
            return uuid
        return None if publication.dedupe_key is None else self._keys.get(publication.dedupe_key)

    def add(self, publication: Publication, rows: dict[str, int]) -> PublishedEvent:
        """Keep an event that is not known, and the ids of its rows by endpoint."""
        event, key, now = publication.event, publication.dedupe_key, publication.now
        kept = PublishedEvent(event.uuid, event.name, now, key, PAYLOAD_VERSION, event)
        self._events[kept.uuid] = kept
        self._rows[kept.uuid] = dict(rows)
        if key is not None:
            self._keys[key] = kept.uuid
        self._order.add((now, kept.uuid))
        if not rows:
            self._alone.add((now, kept.uuid))
        return kept

    def get(self, uuid: str) -> PublishedEvent | None:
        """One of them."""
        return self._events.get(uuid)

    def rows(self, uuid: str) -> dict[str, int]:
        """The ids of an event's rows by endpoint; of one that is not kept, none."""
        return dict(self._rows.get(uuid, ()))

    def newest(self, after: str | None) -> Iterator[PublishedEvent]:
        """From the newest on, behind one if it is kept; what is kept must not change meanwhile."""
        place = None if after is None else self._events.get(after)
        keys = self._order.below(None if place is None else (place.published_at, place.uuid))
        return (self._events[uuid] for _, uuid in keys)

    def remove_row(self, uuid: str, endpoint: str) -> None:
        """Forget a row, and its event with the last one."""
        rows = self._rows[uuid]
        del rows[endpoint]
        if not rows:
            self._remove(uuid)

    def remove_alone(self, before: float, limit: int) -> int:
        """Forget events that never had a row and were published before a moment, the oldest first; how many."""
        over: list[str] = []
        for published_at, uuid in self._alone.above():
            if published_at >= before or len(over) >= limit:
                break
            over.append(uuid)
        for uuid in over:
            self._alone.remove((self._events[uuid].published_at, uuid))
            self._remove(uuid)
        return len(over)

    def _remove(self, uuid: str) -> None:
        event = self._events.pop(uuid)
        del self._rows[uuid]
        self._order.remove((event.published_at, uuid))
        if event.dedupe_key is not None:
            del self._keys[event.dedupe_key]
