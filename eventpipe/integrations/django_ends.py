"""When a ``SyncClient`` ends in Django: with the lifespan of a server, or with the process."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures.thread  # noqa: F401  # whoever is registered after it at the interpreter's end comes before it
import contextlib
import threading
import weakref

from eventpipe.sync import SyncClient

# Those that a lifespan closes.
has_lifespan: weakref.WeakSet[SyncClient] = weakref.WeakSet()


class Lifetime:
    """A ``SyncClient`` as a lifespan handles a client; a server that a signal ends may never leave the interpreter."""

    def __init__(self, client: SyncClient) -> None:
        self._client = client

    async def __aenter__(self) -> None:
        has_lifespan.add(self._client)  # it starts with the first capture

    async def aclose(self) -> None:
        """Close it, in a thread, which may take as long as its ``close_timeout``."""
        await asyncio.to_thread(self._client.close)


def close_at_exit(client: SyncClient) -> None:
    """Have it closed when the process ends; nothing in WSGI says so, and servers end by leaving the interpreter."""
    with _lock:
        if any(client is one for one in _closed_at_exit):
            return
        _closed_at_exit.append(client)
    # Names are resolved in threads, and by the time of atexit none can be started any more.
    register = getattr(threading, "_register_atexit", atexit.register)
    with contextlib.suppress(RuntimeError):  # the end has begun
        register(client.close)


_lock = threading.Lock()
_closed_at_exit: list[SyncClient] = []
