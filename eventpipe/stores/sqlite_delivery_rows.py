"""Rows of deliveries in SQLite as objects: what is in them, and what is made of one that is damaged."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from eventpipe.stores.delivery_values import (
    OPEN,
    AttemptRecord,
    DeliveryRow,
    DeliveryState,
    FailureReason,
)
from eventpipe.stores.packing import checksum

# As they are kept: what is here is never changed, and what comes is added at the end.
_STATES: Final = (
    DeliveryState.PENDING,
    DeliveryState.SENDING,
    DeliveryState.SUCCESS,
    DeliveryState.FAILED,
    DeliveryState.RESENDING,
)
_REASONS: Final = (
    FailureReason.REJECTED,
    FailureReason.EXHAUSTED,
    FailureReason.EXPIRED,
    FailureReason.ENDPOINT_GONE,
    FailureReason.ENDPOINT_DISABLED,
    FailureReason.ENDPOINT_REMOVED,
    FailureReason.UNREADABLE,
    FailureReason.CANCELLED,
)
STATES: Final[Mapping[object, DeliveryState]] = dict(enumerate(_STATES))
REASONS: Final[Mapping[object, FailureReason | None]] = {None: None, **dict(enumerate(_REASONS))}
STATE_NUMBERS: Final = {state: number for number, state in STATES.items()}
REASON_NUMBERS: Final = {reason: number for number, reason in REASONS.items()}

_PAIR: Final = struct.Struct("<qq")
# Packing is the quickest look at the types of many values at once.
_NUMBERS: Final = struct.Struct("<IIIIdd")
_MOMENT: Final = (float, type(None))  # as ``float | None``, which is made anew wherever it is written
_STATUS: Final = (int, type(None))

# In place of a holder where nobody has a row that is open: so that it is claimed and settled on a full disk where it
# lies, and needs no more pages than it has.
ROOM: Final = bytes(64)

ROW: Final = (
    "d.id, p.uuid, p.name, e.name, d.state, d.reason, d.attempts, d.total_attempts, d.resends, d.created_at, d.due_at,"
    " d.deadline_at, d.settled_at, d.claimed_until, d.holder, d.version, d.last_status, d.last_error, d.event,"
    " d.endpoint, d.checksum"
)
"""The columns that ``decoded()`` takes."""

# A row whose event or endpoint is lost is there all the same.
JOINED: Final = " LEFT JOIN published AS p ON p.id = d.event LEFT JOIN endpoints AS e ON e.id = d.endpoint"
"""What is joined to ``deliveries AS d`` for ``ROW``."""

_ALTERED: Final = "the row of the delivery does not pass its checksum, and may be of another event or endpoint"
_IMPOSSIBLE: Final = "the row of the delivery was damaged: what it says cannot be"


class Claim(NamedTuple):
    """Who has a row from now on.

    Attributes:
        until: Until when nobody else has it.
        holder: Who.
    """

    until: float
    holder: str


class Decoded(NamedTuple):
    """A row as it is kept.

    Attributes:
        row: As far as it can be believed.
        fault: Why it cannot be attempted; ``None``: it can.
    """

    row: DeliveryRow
    fault: str | None


def identity_of(number: int, event: int, endpoint: int, created_at: float) -> int:
    """The checksum of what never changes of a row: one that came to another event or endpoint does not pass."""
    return checksum(number, created_at, _PAIR.pack(event, endpoint), None, b"", 0)


def decoded(values: tuple[Any, ...], claim: Claim | None = None) -> Decoded:  # Any: whatever a damaged row holds
    """A row of the columns ``ROW``; with ``claim`` as it is when that is written.

    Numbers and moments that are none become 0, or nothing. A row that says that it is due, and is in no state in which
    one is, becomes ``SENDING``, so that whoever claims it can fail it.
    """
    (
        number, uuid, event_name, endpoint_name, state, reason, attempts, total_attempts, resends, created_at, due_at,
        deadline_at, settled_at, claimed_until, holder, version, status, error, event, endpoint, check,
    ) = values  # fmt: skip
    fault = None
    try:
        if identity_of(number, event, endpoint, created_at) != check:
            fault = _ALTERED
        _NUMBERS.pack(attempts, total_attempts, resends, version, created_at, deadline_at)
    except (TypeError, struct.error):
        fault = _ALTERED
    word = STATES.get(state)
    is_possible = (
        word is not None
        and (word in OPEN) is (due_at is not None)
        and isinstance(due_at, _MOMENT)
        and isinstance(settled_at, _MOMENT)
        and isinstance(claimed_until, _MOMENT)
        and isinstance(status, _STATUS)
        and reason in REASONS
    )
    if not is_possible or fault is not None:
        fault = fault or _IMPOSSIBLE
        if word is None or (word in OPEN) is not (due_at is not None):
            word = DeliveryState.FAILED if due_at is None else DeliveryState.SENDING
        reason = reason if reason in REASONS else None
        attempts, total_attempts, resends, version = map(whole, (attempts, total_attempts, resends, version))
        created_at, deadline_at = _moment(created_at) or 0.0, _moment(deadline_at) or 0.0
        due_at, settled_at, claimed_until = map(_moment, (due_at, settled_at, claimed_until))
        status = status if isinstance(status, int) else None
    assert word is not None  # noqa: S101  # it is none only where the row is impossible
    if claim is None:
        has_it = None if claimed_until is None else text(holder)
    else:
        claimed_until, has_it = claim
        version += 1
    row = DeliveryRow(
        number,
        text(uuid) or "",
        text(event_name) or "",
        text(endpoint_name) or "",
        word,
        REASONS[reason],
        attempts,
        total_attempts,
        resends,
        created_at,
        due_at,
        deadline_at,
        settled_at,
        claimed_until,
        has_it,
        version,
        status,
        text(error),
    )
    return Decoded(row, fault)


def attempt_of(values: tuple[Any, ...]) -> AttemptRecord:  # Any: as above
    """An attempt, of its columns but for the delivery."""
    number, began_at, duration, outcome, status, error, response = values
    return AttemptRecord(
        whole(number),
        _moment(began_at) or 0.0,
        _moment(duration) or 0.0,
        text(outcome) or "",
        status if isinstance(status, int) else None,
        text(error),
        text(response),
    )


def text(value: object) -> str | None:
    """What is kept as bytes; ``None`` of anything else."""
    return value.decode(errors="replace") if isinstance(value, bytes) else None


def encoded(value: str | None) -> bytes | None:
    """As it is kept."""
    return None if value is None else value.encode(errors="replace")


def whole(value: object) -> int:
    """A number of a row; a flipped bit can make it negative, larger than any, or something else."""
    return value if isinstance(value, int) and 0 <= value < 1 << 32 else 0


def _moment(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
