"""An auth hook: headers that a program fetches, kept until the far end wants others, fetched once for all who wait."""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from eventpipe.errors import PermanentSinkError, TransientSinkError
from eventpipe.sinks.headers import check_headers

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from eventpipe.errors import SinkError

Failed = Callable[[], "SinkError"]  # makes an error for each who waits
CLOSE_TIMEOUT = 1.0  # a hook that holds on although it was cancelled holds up nobody's end for longer


class AuthHook(Protocol):
    """Fetches the headers that let requests in, such as ``{"Authorization": "Bearer …"}``."""

    def __call__(self, refresh: bool, /) -> Awaitable[Mapping[str, str]]:
        """Fetch them.

        Args:
            refresh: Whether the far end answered 401 to those fetched before: a kept token is of no use.
        """


class Auth:
    """Keeps the headers of an auth hook, and has it called once at a time.

    Those who need headers meanwhile wait for the same call. It goes on while one of them does; the last to give up
    ends it, so that a hook that hangs costs each attempt its time and leaves no task.

    Args:
        hook: What fetches them.
    """

    def __init__(self, hook: AuthHook) -> None:
        self._hook = hook
        self._headers: Mapping[str, str] | None = None
        self._call: _Call | None = None

    async def headers(self, stale: Mapping[str, str] | None = None) -> Mapping[str, str]:
        """Hand out headers, those that are kept unless they are ``stale``.

        Args:
            stale: Those that the far end answered 401 to. ``None``: none were sent.

        Raises:
            TransientSinkError: The hook failed.
            PermanentSinkError: What it returned cannot be sent.

        Cancellation:
            Safe. The call goes on if somebody else waits for it.
        """
        if self._headers is not None and self._headers is not stale:
            return self._headers
        call = self._call
        if call is None or not call.is_going_on():
            call = self._call = _Call(self._fetch(is_refresh=stale is not None))
        error = await call.result()
        if error is not None:
            raise error()
        return self._headers or {}

    async def _fetch(self, *, is_refresh: bool) -> Failed | None:
        """Call the hook and keep what it returns."""
        try:
            found: object = self._hook(is_refresh)
            if not inspect.isawaitable(found):
                return functools.partial(PermanentSinkError, "auth must be an async function", scope="sink")
            headers = await found
        except Exception as exc:  # noqa: BLE001 - whatever a caller's function raises; its text may have the secret
            message = f"the auth hook failed: {type(exc).__name__}"
            return functools.partial(TransientSinkError, message, reason="auth")
        try:
            self._headers = check_headers("what auth returns", headers)
        except ValueError as exc:
            return functools.partial(PermanentSinkError, str(exc), scope="sink")
        return None

    async def aclose(self) -> None:
        """End a call that is under way. May come twice, and from another loop."""
        call, self._call = self._call, None
        if call is not None and call.is_going_on():
            call.task.cancel()
            await asyncio.wait({call.task}, timeout=CLOSE_TIMEOUT)


class _Call:
    """One call of the hook, and how many wait for it."""

    def __init__(self, fetching: Coroutine[object, object, Failed | None]) -> None:
        self.task = asyncio.get_running_loop().create_task(fetching)
        self._pid = os.getpid()
        self._waiting = 0

    def is_going_on(self) -> bool:
        """Whether it runs in this loop and this process, and was not given up."""
        is_at_home = self.task.get_loop() is asyncio.get_running_loop() and self._pid == os.getpid()
        return is_at_home and not self.task.done() and not self.task.cancelling()

    async def result(self) -> Failed | None:
        """Wait for it; the last to give up ends it."""
        self._waiting += 1
        try:
            await asyncio.wait({self.task})
        finally:
            self._waiting -= 1
            if not self._waiting and not self.task.done():
                self.task.cancel()
        if self.task.cancelled():
            return functools.partial(TransientSinkError, "the auth hook was cancelled", reason="auth")
        return self.task.result()
