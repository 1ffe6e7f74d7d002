"""What a claim brought: which events are whose, which are suspicious, and what is missing of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from eventpipe.core.log import contained_logger
from eventpipe.log.letters import addressee, is_for, unaddressed
from eventpipe.stores.values import ClaimedEvent, ClaimedRun, Claims, ConsumerKey, Disposal, Disposition

_logger = contained_logger(__name__)

# From this attempt on, an event that nobody gave back may be what ended its process twice: it is claimed alone, so that
# it does not use up the attempts of those that were in hand with it.
_SUSPICIOUS: Final = 3

_SHOWN: Final = 10  # offsets of damaged events that a log line names; ``verify()`` lists all of them


def told_apart(name: str, events: Sequence[ClaimedEvent]) -> tuple[Sequence[ClaimedEvent], list[Disposition]]:
    """Tell the events of the consumer ``name`` from those that are addressed to another.

    Returns:
        Its own, in order, as they were before they were addressed to it: for whom an event is never leaves the log,
        where another log might obey it. And what becomes of the others, which it passes over.
    """
    if isinstance(events, ClaimedRun):
        if not [1 for event in events.captured if event.extra is not None and addressee(event) is not None]:
            return events, []
        events = [*events]
    addressed = [
        claimed
        for claimed in events
        if (event := claimed.event) is not None and event.extra is not None and addressee(event) is not None
    ]
    if not addressed:
        return events, []
    foreign = set()
    for claimed in addressed:
        assert claimed.event is not None  # noqa: S101  # as just asked
        if is_for(name, claimed.event):
            claimed.event = unaddressed(claimed.event)
        else:
            foreign.add(claimed)
    skipped = [Disposition(claimed, Disposal.SKIP) for claimed in addressed if claimed in foreign]
    return [claimed for claimed in events if claimed not in foreign], skipped


def alone_from(max_attempts: int | None) -> int:
    """From which attempt on an event is claimed alone.

    A claim counts as an attempt, whether or not the process lives to begin with what it claimed. The last attempt is
    made alone too: so none is given up that was not handed out then.

    Args:
        max_attempts: How often an event is handed out; ``None``: without end.
    """
    return min(_SUSPICIOUS, max_attempts or _SUSPICIOUS)


def is_used_up(claimed: ClaimedEvent, max_attempts: int | None) -> bool:
    """Whether a consumer was handed an event as often as it may be, before this claim.

    Where that is once, it was claimed together with others, and its process may have ended before it was its turn: so
    it is handed out once more, alone.
    """
    return max_attempts is not None and claimed.attempt > max(max_attempts, 2)


def log_missing(key: ConsumerKey, claims: Claims) -> None:
    """Log what a consumer will never be handed."""
    if claims.gap:
        _logger.error("consumer %s missed %d events that retention dropped", key, claims.gap)
    count = len(claims.damaged)
    if count:
        offsets = ", ".join(map(str, claims.damaged[:_SHOWN])) + (", …" if count > _SHOWN else "")
        text = "consumer %s missed %d events that are damaged, at offsets %s; verify() lists them"
        _logger.error(text, key, count, offsets)
