"""HTTP exchanges over aiohttp: the one module that imports it, and it is imported when an HTTP sink is made."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import socket
from contextvars import ContextVar
from typing import TYPE_CHECKING
from weakref import WeakSet

import aiohttp
from aiohttp.client_proto import ResponseHandler

from eventpipe.errors import ClosedError, PermanentSinkError, TransientSinkError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

MAX_RESPONSE_BYTES = 64 * 1024
CLOSE_TIMEOUT = 1.0  # connections are cut before this is waited for; it only ends a wait that should not be
NO_ROUNDING = float("inf")  # aiohttp rounds timeouts above its threshold up to whole seconds
MAX_REASON = 200  # characters of the system's words for what failed
MAX_BYTES_BODY = 2**20  # aiohttp wants a larger body as a file


class _Link:
    """The connection that a request was given."""

    __slots__ = ("is_reused", "transport")

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.is_reused = False

    def cut(self) -> None:
        # close() alone would wait for what was written to be read, and a far end that is mute never reads.
        if self.transport is not None:
            self.transport.abort()


_link: ContextVar[_Link] = ContextVar("eventpipe_http_link")


class _Connector(aiohttp.TCPConnector):
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
        self._check_own()
        connection = await super().connect(req, traces, timeout)
        link, protocol = _link.get(), connection.protocol
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


_connectors: WeakSet[_Connector] = WeakSet()
_is_watching = False


def _watch(connector: _Connector) -> None:
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
        self._connector: _Connector | None = None
        self._loop: asyncio.AbstractEventLoop | None = None  # that of the own session
        self._pid = os.getpid()

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

    def _made(self) -> aiohttp.ClientSession:
        self._connector = _Connector(self._tls)
        self._loop = asyncio.get_running_loop()
        self._pid = os.getpid()
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


class Exchange:
    """One attempt on the wire: a request, sent on where redirects lead, and what is known so far of the answer.

    The answer is kept here, so that an attempt that runs out of time leaves behind how far it came.

    Attributes:
        url: Where the last request went.
        status: The status code; 0 before the first line of an answer came.
        headers: Of the answer, names in lower case.
        body: Of the answer, at most the first 64 KiB, as received.
        is_complete: Whether ``body`` is all of it.
    """

    __slots__ = ("_data", "_request_headers", "_resends", "_wire", "body", "headers", "is_complete", "status", "url")

    def __init__(self, wire: Wire, headers: Mapping[str, str], data: bytes) -> None:
        self._wire = wire
        self._request_headers = headers
        self._data = data
        self._resends = 1
        self._clear()

    def _clear(self) -> None:
        self.url = ""
        self.status = 0
        self.headers: Mapping[str, str] = {}
        self.body = b""
        self.is_complete = False

    async def post(self, url: str) -> None:
        """Send the request to ``url``, and again where it met a kept-alive connection that had died, once per attempt.

        Raises:
            TransientSinkError: There was no answer.
            PermanentSinkError: The URL cannot be used, or the lent session not in this process.
            ClosedError: The lent session was closed.

        Cancellation:
            Passes through untouched; the connection is cut.
        """
        if self.url:  # what is known is the answer of the URL that led here
            self._clear()
        self.url = url
        session = self._wire.session()
        while True:
            link = _Link()
            _link.set(link)
            try:
                await self._post(session, link)
            except asyncio.CancelledError:
                if _is_being_cancelled():
                    raise
                # Nobody cancelled this attempt: a session that is closed cancels its look-ups of names.
                raise TransientSinkError("the session was closed meanwhile", reason="network") from None
            except TimeoutError as exc:
                raise TransientSinkError("the far end could not be reached in time", reason="timeout") from exc
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as exc:
                if not link.is_reused or not self._resends:
                    raise _no_answer(exc) from exc
                self._resends -= 1
            except aiohttp.InvalidURL:
                raise PermanentSinkError("the sink's URL cannot be used; check its host", scope="sink") from None
            except aiohttp.ClientResponseError as exc:
                # From None: its text repeats the URL, and bytes that the far end sent.
                raise _no_answer(exc) from None
            except (aiohttp.ClientError, OSError) as exc:
                raise _no_answer(exc) from exc
            else:
                return

    async def _post(self, session: aiohttp.ClientSession, link: _Link) -> None:
        response: aiohttp.ClientResponse | None = None
        try:
            response = await session.post(
                self.url,
                data=self._data if len(self._data) <= MAX_BYTES_BODY else io.BytesIO(self._data),
                headers=self._request_headers,
                timeout=self._wire.timeout,
                allow_redirects=False,
                auto_decompress=False,
                raise_for_status=False,
            )
            self.headers = {name.lower(): value for name, value in response.headers.items()}
            self.status = response.status
            try:
                content = response.content
                while len(self.body) <= MAX_RESPONSE_BYTES:
                    self.body += await content.readany()
                    if content.at_eof():
                        self.is_complete = len(self.body) <= MAX_RESPONSE_BYTES
                        break
            except (aiohttp.ClientError, OSError):
                pass  # the status is known: the codec says what half a body is worth
        finally:
            self.body = self.body[:MAX_RESPONSE_BYTES]
            if not self.is_complete:
                if response is not None:
                    response.close()
                link.cut()


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def _no_answer(exc: Exception) -> TransientSinkError:
    why = getattr(exc, "strerror", None) or type(exc).__name__
    return TransientSinkError(f"the far end gave no answer: {str(why)[:MAX_REASON]}", reason="network")
