"""Events to an address that somebody else typed."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from eventpipe.codecs.webhook_secrets import PROOFS, check_scheme
from eventpipe.codecs.webhook_signing import HubWebhook, StandardWebhook
from eventpipe.sinks.addresses import is_public
from eventpipe.sinks.base import check_flag
from eventpipe.sinks.http import CONNECT_TIMEOUT, HttpSink
from eventpipe.sinks.urls import is_loopback, shown_url

if TYPE_CHECKING:
    import os
    import ssl as tls
    from collections.abc import Mapping

    import aiohttp

    from eventpipe.clock import Clock
    from eventpipe.codecs.webhook_secrets import Scheme, Secrets
    from eventpipe.contracts import Codec, Where
    from eventpipe.sinks.auth import AuthHook

TIMEOUT = 15.0  # Source: Standard Webhooks 1.0 recommends 15 to 30 s


class WebhookSink(HttpSink):
    """Sends each event as one signed POST, to public addresses only.

    The address is checked where it cannot change any more: each IP address, whatever name, redirect or answer of a
    resolver led there, at the moment at which it would be connected to. Where no address of a host may be connected to,
    the batch is refused as ``misconfigured``, and nothing leaves.

    All else is as in ``HttpSink``: any 2xx accepts; 410 says that the endpoint is gone, which is ``misconfigured``;
    bodies are not compressed.

    Args:
        url: The endpoint. Plain http needs ``allow_insecure``, or a loopback host and ``allow_private``.
        secret: What is signed with; several while one takes the place of another. ``None``: nothing is signed.
        codec: Writes the body. ``None`` means one event a request, as ``{"type", "timestamp", "data", …}``.
        scheme: ``"standard"``: Standard Webhooks; a secret is ``whsec_`` and the base64 of 24 to 64 bytes. ``"hub"``:
            ``X-Hub-Signature-256``; the secret is any text.
        allow_private: Whether to connect to this machine, to private networks and to metadata services.
        timeout: Seconds for one attempt, from connecting to the end of the answer. ``None`` means 15.
        connect_timeout: Seconds of them to reach the far end. ``None`` means 3.
        headers: Sent with every request; none that the scheme writes. ``None`` means none.
        auth: An async function that returns headers for every request, and others after a 401. ``None`` means none.
        session: A session to send with, never closed here; needs ``allow_private``, because where it connects to
            cannot be checked, and so do ``proxy`` and ``socket_path``. ``None`` means an own one.
        allow_insecure: Whether plain http may leave this machine and certificates may go unchecked.
        ssl: How certificates are checked. ``None`` means by this machine's authorities; TLS 1.2 or newer.
        proxy: The URL of a proxy, which had better be one that judges addresses. ``None`` means none.
        proxy_headers: What the proxy is told, such as ``Proxy-Authorization``. ``None`` means nothing.
        socket_path: A unix socket to send to instead of the host of ``url``. ``None`` means TCP.
        where: A plain function of the captured event; one it turns away is not captured by this sink.
        name: What reports and counters call the sink. ``None`` means its host.
        clock: Reads the wall clock for the time that is signed. ``None`` means this machine's.

    Raises:
        ValueError: An option is wrong; the message names it, its value without secrets, and the rule.
    """

    def __init__(
        self,
        url: str,
        secret: Secrets | None,
        codec: Codec | None = None,
        *,
        scheme: Scheme = "standard",
        allow_private: bool = False,
        timeout: float | None = TIMEOUT,
        connect_timeout: float | None = CONNECT_TIMEOUT,
        headers: Mapping[str, str] | None = None,
        auth: AuthHook | None = None,
        session: aiohttp.ClientSession | None = None,
        allow_insecure: bool = False,
        ssl: tls.SSLContext | None = None,
        proxy: str | None = None,
        proxy_headers: Mapping[str, str] | None = None,
        socket_path: str | os.PathLike[str] | None = None,
        where: Where | None = None,
        name: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        check_scheme("scheme", scheme)
        check_flag("allow_private", allow_private)
        self._allow_private = allow_private
        super().__init__(
            url,
            StandardWebhook(secret, codec) if scheme == "standard" else HubWebhook(secret, codec),
            timeout=TIMEOUT if timeout is None else timeout,
            connect_timeout=connect_timeout,
            headers=headers,
            auth=auth,
            session=session,
            allow_insecure=allow_insecure,
            ssl=ssl,
            proxy=proxy,
            proxy_headers=proxy_headers,
            socket_path=socket_path,
            where=where,
            name=name,
            clock=clock,
        )
        _check_headers(headers or {}, scheme)
        if not allow_private:
            _check_public(self._url)
            for option, value in (("session", session), ("proxy", proxy), ("socket_path", socket_path)):
                _check_absent(option, value)

    def _may_connect(self, address: str) -> bool:
        return self._allow_private or is_public(address)


def _check_headers(headers: Mapping[str, str], scheme: Scheme) -> None:
    """Refuse headers that would take the place of a signature, or give all events one id."""
    for name in headers:
        if name.lower() in PROOFS[scheme]:
            raise ValueError(
                f"headers must not have {name!r}, which scheme={scheme!r} writes anew for each attempt;"
                " leave it out, or give it another name"
            )


def _check_public(url: str) -> None:
    """Refuse a host that is no name, or a name of this machine, and not public."""
    host = urlsplit(url).hostname or ""
    try:
        ip_address(host)
    except ValueError:
        is_refused = is_loopback(host)
    else:
        is_refused = not is_public(host)
    if is_refused:
        raise ValueError(f"url must lead to a public address (or pass allow_private=True), not {shown_url(url)!r}")


def _check_absent(option: str, value: object) -> None:
    if value is not None:
        raise ValueError(f"{option} must be None (or pass allow_private=True): what it connects to cannot be checked")
