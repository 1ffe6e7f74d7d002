"""What a pipeline says when it has stopped."""

from __future__ import annotations

from dataclasses import dataclass, field

from eventpipe.core.stopping import StopReport
from eventpipe.log.reports import ConsumerStatistics
from eventpipe.outcomes import CloseReport
from eventpipe.stores.values import ConsumerInfo, ConsumerKey


@dataclass(frozen=True, slots=True)
class ConsumerSummary:
    """What one consumer did while its pipeline ran, and what it leaves; true when it neither lost nor leaves anything.

    Attributes:
        topic: Its topic.
        name: Its name.
        delivered: Events that its sink or handler took.
        dead: Events that it gave up to the dead letters, which keep them.
        gap: Events that retention dropped before it had settled them.
        damaged: Events that did not pass their checksum.
        pending: Events of the topic that it has not settled; ``None``: the store could not say.
        last_error: Why an event failed last; ``None``: none did.
    """

    topic: str
    name: str
    delivered: int = 0
    dead: int = 0
    gap: int = 0
    damaged: int = 0
    pending: int | None = None
    last_error: str | None = None

    def __bool__(self) -> bool:
        return self.pending == 0 and not (self.gap or self.damaged)

    @classmethod
    def of(
        cls, key: ConsumerKey, before: ConsumerStatistics, after: ConsumerStatistics, info: ConsumerInfo | None
    ) -> ConsumerSummary:
        """What happened between two snapshots of a consumer, and what the store knows of it in the end."""
        return cls(
            key.topic,
            key.name,
            after.delivered - before.delivered,
            after.dead - before.dead,
            after.gap - before.gap,
            after.damaged - before.damaged,
            None if info is None else info.pending,
            after.last_error or (None if info is None else info.last_error),
        )


@dataclass(frozen=True, slots=True)
class PipelineReport(StopReport):
    """How a pipeline stopped; true when every part stopped by itself, and nothing was lost or is left.

    Attributes:
        client: What became of every event of the client's life; ``None``: there is no client, or it never ran.
        consumers: One per consumer, in the order in which they were given.
    """

    client: CloseReport | None = None
    consumers: tuple[ConsumerSummary, ...] = field(default=())

    def __bool__(self) -> bool:
        return StopReport.__bool__(self) and self.is_drained

    @property
    def is_drained(self) -> bool:
        """Whether the client dropped nothing and no consumer lost or leaves anything, however the parts stopped."""
        return (self.client is None or bool(self.client)) and all(self.consumers)
