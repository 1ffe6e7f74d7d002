"""Events of a topic in order, page by page: up to an end, or as they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Final

from eventpipe.errors import ClosedError
from eventpipe.stores.base import Store
from eventpipe.stores.values import StoredEvent

# One transaction and one copy in memory: large enough that neither costs an event anything, small enough that a reader
# of a million events holds a few of them.
PAGE_EVENTS: Final = 500
PAGE_BYTES: Final = 1024 * 1024


async def pages(store: Store, topic: str, start: int, end: int) -> AsyncGenerator[list[StoredEvent]]:
    """Events from ``start`` on and before ``end``, none of the pages empty."""
    while start < end:
        page = await store.read(topic, start, max_events=min(PAGE_EVENTS, end - start), max_bytes=PAGE_BYTES)
        if page and page[-1].offset >= end:  # offsets may have gaps
            page = [stored for stored in page if stored.offset < end]
        if not page:
            return
        yield page
        start = page[-1].offset + 1
        await asyncio.sleep(0)  # a store in memory never suspends, and others have things to do


async def follow(store: Store, topic: str, start: int) -> AsyncGenerator[StoredEvent]:
    """Events from ``start`` on, and those to come, until the store is closed; parks while there is none."""
    try:
        while True:
            seen = store.version(topic)  # before the look: what comes after it ends the wait
            page = await store.read(topic, start, max_events=PAGE_EVENTS, max_bytes=PAGE_BYTES)
            for stored in page:
                yield stored
            if page:
                start = page[-1].offset + 1
                await asyncio.sleep(0)  # as above
            else:
                await store.wait(topic, seen)
    except ClosedError:
        return
