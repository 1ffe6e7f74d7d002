"""What can go wrong on the wire, in our words: nothing of aiohttp's errors goes on, which carry headers and answers."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import aiohttp
from aiohttp.http import HttpProcessingError

from eventpipe.errors import PermanentSinkError, TransientSinkError
from eventpipe.outcomes import DropReason

if TYPE_CHECKING:
    from eventpipe.errors import SinkError

# A certificate is not mended in a second: half a minute keeps ten attempts busy for five minutes, in which a lane sends
# one batch at a time to see whether TLS works again.
TLS_PAUSE = 30.0
MAX_REASON = 200  # characters of the system's words for what failed
PROXY_UNAUTHORIZED = 407

_TLS_ADVICE = "check its certificate, this machine's clock and authorities, and the sink's ssl"


def error_of(exc: Exception) -> SinkError:
    """Say what an exception of an exchange means, any that aiohttp or the system raises."""
    if isinstance(exc, aiohttp.InvalidURL | UnicodeError):  # the latter where a host makes no punycode
        return PermanentSinkError("the sink's URL cannot be used; check its host", scope="sink")
    if isinstance(exc, aiohttp.ClientHttpProxyError):
        return of_proxy(exc.status)
    cause = exc.__cause__ if isinstance(exc, aiohttp.ClientError) else exc
    if isinstance(exc, aiohttp.ClientSSLError | aiohttp.ServerFingerprintMismatch) or isinstance(cause, ssl.SSLError):
        return no_tls(_said_by_tls(cause))
    if isinstance(exc, TimeoutError):
        return TransientSinkError("the far end could not be reached in time", reason="timeout")
    if isinstance(exc, aiohttp.ClientProxyConnectionError):
        return TransientSinkError(f"the proxy could not be reached: {_said_by_system(exc)}", reason="network")
    return TransientSinkError(f"the far end gave no answer: {_said_by_system(exc)}", reason="network")


def no_tls(why: str) -> TransientSinkError:
    """TLS could not be agreed on: nothing of a batch has left."""
    return TransientSinkError(f"no TLS with the far end: {why}; {_TLS_ADVICE}", retry_after=TLS_PAUSE, reason="tls")


def of_proxy(status: int) -> SinkError:
    """The proxy refused: nothing of a batch has come further."""
    if status == PROXY_UNAUTHORIZED:
        return PermanentSinkError(
            "the proxy answered 407; check the Proxy-Authorization in the sink's proxy_headers",
            scope="sink",
            reason=DropReason.UNAUTHORIZED,
            status=status,
        )
    return TransientSinkError(f"the proxy answered {status}", reason="network", status=status)


def _said_by_system(exc: Exception) -> str:
    if isinstance(exc, HttpProcessingError | aiohttp.ClientResponseError):
        return "what it sent is not HTTP"
    if isinstance(exc, aiohttp.ServerDisconnectedError):
        return "it closed the connection"
    return str(getattr(exc, "strerror", None) or type(exc).__name__)[:MAX_REASON]


def _said_by_tls(exc: BaseException | None) -> str:
    if isinstance(exc, ssl.SSLCertVerificationError):
        return exc.verify_message[:MAX_REASON].rstrip(".")
    if isinstance(exc, ssl.SSLError) and exc.reason:
        return exc.reason.lower().replace("_", " ")[:MAX_REASON]
    return "it was refused"
