"""The events that every measurement captures: 432 bytes each once encoded, all different."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterator, Mapping
from itertools import cycle, islice
from typing import Any, NamedTuple, Protocol

import orjson

EVENT_BYTES = 432
# Enough different events that gzip has real work, few enough to stay in the processor's cache.
POOL = 1024

_UUID = "0" * 36
_STAMP = "2026-01-01T00:00:00.000000Z"


class Captured(NamedTuple):
    """What one call of ``capture()`` is given."""

    event: str
    distinct_id: str
    properties: dict[str, Any]  # Any: JSON


class Capture(Protocol):
    """The call that is measured, whoever answers it."""

    def __call__(
        self,
        event: str,
        *,
        distinct_id: str,
        properties: Mapping[str, Any],  # Any: JSON
    ) -> Awaitable[object]: ...


Result = dict[str, Any]  # Any: JSON
"""What a run found, by name."""

Settled = Callable[[int], Awaitable[None]]
"""Waits until so many events have been delivered since the start."""


def pool(seed: int = 432) -> list[Captured]:
    """``POOL`` events that a web service might capture, padded to ``EVENT_BYTES`` each."""
    chance = random.Random(seed)
    return [_event(chance) for _ in range(POOL)]


def endless(events: list[Captured]) -> Iterator[Captured]:
    """The events over and over, without an allocation per event."""
    return cycle(events)


def take(events: Iterator[Captured], count: int) -> Iterator[Captured]:
    """The next ``count`` of them."""
    return islice(events, count)


def _event(chance: random.Random) -> Captured:
    distinct_id = f"user-{chance.randrange(10**6):06}"
    properties: dict[str, Any] = {
        "path": f"/projects/{chance.randrange(10**4):04}/boards/{chance.randrange(10**4):04}",
        "plan": chance.choice(["free", "team", "pro"]),
        "duration_ms": round(chance.uniform(1, 900), 2),
        "cached": chance.random() < 0.5,
        "items": chance.randrange(100),
        "session": f"{chance.getrandbits(128):032x}",
        "padding": "",
    }
    bare = orjson.dumps(
        {
            "uuid": _UUID,
            "timestamp": _STAMP,
            "distinct_id": distinct_id,
            "event": "page_viewed",
            "properties": properties,
        }
    )
    missing = EVENT_BYTES - len(bare)
    properties["padding"] = f"{chance.getrandbits(4 * missing):0{missing}x}"
    return Captured("page_viewed", distinct_id, properties)
