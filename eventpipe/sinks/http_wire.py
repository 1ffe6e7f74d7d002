"""HTTP exchanges over aiohttp; imported when an HTTP sink is made."""

from __future__ import annotations

import asyncio
import io
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiohttp
from aiohttp.http import HttpProcessingError

from eventpipe.codecs.base import MAX_RESPONSE_BYTES
from eventpipe.errors import PermanentSinkError, TransientSinkError
from eventpipe.sinks.http_connectors import Link, link_of_attempt
from eventpipe.sinks.http_direct import exchange, give_back
from eventpipe.sinks.http_errors import PROXY_UNAUTHORIZED, error_of, no_tls, of_proxy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from eventpipe.errors import SinkError
    from eventpipe.sinks.headers import Head
    from eventpipe.sinks.http_connections import Wire
    from eventpipe.sinks.http_connectors import Connector
    from eventpipe.sinks.http_direct import Route

MAX_BYTES_BODY = 2**20  # aiohttp wants a larger body as a file, which it writes piece by piece
_STATUSES = range(100, 600)


class Exchange:
    """One attempt on the wire: a request, sent on where redirects lead, and what is known so far of the answer.

    The answer is kept here, so that an attempt that runs out of time leaves behind how far it came.

    Attributes:
        head: The headers of the next request.
        url: Where the last request went.
        status: The status code; 0 before the first line of an answer came.
        headers: Of the answer, names in lower case; values of one name joined by a comma and a space.
        body: Of the answer, at most the first 64 KiB, as received.
        is_complete: Whether ``body`` is all of it.
    """

    __slots__ = ("_data", "_link", "_resends", "_wire", "body", "head", "headers", "is_complete", "status", "url")

    def __init__(self, wire: Wire, head: Head, data: bytes) -> None:
        self.head = head
        self._wire = wire
        self._data = data
        self._resends = 1
        self._link = Link()
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
            self._link = link = Link()
            link_of_attempt.set(link)
            try:
                direct = self._wire.direct(url) if len(self._data) <= MAX_BYTES_BODY else None
                if direct is None:
                    await self._post(session, link)
                else:
                    await self._post_directly(*direct, link)
                break
            except asyncio.CancelledError:
                if _is_being_cancelled():
                    raise
                # Nobody cancelled this attempt: a session that is closed cancels its look-ups of names.
                error: SinkError = TransientSinkError("the session was closed meanwhile", reason="network")
            except Exception as exc:  # noqa: BLE001 - aiohttp's, the system's, and what neither says that it raises
                is_dead = isinstance(exc, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError)
                if is_dead and link.is_reused and self._resends:
                    self._resends -= 1
                    continue
                error = self._error_of(exc)
            raise error  # here, where it has no context: what failed may carry headers, and what the far end sent
        if self.status == PROXY_UNAUTHORIZED and self._wire.proxy:
            raise of_proxy(self.status)

    def overdue(self, timeout: float) -> TransientSinkError:
        """What it means that the attempt's time ran out without an answer."""
        if self._is_shaking_hands():
            return no_tls(f"it did not answer within {timeout:g} s")
        return TransientSinkError(f"no answer within {timeout:g} s", reason="timeout")

    def _error_of(self, exc: Exception) -> SinkError:
        if self._link.is_refused and not self._link.is_tried:
            return PermanentSinkError(
                f"no address of {urlsplit(self.url).hostname!r} may be connected to", scope="sink"
            )
        error = error_of(exc)
        if error.reason != "tls" and self._is_shaking_hands():
            return no_tls("it did not answer in time" if isinstance(exc, TimeoutError) else "it closed the connection")
        return error

    def _is_shaking_hands(self) -> bool:
        """Whether a far end was connected to and TLS was not agreed on."""
        proxy, link = self._wire.proxy, self._link
        is_proxy_encrypted = proxy is not None and proxy.url.startswith("https")
        if link.transport is not None or not (self.url.startswith("https") or is_proxy_encrypted):
            return False
        is_proxy_plain = proxy is not None and not is_proxy_encrypted
        return link.reached > is_proxy_plain

    async def _post(self, session: aiohttp.ClientSession, link: Link) -> None:
        response: aiohttp.ClientResponse | None = None
        proxy, headers = self._wire.proxy, self.head.headers
        if proxy is not None and not self.url.startswith("https"):
            headers = {**headers, **proxy.headers}  # no tunnel: the proxy reads the request itself
        try:
            response = await session.post(
                self.url,
                data=self._data if len(self._data) <= MAX_BYTES_BODY else io.BytesIO(self._data),
                headers=headers,
                proxy=None if proxy is None else proxy.url,
                proxy_headers=None if proxy is None else proxy.headers,
                timeout=self._wire.timeout,
                allow_redirects=False,
                auto_decompress=False,
                raise_for_status=False,
            )
            await self._read(response.status, response.headers, response.content)
        finally:
            if not self.is_complete:
                if response is not None:
                    response.close()
                link.cut()

    async def _post_directly(self, connector: Connector, route: Route, link: Link) -> None:
        connection = await connector.connect(route.request, [], self._wire.timeout)
        try:
            message, content = await exchange(connection, route.head(self.head, len(self._data)), self._data)
            await self._read(message.code, message.headers, content)
        finally:
            body_bytes = None if "transfer-encoding" in self.headers else len(self.body)
            give_back(connection, is_complete=self.is_complete, body_bytes=body_bytes)
            if not self.is_complete:
                link.cut()

    async def _read(self, status: int, headers: Mapping[str, str], content: aiohttp.StreamReader) -> None:
        """Keep an answer, as much of its body as is wanted."""
        if status not in _STATUSES:
            raise HttpProcessingError(message="no status of HTTP")
        self.headers = _by_name(headers)
        self.status = status
        try:
            while len(self.body) <= MAX_RESPONSE_BYTES:
                self.body += await content.readany()
                if content.at_eof():
                    self.is_complete = len(self.body) <= MAX_RESPONSE_BYTES
                    break
        except (aiohttp.ClientError, OSError):
            pass  # the status is known: the codec says what half a body is worth
        finally:
            self.body = self.body[:MAX_RESPONSE_BYTES]


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def _by_name(headers: Mapping[str, str]) -> Mapping[str, str]:
    # Source: RFC 9110, section 5.3.
    found: dict[str, str] = {}
    for name, value in headers.items():
        name = name.lower()
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found
