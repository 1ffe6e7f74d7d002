"""An attempt's answer and the decision on it, as the outcomes that everybody is told of."""

from __future__ import annotations

from functools import partial

from eventpipe.outcomes import Durations, Outcome, OutcomeKind
from eventpipe.transport.attempt import Answer, describe
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
    outcome = partial(Outcome, sink=sink, attempt=attempt, durations=durations)
    outcomes = [
        outcome(OutcomeKind.DROPPED, reason=reason, error=detail, captured=events)
        for (reason, detail), events in answer.dropped.items()
    ]
    if answer.delivered:
        outcomes.append(outcome(OutcomeKind.DELIVERED, captured=answer.delivered))
    error = answer.error
    if error is not None:
        if isinstance(decision, Drop):
            kind, reason = OutcomeKind.DROPPED, decision.reason
        else:
            kind, reason = OutcomeKind.RETRY, error.reason
        outcomes.append(outcome(kind, reason=reason, status=error.status, error=describe(error), captured=answer.again))
    return outcomes
