"""Connectors of an HTTP sink: which connection an attempt was given, where one may lead, what a fork does to them."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import socket
from contextvars import ContextVar
from http import HTTPStatus
from typing import TYPE_CHECKING, cast
from weakref import WeakSet

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import HttpProcessingError

if TYPE_CHECKING:
    import asyncio
    import ssl
    from collections.abc import Callable

    from aiohttp.connector import AddrInfoType, Connection
    from aiohttp.tracing import Trace

# As much as is received for one request. Of a body 64 KiB are read, and heads have bounds of their own, but between
# these a far end could send interim answers, empty lines or remarks about its pieces without an end.
MAX_RECEIVED = 256 * 1024

# Interim answers before the one that counts, and how much is parsed before they are counted: 8 KiB are 300 of them, and
# three milliseconds.
MAX_INTERIM = 128
_PIECE = 8 * 1024

_END_OF_HEAD = b"\r\n\r\n"
_MAX_HEADS = 8  # before garbage, interim answers included


class Link:
    """The connection that a request was given, or how far the way to one led.

    Attributes:
        transport: Of the connection; ``None`` before there is one.
        is_reused: Whether it has served another request.
        reached: How many far ends were connected to; a proxy's TLS and that of what lies behind it count as two.
        is_refused: Whether an address was found that must not be connected to.
        is_tried: Whether one was found that may be.
    """

    __slots__ = ("is_refused", "is_reused", "is_tried", "reached", "transport")

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.is_reused = False
        self.reached = 0
        self.is_refused = False
        self.is_tried = False

    def cut(self) -> None:
        """End the connection at once."""
        # close() alone would wait for what was written to be read, and a far end that is mute never reads.
        if self.transport is not None:
            self.transport.abort()


link_of_attempt: ContextVar[Link] = ContextVar("eventpipe_http_link")
"""Where a connector leaves what it gave to the attempt of this task."""


class Protocol(ResponseHandler):
    """Reads answers, up to a bound.

    Attributes:
        is_used: Whether a request was given the connection before.
        is_idle: Whether no request waits for an answer. What comes then would be taken for the answer to the next one.
        after_head: Bytes received since the head of the answer, as far as is known.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.is_used = False
        self.is_idle = False
        self.after_head = 0
        self._received = 0  # bytes since the request
        self._unanswered = bytearray()  # what of them came before there was a head
        self._is_answered = self._is_final = False  # by any head, and by one that is no interim answer
        self._heads = 0
        link_of_attempt.get().reached += 1  # it is made when a far end has accepted, before TLS begins

    def begin(self) -> None:
        """A request is about to be written."""
        self.is_used = True
        self.is_idle = self._is_answered = self._is_final = False
        self.after_head = self._received = self._heads = 0
        self._unanswered.clear()

    def data_received(self, data: bytes) -> None:
        """Read what was received, and no more than the bound."""
        if self.is_idle:
            self.force_close()
        room = MAX_RECEIVED - self._received
        self._received += len(data)
        rest = data if len(data) <= room else data[:room]
        while len(rest) > _PIECE and not self._is_final and self._heads <= MAX_INTERIM:
            self._read(rest[:_PIECE])
            rest = rest[_PIECE:]
        if self._heads <= MAX_INTERIM:
            self._read(rest)
        if len(data) > room or self._heads > MAX_INTERIM:
            self.force_close()
            if self.transport is not None:
                self.transport.abort()

    def _read(self, data: bytes) -> None:
        before = len(self._buffer)
        if not self._is_answered:
            self._unanswered += data
        super().data_received(data)
        heads = len(self._buffer) - before
        if not heads:
            self.after_head += len(data)
            return
        self._is_answered = True
        self._is_final = self._buffer[-1][0][0].code >= HTTPStatus.OK
        self._heads += heads
        end = 0
        for _ in range(heads):
            end = data.find(_END_OF_HEAD, end) + len(_END_OF_HEAD)
        # One that began in what came earlier may end without a full mark: then nothing is known to be behind it.
        self.after_head = len(data) - end if end >= len(_END_OF_HEAD) else 0

    def set_exception(self, exc: BaseException, *cause: BaseException) -> None:
        """End the answer, and its body with it: who reads that would wait for what does not come.

        A parser that meets what is no HTTP forgets all that it was given along with it: a good answer with garbage
        behind it would be lost, and its batch sent again. So that is read once more, head by head.
        """
        if isinstance(exc, HttpProcessingError) and not self._is_answered:
            self._is_answered = True
            self.set_response_params(auto_decompress=False, read_until_eof=True)
            *heads, rest = bytes(self._unanswered).split(_END_OF_HEAD, _MAX_HEADS)
            for head in heads:
                super().data_received(head + _END_OF_HEAD)
            if rest and self._buffer:
                super().data_received(rest)
        super().set_exception(exc, *cause)
        body = self._payload
        if body is not None and not body.is_eof() and body.exception() is None:
            body.set_exception(aiohttp.ClientPayloadError())


class Connector(aiohttp.BaseConnector):
    """What an HTTP sink wants of any connector: to be told of connections, to cut them, and to outlive a fork."""

    def __init__(self, **options: object) -> None:
        # No limit: the dispatcher's workers are the limit, and waiting here would count against an attempt's timeout.
        super().__init__(limit=0, **options)  # type: ignore[arg-type]  # those of the other base
        self._factory = cast("functools.partial[ResponseHandler]", functools.partial(Protocol, loop=self._loop))
        self._known: WeakSet[Protocol] = WeakSet()
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
        while isinstance(protocol, Protocol) and protocol.is_used and protocol.should_close:
            connection.close()  # it received something while nobody asked
            connection = await super().connect(req, traces, timeout)
            protocol = connection.protocol
        if isinstance(protocol, Protocol):
            link.transport = connection.transport
            link.is_reused = protocol.is_used
            if not protocol.is_used:
                self._known.add(protocol)
            protocol.begin()
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


class TcpConnector(Connector, aiohttp.TCPConnector):
    """Connects over TCP, to addresses that may be connected to.

    Args:
        tls: How certificates are checked. ``None`` means by this machine's authorities.
        may_connect: Asked for each address, however it was found, at the moment at which it would be connected to.
    """

    def __init__(self, tls: ssl.SSLContext | None, may_connect: Callable[[str], bool]) -> None:
        super().__init__(ssl=True if tls is None else tls, socket_factory=functools.partial(_socket, may_connect))


def _socket(may_connect: Callable[[str], bool], address: AddrInfoType) -> socket.socket:
    """Make a socket for one address, if that may be connected to."""
    family, kind, protocol, _, where = address
    link = link_of_attempt.get()
    if not may_connect(str(where[0])):
        link.is_refused = True
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    link.is_tried = True
    return socket.socket(family, kind, protocol)


class UnixConnector(Connector, aiohttp.UnixConnector):
    """Connects to a unix socket, whatever the host."""

    def __init__(self, path: str) -> None:
        super().__init__(path=path)


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
