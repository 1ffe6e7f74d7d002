"""The life of a client inside that of an ASGI application: started before it, closed after it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, Protocol

from eventpipe.checked import shown
from eventpipe.client import AsyncClient
from eventpipe.core.hook import is_plain
from eventpipe.core.log import contained_logger
from eventpipe.encoding.foreign import type_name
from eventpipe.integrations.health import Receive, Scope, Send

logger = contained_logger("eventpipe")

ClientSource = AsyncClient | Callable[[], AsyncClient]
Application = Callable[[Any, Any, Any], Awaitable[None]]  # Any: servers and frameworks have types of their own
# What Starlette, FastAPI and Litestar take; a framework may hand in its application, or nothing.
Lifespan = Callable[[Any], AbstractAsyncContextManager[Mapping[str, Any]]]  # Any: each has a class of its own
InnerLifespan = Callable[[Any], AbstractAsyncContextManager[Mapping[str, Any] | None]]  # Any: as above

STATE_KEY: Final = "eventpipe"

_STARTUP_FAILED, _SHUTDOWN_FAILED = "lifespan.startup.failed", "lifespan.shutdown.failed"
_STARTED, _STOPPED = "lifespan.startup.complete", "lifespan.shutdown.complete"


class ClientHolder:
    """A client, or what makes one whenever there is none that is open."""

    def __init__(self, source: ClientSource) -> None:
        """Make nothing yet.

        Raises:
            TypeError: It is neither a client nor a plain function.
        """
        if not isinstance(source, AsyncClient) and not is_plain(source):
            raise TypeError(f"client must be an AsyncClient, or a plain function that makes one, not {shown(source)}")
        self._make = None if isinstance(source, AsyncClient) else source
        self._client = source if isinstance(source, AsyncClient) else None

    @property
    def client(self) -> AsyncClient:
        """The client; the first look makes it, where a function was given.

        Raises:
            TypeError: The function returned something else.
        """
        if self._client is None:
            self._client = self._made()
        return self._client

    def opened(self) -> AsyncClient:
        """The client, as an application needs it that starts: a new one, where a function was given.

        Raises:
            RuntimeError: The client is closed, and there is no function that makes another.
            TypeError: The function returned something else.
        """
        if self._client is not None and not self._client.health().is_open:
            if self._make is None:
                raise RuntimeError(
                    "the client was closed when this application stopped before; an application that starts "
                    "again, as in tests, needs a function that makes a client: lifespan(lambda: AsyncClient(...))"
                )
            self._client = None
        return self.client

    def of_its_own(self) -> AsyncClient:
        """The client for one run among others at once: a new one each time, where a function was given.

        Raises:
            RuntimeError, TypeError: As ``opened()``.
        """
        return self.opened() if self._make is None else self._made()

    def _made(self) -> AsyncClient:
        assert self._make is not None  # noqa: S101  # a client was given otherwise
        client = self._make()
        if not isinstance(client, AsyncClient):
            raise TypeError(f"the function that makes the client returned no AsyncClient, but {type_name(client)}")
        return client


def lifespan(client: ClientSource, inner: InnerLifespan | None = None) -> Lifespan:
    """Make a lifespan for Starlette, FastAPI or Litestar: it starts a client before the application and closes it last.

    Handlers find the client with ``client_of(request)``, and where the server has a state for them, in
    ``request.state.eventpipe``.

    Args:
        client: The client, or a plain function that makes one, so that the application can start more than once.
        inner: Another lifespan to run inside this one; its state is passed on. ``None``: there is none.

    Returns:
        What the frameworks take as ``lifespan=``. Leaving it sends what is left, within ``close_timeout``.

    Raises:
        TypeError: It is neither a client nor a plain function.
    """
    holder = ClientHolder(client)

    @asynccontextmanager
    async def run(app: Any) -> AsyncIterator[Mapping[str, Any]]:  # Any: each framework has a class of its own
        async with holder.of_its_own() as running:
            if (state := getattr(app, "state", None)) is not None:
                state.eventpipe = running
            if inner is None:
                yield {STATE_KEY: running}
                return
            async with inner(app) as said:
                yield {**(said or {}), STATE_KEY: running}

    return run


class Living(Protocol):
    """What starts and closes with an application: a client, or what handles one."""

    async def __aenter__(self) -> object: ...

    async def aclose(self) -> object:
        """Close it; may come twice."""


class LifespanRun:
    """One run of the lifespan protocol, of an application that may not know it."""

    def __init__(self, client: Living, app: Application, receive: Receive, send: Send) -> None:
        self._client = client
        self._app = app
        self._receive = receive
        self._send = send
        self._received = 0  # messages that the application took: the first asks it to start, the second to stop
        self._is_started = False
        self._is_answered = False
        self._is_foreign = False

    async def run(self, scope: Scope) -> None:
        """Start the client, let the application live, close the client; then the server learns of the end.

        Cancellation:
            The client is closed within its ``close_timeout``, and a second cancellation cuts that short; all events
            are accounted for.
        """
        await self._client.__aenter__()
        try:
            error = await self._live(scope)
            if self._is_answered:
                return
            if self._received == 0:
                await self._take()
            if not self._is_started:
                await self._send({"type": _STARTED})
            if self._received == 1:
                await self._take()  # the application said nothing of its end, which is not the server's
            await self._close()
            if error is not None:
                raise error
            await self._send({"type": _STOPPED})
        finally:
            await self._close()

    async def _live(self, scope: Scope) -> Exception | None:
        """Run the application; an error that must wait for the end of the server comes back."""
        try:
            await self._app(scope, self._take, self._pass_on)
        except Exception as error:
            is_unknown = not self._is_started and (self._received == 0 or self._is_foreign)
            if is_unknown and not self._is_answered:
                return None  # it does not know the protocol, and need not
            if not self._is_started or self._received > 1 or self._is_answered:
                raise
            logger.error(
                "the lifespan of the application ended with %s while it was serving; the client stays open until "
                "the server stops",
                type_name(error),
            )
            return error
        return None

    async def _take(self) -> Any:  # Any: as ASGI has it
        message = await self._receive()
        self._received += 1
        return message

    async def _pass_on(self, message: Any) -> None:  # Any: as ASGI has it
        kind = message["type"]
        if not kind.startswith("lifespan."):
            self._is_foreign = True
            raise RuntimeError(f"{kind} is no message of a lifespan")
        if kind == _STARTED:
            self._is_started = True
        elif kind in (_STOPPED, _STARTUP_FAILED, _SHUTDOWN_FAILED):
            await self._close()  # first: with this message the server ends
            self._is_answered = True
        await self._send(message)

    async def _close(self) -> None:
        try:
            await self._client.aclose()
        except RuntimeError as error:  # it lives on another loop, which does not answer
            logger.error("the client could not be closed: %s", error)
