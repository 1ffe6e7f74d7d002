"""The connections of an HTTP sink: one session for each loop and process, and what a fork and a close do to it."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING

import aiohttp

from eventpipe.errors import ClosedError, PermanentSinkError, TransientSinkError
from eventpipe.sinks.http_connectors import TcpConnector, UnixConnector
from eventpipe.sinks.http_direct import Route

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from eventpipe.sinks.http_connectors import Connector
    from eventpipe.sinks.reach import Proxy

CLOSE_TIMEOUT = 1.0  # connections are cut before this is waited for; it only ends a wait that should not be
NO_ROUNDING = float("inf")  # aiohttp rounds timeouts above its threshold up to whole seconds
MAX_ROUTES = 16  # a codec has an address or two; a far end may redirect to a new one each time


def _is_unwatched(session: aiohttp.ClientSession) -> bool:
    """Whether requests are made by aiohttp's own code, and nobody is told of them."""
    method = aiohttp.ClientSession._request
    code = getattr(method, "__code__", None)  # what stands in may copy a function's name, not its code
    return code is not None and code.co_filename == aiohttp.client.__file__ and not session.trace_configs


class Wire:
    """Holds one session for all exchanges of a sink: its own, made at the first of a loop, or a lent one.

    Args:
        connect_timeout: Seconds to reach the far end.
        may_connect: Asked by an own session for each address, at the moment at which it would be connected to.
        tls: How to check the far end's certificate. ``None`` means this machine's authorities.
        session: Lent, never closed here, and left as it is: cookies, proxies and TLS are its owner's. A kept-alive
            connection of it that died is met as a network error, because only an own one can be told from a new one.
        socket_path: The unix socket that an own session connects to. ``None`` means TCP.
        proxy: What an own session goes through. ``None`` means nothing.

    Attributes:
        timeout: As aiohttp wants it.
        proxy: As given.
    """

    def __init__(
        self,
        *,
        connect_timeout: float,
        may_connect: Callable[[str], bool],
        tls: ssl.SSLContext | None = None,
        session: aiohttp.ClientSession | None = None,
        socket_path: str | None = None,
        proxy: Proxy | None = None,
    ) -> None:
        self.timeout = aiohttp.ClientTimeout(
            total=None,  # the attempt's deadline is the sink's
            connect=connect_timeout if session is None else None,  # would count the wait for room in a lent pool
            sock_connect=connect_timeout,
            ceil_threshold=NO_ROUNDING,
        )
        self.proxy = proxy
        self._may_connect = may_connect
        self._tls = tls
        self._socket_path = socket_path
        self._lent = session
        self._own: aiohttp.ClientSession | None = None
        self._connector: Connector | None = None
        self._loop: asyncio.AbstractEventLoop | None = None  # that of the own session
        self._pid = os.getpid()
        self._is_closed = False
        self._routes: dict[str, Route] = {}  # of the own session, by URL

    def session(self) -> aiohttp.ClientSession:
        """Hand out the session for this process and this loop.

        Raises:
            TransientSinkError: ``aclose()`` was called meanwhile.
            PermanentSinkError: The session was lent to the parent process.
            ClosedError: Its owner closed the lent session.
        """
        if self._is_closed:
            raise TransientSinkError("the sink was closed meanwhile", reason="network")
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

        It must not where the session was lent, where a proxy is to be gone through, and where somebody looks on:
        instrumentation and mocks of aiohttp give sessions traces, or stand in for the method that makes requests.

        Raises:
            aiohttp.InvalidURL: The URL cannot be used.
        """
        session, connector, loop = self._own, self._connector, self._loop
        if session is None or connector is None or loop is None or self.proxy or not _is_unwatched(session):
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
        path = self._socket_path
        self._connector = TcpConnector(self._tls, self._may_connect) if path is None else UnixConnector(path)
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
        self._is_closed = True
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


def check_session(session: object) -> aiohttp.ClientSession | None:
    """Refuse what is no session.

    Raises:
        ValueError: Names the option, the type and the rule.
    """
    if session is not None and not isinstance(session, aiohttp.ClientSession):
        raise ValueError(f"session must be an aiohttp.ClientSession or None, not {type(session).__name__}")
    return session
