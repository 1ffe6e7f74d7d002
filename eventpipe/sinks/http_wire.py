"""HTTP exchanges over aiohttp; imported when an HTTP sink is made."""

from __future__ import annotations

import asyncio
import io
from typing import TYPE_CHECKING

import aiohttp
from aiohttp.http import HttpProcessingError

from eventpipe.codecs.base import MAX_RESPONSE_BYTES
from eventpipe.errors import PermanentSinkError, TransientSinkError
from eventpipe.sinks.http_connections import Link, link_of_attempt
from eventpipe.sinks.http_direct import exchange, give_back

if TYPE_CHECKING:
    from collections.abc import Mapping

    from eventpipe.sinks.http_connections import Connector, Wire
    from eventpipe.sinks.http_direct import Head, Route

MAX_REASON = 200  # characters of the system's words for what failed
MAX_BYTES_BODY = 2**20  # aiohttp wants a larger body as a file, which it writes piece by piece


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

    __slots__ = ("_data", "_head", "_resends", "_wire", "body", "headers", "is_complete", "status", "url")

    def __init__(self, wire: Wire, head: Head, data: bytes) -> None:
        self._wire = wire
        self._head = head
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
            link = Link()
            link_of_attempt.set(link)
            try:
                direct = self._wire.direct(url) if len(self._data) <= MAX_BYTES_BODY else None
                if direct is None:
                    await self._post(session, link)
                else:
                    await self._post_directly(*direct, link)
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
            except (aiohttp.ClientResponseError, HttpProcessingError) as exc:
                # From None: its text repeats the URL, and bytes that the far end sent.
                raise _no_answer(exc) from None
            except (aiohttp.ClientError, OSError) as exc:
                raise _no_answer(exc) from exc
            else:
                return

    async def _post(self, session: aiohttp.ClientSession, link: Link) -> None:
        response: aiohttp.ClientResponse | None = None
        try:
            response = await session.post(
                self.url,
                data=self._data if len(self._data) <= MAX_BYTES_BODY else io.BytesIO(self._data),
                headers=self._head.headers,
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
            message, content = await exchange(connection, route.head(self._head, len(self._data)), self._data)
            await self._read(message.code, message.headers, content)
        finally:
            give_back(connection, is_complete=self.is_complete)
            if not self.is_complete:
                link.cut()

    async def _read(self, status: int, headers: Mapping[str, str], content: aiohttp.StreamReader) -> None:
        """Keep an answer, as much of its body as is wanted."""
        self.headers = {name.lower(): value for name, value in headers.items()}
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


def _no_answer(exc: Exception) -> TransientSinkError:
    why = getattr(exc, "strerror", None) or type(exc).__name__
    return TransientSinkError(f"the far end gave no answer: {str(why)[:MAX_REASON]}", reason="network")
