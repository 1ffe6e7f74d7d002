"""An attempt's answer and the decision on it, as the outcomes that everybody is told of."""

from __future__ import annotations

from eventpipe.outcomes import Durations, Outcome, OutcomeKind
from eventpipe.transport.attempt import Answer, describe
from eventpipe.transport.batch import OutboundBatch
from eventpipe.transport.decide import Decision, Drop


def outcomes_of(
    answer: Answer, decision: Decision | None, *, sink: str, attempt: int, durations: Durations
) -> list[Outcome]:
    """One outcome per verdict, each event in exactly one.

    Args:
        answer: What the sink said.
        decision: What becomes of ``answer.again``; ``None`` when that is empty.
        sink: The sink's name.
        attempt: Counted from 1.
        durations: What the attempt took.
    """
    outcomes = [
        Outcome(OutcomeKind.DROPPED, sink, attempt, reason, None, durations, detail, events)
        for (reason, detail), events in answer.dropped.items()
    ]
    outcomes += [
        Outcome(OutcomeKind.DELIVERED, sink, attempt, reason, None, durations, detail, events)
        for (reason, detail), events in answer.remarked.items()
    ]
    if answer.delivered:
        outcomes.append(Outcome(OutcomeKind.DELIVERED, sink, attempt, None, None, durations, None, answer.delivered))
    error = answer.error
    if error is not None:
        if isinstance(decision, Drop):
            kind, reason = OutcomeKind.DROPPED, decision.reason
        else:
            kind, reason = OutcomeKind.RETRY, error.reason
        outcomes.append(Outcome(kind, sink, attempt, reason, error.status, durations, describe(error), answer.again))
    return outcomes


def interrupted(batch: OutboundBatch, sink: str, began: float, now: float) -> Outcome:
    """The outcome of an attempt that was cut off: whether the batch arrived, nobody can know."""
    durations = batch.durations(began, max(began, now))  # another loop's clock may be behind
    return Outcome(OutcomeKind.INTERRUPTED, sink, batch.attempt, durations=durations, captured=batch.events)
