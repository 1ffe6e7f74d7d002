"""Batches to an HTTP collector."""

from __future__ import annotations

import asyncio
import re
import ssl as tls
from functools import cache
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

from eventpipe.clock import Clock
from eventpipe.codecs.base import user_agent
from eventpipe.codecs.compression import check_compression, compress_body, library
from eventpipe.codecs.json import JsonCodec
from eventpipe.errors import PermanentSinkError, SinkError, TransientSinkError
from eventpipe.sinks.base import BaseSink, check_seconds
from eventpipe.sinks.urls import check_url, follow, join_url, shown_url

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import aiohttp

    from eventpipe.codecs.compression import Compression
    from eventpipe.contracts import Codec, Request, Where
    from eventpipe.events import Batch, CapturedEvent
    from eventpipe.outcomes import Verdict
    from eventpipe.sinks.http_direct import Head
    from eventpipe.sinks.http_wire import Exchange

TIMEOUT = 10.0
CONNECT_TIMEOUT = 3.0
MAX_REDIRECTS = 5

_REPEATING = frozenset({307, 308})  # the redirects that keep method and body
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PRINTABLE = re.compile(r"[ -~]*")
_LENGTHS = frozenset({"content-length", "transfer-encoding"})
_OURS = _LENGTHS | {"content-encoding", "accept-encoding"}


class HttpSink(BaseSink):
    """Sends each batch as one POST.

    A 2xx accepts the batch; the codec says what other answers mean, and reads the body where its format has one. At
    most 64 KiB of an answer are read and none is decompressed. Redirects are followed within the origin, so that no
    key travels elsewhere. A kept-alive connection that turns out to be dead is replaced within the same attempt, once.

    Making a sink opens nothing and needs no loop; the session is made at the first ``send()``, again where the loop is
    another one, and again in a forked child, which touches none of its parent's connections. One loop at a time.

    Args:
        url: The collector's address. Plain http needs a loopback host or ``allow_insecure``.
        codec: The wire format. ``None`` means ``JsonCodec()``.
        timeout: Seconds for one attempt, from connecting to the end of the answer. ``None`` means 10.
        connect_timeout: Seconds of them to reach the far end. ``None`` means 3.
        compression: How bodies above 1 KiB are compressed. ``None`` means that they are not.
        headers: Sent with every request, before those of the codec where both have one. ``None`` means none.
        session: A session to send with; it is never closed here, and cookies, proxies and TLS are as its owner set
            them. ``None`` means an own one without cookies and without proxies from the environment.
        allow_insecure: Whether plain http may leave this machine and certificates may go unchecked.
        ssl: How the far end's certificate is checked. ``None`` means by this machine's authorities; TLS 1.2 or newer.
        where: A plain function of the captured event; one it turns away is not captured by this sink.
        name: What reports and counters call the sink. ``None`` means its host.
        clock: Reads the wall clock for what the codec stamps. ``None`` means this machine's.

    Attributes:
        lifted: Property names that the codec wants outside the properties.
        max_event_bytes: The codec's limit for one event.
        max_batch_bytes: The codec's limit for a body.
        lane: Names the lane of an event; ``None`` where the codec has one lane.

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
        session: aiohttp.ClientSession | None = None,
        allow_insecure: bool = False,
        ssl: tls.SSLContext | None = None,
        where: Where | None = None,
        name: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        # Here and not above: it takes a third of a second, which only who sends over HTTP has to pay, and at the
        # first send it would hold up the loop.
        from eventpipe.sinks.http_connections import Wire
        from eventpipe.sinks.http_direct import Head
        from eventpipe.sinks.http_wire import Exchange

        codec = JsonCodec() if codec is None else codec
        url = check_url("url", url, allow_insecure=allow_insecure)
        check_seconds("timeout", timeout)
        check_seconds("connect_timeout", connect_timeout)
        check_compression("compression", compression)
        library()  # imported here, and not at the first send
        super().__init__(where=where, name=urlsplit(url).netloc if name is None else name)
        self.lifted = codec.lifted
        self.max_event_bytes = codec.max_event_bytes
        self.max_batch_bytes = codec.max_batch_bytes
        self.lane: Callable[[CapturedEvent], str | None] | None = (
            codec.lane if getattr(codec, "has_lanes", True) else None
        )
        base_url: Callable[[str], str] | None = getattr(codec, "base_url", None)
        self._url = base_url(url) if base_url else url
        self._urls = {"": self._url}  # the codec's, joined to the sink's
        self._codec = codec
        self._timeout = TIMEOUT if timeout is None else timeout
        self._compression = compression
        self._headers = _checked_headers(headers)
        self._prepared: dict[str | None, Head] = {}  # by Content-Encoding
        self._prepared_for: Mapping[str, str] | None = None  # the codec's headers that they were made of
        self._clock = clock or Clock()
        self._new_exchange = Exchange
        self._new_head = Head
        self._wire = Wire(
            connect_timeout=CONNECT_TIMEOUT if connect_timeout is None else connect_timeout,
            tls=_checked_tls(url, ssl, session, allow_insecure=allow_insecure),
            session=_checked_session(session),
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
        exchange: Exchange | None = None
        try:
            async with asyncio.timeout(self._timeout):
                request = self._codec.request(batch, max(batch.attempt, 1), self._clock.time())
                data, encoding = await compress_body(request.body, self._compression)
                exchange = self._new_exchange(self._wire, self._head(request, encoding), data)
                await exchange.post(self._joined(request.url))
                if exchange.status in _REPEATING:
                    await self._follow(exchange)
        except TimeoutError:
            # Once the status is known, the far end has decided: sending the batch again because its body drips
            # would deliver it twice. A redirect decides nothing: where it leads was not asked.
            if exchange is None or not exchange.status or _target(exchange) is not None:
                raise TransientSinkError(f"no answer within {self._timeout:g} s", reason="timeout") from None
        verdicts = self._codec.response(batch, exchange.status, exchange.headers, exchange.body, exchange.is_complete)
        if isinstance(verdicts, SinkError):
            raise verdicts
        return verdicts

    async def _follow(self, exchange: Exchange) -> None:
        """Send the request on to where the same origin redirects it."""
        redirects = 0
        while exchange.status in _REPEATING:
            target = _target(exchange)
            if target is None:
                raise _misconfigured("the far end redirects to another origin; give the sink its URL", exchange)
            if redirects == MAX_REDIRECTS:
                raise _misconfigured(f"the far end redirects more than {MAX_REDIRECTS} times", exchange)
            redirects += 1
            await exchange.post(target)

    async def aclose(self) -> None:
        """End the sink and cut its connections; a lent session stays. May come twice, and before the first send."""
        await super().aclose()
        await self._wire.aclose()

    def _joined(self, relative: str) -> str:
        url = self._urls.get(relative)
        if url is None:
            url = self._urls[relative] = join_url(self._url, relative)
        return url

    def _head(self, request: Request, encoding: str | None) -> Head:
        """The headers of an attempt, made anew only where the codec's are not the same object as last time."""
        if request.headers is not self._prepared_for:
            self._prepared = {}
            self._prepared_for = request.headers
        head = self._prepared.get(encoding)
        if head is None:
            fixed = {"User-Agent": user_agent(), "Accept": "*/*", "Accept-Encoding": "identity"}
            compressed = {"Content-Encoding": encoding} if encoding else {}
            merged = _merged(fixed, _of_codec(request.headers), self._headers, compressed)
            head = self._prepared[encoding] = self._new_head(merged)
        return head

    def __repr__(self) -> str:
        return f"HttpSink({shown_url(self._url)!r}, {self._codec!r})"


def _target(exchange: Exchange) -> str | None:
    """Where a redirect of the same origin leads; ``None`` for anything else."""
    return follow(exchange.url, exchange.headers.get("location")) if exchange.status in _REPEATING else None


def _misconfigured(message: str, exchange: Exchange) -> PermanentSinkError:
    return PermanentSinkError(message, scope="sink", status=exchange.status)


def _merged(*sources: Mapping[str, str]) -> Mapping[str, str]:
    """One mapping; the last to have a name, in whatever case, wins."""
    merged = {name.lower(): (name, value) for source in sources for name, value in source.items()}
    return dict(merged.values())


def _checked_headers(headers: object) -> Mapping[str, str]:
    # Values may be secrets: no message shows one.
    if headers is None:
        return {}
    try:
        pairs: dict[object, object] = dict(headers)  # type: ignore[call-overload]  # whatever it is: that is the question
    except (TypeError, ValueError):
        raise ValueError(
            f"headers must be a mapping of strings to strings or None, not {type(headers).__name__}"
        ) from None
    checked = {}
    for name, value in pairs.items():
        if not isinstance(name, str) or not _TOKEN.fullmatch(name):
            raise ValueError(f"headers must have names of letters, digits and !#$%&'*+-.^_`|~, not {name!r}")
        if name.lower() in _OURS:
            raise ValueError(f"headers must not have {name!r}: the sink writes that one")
        if not isinstance(value, str) or not _PRINTABLE.fullmatch(value):
            raise ValueError(f"headers[{name!r}] must be a string of printable ASCII (its value is not shown)")
        checked[name] = value
    return checked


def _of_codec(headers: Mapping[str, str]) -> Mapping[str, str]:
    """The headers that a codec wants, if they can be sent: a line break in one would begin another.

    Raises:
        PermanentSinkError: They cannot.
    """
    wanted = cast("Mapping[object, object]", headers)  # a codec kept elsewhere may say anything
    for name, value in wanted.items():
        is_sound = isinstance(name, str) and _TOKEN.fullmatch(name) and name.lower() not in _LENGTHS
        if not is_sound or not isinstance(value, str) or not _PRINTABLE.fullmatch(value):
            raise PermanentSinkError(
                f"the codec's header {name!r} must have a valid name and a value of printable ASCII (it is not shown)",
                scope="sink",
            )
    return headers


def _checked_session(session: object) -> aiohttp.ClientSession | None:
    import aiohttp

    if session is not None and not isinstance(session, aiohttp.ClientSession):
        raise ValueError(f"session must be an aiohttp.ClientSession or None, not {type(session).__name__}")
    return session


def _checked_tls(url: str, ssl: object, session: object, *, allow_insecure: bool) -> tls.SSLContext | None:
    if ssl is None:
        return _default_tls() if url.startswith("https") and session is None else None
    if not isinstance(ssl, tls.SSLContext):
        raise ValueError(f"ssl must be an ssl.SSLContext or None, not {type(ssl).__name__}")
    if session is not None:
        raise ValueError(
            "ssl must be None where a session is lent: that session checks certificates as its owner set it"
        )
    if ssl.minimum_version not in (tls.TLSVersion.TLSv1_2, tls.TLSVersion.TLSv1_3):
        raise ValueError(f"ssl.minimum_version must be TLSv1_2 or newer, not {ssl.minimum_version.name}")
    if ssl.verify_mode is not tls.CERT_REQUIRED and not allow_insecure:
        raise ValueError(
            f"ssl.verify_mode must be CERT_REQUIRED (or pass allow_insecure=True), not {ssl.verify_mode.name}"
        )
    return ssl


@cache
def _default_tls() -> tls.SSLContext:
    context = tls.create_default_context()
    context.minimum_version = max(context.minimum_version, tls.TLSVersion.TLSv1_2)
    context.set_alpn_protocols(["http/1.1"])
    return context
