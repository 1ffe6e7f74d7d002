"""What travels between deliveries and their store: endpoints, rules, published events, rows, attempts, changes.

Moments are seconds since the epoch on the wall clock, because other processes read them; durations are seconds.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Literal, NamedTuple

from eventpipe.events import CapturedEvent

DELIVERIES: Final = "deliveries:"
"""The subject whose version moves when a row becomes due at once, or an endpoint or a rule changes."""

PAYLOAD_VERSION: Final = 1
"""How the events of this release are packed; one of another version is kept, and handed out as a fault."""

MAX_ATTEMPTS_KEPT: Final = 20
"""Attempts of one delivery that are kept, the newest."""


class DeliveryState(StrEnum):
    """Where a delivery is. Whether somebody works on it is no state: see ``DeliveryRow.claimed_until``."""

    PENDING = "pending"  # never attempted
    SENDING = "sending"  # attempted, not settled
    SUCCESS = "success"
    FAILED = "failed"
    RESENDING = "resending"  # settled, or attempted, and asked for again


OPEN: Final = frozenset({DeliveryState.PENDING, DeliveryState.SENDING, DeliveryState.RESENDING})
"""The states of rows that are due at some time; the others are final unless somebody asks for a resend."""


class FailureReason(StrEnum):
    """Why a delivery failed. The list is closed; ``docs/deliveries.md`` explains each."""

    REJECTED = "rejected"
    EXHAUSTED = "exhausted"
    EXPIRED = "expired"
    ENDPOINT_GONE = "endpoint_gone"
    ENDPOINT_DISABLED = "endpoint_disabled"
    ENDPOINT_REMOVED = "endpoint_removed"
    UNREADABLE = "unreadable"
    CANCELLED = "cancelled"


class EndpointState(StrEnum):
    """Whether an endpoint is delivered to."""

    ACTIVE = "active"
    PAUSED = "paused"  # its rows wait
    DISABLED = "disabled"  # its rows fail, until somebody resumes it and asks for a resend
    REMOVED = "removed"  # kept for its rows alone


EndpointKind = Literal["webhook", "sink"]


@dataclass(frozen=True, slots=True)
class EndpointInfo:
    """An endpoint as the store keeps it; nothing secret is in it.

    Attributes:
        name: Unique among those that were not removed.
        kind: ``"webhook"``: ``url`` says where. ``"sink"``: a sink that each process has to be given under this name.
        url: Where to; ``None`` for a sink.
        scheme: How a webhook is signed.
        headers: Names of headers that are sent with every request; their values are private.
        rate_limit: Attempts per second, at most. ``None``: any number.
        timeout: Seconds for one attempt. ``None``: the reconciler's.
        allow_private: As ``WebhookSink``.
        allow_insecure: As ``WebhookSink``.
        state: Whether it is delivered to.
        state_reason: Why it is disabled or paused, in words; ``None`` where nobody said.
        created_at: Wall clock.
        version: One more with each change, so that who keeps a connection sees that it is of an older one.
    """

    name: str
    kind: EndpointKind
    url: str | None = None
    scheme: Literal["standard", "hub"] = "standard"
    headers: tuple[str, ...] = ()
    rate_limit: float | None = None
    timeout: float | None = None
    allow_private: bool = False
    allow_insecure: bool = False
    state: EndpointState = EndpointState.ACTIVE
    state_reason: str | None = None
    created_at: float = 0.0
    version: int = 1


@dataclass(frozen=True, slots=True)
class Rule:
    """Which events go to which endpoints, where a publish names none.

    Attributes:
        name: Unique.
        events: Names of events; ``*`` stands for any characters, as in ``"invoice.*"``. One that fits is enough.
        endpoints: Names of endpoints.
        where: Properties that an event must have, by path (``"plan"``, ``"customer.country"``), each with its value or
            a list of values, of which one is enough. Empty: nothing is asked.
    """

    name: str
    events: tuple[str, ...]
    endpoints: tuple[str, ...]
    where: Mapping[str, Any] = field(default_factory=dict)  # Any: JSON


class Publication(NamedTuple):
    """An event to be kept, with a row for each endpoint.

    Attributes:
        event: As it was captured.
        endpoints: Names; each gets one row.
        dedupe_key: Known as well as the event's id, so that a publish that is made again makes nothing. ``None``: the
            id alone.
        now: When it is published.
        deadline_at: Until when the first attempt is expected; see ``DeliveryRow``.
    """

    event: CapturedEvent
    endpoints: tuple[str, ...]
    dedupe_key: str | None
    now: float
    deadline_at: float


class Published(NamedTuple):
    """What became of a publication.

    Attributes:
        event_uuid: The id of the event that is kept: of an earlier one, where that has the same id or dedupe key.
        deliveries: Ids of its rows, by endpoint.
        is_new: Whether it is this one.
    """

    event_uuid: str
    deliveries: Mapping[str, int]
    is_new: bool


@dataclass(frozen=True, slots=True)
class PublishedEvent:
    """An event that was published; it never changes.

    Attributes:
        uuid: Its id, the ``webhook-id`` of every attempt.
        name: Its name.
        published_at: When.
        dedupe_key: As it was published.
        payload_version: How it is packed.
        event: As it was captured; ``None`` in a list of several, and when what is kept cannot be read.
        fault: Why it cannot; ``None`` when it can, and in a list.
    """

    uuid: str
    name: str
    published_at: float
    dedupe_key: str | None
    payload_version: int
    event: CapturedEvent | None
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """One event on its way to one endpoint.

    Attributes:
        id: Ascending in the order of publishing.
        event_uuid: The event's id.
        event_name: Its name.
        endpoint: Its name.
        state: Where it is.
        reason: Why it failed; ``None`` unless it has.
        attempts: Attempts since it was published, or asked for again.
        total_attempts: All attempts there were; the number of the last one.
        resends: How often it was asked for again.
        created_at: When it was published.
        due_at: When it is to be attempted next; ``None``: not any more.
        deadline_at: After which a failed attempt is the last one.
        settled_at: When it came to its state, where that is final; else ``None``.
        claimed_until: Until when nobody else attempts it; ``None``, or when that is over: nobody has it.
        holder: Who has it, for the eyes of people; ``None``: nobody.
        version: One more with each change, each claim and each release included: what a change is compared with.
        last_status: The far end's status code at the last attempt, if there was one.
        last_error: What went wrong at the last attempt, without secrets; ``None``: nothing.
    """

    id: int
    event_uuid: str
    event_name: str
    endpoint: str
    state: DeliveryState
    reason: FailureReason | None
    attempts: int
    total_attempts: int
    resends: int
    created_at: float
    due_at: float | None
    deadline_at: float
    settled_at: float | None
    claimed_until: float | None
    holder: str | None
    version: int
    last_status: int | None = None
    last_error: str | None = None


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One attempt of a delivery, as it is kept.

    Attributes:
        number: Counted from 1 over the whole life of the delivery.
        began_at: When.
        duration: Seconds.
        outcome: What it came to, a word of ``DeliveryOutcome``.
        status: The far end's status code, if there was one.
        error: What went wrong, without secrets; ``None``: nothing.
        response: The beginning of what the far end said, without secrets; ``None``: nothing.
    """

    number: int
    began_at: float
    duration: float
    outcome: str
    status: int | None = None
    error: str | None = None
    response: str | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of a row, if it is still as it was when that was decided.

    Attributes:
        id: Of the row.
        version: That it must have; else nothing is changed. It is one more afterwards, and nobody has the row.
        state: From now on; so with what follows, each as in ``DeliveryRow``.
        reason: From now on.
        attempts: From now on.
        due_at: From now on.
        deadline_at: From now on.
        settled_at: From now on.
        is_resend: Whether it was asked for again, which is counted.
        attempt: The attempt that led here, to be kept with the row; ``None``: none was made.
    """

    id: int
    version: int
    state: DeliveryState
    reason: FailureReason | None
    attempts: int
    due_at: float | None
    deadline_at: float
    settled_at: float | None
    is_resend: bool = False
    attempt: AttemptRecord | None = None


class Place(NamedTuple):
    """Where a pass is among the due rows of an endpoint, which are in this order."""

    due_at: float
    id: int


class ClaimedRow(NamedTuple):
    """A row that nobody else attempts for a while, as it is with this claim, and its event."""

    row: DeliveryRow
    event: PublishedEvent


class DueEndpoint(NamedTuple):
    """An endpoint that has open rows.

    Attributes:
        endpoint: As it is.
        first_due_at: When the first of its rows is, or was, due, whoever has it.
    """

    endpoint: EndpointInfo
    first_due_at: float


@dataclass(frozen=True, slots=True)
class DeliveryFilter:
    """Which rows are meant; what is ``None`` or empty asks nothing.

    Attributes:
        states: One of these.
        endpoint: Of the one of this name, and of those that had it and were removed.
        event_name: With this name; ``*`` stands for any characters.
        event_uuid: With this id.
        reason: Failed for this reason.
        due_before: Open, and due before a moment.
        published_after: At a moment or later.
        published_before: Before a moment.
    """

    states: Collection[DeliveryState] = ()
    endpoint: str | None = None
    event_name: str | None = None
    event_uuid: str | None = None
    reason: FailureReason | None = None
    due_before: float | None = None
    published_after: float | None = None
    published_before: float | None = None


class EndpointStats(NamedTuple):
    """How the rows of an endpoint stand.

    Attributes:
        endpoint: As it is.
        rows: How many are in each state; states without any are absent.
        first_due_at: When the first open one is, or was, due; ``None``: there is none.
        claimed: How many somebody has.
    """

    endpoint: EndpointInfo
    rows: Mapping[DeliveryState, int]
    first_due_at: float | None
    claimed: int
