"""What is known of topics, consumers and dead letters, in words and as JSON: plain functions of values."""

from __future__ import annotations

from typing import Any

from eventpipe.cli.failures import one_line
from eventpipe.cli.text import count, duration, size
from eventpipe.clock import format_stamp
from eventpipe.log.letters import DeadLetter
from eventpipe.retention import Retention
from eventpipe.stores.values import ConsumerInfo, TopicInfo

NEVER = "never"  # a cursor before the first settlement, which is not the cursor 0
_HOUR, _DAY = 3600, 86400

Json = dict[str, Any]  # Any: JSON


def age(seconds: float) -> str:
    """``350 ms``, ``3 m 20 s``, ``5 h 12 m``, ``3 d 4 h``; moments ahead of this clock are now."""
    seconds = max(0.0, seconds)
    if seconds < _HOUR:
        return duration(seconds)
    if seconds < _DAY:
        return f"{int(seconds // _HOUR)} h {int(seconds % _HOUR // 60)} m"
    return f"{int(seconds // _DAY):,} d {int(seconds % _DAY // _HOUR)} h"


def retention(kept: Retention) -> str:
    """``1,000 events, 5 h 0 m, then reject``; ``all`` where nothing is bounded."""
    bounds = [
        count(kept.max_events, "event") if kept.max_events is not None else "",
        size(kept.max_bytes) if kept.max_bytes is not None else "",
        age(kept.max_age) if kept.max_age is not None else "",
    ]
    said = ", ".join(bound for bound in bounds if bound)
    if kept.max_events is None and kept.max_bytes is None:
        return said or "all"
    return f"{said}, then {kept.on_full.replace('_', ' ')}"


def stamp(moment: float | None) -> str | None:
    """A moment on the wall clock as JSON has it."""
    return None if moment is None else format_stamp(moment)


def topic_json(topic: TopicInfo, consumers: int, dead_letters: int, now: float) -> Json:
    """A topic as it is printed with ``--json``."""
    kept = topic.retention
    return {
        "name": topic.name,
        "events": topic.events,
        "bytes": topic.bytes,
        "first": topic.first,
        "end": topic.end,
        "oldest_at": stamp(topic.oldest_at),
        "newest_at": stamp(topic.newest_at),
        "oldest_age": None if topic.oldest_at is None else max(0.0, now - topic.oldest_at),
        "retention": {
            "max_events": kept.max_events,
            "max_bytes": kept.max_bytes,
            "max_age": kept.max_age,
            "on_full": kept.on_full,
        },
        "dropped": topic.dropped,
        "damaged": topic.damaged,
        "consumers": consumers,
        "dead_letters": dead_letters,
    }


def lag(consumer: ConsumerInfo, now: float) -> float:
    """Seconds since the oldest event was appended that the consumer has not settled; 0 when there is none."""
    return 0.0 if consumer.oldest_at is None else max(0.0, now - consumer.oldest_at)


def cursor(consumer: ConsumerInfo) -> str:
    """The cursor, or that there is none."""
    return NEVER if consumer.cursor is None else str(consumer.cursor)


def state(consumer: ConsumerInfo) -> str:
    """``paused``, ``held`` or ``idle``."""
    return "paused" if consumer.is_paused else "held" if consumer.holder is not None else "idle"


def holding(consumer: ConsumerInfo) -> str | None:
    """``held by web-1, 59.0 s left``; ``None``: nobody holds it."""
    if consumer.holder is None:
        return None
    left = "" if consumer.expires_in is None else f", {duration(max(0.0, consumer.expires_in))} left"
    return f"held by {one_line(consumer.holder)}{left}"


def consumer_json(consumer: ConsumerInfo, now: float) -> Json:
    """A consumer as it is printed with ``--json``."""
    return {
        "topic": consumer.topic,
        "name": consumer.name,
        "cursor": consumer.cursor,
        "position": consumer.position,
        "pending": consumer.pending,
        "lag": lag(consumer, now),
        "claimed": consumer.claimed,
        "waiting": consumer.waiting,
        "skipped": consumer.skipped,
        "dead": consumer.dead,
        "dropped": consumer.dropped,
        "is_paused": consumer.is_paused,
        "holder": consumer.holder,
        "expires_in": consumer.expires_in,
        "last_error": consumer.last_error,
    }


def letter_json(letter: DeadLetter) -> Json:
    """A dead letter as it is printed with ``--json``, without its event."""
    return {
        "offset": letter.offset,
        "event": letter.event.name,
        "uuid": letter.event.uuid,
        "topic": letter.topic,
        "consumer": letter.consumer,
        "source_offset": letter.source_offset,
        "attempts": letter.attempts,
        "reason": letter.reason,
        "error": letter.error,
        "at": stamp(letter.at),
    }
