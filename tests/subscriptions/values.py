"""Outcomes of exact size, and what a reader makes of them."""

from __future__ import annotations

from collections.abc import Iterable

from eventpipe.events import CapturedEvent, Extra
from eventpipe.outcomes import Outcome, OutcomeKind
from eventpipe.subscriptions import Gap, Subscription

DELIVERED, RETRY, DROPPED, INTERRUPTED, SPOOLED = OutcomeKind


def event(size: int = 10, *, beside: int = 0) -> CapturedEvent:
    """An event that holds ``size`` bytes, so many of them ``beside`` its envelope."""
    extra = Extra(key="k" * beside) if beside else None
    return CapturedEvent("e", b"x" * (size - beside), None, extra, 0.0)


def outcome(number: int, kind: OutcomeKind = DELIVERED, *, events: int = 1, size: int = 10) -> Outcome:
    """Outcome ``number`` of ``events`` events of ``size`` bytes each."""
    return Outcome(kind, "sink", number, captured=tuple(event(size) for _ in range(events)))


def outcomes(count: int, kind: OutcomeKind = DELIVERED, *, first: int = 1) -> list[Outcome]:
    return [outcome(number, kind) for number in range(first, first + count)]


def seen(items: Iterable[Outcome | Gap | None]) -> list[int | str | None]:
    """Outcomes as their numbers, gaps as ``"-outcomes/events"``."""
    return [
        item.attempt if isinstance(item, Outcome) else f"-{item.outcomes}/{item.events}" if item else None
        for item in items
    ]


def take_all(subscription: Subscription) -> list[int | str | None]:
    """Read what is there now."""
    return seen(iter(subscription.receive_nowait, None))


async def read_all(subscription: Subscription) -> list[int | str | None]:
    """Read to the end."""
    return seen([item async for item in subscription])


def accounted(items: Iterable[Outcome | Gap]) -> tuple[int, int]:
    """Outcomes received and outcomes in gaps."""
    received = missed = 0
    for item in items:
        if isinstance(item, Gap):
            missed += item.outcomes
        else:
            received += 1
    return received, missed
