"""What tests of receivers have in common."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from eventpipe.log.delivery import Delivery
from eventpipe.log.eventlog import EventLog
from eventpipe.log.receiver import Receiver
from eventpipe.stores.memory import MemoryStore
from eventpipe.stores.values import ClaimedEvent, Claims, ConsumerKey, Disposition
from eventpipe.testing.events import make_event


async def append(log: EventLog, count: int, topic: str = "orders") -> None:
    """Append events ``e0``, ``e1``, … in one commit."""
    await log.append_many(topic, [make_event(f"e{number}") for number in range(count)])


async def take(receiver: Receiver, count: int) -> list[Delivery]:
    """So many deliveries; it is an error when they do not come at once."""
    return [await receiver.receive(0.5) for _ in range(count)]


def offsets(deliveries: Sequence[Delivery]) -> list[int]:
    return [delivery.offset for delivery in deliveries]


def attempts(deliveries: Sequence[Delivery]) -> list[tuple[int, int]]:
    """Offset and attempt of each."""
    return [(delivery.offset, delivery.attempt) for delivery in deliveries]


async def at_rest() -> None:
    """Let everybody go on until all wait: a second of the loop's, in which what a thread was asked for comes back."""
    await asyncio.sleep(1)


async def cursor(log: EventLog, topic: str = "orders", name: str = "billing") -> int | None:
    return (await log.consumer(topic, name)).cursor


def at(log: EventLog, moment: float) -> Any:  # Any: a number, or what is equal to one
    """This very moment; with a store on disk, at most half a second later: its calls take time on the loop's clock."""
    return moment if isinstance(log.store, MemoryStore) else pytest.approx(moment + 0.25, abs=0.251)


class SlowStore(MemoryStore):
    """A store that needs two turns of the loop for what others need a thread or a network for.

    Cancelled in the first, it does nothing; cancelled in the second, it has done it and nobody is told.
    """

    async def claim(
        self, key: ConsumerKey, token: int | None, *, max_events: int, max_bytes: int, ttl: float | None = None
    ) -> Claims:
        await asyncio.sleep(0)
        claims = await super().claim(key, token, max_events=max_events, max_bytes=max_bytes, ttl=ttl)
        await asyncio.sleep(0)
        return claims

    async def settle(self, key: ConsumerKey, token: int | None, dispositions: Sequence[Disposition]) -> None:
        await asyncio.sleep(0)
        await super().settle(key, token, dispositions)
        await asyncio.sleep(0)

    async def extend(self, key: ConsumerKey, claimed: Sequence[ClaimedEvent], ttl: float) -> None:
        await asyncio.sleep(0)
        await super().extend(key, claimed, ttl)
        await asyncio.sleep(0)

    async def acquire(self, name: str, holder: str, ttl: float | None) -> int:
        await asyncio.sleep(0)
        token = await super().acquire(name, holder, ttl)
        await asyncio.sleep(0)
        return token

    async def release(self, name: str, token: int) -> None:
        await asyncio.sleep(0)
        await super().release(name, token)
        await asyncio.sleep(0)
