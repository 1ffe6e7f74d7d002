"""A running pipeline, and one that has ended, in words."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from eventpipe.cli.display import table
from eventpipe.cli.failures import one_line
from eventpipe.cli.rate import Rate
from eventpipe.cli.text import count, duration
from eventpipe.errors import EventPipeError
from eventpipe.log.consumer import Consumer
from eventpipe.pipeline import ConsumerSummary, DeliverySummary, Pipeline, PipelineReport
from eventpipe.stores.values import ConsumerInfo, ConsumerKey

if TYPE_CHECKING:
    from eventpipe.delivery import Reconciler

MAX_CONSUMERS = 20  # rows that fit on a small terminal; the rest is told as a sum
MAX_IN_LINE = 3

# A line a second while something is tried out; a process that runs for days writes one a minute.
LONGEST_SILENCE = 60.0
_SHARE_OF_LIFE = 0.1


class RunView:
    """Puts a running pipeline's numbers into words.

    Args:
        pipeline: Which.
        began: When it began, on the clock of ``now``.
        now: The clock.
    """

    def __init__(self, pipeline: Pipeline, began: float, *, now: Callable[[], float] = time.monotonic) -> None:
        self._pipeline = pipeline
        self._now = now
        self._began = began
        self._infos: Mapping[ConsumerKey, ConsumerInfo] = {}
        self._rate = Rate(began)
        self._said = ""
        self._said_at = began

    async def refresh(self) -> None:
        """Look at what is pending; what cannot be seen now is told as it was."""
        try:
            self._infos = {info.key: info for info in await self._pipeline.log.consumers()}
        except (EventPipeError, OSError):
            return

    def frame(self) -> RenderableType:
        """The live table."""
        consumers = self._pipeline.consumers
        rows = [("state", str(self._pipeline.state)), ("rate", f"{self._speed(self._now()):,.0f} events/s")]
        if self._pipeline.has_client:
            client = self._pipeline.client.statistics()
            rows.append(
                ("client", f"{client.captured:,} captured, {client.pending:,} waiting, {client.dropped:,} dropped")
            )
        if self._pipeline.reconciler is not None:
            rows.append(("deliveries", self._deliveries(self._pipeline.reconciler)))
        parts: list[RenderableType] = [table(rows), Text()]
        columns = Table(box=None, pad_edge=False, header_style="bold")
        for heading in ("topic", "consumer", "delivered", "pending", "retried", "dead", "last error"):
            is_number = heading in ("delivered", "pending", "retried", "dead")
            columns.add_column(heading, justify="right" if is_number else "left", overflow="ellipsis", no_wrap=True)
        for consumer in consumers[:MAX_CONSUMERS]:
            columns.add_row(*(Text(one_line(cell)) for cell in self._row(consumer)))
        parts.append(columns)
        if len(consumers) > MAX_CONSUMERS:
            parts.append(Text(f"and {len(consumers) - MAX_CONSUMERS} more consumers", style="dim"))
        return Group(*parts)

    def line(self) -> str | None:
        """The same as one line; ``None`` when nothing changed, or the last one was said a short while ago."""
        now = self._now()
        if self._said and now - self._said_at < min((now - self._began) * _SHARE_OF_LIFE, LONGEST_SILENCE):
            return None
        text = "; ".join(self._in_line())
        if text == self._said:
            return None
        self._said, self._said_at = text, now
        return text

    def _in_line(self) -> Iterator[str]:
        consumers = self._pipeline.consumers
        for consumer in consumers[:MAX_IN_LINE]:
            statistics, info = consumer.statistics(), self._infos.get(consumer.key)
            text = f"{consumer.key.topic}/{consumer.key.name}: {statistics.delivered:,} delivered"
            text += "" if info is None else f", {info.pending:,} pending"
            text += f", {statistics.retried:,} retried" if statistics.retried else ""
            text += f", {statistics.dead:,} dead" if statistics.dead else ""
            yield one_line(text)
        if len(consumers) > MAX_IN_LINE:
            yield f"{len(consumers) - MAX_IN_LINE} more"
        if self._pipeline.has_client:
            client = self._pipeline.client.statistics()
            on_disk = f", {client.spooled:,} on disk" if client.spooled else ""
            yield f"client: {client.captured:,} captured, {client.dropped:,} dropped{on_disk}"
        if self._pipeline.reconciler is not None:
            yield f"deliveries: {self._deliveries(self._pipeline.reconciler)}"

    @staticmethod
    def _deliveries(reconciler: Reconciler) -> str:
        statistics = reconciler.statistics()
        text = f"{statistics.succeeded:,} delivered, {statistics.retried:,} retried, {statistics.failed:,} failed"
        return text + (f", {statistics.errors:,} errors" if statistics.errors else "")

    def _row(self, consumer: Consumer) -> tuple[str, ...]:
        statistics, info = consumer.statistics(), self._infos.get(consumer.key)
        return (
            consumer.key.topic,
            consumer.key.name,
            count(statistics.delivered),
            "?" if info is None else count(info.pending),
            count(statistics.retried),
            count(statistics.dead),
            statistics.last_error or "",
        )

    def _speed(self, now: float) -> float:
        return self._rate.of(sum(consumer.statistics().delivered for consumer in self._pipeline.consumers), now)


def ended_json(report: PipelineReport) -> dict[str, Any]:  # Any: JSON
    """The report as it is printed with ``--json``."""
    client = report.client
    return {
        "ok": bool(report),
        "elapsed": report.elapsed,
        "stopped": report.stopped,
        "cancelled": report.cancelled,
        "failed": report.failed,
        "stragglers": report.stragglers,
        "client": None
        if client is None
        else {
            "delivered": client.delivered,
            "dropped": client.dropped,
            "dropped_by_reason": dict(client.dropped_by_reason),
            "spooled": client.spooled,
            "pending": client.pending,
        },
        "consumers": [
            {
                "topic": consumer.topic,
                "name": consumer.name,
                "delivered": consumer.delivered,
                "dead": consumer.dead,
                "gap": consumer.gap,
                "damaged": consumer.damaged,
                "pending": consumer.pending,
                "last_error": consumer.last_error,
            }
            for consumer in report.consumers
        ],
        "deliveries": None if report.deliveries is None else asdict(report.deliveries),
    }


def ended_text(report: PipelineReport) -> Iterator[str]:
    """The report as people read it, one line each."""
    what = "nothing lost, nothing left" if report.is_drained else "not everything was delivered"
    yield f"drained in {duration(report.elapsed)}: {what}"
    if report.client is not None:
        reasons = ", ".join(
            f"{number:,} {reason}" for reason, number in sorted(report.client.dropped_by_reason.items())
        )
        text = f"client: {report.client.delivered:,} delivered, {report.client.dropped:,} dropped"
        text += f" ({reasons})" if reasons else ""
        yield text + (f", {report.client.spooled:,} on disk" if report.client.spooled else "")
    for consumer in report.consumers:
        yield one_line(_ended(consumer))
    if report.deliveries is not None:
        yield _ended_deliveries(report.deliveries)
    for word, names in (("cut off", report.cancelled), ("failed", report.failed), ("still runs", report.stragglers)):
        if names:
            yield one_line(f"{word}: {', '.join(names)}")


def _ended(consumer: ConsumerSummary) -> str:
    pending = "unknown how many pending" if consumer.pending is None else f"{consumer.pending:,} pending"
    text = f"{consumer.topic}/{consumer.name}: {consumer.delivered:,} delivered, {pending}"
    for number, word in (
        (consumer.dead, "in the dead letters"),
        (consumer.gap, "lost to retention"),
        (consumer.damaged, "damaged"),
    ):
        text += f", {number:,} {word}" if number else ""
    return text + (f" (last error: {consumer.last_error})" if consumer.pending and consumer.last_error else "")


def _ended_deliveries(deliveries: DeliverySummary) -> str:
    pending = "unknown how many pending" if deliveries.pending is None else f"{deliveries.pending:,} pending"
    text = f"deliveries: {deliveries.delivered:,} delivered, {deliveries.failed:,} failed, {pending}"
    text += ", of which some are due" if deliveries.is_behind else ""
    return text + (f", {deliveries.errors:,} errors" if deliveries.errors else "")
