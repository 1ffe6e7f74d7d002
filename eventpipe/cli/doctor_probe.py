"""What ``eventpipe doctor`` asks of a far end, step by step: name, connection, TLS, HTTP. It judges nothing."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Self, TypeVar

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from eventpipe.cli.failures import reason_of
from eventpipe.codecs.base import user_agent

MAX_ADDRESSES = 4  # of one name are tried, all at once

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a far end is.

    Attributes:
        url: Its address, checked.
        host: Its name, as it is looked up and as certificates have it.
        port: Given, or that of the scheme.
        is_encrypted: Whether it is reached by TLS.
    """

    url: str
    host: str
    port: int
    is_encrypted: bool

    @classmethod
    def of(cls, url: str) -> Self:
        """Take a checked URL apart."""
        parts = URL(url)
        return cls(url, parts.raw_host or "", parts.port or 0, parts.scheme == "https")


@dataclass(frozen=True, slots=True)
class Tried:
    """A connection that was tried.

    Attributes:
        address: The IP address.
        problem: Why there is none; ``""``: there was one.
        seconds: How long it took.
    """

    address: str
    problem: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Secured:
    """TLS that was agreed on.

    Attributes:
        version: Such as ``TLSv1.3``.
        expires: When the certificate ends to be valid, seconds since the epoch.
    """

    version: str
    expires: float


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one request.

    Attributes:
        status: Its status.
        headers: Names in lower case.
        asked: Wall clock before the request left.
        answered: Wall clock when the head of the answer was there.
    """

    status: int
    headers: Mapping[str, str]
    asked: float
    answered: float


@dataclass(frozen=True, slots=True)
class Question:
    """One request.

    Attributes:
        method: HEAD or POST.
        url: Where to.
        headers: May have a key.
        body: May have one too.
    """

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)


async def in_thread(function: Callable[[], T]) -> T:
    """Call what may wait for the system, in a thread that nobody waits for once time is up.

    Cancellation:
        Safe. The thread ends when the system lets it, or with the process.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(set_it: Callable[[], None]) -> None:
        if not future.done():
            set_it()

    def work() -> None:
        try:
            result = function()
        except Exception as error:  # noqa: BLE001 - handed to whoever waits
            done = _later(future.set_exception, error)
        else:
            done = _later(future.set_result, result)
        with suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(settle, done)

    threading.Thread(target=work, name="eventpipe doctor", daemon=True).start()
    return await future


async def look_up(place: Place) -> Sequence[str]:
    """The IP addresses of a far end, in the order of the system's preference.

    Raises:
        OSError: There are none.
    """
    found = await in_thread(lambda: socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM))
    return list(dict.fromkeys(str(address[0]) for *_, address in found))[:MAX_ADDRESSES]


async def connect(addresses: Sequence[str], port: int, timeout: float) -> Sequence[Tried]:
    """Connect to each address once, all at once, and hang up."""
    return await asyncio.gather(*(_connect(address, port, timeout) for address in addresses))


async def _connect(address: str, port: int, timeout: float) -> Tried:
    started, problem = time.monotonic(), ""
    try:
        async with asyncio.timeout(timeout):
            _, writer = await asyncio.open_connection(address, port)
            writer.transport.abort()
    except TimeoutError:
        problem = f"no answer within {timeout:g} s"
    except OSError as error:
        problem = reason_of(error)
    return Tried(address, problem, time.monotonic() - started)


async def handshake(place: Place, address: str, context: ssl.SSLContext) -> Secured:
    """Agree on TLS, and hang up.

    Raises:
        OSError: There is none; ``ssl.SSLError`` says why where TLS does.
    """
    _, writer = await asyncio.open_connection(address, place.port, ssl=context, server_hostname=place.host)
    try:
        secure: ssl.SSLObject = writer.get_extra_info("ssl_object")
        certificate = secure.getpeercert() or {}
        return Secured(secure.version() or "TLS", ssl.cert_time_to_seconds(str(certificate["notAfter"])))
    finally:
        writer.transport.abort()


class Web:
    """Asks a far end over HTTP, at the one address that was connected to.

    Args:
        session: Asks; follows nothing and keeps nothing.
    """

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    @classmethod
    @asynccontextmanager
    async def open(cls, address: str, context: ssl.SSLContext | None) -> AsyncIterator[Self]:
        """Something to ask with, for as long as the block lasts."""
        connector = aiohttp.TCPConnector(resolver=_Known(address), ssl=context or True, force_close=True)
        async with aiohttp.ClientSession(
            connector=connector,
            headers={"User-Agent": user_agent(), "Accept-Encoding": "identity", "Cache-Control": "no-cache"},
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        ) as session:
            yield cls(session)

    async def ask(self, question: Question) -> Answer:
        """Send one request and read the head of its answer.

        Raises:
            aiohttp.ClientError: There was none.
        """
        asked = time.time()
        async with self._session.request(
            question.method, question.url, headers=question.headers, data=question.body, allow_redirects=False
        ) as response:
            headers = {name.lower(): value for name, value in response.headers.items()}
            answer = Answer(response.status, headers, asked, time.time())
            response.close()  # whatever else comes is not read
        return answer


class _Known(AbstractResolver):
    """Knows one address, whatever the name: a second look-up might wait, or lead elsewhere."""

    def __init__(self, address: str) -> None:
        self._address = address

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        del family
        own = socket.AF_INET6 if ":" in self._address else socket.AF_INET
        return [
            ResolveResult(
                hostname=host, host=self._address, port=port, family=own, proto=0, flags=socket.AI_NUMERICHOST
            )
        ]

    async def close(self) -> None:
        """There is nothing to close."""


def _later(function: Callable[[T], None], value: T) -> Callable[[], None]:
    return lambda: function(value)
