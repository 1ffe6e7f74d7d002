"""Asks a health endpoint how its process does."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Self
from urllib.parse import urljoin, urlsplit

import aiohttp

from eventpipe.cli.failures import CommandError, reason_of
from eventpipe.cli.secrets import HEADER_VARIABLE
from eventpipe.cli.top_picture import Picture, parse_picture
from eventpipe.codecs.base import user_agent
from eventpipe.sinks.urls import shown_url

ANSWER_TIMEOUT = 5.0  # seconds: the loop that answers is the one that sends, and may be busy for a while
MAX_ANSWER = 1024 * 1024  # bytes: a client with a hundred sinks and a hundred names of events has a third of it

_PICTURES = frozenset({200, 503})  # ready, and not
_PASSING = frozenset({429, 502, 503, 504})  # what proxies say while the process behind them starts, or is busy


class NoAnswerError(CommandError):
    """Nobody answered this time; worth another try."""


class Endpoint:
    """A health endpoint, asked over one connection as long as that lasts.

    Args:
        session: Asks; neither decompresses nor keeps cookies.
        url: The address, checked.
    """

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url
        self._where = shown_url(url)

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, headers: Mapping[str, str], timeout: float = ANSWER_TIMEOUT) -> AsyncIterator[Self]:
        """An endpoint whose connections are closed with the block.

        Args:
            url: The address, checked.
            headers: Sent with each question, to this address and no other.
            timeout: Seconds for one answer.
        """
        async with aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=timeout),
            headers={
                "User-Agent": user_agent(),
                "Accept": "application/json",
                "Accept-Encoding": "identity",
                **headers,
            },
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        ) as session:
            yield cls(session, url)

    async def read(self) -> Picture:
        """Ask once.

        Raises:
            NoAnswerError: There was none, or that of a proxy whose process does not answer.
            CommandError: What answered is no health endpoint of eventpipe, or wants something else of us.

        Cancellation:
            Safe. The connection is closed.
        """
        status, body = await self._answer()
        try:
            return parse_picture(body)
        except ValueError as error:
            if status in _PASSING:
                raise NoAnswerError(f"{self._where} answered {status}, and not for eventpipe") from error
            raise CommandError(f"{self._where} is no health endpoint of eventpipe: {error}") from error

    async def _answer(self) -> tuple[int, bytes]:
        where = self._where
        try:
            async with self._session.get(self._url, allow_redirects=False) as response:
                slashed = self._slashed(response)
                if slashed is None:
                    self._check(response)
                    return response.status, await self._body(response)
            self._url = slashed
            return await self._answer()
        except TimeoutError as error:
            raise NoAnswerError(f"{where} did not answer within {self._session.timeout.total:g} s") from error
        except aiohttp.ClientSSLError as error:
            raise CommandError(f"no secure connection to {where}: {_reason(error)}") from error
        except aiohttp.ClientOSError as error:
            raise NoAnswerError(f"cannot reach {where}: {_refusal(error)}") from error
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientPayloadError) as error:
            raise NoAnswerError(f"{where} hung up before the end of its answer") from error
        except aiohttp.ClientResponseError as error:
            raise CommandError(f"{where} does not speak HTTP") from error
        except (aiohttp.ClientError, ValueError) as error:  # an address that only the resolver's library finds odd
            raise CommandError(f"cannot ask {where}: {error}") from error

    def _slashed(self, response: aiohttp.ClientResponse) -> str | None:
        """Our address with a slash behind its path, if that is where we are sent: frameworks mount applications so."""
        parts = urlsplit(self._url)
        slashed = parts._replace(path=f"{parts.path}/").geturl()
        if not 300 <= response.status < 400 or parts.path.endswith("/"):
            return None
        try:
            target = urljoin(self._url, response.headers.get("Location", ""))
        except ValueError:  # it is no address
            return None
        return slashed if target == slashed else None

    def _check(self, response: aiohttp.ClientResponse) -> None:
        """Refuse statuses with which there is no picture."""
        status, where = response.status, self._where
        if status in _PICTURES:
            return
        if status in _PASSING:
            raise NoAnswerError(f"{where} answered {status}")
        if 300 <= status < 400:
            target = response.headers.get("Location")
            onto = f" to {shown_url(target)}" if target and "://" in target else ""
            raise CommandError(f"{where} answered {status}, a redirect{onto}, which is not followed")
        if status in (401, 403):
            raise CommandError(
                f"{where} answered {status}: what it wants to see goes into --header or {HEADER_VARIABLE}"
            )
        if status == 404:
            raise CommandError(f"{where} answered 404: the URL needs the path of the health endpoint, such as /health")
        raise CommandError(f"{where} answered {status}, and is no health endpoint of eventpipe")

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        body = bytearray()
        async for part in response.content.iter_any():
            body += part
            if len(body) > MAX_ANSWER:
                raise CommandError(f"{self._where} answered with more than {MAX_ANSWER // 1024**2} MiB")
        return bytes(body)


def _refusal(error: aiohttp.ClientOSError) -> str:
    """Why nobody could be asked, in the system's words."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "no such host"
    return reason_of(error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error)


def _reason(error: aiohttp.ClientSSLError) -> str:
    """Why there is no secure connection, without the address and the places in the library's code."""
    cause: object = getattr(error, "certificate_error", None) or getattr(error, "os_error", error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return cause.verify_message
    return (cause.reason if isinstance(cause, ssl.SSLError) else "TLS failed").lower().replace("_", " ")
