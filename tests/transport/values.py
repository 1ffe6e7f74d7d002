"""Events and batches of exact size and age, for the tests of decisions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count

from eventpipe.events import CapturedEvent, Extra
from eventpipe.transport.barrier import Standing
from eventpipe.transport.batch import Bisection, OutboundBatch

CREATED_AT = 1_767_225_600.0


def blank(size: int = 10, *, at: float = 0.0, lane: str | None = None, beside: int = 0) -> CapturedEvent:
    """An event of ``size`` bytes, so many of them ``beside`` its envelope; what they say is not looked at."""
    extra = Extra(key="k" * beside) if beside else None
    return CapturedEvent("blank", b"x" * (size - 2 - beside), lane, extra, at)


def blanks(events: int, size: int = 10) -> tuple[CapturedEvent, ...]:
    return tuple(blank(size) for _ in range(events))


def numbering(prefix: str = "batch-") -> Callable[[], str]:
    """Make ids: ``batch-1``, ``batch-2`` and so on."""
    numbers = count(1)
    return lambda: f"{prefix}{next(numbers)}"


def outbound(
    events: int | Sequence[CapturedEvent] = 1,
    *,
    id: str = "b",  # noqa: A002  # the name that Batch has for it
    lane: str | None = None,
    attempt: int = 1,
    standing: Standing = Standing(0),  # noqa: B008  # frozen
    hurried: bool = False,
    final: bool = False,
    bisection: Bisection | None = None,
) -> OutboundBatch:
    return OutboundBatch(
        id=id,
        lane=lane,
        events=blanks(events) if isinstance(events, int) else tuple(events),
        created_at=CREATED_AT,
        attempt=attempt,
        standing=standing,
        hurried=hurried,
        final=final,
        bisection=bisection,
    )
