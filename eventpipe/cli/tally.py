"""What a collector has seen so far, in plain numbers of bounded size."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from eventpipe.cli.glance import glance
from eventpipe.cli.wires.base import Taken

MAX_NAMES = 1000  # names counted one by one; a sender that puts ids into names must not fill the memory
MAX_NAME = 200  # characters of a name by which it is counted, for the same reason
OTHER_NAMES = "(other)"
MAX_LATEST = 5  # events shown themselves


@dataclass(frozen=True, slots=True)
class CollectorStatistics:
    """A snapshot of what a collector has seen.

    Attributes:
        requests: Requests that began, those that met a fault included.
        batches: Requests whose events were taken.
        events: Events taken, each time they came.
        body_bytes: Size of the taken bodies, inflated.
        refused: Requests answered with an error because of what they held.
        failed: Requests answered with an error on purpose.
        resets: Connections reset on purpose.
        stalls: Requests answered late on purpose.
        duplicates: Events that had come before; 0 unless ids are remembered.
        formats: Events by the wire format that they came in.
        names: Events by the first 200 characters of their name; names beyond the first thousand are counted together.
        latest: The last five events, the newest last, a line of at most 160 characters each.
        last_error: The latest refusal; ``None`` when there was none.
    """

    requests: int = 0
    batches: int = 0
    events: int = 0
    body_bytes: int = 0
    refused: int = 0
    failed: int = 0
    resets: int = 0
    stalls: int = 0
    duplicates: int = 0
    formats: Mapping[str, int] = field(default_factory=dict)
    names: Mapping[str, int] = field(default_factory=dict)
    latest: Sequence[str] = ()
    last_error: str | None = None


class Tally:
    """Counts what arrives."""

    def __init__(self, *, remember_ids: bool) -> None:
        self.requests = 0
        self.batches = 0
        self.events = 0
        self.body_bytes = 0
        self.refused = 0
        self.failed = 0
        self.resets = 0
        self.stalls = 0
        self.duplicates = 0
        self.formats: Counter[str] = Counter()
        self.names: Counter[str] = Counter()
        self.latest: deque[str] = deque(maxlen=MAX_LATEST)
        self.last_error: str | None = None
        self.ids: Counter[str] | None = Counter() if remember_ids else None

    def take(self, taken: Taken, body_bytes: int) -> None:
        """Count the events of one request."""
        self.batches += 1
        self.events += len(taken.events)
        self.formats[taken.format] += len(taken.events)
        self.body_bytes += body_bytes
        for event in taken.events:
            name = event["event"][:MAX_NAME]
            self.names[name if name in self.names or len(self.names) < MAX_NAMES else OTHER_NAMES] += 1
        self.latest.extend(map(glance, taken.events[-MAX_LATEST:]))
        if self.ids is not None:
            for event in taken.events:
                uuid = event.get("uuid")
                if isinstance(uuid, str) and uuid.isprintable():  # ids are listed one a line
                    self.duplicates += uuid in self.ids
                    self.ids[uuid] += 1

    def refuse(self, status: int, detail: str) -> None:
        """Count a request that was refused."""
        self.refused += 1
        self.last_error = f"{status}: {detail}"

    def snapshot(self) -> CollectorStatistics:
        """The numbers as they are now."""
        return CollectorStatistics(
            requests=self.requests,
            batches=self.batches,
            events=self.events,
            body_bytes=self.body_bytes,
            refused=self.refused,
            failed=self.failed,
            resets=self.resets,
            stalls=self.stalls,
            duplicates=self.duplicates,
            formats=dict(self.formats),
            names=dict(self.names),
            latest=tuple(self.latest),
            last_error=self.last_error,
        )
