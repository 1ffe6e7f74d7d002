"""The values that travel: what a caller describes, what was captured, what is sent, what the caller keeps."""

from __future__ import annotations

import datetime
import uuid as uuidlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import orjson

from eventpipe.models import EventModel
from eventpipe.outcomes import Settlement
from eventpipe.unfolding import unfolded
from eventpipe.vocabulary import Vocabulary

Overflow = Literal["drop_newest", "drop_oldest", "wait", "raise", "spill"]
Durability = Literal["memory", "process", "power"]
SpoolOverflow = Literal["drop_newest", "drop_oldest"]
SpoolReplay = Literal["behind", "before"]
DistinctId = str | int | uuidlib.UUID
Properties = Mapping[str, Any]  # Any: whatever JSON can carry, or the encoder can turn into it

# The lanes that codecs know by name: imports of old events, and events of language models, which are larger.
HISTORICAL = "historical"
AI = "ai"

# The envelope, encoded once. The two closing braces are left off, so that a codec can append members to the
# properties or to the event by joining bytes. Offsets are fixed because the id and the stamp have a fixed width.
#   {"uuid":"…36…","timestamp":"…27…","distinct_id":…,"event":…,"properties":{…
UUID_AT = slice(9, 45)
TIMESTAMP_AT = slice(60, 87)
DISTINCT_ID_AT = 103
CLOSING = b"}}"
NO_PROPERTIES = b"{"[0]  # the last byte of an event without properties


@dataclass(slots=True)
class Event(Vocabulary):
    """An event as its caller describes it; takes the same arguments as ``capture()``.

    ``Event.identify()``, ``group()``, ``alias()``, ``page()`` and ``screen()`` make those that analytics has names for.

    Attributes:
        event: The event's name, not empty. A typed event, or the class of one, may be given for it, and becomes a name
            and properties at once.
        distinct_id: Whom or what it is about; numbers and UUIDs become strings. ``None``: nobody in particular.
        properties: What is known of it, keys to JSON-like values. ``None`` means none.
        timestamp: When it happened; a naive datetime is taken as UTC. ``None`` means now.
        uuid: Its id. ``None`` means a new UUIDv7.
        headers: Routing and tracing values that travel beside the properties. ``None`` means none.
        key: Partition, shard and ordering key. ``None`` means ``distinct_id``.
        lane: A path to the far end with limits of its own, such as ``"historical"``. ``None`` means the usual one.
        overflow: What happens when there is no room. ``None`` means the client's option.
        durability: What the event must survive. ``None`` means the client's option.
    """

    event: str
    # Not in a repr, which gets into logs: whom it is about, and what is known of it.
    distinct_id: DistinctId | None = field(default=None, repr=False)
    properties: Properties | None = field(default=None, repr=False)
    timestamp: datetime.datetime | None = None
    uuid: str | uuidlib.UUID | None = None
    headers: Mapping[str, str] | None = field(default=None, repr=False)
    key: str | None = field(default=None, repr=False)
    lane: str | None = None
    overflow: Overflow | None = None
    durability: Durability | None = None

    if TYPE_CHECKING:

        def __init__(
            self,
            event: str | EventModel | type[EventModel],
            distinct_id: DistinctId | None = None,
            properties: Properties | None = None,
            timestamp: datetime.datetime | None = None,
            uuid: str | uuidlib.UUID | None = None,
            headers: Mapping[str, str] | None = None,
            key: str | None = None,
            lane: str | None = None,
            overflow: Overflow | None = None,
            durability: Durability | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        if type(self.event) is not str:
            unfold = unfolded(self.event, self.properties)
            if unfold is not None:
                self.event, self.properties = unfold


Capturable = str | Event | EventModel | type[EventModel]
"""What ``capture()`` takes for an event."""


class Extra(NamedTuple):
    """The rarely set parts of a captured event.

    Attributes:
        headers: Values that travel beside the properties.
        key: The key that the caller gave, or ``None``.
        lifted: Property names that a codec wants outside the properties, each with its value as JSON bytes.
    """

    headers: Mapping[str, str] | None = None
    key: str | None = None
    lifted: Mapping[str, bytes] | None = None

    @property
    def size(self) -> int:
        """Bytes held, as UTF-8."""
        headers = sum(len(name.encode()) + len(value.encode()) for name, value in (self.headers or {}).items())
        lifted = sum(len(name.encode()) + len(value) for name, value in (self.lifted or {}).items())
        return headers + lifted + len((self.key or "").encode())


class CapturedEvent:
    """An event as it was captured: encoded once, never changed, shared by all attempts and sinks.

    Everything but the bytes and the name is decoded when asked for. Few slots, because memory per queued event is part
    of the product (``benchmarks/`` measures it).

    Attributes:
        name: The event's name, kept apart because every event is counted by it.
        data: The JSON envelope without its two closing braces; see ``UUID_AT`` and its neighbours.
        lane: The lane that the caller named, or ``None``.
        extra: Headers, key and lifted properties, or ``None`` when there are none.
        captured_at: The moment of capture on the loop clock, to the millisecond.
        settlement: What became of it; ``None`` while it is pending and nobody waits for it.
        origin: Where it was captured, as an ``Instrument`` says; not set where none is attached.
        ticket: Where it is on disk, as the spool numbers it; not set where it was never written.
    """

    __slots__ = ("captured_at", "data", "extra", "lane", "name", "origin", "settlement", "ticket")

    origin: object
    ticket: int

    def __init__(self, name: str, data: bytes, lane: str | None, extra: Extra | None, captured_at: float) -> None:
        self.name = name
        self.data = data
        self.lane = lane
        self.extra = extra
        self.captured_at = captured_at
        self.settlement: Settlement | Pending | None = None

    @property
    def held(self) -> int:
        """Bytes that wait in memory: the envelope as it is kept, and what is kept beside it.

        Where every event passes, ``len(event.data) if event.extra is None else event.held`` stands instead, which costs
        a third.
        """
        return len(self.data) + (0 if self.extra is None else self.extra.size)

    @property
    def size(self) -> int:
        """Bytes of the whole JSON envelope, and of what is kept beside it."""
        return self.held + len(CLOSING)

    @property
    def json(self) -> bytes:
        """The whole envelope, properties and lifted properties included."""
        lifted = self.extra.lifted if self.extra else None
        if not lifted:
            return self.data + CLOSING
        members = b",".join(orjson.dumps(name) + b":" + value for name, value in lifted.items())
        comma = b"" if self.data[-1] == NO_PROPERTIES else b","
        return self.data + comma + members + CLOSING

    @property
    def uuid(self) -> str:
        """The event's id."""
        return self.data[UUID_AT].decode()

    @property
    def timestamp(self) -> datetime.datetime:
        """When it happened, in UTC."""
        return datetime.datetime.fromisoformat(self.data[TIMESTAMP_AT].decode())

    @property
    def event(self) -> str:
        """The event's name."""
        return self.name

    @property
    def distinct_id(self) -> str | None:
        """Whom it is about, or ``None``."""
        value: str | None = self._decoded()["distinct_id"]
        return value

    @property
    def properties(self) -> dict[str, Any]:  # Any: JSON
        """The properties, lifted ones included, as a new dictionary at each call."""
        value: dict[str, Any] = orjson.loads(self.json)["properties"]
        return value

    @property
    def lifted(self) -> dict[str, Any]:  # Any: JSON
        """The properties that a codec wanted outside, decoded."""
        lifted = (self.extra.lifted if self.extra else None) or {}
        return {name: orjson.loads(value) for name, value in lifted.items()}

    @property
    def headers(self) -> Mapping[str, str]:
        """Values that travel beside the properties."""
        return (self.extra.headers if self.extra else None) or {}

    @property
    def key(self) -> str | None:
        """Partition, shard and ordering key: the caller's, else ``distinct_id``."""
        return (self.extra.key if self.extra else None) or self.distinct_id

    def _decoded(self) -> dict[str, Any]:  # Any: JSON
        value: dict[str, Any] = orjson.loads(self.data + CLOSING)
        return value

    def __repr__(self) -> str:
        return f"<CapturedEvent {self.uuid}>"  # the id only: payloads stay out of logs


class Pending:
    """A pending event's place for whoever waits for it, or for the sinks that have not answered yet.

    Attributes:
        is_shared: Whether many events have the same one, and the same answer leads all of them to the same next one.
    """

    is_shared = False

    def settle(self, event: CapturedEvent, settlement: Settlement) -> None:
        """Take one sink's settlement; put the final one into ``event.settlement``."""
        raise AssertionError("implemented by transport.receipts")


@dataclass(slots=True, eq=False)
class Batch:
    """Events that are sent together under one id.

    Attributes:
        id: The same over all attempts of the batch.
        lane: The lane that all its events share; ``None`` when the sink has no lanes.
        events: In capture order, never empty.
        created_at: Wall clock, seconds since the epoch; the same over all attempts.
        attempt: The running attempt, counted from 1; 0 before the first.
    """

    id: str
    lane: str | None
    events: tuple[CapturedEvent, ...]
    created_at: float
    attempt: int = 0

    @property
    def size(self) -> int:
        """Encoded bytes of its events."""
        return sum(event.size for event in self.events)
