"""The connections of an HTTP sink: one session for each loop and process, and what a fork and a close do to it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from contextvars import ContextVar
from typing import TYPE_CHECKING
from weakref import WeakSet

import aiohttp
from aiohttp.client_proto import ResponseHandler

from eventpipe.errors import ClosedError, PermanentSinkError
from eventpipe.sinks.http_direct import Route

if TYPE_CHECKING:
    import ssl

    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

CLOSE_TIMEOUT = 1.0  # connections are cut before this is waited for; it only ends a wait that should not be
NO_ROUNDING = float("inf")  # aiohttp rounds timeouts above its threshold up to whole seconds
MAX_ROUTES = 16  # a codec has an address or two; a far end may redirect to a new one each time


class Link:
    """The connection that a request was given."""

    __slots__ = ("is_reused", "transport")

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.is_reused = False

    def cut(self) -> None:
        """End the connection at once."""
        # close() alone would wait for what was written to be read, and a far end that is mute never reads.
        if self.transport is not None:
            self.transport.abort()


link_of_attempt: ContextVar[Link] = ContextVar("eventpipe_http_link")
"""Where a connector leaves what it gave to the attempt of this task."""


class Connector(aiohttp.TCPConnector):
    """Tells each request which connection it was given and whether that is a kept-alive one."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        # No limit: the dispatcher's workers are the limit, and waiting here would count against an attempt's timeout.
        super().__init__(limit=0, ssl=True if tls is None else tls)
        self._known: WeakSet[ResponseHandler] = WeakSet()
        self._is_left = False
        self._is_parents = False
        _watch(self)

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        """Hand out a connection, and say in ``link_of_attempt`` which it is."""
        self._check_own()
        connection = await super().connect(req, traces, timeout)
        link, protocol = link_of_attempt.get(), connection.protocol
        if protocol is not None:
            link.transport = connection.transport
            link.is_reused = protocol in self._known
            if not link.is_reused:
                self._known.add(protocol)
        if self._is_parents:  # since this attempt began
            self.let_go()
            connection.close()
            self._check_own()
        return connection

    def _check_own(self) -> None:
        if self._is_parents:
            raise aiohttp.ClientConnectionError("this attempt is the parent's, and goes on there")

    def cut(self) -> None:
        """Cut every connection, at once."""
        for protocol in self._known:
            if protocol.transport is not None:
                protocol.transport.abort()

    def leave(self) -> None:
        """Let the connections be: their loop has ended, or they are a parent's.

        A child that closed them would take them out of the parent's selector, which the two share.
        """
        self._is_left = True

    def let_go(self) -> None:
        """Put dead sockets in the place of the parent's, in a forked child.

        Where the child goes on with a copy of the parent's loop, attempts go on there too. What they would read and
        write is the parent's, and to close it would take it out of the selector that the two loops share.
        """
        self._is_left = self._is_parents = True
        dead, peer = socket.socketpair()
        peer.close()
        with dead, contextlib.suppress(OSError):
            dead.setblocking(False)
            for protocol in self._known:
                own = None if protocol.transport is None else protocol.transport.get_extra_info("socket")
                if own is not None and own.fileno() >= 0:
                    os.dup2(dead.fileno(), own.fileno(), inheritable=False)

    def __del__(self, *args: object) -> None:
        if not self._is_left:
            super().__del__(*args)


_connectors: WeakSet[Connector] = WeakSet()
_is_watching = False


def _watch(connector: Connector) -> None:
    """Have ``connector`` let go of its connections in forked children."""
    global _is_watching  # one handler a process, and none before there is a connection
    if not _is_watching and hasattr(os, "register_at_fork"):
        _is_watching = True
        os.register_at_fork(after_in_child=_let_go)
    _connectors.add(connector)


def _let_go() -> None:
    connectors = list(_connectors)
    _connectors.clear()
    for connector in connectors:
        connector.let_go()


def _is_unwatched(session: aiohttp.ClientSession) -> bool:
    """Whether requests are made by aiohttp's own code, and nobody is told of them."""
    method = aiohttp.ClientSession._request
    code = getattr(method, "__code__", None)  # what stands in may copy a function's name, not its code
    return code is not None and code.co_filename == aiohttp.client.__file__ and not session.trace_configs


class Wire:
    """Holds one session for all exchanges of a sink: its own, made at the first of a loop, or a lent one.

    Args:
        connect_timeout: Seconds to reach the far end.
        tls: How to check the far end's certificate. ``None`` means this machine's authorities.
        session: Lent, never closed here, and left as it is: cookies, proxies and TLS are its owner's. A kept-alive
            connection of it that died is met as a network error, because only an own one can be told from a new one.
    """

    def __init__(
        self, *, connect_timeout: float, tls: ssl.SSLContext | None = None, session: aiohttp.ClientSession | None = None
    ) -> None:
        self.timeout = aiohttp.ClientTimeout(
            total=None,  # the attempt's deadline is the sink's
            connect=connect_timeout if session is None else None,  # would count the wait for room in a lent pool
            sock_connect=connect_timeout,
            ceil_threshold=NO_ROUNDING,
        )
        self._tls = tls
        self._lent = session
        self._own: aiohttp.ClientSession | None = None
        self._connector: Connector | None = None
        self._loop: asyncio.AbstractEventLoop | None = None  # that of the own session
        self._pid = os.getpid()
        self._routes: dict[str, Route] = {}  # of the own session, by URL

    def session(self) -> aiohttp.ClientSession:
        """Hand out the session for this process and this loop.

        Raises:
            PermanentSinkError: The session was lent to the parent process.
            ClosedError: Its owner closed the lent session.
        """
        if self._lent is not None:
            if self._pid != os.getpid():
                raise PermanentSinkError(
                    "the lent session belongs to the parent process; make the sink after the fork", scope="sink"
                )
            if self._lent.closed:
                raise ClosedError("the lent session was closed by its owner")
            return self._lent
        if self._own is None or not self._is_at_home():
            self._leave()
            self._own = self._made()
        return self._own

    def direct(self, url: str) -> tuple[Connector, Route] | None:
        """Hand out what a request to ``url`` needs to go past the session; ``None`` where it must not.

        It must not where the session was lent, and where somebody looks on: instrumentation and mocks of aiohttp give
        sessions traces, or stand in for the method that makes requests.

        Raises:
            aiohttp.InvalidURL: The URL cannot be used.
        """
        session, connector, loop = self._own, self._connector, self._loop
        if session is None or connector is None or loop is None or not _is_unwatched(session):
            return None
        route = self._routes.get(url)
        if route is None:
            if len(self._routes) == MAX_ROUTES:
                self._routes.clear()
            try:
                route = self._routes[url] = Route(url, session, loop)
            except ValueError as exc:
                raise aiohttp.InvalidURL(url) from exc
        return connector, route

    def _made(self) -> aiohttp.ClientSession:
        self._connector = Connector(self._tls)
        self._loop = asyncio.get_running_loop()
        self._pid = os.getpid()
        self._routes = {}
        return aiohttp.ClientSession(
            connector=self._connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )

    def _is_at_home(self) -> bool:
        return self._loop is asyncio.get_running_loop() and self._pid == os.getpid()

    def _leave(self) -> None:
        """Forget a session that another loop or another process made."""
        if self._own is None or self._connector is None or self._loop is None:
            return
        self._own.detach()
        self._connector.leave()
        if self._pid == os.getpid() and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._connector.cut)
        self._own = self._connector = self._loop = None

    async def aclose(self) -> None:
        """Cut the own connections; a lent session stays as it is. May come twice."""
        session, connector = self._own, self._connector
        if session is None or connector is None:
            return
        if not self._is_at_home():
            self._leave()
            return
        self._own = self._connector = self._loop = None
        connector.cut()  # the session would wait for what was written to be read
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await session.close()
