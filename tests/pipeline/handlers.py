"""Functions that files of tests name."""

from __future__ import annotations

from eventpipe import CapturedEvent
from eventpipe.log.handling import ConsumedEvent

TAKEN: list[str] = []


async def take(consumed: ConsumedEvent) -> None:
    """Keep the name of an event."""
    TAKEN.append(consumed.event.event)


async def refuse(consumed: ConsumedEvent) -> None:
    """Fail, whatever it is."""
    raise OSError(f"no room for {consumed.event.event}")


class Far:
    """Has a handler inside."""

    take = staticmethod(take)


def is_paid(event: CapturedEvent) -> bool:
    """A filter."""
    return event.event == "paid"


def plain(consumed: ConsumedEvent) -> None:
    """No handler: it cannot wait."""
