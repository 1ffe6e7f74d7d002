"""What a pipeline says when it has stopped."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from eventpipe.core.stopping import StopReport
from eventpipe.log.reports import ConsumerStatistics
from eventpipe.outcomes import CloseReport
from eventpipe.stores.delivery_values import OPEN, EndpointState, EndpointStats
from eventpipe.stores.values import ConsumerInfo, ConsumerKey

if TYPE_CHECKING:
    from eventpipe.delivery import ReconcilerStatistics


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
class DeliverySummary:
    """What the reconciler did while its pipeline ran, and what is left; true when nothing that was due is left.

    Attributes:
        delivered: Deliveries that their far end accepted.
        failed: Deliveries that failed for good.
        retried: Attempts that are made again later.
        errors: Deliveries that something else went wrong with, such as a store that could not write them down.
        pending: Deliveries that are still to be attempted, now or in days; ``None``: the store could not say.
        is_behind: Whether one of them is due already at an endpoint that is delivered to.
    """

    delivered: int = 0
    failed: int = 0
    retried: int = 0
    errors: int = 0
    pending: int | None = None
    is_behind: bool = False

    def __bool__(self) -> bool:
        return self.pending is not None and not self.is_behind

    @classmethod
    def of(
        cls,
        before: ReconcilerStatistics,
        after: ReconcilerStatistics,
        stats: Iterable[EndpointStats] | None,
        now: float,
    ) -> DeliverySummary:
        """What happened between two snapshots of a reconciler, and how the rows stand in the end."""
        kept = None if stats is None else list(stats)
        is_behind = any(
            one.endpoint.state is EndpointState.ACTIVE and one.first_due_at is not None and one.first_due_at <= now
            for one in kept or ()
        )
        return cls(
            after.succeeded - before.succeeded,
            after.failed - before.failed,
            after.retried - before.retried,
            after.errors - before.errors,
            None
            if kept is None
            else sum(number for one in kept for state, number in one.rows.items() if state in OPEN),
            is_behind,
        )


@dataclass(frozen=True, slots=True)
class PipelineReport(StopReport):
    """How a pipeline stopped; true when every part stopped by itself, and nothing was lost or is left.

    Attributes:
        client: What became of every event of the client's life; ``None``: there is no client, or it never ran.
        consumers: One per consumer, in the order in which they were given.
        deliveries: What the reconciler did; ``None``: there is none, or it never ran.
    """

    client: CloseReport | None = None
    consumers: tuple[ConsumerSummary, ...] = field(default=())
    deliveries: DeliverySummary | None = None

    def __bool__(self) -> bool:
        return StopReport.__bool__(self) and self.is_drained

    @property
    def is_drained(self) -> bool:
        """Whether client and consumers lost and leave nothing, and nothing is due, however the parts stopped."""
        parts = (self.client, self.deliveries)
        return all(part is None or bool(part) for part in parts) and all(self.consumers)
