"""One attempt of an HTTP sink: what lets it in, where redirects lead it, and what its end in time means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventpipe.errors import PermanentSinkError, TransientSinkError
from eventpipe.sinks.http_wire import Exchange
from eventpipe.sinks.urls import follow

if TYPE_CHECKING:
    from collections.abc import Mapping

    from eventpipe.sinks.auth import Auth
    from eventpipe.sinks.headers import Headers
    from eventpipe.sinks.http_connections import Wire

MAX_REDIRECTS = 5

_REPEATING = frozenset({307, 308})  # the redirects that keep method and body
_UNAUTHORIZED = 401


class Attempt:
    """Makes one request, and what follows from its answer before a codec sees one.

    Args:
        wire: The connections.
        headers: Makes the head of each request.
        auth: Lets requests in. ``None``: they need nothing more.

    """

    def __init__(self, wire: Wire, headers: Headers, auth: Auth | None) -> None:
        self._exchange: Exchange | None = None
        self._wire = wire
        self._headers = headers
        self._auth = auth
        self._is_being_let_in = False

    async def make(self, url: str, wanted: Mapping[str, str], encoding: str | None, data: bytes) -> None:
        """Send the request; after a 401 once more, with new headers of the auth hook.

        Args:
            url: Where to.
            wanted: The codec's headers.
            encoding: The Content-Encoding of the body, or ``None``.
            data: The body.

        Raises:
            TransientSinkError: There was no answer, or the auth hook failed.
            PermanentSinkError: The request cannot be sent, or is redirected to where it must not go.
            ClosedError: The lent session was closed.

        Cancellation:
            Passes through untouched; the connection is cut.
        """
        granted = None if self._auth is None else await self._let_in(self._auth, None)
        self._exchange = exchange = Exchange(self._wire, self._headers.head(wanted, encoding, granted), data)
        await self._post(exchange, url)
        if self._auth is not None and exchange.status == _UNAUTHORIZED:
            granted = await self._let_in(self._auth, granted)
            exchange.head = self._headers.head(wanted, encoding, granted)
            await self._post(exchange, url)

    async def _let_in(self, auth: Auth, stale: Mapping[str, str] | None) -> Mapping[str, str]:
        self._is_being_let_in = True
        granted = await auth.headers(stale)
        self._is_being_let_in = False
        return granted

    async def _post(self, exchange: Exchange, url: str) -> None:
        """Send the request, and on to where the same origin redirects it."""
        await exchange.post(url)
        redirects = 0
        while exchange.status in _REPEATING:
            target = _target(exchange)
            if target is None:
                raise _misconfigured("the far end redirects to another origin; give the sink its URL", exchange)
            if redirects == MAX_REDIRECTS:
                raise _misconfigured(f"the far end redirects more than {MAX_REDIRECTS} times", exchange)
            redirects += 1
            await exchange.post(target)

    def overdue(self, timeout: float) -> TransientSinkError | None:
        """What it means that the time ran out.

        Once the status is known, the far end has decided, and ``None`` is returned: sending the batch again because
        its body drips would deliver it twice. A redirect decides nothing: where it leads was not asked.
        """
        if self._is_being_let_in:
            return TransientSinkError(f"the auth hook did not answer within {timeout:g} s", reason="auth")
        exchange = self._exchange
        if exchange is None:
            return TransientSinkError(f"no answer within {timeout:g} s", reason="timeout")
        if exchange.status and _target(exchange) is None:
            return None
        return exchange.overdue(timeout)

    def answer(self) -> tuple[int, Mapping[str, str], bytes, bool]:
        """Status, headers, body and whether that is all of it, where ``make()`` or ``overdue()`` found no fault."""
        exchange = self._exchange
        if exchange is None:
            raise AssertionError("an attempt is made before its answer is read")
        return exchange.status, exchange.headers, exchange.body, exchange.is_complete


def _target(exchange: Exchange) -> str | None:
    """Where a redirect of the same origin leads; ``None`` for anything else."""
    return follow(exchange.url, exchange.headers.get("location")) if exchange.status in _REPEATING else None


def _misconfigured(message: str, exchange: Exchange) -> PermanentSinkError:
    return PermanentSinkError(message, scope="sink", status=exchange.status)
