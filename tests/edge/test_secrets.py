"""The watch that stands by every test of this folder: that it sees a secret where there is one, and that it looks."""

from __future__ import annotations

import asyncio
import base64
import logging
import pickle
import warnings
from collections.abc import Callable
from urllib.parse import quote

import orjson
import pytest

from eventpipe import AsyncClient, Codec, DeliveryError, DropReason, Event, PermanentSinkError, TransientSinkError
from eventpipe.codecs import PostHogV1
from tests.edge.conftest import Record
from tests.edge.formats import FORMATS
from tests.edge.leaks import KEY, PATH, LeakError, Watch
from tests.edge.pipeline import Pipelines
from tests.edge.raw_server import OK, Peer, RawServer, Script, answer, head
from tests.edge.rows import Row

ROW = Row.SECRETS
pytestmark = pytest.mark.wallclock


async def reset(peer: Peer) -> None:
    peer.reset()


async def echo(peer: Peer) -> None:
    """Say all that was asked, in every place where an error might repeat it."""
    assert peer.request is not None
    said = f"{peer.request.line} {peer.request.headers} {KEY} {peer.request.body.decode('latin-1')}"
    flat = "".join(character if " " <= character <= "~" else "." for character in said)[:4000]
    await peer.say(answer(f"400 {flat}", said.encode(), f"X-Echo: {flat}", f"Retry-After: {KEY}"))


async def echo_verdicts(peer: Peer) -> None:
    """Repeat the key in the words on events that were taken or refused, as PostHog's v1 and OTLP have them."""
    assert peer.request is not None
    words = f"for {KEY}, {KEY[:8]}…, {base64.b64encode(KEY.encode()).decode()} and {quote(KEY, safe='')}"
    partial = {"rejectedLogRecords": "1", "errorMessage": words}
    results: dict[str, object] = {}
    if peer.request.body.startswith(b'{"created_at"'):
        fates = ["ok", "warning", "drop", words]
        results = {
            uuid: {"result": fates[number % 4], "details": words} for number, uuid in enumerate(peer.request.uuids)
        }
    body = orjson.dumps({"results": results, "partialSuccess": partial, "message": words, "error": words})
    await peer.say(answer(200, body, "Content-Type: application/json"))


async def echo_no_http(peer: Peer) -> None:
    assert peer.request is not None
    await peer.say(f"HTTP/1.1 {KEY} {peer.request.line}\r\n{KEY}\x00: {KEY}\r\n\r\n".encode("latin-1"))


# A codec knows its own key, and not what the headers of its sink hold.
HOLDERS = FORMATS | {"posthog-v1, a key in a header": lambda: PostHogV1("phc_of_no_consequence")}
HOSTILE: dict[str, Script] = {
    "an error that repeats the request": echo,
    "verdicts that repeat the key": echo_verdicts,
    "no HTTP, that repeats the request": echo_no_http,
    "a redirect that repeats the key": answer(307, b"", f"Location: http://{quote(KEY, safe='')}.example/{KEY}"),
    "a redirect with credentials": answer(308, b"", f"Location: http://u:{quote(KEY, safe='')}@127.0.0.1/"),
    "a header that repeats the key, broken": f"HTTP/1.1 200 OK\r\n{KEY}\r\n\r\n".encode(),
    "chunks that repeat the key": head(200, "Transfer-Encoding: chunked") + KEY.encode() + b"\r\n",
    "a 401": answer(401, KEY.encode()),
    "a 413": answer(413, KEY.encode()),
    "a 503": answer(503, KEY.encode()),
    "a status that is none": answer(999, KEY.encode()),
    "RST": reset,
    "silence": Peer.stall,
    "200": OK,
}


@pytest.mark.asyncio
@pytest.mark.parametrize("wire", HOLDERS)
async def test_no_far_end_brings_a_secret_to_light(
    wire: str, pipeline: Pipelines, record: Record, watch: Watch, capfd: pytest.CaptureFixture[str]
) -> None:
    """With asyncio telling of every call it makes, and with errors seen by everybody who may see one."""
    codec = HOLDERS[wire]()
    loop = asyncio.get_running_loop()
    for script in HOSTILE.values():
        async with RawServer(script) as server, pipeline(server.url, codec, timeout=0.1, queue_events=5) as pipe:
            loop.slow_callback_duration = 0.0  # each call of it is a line, with its arguments
            receipts = await pipe.capture(7)  # and two too many
            for receipt in receipts:
                watch.see(receipt)
            server.default = answer(400)
            with pytest.raises((DeliveryError, TimeoutError)) as caught:
                await pipe.client.deliver(Event("d", distinct_id="u"), timeout=5.0)
            watch.see(caught.value)
            watch.see(await pipe.client.flush(5.0))
            for receipt in receipts:
                watch.see(await receipt.outcome())
    out, err = capfd.readouterr()
    watch.texts["standard output and error"] = out + err

    assert watch.found() == []
    record(wire, far_ends=len(HOSTILE), lines=len(watch.lines), texts=len(watch.texts), shown=0)


@pytest.mark.asyncio
@pytest.mark.parametrize("wire", FORMATS)
async def test_what_holds_a_secret_does_not_show_it(wire: str, watch: Watch, pipeline: Pipelines) -> None:
    """Codecs, requests, sinks and clients: shown in any way, they tell no secret; a pickle of one does not exist."""
    codec: Codec = FORMATS[wire]()
    sink = pipeline.sink(f"https://collector.example{PATH}", codec)
    for holder in (codec, sink, AsyncClient(sink), AsyncClient(sink).statistics()):
        watch.see(holder)
    with pytest.raises(TypeError):
        pickle.dumps(sink)
    await sink.aclose()

    assert watch.found() == []


LEAKS: dict[str, Callable[[Watch], object]] = {
    "a log line": lambda _: logging.getLogger("eventpipe").debug("key %s", KEY),
    "a log line of aiohttp": lambda _: logging.getLogger("aiohttp.client").log(1, KEY),
    "a log line of asyncio": lambda _: logging.getLogger("asyncio").debug("called with %r", (KEY,)),
    "an argument that a line leaves out": lambda _: logging.getLogger("eventpipe").info("%.0s", KEY),
    "the first eight characters": lambda _: logging.getLogger("eventpipe").info("key %s...", KEY[:8]),
    "base64 of the key": lambda _: logging.getLogger("eventpipe").info(base64.b64encode(KEY.encode()).decode()),
    "Basic authorization": lambda _: logging.getLogger("x").info(base64.b64encode(f"{KEY}:".encode()).decode()),
    "the key in a URL": lambda _: logging.getLogger("eventpipe").info("https://h/?k=%s", quote(KEY, safe="")),
    "a repr": lambda watch: watch.see(Event(KEY)),
    "an error": lambda watch: watch.see(TransientSinkError(f"no such key: {KEY}")),
    "what an error was raised from": lambda watch: watch.see(raised_from(ValueError(KEY))),
    "an attribute of an error": lambda watch: watch.see(PermanentSinkError("x", reason=KEY)),  # type: ignore[arg-type]
    "a pickle": lambda watch: watch.see(Holder(KEY)),
}


class Holder:
    """Shows its secret in a pickle alone."""

    def __init__(self, secret: str) -> None:
        self.secret = secret

    def __repr__(self) -> str:
        return "Holder()"


def raised_from(cause: Exception) -> Exception:
    try:
        try:
            raise cause
        except ValueError:
            raise TransientSinkError("no answer")  # noqa: B904  # the context is what is looked at
    except TransientSinkError as exc:
        return exc


@pytest.mark.parametrize("case", LEAKS)
def test_the_watch_sees_a_secret(case: str, record: Record, watch: Watch) -> None:
    """Of every kind and in every place that it stands by for; without this, zero would mean nothing."""
    LEAKS[case](watch)
    places = watch.found()

    with pytest.raises(LeakError, match="a secret is shown in"):
        watch.check()
    record(f"seen: {case}", places=len(places))
    watch.forget()


def test_a_warning_that_shows_a_secret_is_seen() -> None:
    """Warnings are errors throughout, so that none is overlooked."""
    with pytest.raises(UserWarning):
        warnings.warn(KEY, stacklevel=1)


def test_reasons_are_words_from_a_list() -> None:
    """What counters and metrics are labelled with comes from us, never from a far end."""
    assert all(reason.isidentifier() for reason in DropReason)
