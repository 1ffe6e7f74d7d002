"""What leaves a real client that has a hook."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from eventpipe import AsyncClient, CapturedEvent, DropReason, Event
from eventpipe.sinks import MemorySink
from eventpipe.testing import check_ledger

Hook = Callable[[Event], Event | DropReason | None]
SEED = 20261122


async def sent(hook: Hook, *events: Event, **options: Any) -> list[CapturedEvent]:
    """Capture ``events`` and hand back what reached the sink; each must have got there."""
    sink = MemorySink()
    async with AsyncClient(sink, before_send=hook, **options) as client:
        for event in events:
            receipt = await client.capture(event)
            assert receipt.reason is None
        await client.flush()
        assert client.statistics().hook_errors == 0
    check_ledger(client, drained=True)
    return list(sink.events)


async def properties_sent(hook: Hook, properties: Any, **options: Any) -> dict[str, Any]:
    """The properties of one event, as they reached the sink."""
    (event,) = await sent(hook, Event("e", "u", properties), **options)
    return event.properties


async def dropped(hook: Hook, *events: Event) -> dict[str, int]:
    """How many of ``events`` were dropped, by reason, as the client counts them; the others reached the sink."""
    sink = MemorySink()
    async with AsyncClient(sink, before_send=hook) as client:
        for event in events:
            await client.capture(event)
    statistics = check_ledger(client, drained=True)
    assert statistics.captured == len(events) == len(sink.events) + statistics.dropped
    return dict(statistics.dropped_by_reason)


def everything(event: CapturedEvent) -> bytes:
    """All that a codec can send of ``event``."""
    parts = [event.json, *(f"{name}: {value}".encode() for name, value in event.headers.items())]
    return b"\n".join([*parts, (event.key or "").encode(), event.name.encode()])


def texts(value: Any) -> Iterator[str]:
    """Each key, text and number in decoded JSON, as text."""
    if isinstance(value, dict):
        for key, child in value.items():
            yield key
            yield from texts(child)
    elif isinstance(value, list):
        for child in value:
            yield from texts(child)
    elif value is not None and not isinstance(value, bool):
        yield str(value)
