"""Each batch's life on one line, for who sets the logger ``eventpipe.batches`` to DEBUG."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from eventpipe.core.log import contained_logger
from eventpipe.outcomes import Outcome, OutcomeKind
from eventpipe.transport.batch import OutboundBatch
from eventpipe.transport.decide import Decision, Retry, Split

NAME = "eventpipe.batches"

_logger = contained_logger(NAME)


class Journal:
    """What the batches of one sink went through so far; nothing is kept while the logger is off."""

    def __init__(self, sink: str) -> None:
        self._sink = sink
        self._lives: dict[str, list[str]] = {}

    def attempted(self, batch: OutboundBatch, outcomes: Sequence[Outcome], decision: Decision | None) -> None:
        """Note an attempt, if anybody wants the lines, which may change at any time; the last one writes the line.

        Args:
            batch: What was sent.
            outcomes: What it led to, at least one.
            decision: What becomes of the part that was not accepted; ``None`` when there is none.
        """
        if not _is_on():
            self._lives.clear()
            return
        life = self._lives.setdefault(batch.id, [_born(batch, outcomes[0])])
        took = outcomes[0].durations
        waited = f" {took.batch:.3f} s later" if batch.attempt > 1 else ""
        life.append(f"attempt {batch.attempt}{waited}: {', '.join(map(_said, outcomes))} in {took.send:.3f} s")
        if isinstance(decision, Retry):
            life[-1] += f", again as attempt {decision.batch.attempt}"
            return
        if isinstance(decision, Split):
            life.append(f"goes on as {' and '.join(part.id for part in decision.parts)}")
        self._write(batch.id)

    def ended(self, batch: str, how: str) -> None:
        """Write the line of a batch that ends between two attempts; nothing is known of one that had none."""
        if batch in self._lives:
            self._lives[batch].append(how)
            self._write(batch)

    def close(self) -> None:
        """Write the lines of the batches that a close gave up."""
        for batch in list(self._lives):
            self.ended(batch, "given up")

    def _write(self, batch: str) -> None:
        _logger.debug("batch %s to %s: %s", batch, self._sink, "; ".join(self._lives.pop(batch)))


def _is_on() -> bool:
    """Whether anybody asked for the lines, of this very logger.

    Where all loggers of a program are at DEBUG, and a handler captures what they write, each batch would lead to a
    line, and each line to a batch.
    """
    return logging.NOTSET < _logger.logger.level <= logging.DEBUG and _logger.isEnabledFor(logging.DEBUG)


def _born(batch: OutboundBatch, outcome: Outcome) -> str:
    events = len(batch.events)
    lane = f" of lane {batch.lane}" if batch.lane is not None else ""
    counted = "1 event" if events == 1 else f"{events} events"
    return f"{counted}{lane}, {batch.size} bytes, queued {outcome.durations.queue:.3f} s"


def _said(outcome: Outcome) -> str:
    kind = "failed" if outcome.kind is OutcomeKind.RETRY else str(outcome.kind)
    reason = f" as {outcome.reason}" if outcome.reason is not None else ""
    return f"{len(outcome.captured)} {kind}{reason}"
