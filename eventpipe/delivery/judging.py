"""What the answer of a far end means for a delivery; plain functions of it."""

from __future__ import annotations

from typing import Final, NamedTuple

from eventpipe.delivery.machine import DeliveryOutcome
from eventpipe.errors import PermanentSinkError, TransientSinkError
from eventpipe.stores.delivery_values import EndpointKind
from eventpipe.transport.attempt import Answer

# Of webhooks. Whatever else is not 2xx may be mended at the far end, within the days that there are.
REFUSALS: Final = frozenset({400, 413, 422})
GONE: Final = 410


class Judgement(NamedTuple):
    """What an attempt led to.

    Attributes:
        outcome: Of those that an attempt can have.
        status: The far end's status code, if there was one.
        error: What went wrong, without secrets; ``None``: nothing.
        retry_after: Seconds that the far end asked for; ``None``: it did not say.
    """

    outcome: DeliveryOutcome
    status: int | None = None
    error: str | None = None
    retry_after: float | None = None


def judge(answer: Answer, kind: EndpointKind) -> Judgement:
    """Say what a sink's answer for a single event means."""
    error = answer.error
    if error is None:
        if answer.dropped:
            ((reason, detail),) = answer.dropped
            return Judgement(DeliveryOutcome.REJECTED, error=_words(detail) or _words(reason))
        return Judgement(DeliveryOutcome.DELIVERED)
    text, status = _words(error), _status(error.status)
    if isinstance(error, TransientSinkError):
        return Judgement(DeliveryOutcome.RETRY, status, text, error.retry_after)
    if kind == "webhook" and status is not None:
        if status == GONE:
            return Judgement(DeliveryOutcome.GONE, status, text)
        return Judgement(DeliveryOutcome.REJECTED if status in REFUSALS else DeliveryOutcome.RETRY, status, text)
    # Where the configuration is to blame, it can be mended while the delivery waits.
    is_mendable = isinstance(error, PermanentSinkError) and error.scope == "sink"
    return Judgement(DeliveryOutcome.RETRY if is_mendable else DeliveryOutcome.REJECTED, status, text)


def _words(said: object) -> str | None:
    """What somebody's sink said, as text that any store can keep; ``None``: nothing."""
    if said is None:
        return None
    try:
        return str(said).encode(errors="replace").decode() or type(said).__name__
    except BaseException:  # noqa: BLE001  # an error's own code may do anything
        return type(said).__name__


def _status(said: object) -> int | None:
    """A status code; what else somebody's sink has for one is none."""
    return said if type(said) is int and 100 <= said <= 999 else None
