"""Sending now, and waiting for what becomes of each event."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from eventpipe.errors import DeliveryError
from eventpipe.events import Capturable
from eventpipe.outcomes import Outcome, OutcomeKind
from eventpipe.transport.calls import patient
from eventpipe.transport.dispatcher import Dispatcher
from eventpipe.transport.entrance import Entrance
from eventpipe.transport.runtime import Runtime


async def deliver(
    events: Iterable[Capturable], entrance: Entrance, runtime: Runtime, dispatchers: Sequence[Dispatcher]
) -> list[Outcome]:
    """Capture events, make them leave, and wait until each is settled; one outcome per event, in their order.

    Raises:
        DeliveryError: At least one was dropped; it has all outcomes.

    Cancellation:
        Safe. What was captured goes on being sent.
    """
    receipts = [await entrance.capture(patient(event), None, runtime) for event in events]
    for dispatcher in dispatchers:
        barrier, _ = dispatcher.flushes.open("settled", hurry=False)
        dispatcher.flushes.leave(barrier)  # it makes them leave now; nobody waits at it
    outcomes = [await receipt.outcome() for receipt in receipts]
    if any(outcome.kind is OutcomeKind.DROPPED for outcome in outcomes):
        raise DeliveryError(outcomes)
    return outcomes
