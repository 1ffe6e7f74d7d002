"""What is known of deliveries and endpoints, in words and as JSON: plain functions of values, none of them secret."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from eventpipe.cli.log_words import age, stamp
from eventpipe.cli.text import count, duration
from eventpipe.codecs.base import whole
from eventpipe.stores.delivery_values import (
    OPEN,
    AttemptRecord,
    DeliveryRow,
    DeliveryState,
    EndpointInfo,
    EndpointStats,
    PublishedEvent,
    Rule,
)

Json = dict[str, Any]  # Any: JSON
Numbers = Mapping[DeliveryState, int]

NOTHING: Final = "-"


def state(row: DeliveryRow) -> str:
    """``sending``, ``failed: exhausted``."""
    return str(row.state) if row.reason is None else f"{row.state}: {row.reason}"


def due(moment: float | None, now: float) -> str:
    """``now``, ``in 3 m 20 s``, or that it is not due any more."""
    if moment is None:
        return NOTHING
    return "now" if moment <= now else f"in {age(moment - now)}"


def last(row: DeliveryRow) -> str:
    """What the far end said last: its status, and what went wrong."""
    parts = [str(row.last_status) if row.last_status is not None else "", row.last_error or ""]
    return ": ".join(part for part in parts if part) or NOTHING


def row_json(row: DeliveryRow) -> Json:
    """A delivery as it is printed with ``--json``."""
    return {
        "id": row.id,
        "event_uuid": row.event_uuid,
        "event": row.event_name,
        "endpoint": row.endpoint,
        "state": row.state,
        "reason": row.reason,
        "attempts": row.attempts,
        "total_attempts": row.total_attempts,
        "resends": row.resends,
        "created_at": stamp(row.created_at),
        "due_at": stamp(row.due_at),
        "deadline_at": stamp(row.deadline_at),
        "settled_at": stamp(row.settled_at),
        "claimed_until": stamp(row.claimed_until),
        "holder": row.holder,
        "last_status": row.last_status,
        "last_error": row.last_error,
    }


def attempt_json(attempt: AttemptRecord) -> Json:
    """An attempt as it is printed with ``--json``."""
    return {
        "number": attempt.number,
        "began_at": stamp(attempt.began_at),
        "duration": attempt.duration,
        "outcome": attempt.outcome,
        "status": attempt.status,
        "error": attempt.error,
        "response": attempt.response,
    }


def event_json(event: PublishedEvent | None) -> Json | None:
    """A published event as it is printed with ``--json``; ``None``: it is not there any more."""
    if event is None:
        return None
    return {
        "uuid": event.uuid,
        "name": event.name,
        "published_at": stamp(event.published_at),
        "dedupe_key": event.dedupe_key,
        "payload_version": event.payload_version,
        "fault": event.fault,
        "event": None if event.event is None else orjson.loads(whole(event.event)),
    }


def endpoint_json(endpoint: EndpointInfo) -> Json:
    """An endpoint as it is printed with ``--json``."""
    return {
        "name": endpoint.name,
        "kind": endpoint.kind,
        "url": endpoint.url,
        "scheme": endpoint.scheme,
        "headers": endpoint.headers,
        "rate_limit": endpoint.rate_limit,
        "timeout": endpoint.timeout,
        "allow_private": endpoint.allow_private,
        "allow_insecure": endpoint.allow_insecure,
        "state": endpoint.state,
        "state_reason": endpoint.state_reason,
        "created_at": stamp(endpoint.created_at),
    }


def stats_json(stats: EndpointStats) -> Json:
    """How the deliveries of an endpoint stand, as it is printed with ``--json``."""
    return {
        "endpoint": stats.endpoint.name,
        "state": stats.endpoint.state,
        "deliveries": {str(state): stats.rows.get(state, 0) for state in DeliveryState},
        "first_due_at": stamp(stats.first_due_at),
        "claimed": stats.claimed,
    }


def rule_json(rule: Rule) -> Json:
    """A rule as it is printed with ``--json``."""
    return {"name": rule.name, "events": rule.events, "endpoints": rule.endpoints, "where": dict(rule.where)}


def numbers(rows: Numbers) -> str:
    """``3 pending, 1 failed``; states without any are left out."""
    return ", ".join(f"{count(rows[one])} {one}" for one in DeliveryState if rows.get(one)) or "none"


def open_rows(stats: EndpointStats) -> int:
    """How many are still to be attempted."""
    return sum(number for one, number in stats.rows.items() if one in OPEN)


def failed_rows(stats: EndpointStats) -> int:
    """How many have failed."""
    return stats.rows.get(DeliveryState.FAILED, 0)


def attempt_text(attempt: AttemptRecord) -> str:
    """``delivered, 204, in 12 ms``; what went wrong behind it."""
    status = NOTHING if attempt.status is None else str(attempt.status)
    wrong = "" if attempt.error is None else f": {attempt.error}"
    return f"{attempt.outcome}, status {status}, in {duration(attempt.duration)}{wrong}"


def limits(endpoint: EndpointInfo) -> str:
    """What is not as usual with an endpoint: ``5/s, 3.0 s, private``."""
    parts: Sequence[str] = [
        f"{endpoint.rate_limit:g}/s" if endpoint.rate_limit is not None else "",
        duration(endpoint.timeout) if endpoint.timeout is not None else "",
        "private" if endpoint.allow_private else "",
        "insecure" if endpoint.allow_insecure else "",
    ]
    return ", ".join(part for part in parts if part) or NOTHING
