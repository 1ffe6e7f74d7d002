"""Clients for a test, closed on whatever loop they have lived."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from eventpipe.client import AsyncClient
from eventpipe.sinks import MemorySink
from eventpipe.sync import SyncClient


@contextmanager
def open_client() -> Iterator[AsyncClient]:
    """Make a client, and close it behind the block, which runs no loop itself.

    Fixtures of the plugins for async tests would each have to be named, and run on the loop that their own options say,
    which need not be that of the test. Between two tests no loop runs, so the one that the client lives on can be used.
    """
    client = AsyncClient(MemorySink(), enabled=True)  # even where the environment disables all clients
    yield client
    home = client._runtime.loop
    if home is None or home.is_closed() or home.is_running():  # running: in another thread, which will do the work
        with_own = asyncio.new_event_loop()
        try:
            with_own.run_until_complete(client.aclose())
        finally:
            with_own.close()
    else:
        home.run_until_complete(client.aclose())


@contextmanager
def open_sync_client() -> Iterator[SyncClient]:
    """Make a client for code without an ``async def``, and close it behind the block."""
    with SyncClient(MemorySink(), enabled=True) as client:
        yield client
