"""The events that every measurement captures: 432 bytes each once encoded unless told otherwise, all different."""

from __future__ import annotations

import json
import random
from collections.abc import Awaitable, Callable, Iterator, Mapping
from itertools import cycle, islice
from typing import Any, NamedTuple, Protocol

EVENT_BYTES = 432
# Enough different events that gzip has real work, few enough to stay in the processor's cache.
POOL = 1024
POOL_BYTES = 1024 * 1024
MAX_PADDING = 256  # bytes of random text in one property

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


def pool(seed: int = 432, *, event_bytes: int = EVENT_BYTES) -> list[Captured]:
    """``POOL`` events that a web service might capture, or as many as make 1 MiB of large ones.

    Args:
        seed: Of what is random in them.
        event_bytes: Size of each, at least 170, the envelope around one property. Small events lack properties, large
            ones have more.
    """
    chance = random.Random(seed)
    return [_event(chance, event_bytes) for _ in range(min(POOL, POOL_BYTES // event_bytes))]


def endless(events: list[Captured]) -> Iterator[Captured]:
    """The events over and over, without an allocation per event."""
    return cycle(events)


def take(events: Iterator[Captured], count: int) -> Iterator[Captured]:
    """The next ``count`` of them."""
    return islice(events, count)


def _event(chance: random.Random, event_bytes: int) -> Captured:
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
    while (missing := event_bytes - _encoded_bytes(distinct_id, properties)) < 0:
        del properties[next(iter(properties))]
    while missing > MAX_PADDING:
        for _ in range(missing // MAX_PADDING):
            properties[f"field_{len(properties):04}"] = f"{chance.getrandbits(256):064x}"
        missing = event_bytes - _encoded_bytes(distinct_id, properties)
    properties["padding"] = f"{chance.getrandbits(4 * missing):0{missing}x}"
    return Captured("page_viewed", distinct_id, properties)


def _encoded_bytes(distinct_id: str, properties: dict[str, Any]) -> int:  # Any: JSON
    bare = {
        "uuid": _UUID,
        "timestamp": _STAMP,
        "distinct_id": distinct_id,
        "event": "page_viewed",
        "properties": properties,
    }
    return len(json.dumps(bare, separators=(",", ":")))
