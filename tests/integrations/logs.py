"""Loggers of a test's own, and what their records became."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from eventpipe import AsyncClient, CapturedEvent
from eventpipe.integrations.logging import EventHandler
from eventpipe.sinks import MemorySink
from eventpipe.testing import check_ledger


@contextmanager
def attached(*handlers: logging.Handler, logger: str = "shop") -> Iterator[logging.Logger]:
    """A logger at DEBUG with ``handlers``, which is afterwards as it was."""
    found = logging.getLogger(logger)
    level = found.level
    found.setLevel(logging.DEBUG)
    for handler in handlers:
        found.addHandler(handler)
    try:
        yield found
    finally:
        found.setLevel(level)
        for handler in handlers:
            found.removeHandler(handler)
            handler.close()


class Rig:
    """A client, a handler that feeds it, and a logger."""

    def __init__(self, client: AsyncClient, sink: MemorySink, handler: EventHandler, log: logging.Logger) -> None:
        self.client = client
        self.sink = sink
        self.handler = handler
        self.log = log

    async def events(self) -> list[CapturedEvent]:
        """What has arrived, once everything has."""
        await self.client.flush()
        check_ledger(self.client, received=self.sink.uuids)
        return self.sink.events

    async def event(self) -> CapturedEvent:
        """The only one that has arrived."""
        (event,) = await self.events()
        return event

    async def properties(self) -> dict[str, Any]:  # Any: JSON
        """Those of the only event."""
        return (await self.event()).properties


@asynccontextmanager
async def rig(**options: Any) -> AsyncIterator[Rig]:  # Any: those of EventHandler
    """A client whose handler is made with ``options``."""
    sink = MemorySink()
    async with AsyncClient(sink) as client:
        handler = EventHandler(client, **options)
        with attached(handler) as log:
            yield Rig(client, sink, handler, log)
