"""How a log stands as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from eventpipe.stores.values import ConsumerInfo, TopicInfo


@dataclass(frozen=True, slots=True)
class LogStatistics:
    """A log, as it is now; all but ``topics``, ``events`` and ``bytes`` are sums over its consumers.

    Attributes:
        topics: How many there are, those of dead letters among them.
        events: Events that are kept, in all topics.
        bytes: Their encoded bytes.
        damaged: Events that were set aside because they did not pass their checksum, in all topics.
        consumers: How many are registered, whether somebody runs them or not.
        pending: Events that a consumer has not settled. One that three have not settled counts three times.
        claimed: Of these, handed out and neither settled nor given back.
        waiting: Of these, given back and not due yet.
        oldest_at: When the oldest pending event was appended, wall clock; ``None``: none is pending.
        skipped: Events that a filter turned away.
        dead: Events that went to the dead letters.
        dropped: Events that retention dropped before a consumer had settled them.
    """

    topics: int
    events: int
    bytes: int
    damaged: int
    consumers: int
    pending: int
    claimed: int
    waiting: int
    oldest_at: float | None
    skipped: int
    dead: int
    dropped: int

    @classmethod
    def of(cls, topics: Sequence[TopicInfo], consumers: Sequence[ConsumerInfo]) -> LogStatistics:
        """Add up."""
        return cls(
            topics=len(topics),
            events=sum(topic.events for topic in topics),
            bytes=sum(topic.bytes for topic in topics),
            damaged=sum(topic.damaged for topic in topics),
            consumers=len(consumers),
            pending=sum(consumer.pending for consumer in consumers),
            claimed=sum(consumer.claimed for consumer in consumers),
            waiting=sum(consumer.waiting for consumer in consumers),
            oldest_at=min((info.oldest_at for info in consumers if info.oldest_at is not None), default=None),
            skipped=sum(consumer.skipped for consumer in consumers),
            dead=sum(consumer.dead for consumer in consumers),
            dropped=sum(consumer.dropped for consumer in consumers),
        )
