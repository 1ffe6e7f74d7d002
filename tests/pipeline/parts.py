"""Handlers and steps of tests."""

from __future__ import annotations

import asyncio

from eventpipe import TransientSinkError
from eventpipe.log.eventlog import EventLog
from eventpipe.log.handling import ConsumedEvent


class Taken:
    """A handler that keeps the numbers of the events that it was given.

    Attributes:
        numbers: In the order in which they came.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        self.numbers: list[int] = []
        self._seconds = seconds

    async def __call__(self, consumed: ConsumedEvent) -> None:
        await asyncio.sleep(self._seconds)
        self.numbers.append(consumed.event.properties["number"])


async def fail(consumed: ConsumedEvent) -> None:
    raise TransientSinkError("down")


async def append(log: EventLog, numbers: range, topic: str = "orders") -> None:
    for number in numbers:
        await log.append(topic, "paid", properties={"number": number})
