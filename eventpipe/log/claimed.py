"""What a claim brought: which events are whose, and what is missing of them."""

from __future__ import annotations

from typing import Final

from eventpipe.core.log import contained_logger
from eventpipe.log.letters import addressee
from eventpipe.stores.values import ClaimedEvent, Claims, ConsumerKey, Disposal, Disposition

_logger = contained_logger(__name__)

_SHOWN: Final = 10  # offsets of damaged events that a log line names; ``verify()`` lists all of them


def told_apart(name: str, events: list[ClaimedEvent]) -> tuple[list[ClaimedEvent], list[Disposition]]:
    """Tell the events of the consumer ``name`` from those that are addressed to another.

    Returns:
        Its own, in order; and what becomes of the others, which it passes over.
    """
    foreign = [
        Disposition(claimed, Disposal.SKIP)
        for claimed in events
        if claimed.event is not None
        and claimed.event.extra is not None
        and addressee(claimed.event) not in (None, name)
    ]
    if not foreign:
        return events, foreign
    offsets = {disposition.claimed.offset for disposition in foreign}
    return [claimed for claimed in events if claimed.offset not in offsets], foreign


def log_missing(key: ConsumerKey, claims: Claims) -> None:
    """Log what a consumer will never be handed."""
    if claims.gap:
        _logger.error("consumer %s missed %d events that retention dropped", key, claims.gap)
    count = len(claims.damaged)
    if count:
        offsets = ", ".join(map(str, claims.damaged[:_SHOWN])) + (", …" if count > _SHOWN else "")
        text = "consumer %s missed %d events that are damaged, at offsets %s; verify() lists them"
        _logger.error(text, key, count, offsets)
