"""Batches to an HTTP collector."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import urlsplit

from eventpipe.clock import Clock
from eventpipe.codecs.base import check_codec
from eventpipe.codecs.compression import compress_body
from eventpipe.codecs.json import JsonCodec
from eventpipe.sinks.auth import Auth
from eventpipe.sinks.base import BaseSink, check_callable, check_flag, check_seconds
from eventpipe.sinks.format import Format
from eventpipe.sinks.headers import Headers, check_headers
from eventpipe.sinks.reach import check_proxy, check_socket_path, check_tls
from eventpipe.sinks.urls import check_url, shown_url
from eventpipe.sinks.withheld import without_secrets

if TYPE_CHECKING:
    import os
    import ssl as tls
    from collections.abc import Callable, Mapping, Sequence

    import aiohttp

    from eventpipe.codecs.compression import Compression
    from eventpipe.contracts import Codec, Where
    from eventpipe.errors import SinkError
    from eventpipe.events import Batch, CapturedEvent
    from eventpipe.outcomes import Verdict
    from eventpipe.sinks.auth import AuthHook

TIMEOUT = 10.0
CONNECT_TIMEOUT = 3.0


class HttpSink(BaseSink):
    """Sends each batch as one POST.

    A 2xx accepts the batch; the codec says what other answers mean, and reads the body where its format has one. At
    most 64 KiB of an answer are read and none is decompressed. Redirects are followed within the origin, so that no
    key travels elsewhere. A kept-alive connection that turns out to be dead is replaced within the same attempt, once.

    Making a sink opens nothing and needs no loop; the session is made at the first ``send()``, again where the loop is
    another one, and again in a forked child, which touches none of its parent's connections. One loop at a time.

    Args:
        url: The collector's address. Plain http needs a loopback host, a ``socket_path`` or ``allow_insecure``.
        codec: The wire format. ``None`` means ``JsonCodec()``.
        timeout: Seconds for one attempt, from the auth hook and connecting to the end of the answer. ``None`` means 10.
        connect_timeout: Seconds of them to reach the far end, TLS included. ``None`` means 3.
        compression: How bodies above 1 KiB are compressed. ``None`` means that they are not. Where the far end does not
            read this for a lane, its batches are compressed by gzip, or not at all.
        headers: Sent with every request, before those of the codec where both have one. ``None`` means none.
        auth: An async function of one argument that returns headers for every request, before those of ``headers``
            and of the codec where they have the same. It is called with ``False`` for the first request, and with
            ``True`` after a 401, whose request is then sent once more within the attempt; what it returns is kept
            meanwhile, and requests that need it at the same time share one call. When it fails or has not returned
            within ``timeout``, that attempt fails as transient (``auth``). ``None`` means none.
        session: A session to send with; it is never closed here, and cookies, proxies and TLS are as its owner set
            them. ``None`` means an own one without cookies and without proxies from the environment.
        allow_insecure: Whether plain http may leave this machine and certificates may go unchecked.
        ssl: How certificates are checked. ``None`` means by this machine's authorities; TLS 1.2 or newer.
        proxy: The URL of a proxy, http or https, without credentials; for an https ``url`` it sees only where the
            bytes go. ``None`` means none: the environment is never asked.
        proxy_headers: What the proxy is told, such as ``Proxy-Authorization``. ``None`` means nothing.
        socket_path: A unix socket to send to instead of the host of ``url``, which then begins with http:// and only
            names the far end. ``None`` means TCP.
        where: A plain function of the captured event; one it turns away is not captured by this sink.
        name: What reports and counters call the sink. ``None`` means its host.
        clock: Reads the wall clock for what the codec stamps. ``None`` means this machine's.

    Attributes:
        lifted: Property names that the codec wants outside the properties.
        max_event_bytes: The codec's limit for one event.
        max_batch_bytes: The codec's limit for a body.
        lane: Names the lane of an event; ``None`` where the codec has one lane.
        lane_event_bytes: Limits of lanes whose events may be of another size.
        max_batch_events: How many events one request can hold; ``None``: any number.
        unique_ids: Whether no request may hold one id twice.

    Raises:
        ValueError: An option is wrong; the message names it, its value without secrets, and the rule.
    """

    def __init__(
        self,
        url: str,
        codec: Codec | None = None,
        *,
        timeout: float | None = TIMEOUT,
        connect_timeout: float | None = CONNECT_TIMEOUT,
        compression: Compression | None = "gzip",
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
        # Here and not above: it takes a third of a second, which only who sends over HTTP has to pay, and at the
        # first send it would hold up the loop.
        from eventpipe.sinks.http_attempt import Attempt
        from eventpipe.sinks.http_connections import Wire, check_session

        codec = JsonCodec() if codec is None else codec
        check_codec("codec", codec)
        check_flag("allow_insecure", allow_insecure)
        path = check_socket_path(socket_path, url=url, session=session, proxy=proxy, ssl=ssl)
        url = check_url("url", url, allow_insecure=allow_insecure or path is not None)
        check_seconds("timeout", timeout)
        check_seconds("connect_timeout", connect_timeout)
        check_callable("auth", auth)
        session = check_session(session)
        way = check_proxy(proxy, proxy_headers, url=url, session=session, allow_insecure=allow_insecure)
        is_encrypted = url.startswith("https") or (way is not None and way.url.startswith("https"))
        super().__init__(where=where, name=urlsplit(url).netloc if name is None else name)
        self.lifted = codec.lifted
        self.max_event_bytes = codec.max_event_bytes
        self.max_batch_bytes = codec.max_batch_bytes
        self.lane: Callable[[CapturedEvent], str | None] | None = (
            codec.lane if getattr(codec, "has_lanes", True) else None
        )
        self.lane_event_bytes: Mapping[str, int] = getattr(codec, "lane_event_bytes", {})
        self.max_batch_events: int | None = getattr(codec, "max_batch_events", None)
        self.unique_ids: bool = getattr(codec, "unique_ids", False)
        base_url: Callable[[str], str] | None = getattr(codec, "base_url", None)
        self._url = base_url(url) if base_url else url
        self._codec = codec
        self._format = Format(codec, self._url, compression)
        self._timeout = TIMEOUT if timeout is None else timeout
        self._headers = Headers(check_headers("headers", headers))
        self._auth = None if auth is None else Auth(auth)
        self._clock = clock or Clock()
        self._new_attempt = Attempt
        self._wire = Wire(
            connect_timeout=CONNECT_TIMEOUT if connect_timeout is None else connect_timeout,
            may_connect=self._may_connect,
            tls=check_tls(ssl, is_needed=is_encrypted, session=session, allow_insecure=allow_insecure),
            session=session,
            socket_path=path,
            proxy=way,
        )

    async def send(self, batch: Batch) -> Sequence[Verdict] | None:
        """Make one attempt to deliver ``batch``.

        Raises:
            TransientSinkError: No answer, none in time, or one that asks for another attempt.
            PermanentSinkError: An answer that says that the same batch would fail again.
            ClosedError: ``aclose()`` was called before, or the lent session was closed.

        Cancellation:
            Passes through untouched and leaves no task and no connection.
        """
        self._check_open()
        attempt = self._new_attempt(self._wire, self._headers, self._auth)
        error: SinkError | None = None
        try:
            async with asyncio.timeout(self._timeout):
                request = self._format.request(batch, self._clock.time())
                data, encoding = await compress_body(request.body, self._format.coding(batch.lane))
                await attempt.make(self._format.url(request.url), request.headers, encoding, data)
        except TimeoutError:
            error = attempt.overdue(self._timeout)
        if error is not None:
            raise error
        status, headers, body, is_complete = attempt.answer()
        verdicts = self._format.response(batch, status, headers, body, is_complete=is_complete)
        return None if verdicts is None else without_secrets(verdicts, self._headers.secret, self._url)

    async def aclose(self) -> None:
        """End the sink and cut its connections; a lent session stays. May come twice, and before the first send."""
        await super().aclose()
        try:
            await self._wire.aclose()
        finally:
            if self._auth is not None:
                await self._auth.aclose()

    def _may_connect(self, address: str) -> bool:
        """Whether an IP address may be connected to, asked each time at the moment before; not for a lent session."""
        del address
        return True

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{type(self).__name__} may hold keys and is not pickled; make it where it is needed")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({shown_url(self._url)!r}, {self._codec!r})"
