from __future__ import annotations

import asyncio
import gzip
import socket
import ssl

import pytest
import trustme

from eventpipe.cli.failures import CommandError
from eventpipe.cli.top_endpoint import MAX_ANSWER, Endpoint, NoAnswerError
from eventpipe.cli.top_picture import Picture
from eventpipe.health import Health
from tests.cli.far_process import far_process, response
from tests.cli.pictures import answer, picture

pytestmark = [pytest.mark.asyncio, pytest.mark.wallclock]

CLOSED = Health(is_open=False)


async def ask(url: str, timeout: float = 5.0, headers: dict[str, str] | None = None) -> Picture:
    async with Endpoint.open(url, headers or {}, timeout) as endpoint:
        return await endpoint.read()


async def test_picture_is_read_whether_ready_or_not() -> None:
    """A probe that says 503 has the picture all the same."""
    async with far_process(response(answer()), response(answer(CLOSED), "503 Service Unavailable")) as far:
        first = await ask(far.url)
        second = await ask(far.url)

    assert (first, second) == (picture(), picture(CLOSED))


async def test_headers_are_sent_to_the_far_side() -> None:
    """With our name, and without asking for a compressed answer."""
    async with far_process(response(answer())) as far:
        await ask(f"{far.url}/health", headers={"Authorization": "Bearer x"})

    [head] = far.requests
    lines = head.splitlines()
    assert lines[0] == "GET /health HTTP/1.1"
    assert "Authorization: Bearer x" in lines
    assert "Accept-Encoding: identity" in lines
    assert any(line.startswith("User-Agent: eventpipe/") for line in lines)


@pytest.mark.parametrize("location", ["/health/?by=pod", "{url}/health/?by=pod"], ids=["relative", "absolute"])
async def test_slash_that_a_mounted_endpoint_wants_is_put_there(location: str) -> None:
    """Starlette sends from ``/health`` to ``/health/``: asked there from then on; headers go to no other place."""
    async with far_process(b"", response(answer())) as far:
        moved = f"Location: {location.format(url=far.url)}"
        far.answers[0] = response(b"", "307 Temporary Redirect", moved)
        async with Endpoint.open(f"{far.url}/health?by=pod", {"Authorization": "Bearer x"}) as endpoint:
            pictures = [await endpoint.read(), await endpoint.read()]

    assert pictures == [picture()] * 2
    assert [head.split()[1] for head in far.requests] == ["/health?by=pod", *["/health/?by=pod"] * 2]
    assert all("Authorization: Bearer x" in head for head in far.requests)


async def test_slash_is_put_there_once() -> None:
    """A far side that never has enough of them is no health endpoint."""
    async with far_process(
        response(b"", "301 Moved", "Location: /health/"), response(b"", "301 Moved", "Location: /health//")
    ) as far:
        with pytest.raises(CommandError, match="answered 301, a redirect, which is not followed"):
            await ask(f"{far.url}/health")

        assert len(far.requests) == 2


PAGE = b"<html>\x1b[2J"


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        (response(PAGE), "{url} is no health endpoint of eventpipe: the answer is no JSON"),
        (
            response(b'{"status": "UP"}'),
            "{url} is no health endpoint of eventpipe: status must be one of ready, not_ready",
        ),
        (
            response(gzip.compress(answer()), "200 OK", "Content-Encoding: gzip"),
            "{url} is no health endpoint of eventpipe: the answer is no JSON",
        ),
        (response(b" " * (MAX_ANSWER + 1)), "{url} answered with more than 1 MiB"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"10000\r\n" + b" " * 65536 + b"\r\n"
            + (b"10000\r\n" + b" " * 65536 + b"\r\n") * 20,
            "{url} answered with more than 1 MiB",
        ),
        (
            response(PAGE, "404 Not Found"),
            "{url} answered 404: the URL needs the path of the health endpoint, such as /health",
        ),
        (
            response(PAGE, "401 Unauthorized"),
            "{url} answered 401: what it wants to see goes into --header or EVENTPIPE_TOP_HEADER",
        ),
        (
            response(PAGE, "403 Forbidden"),
            "{url} answered 403: what it wants to see goes into --header or EVENTPIPE_TOP_HEADER",
        ),
        (
            response(b"", "302 Found", "Location: https://login.example/?secret"),
            "{url} answered 302, a redirect to https://login.example/…, which is not followed",
        ),
        (response(b"", "307 Temporary Redirect"), "{url} answered 307, a redirect, which is not followed"),
        (
            response(b"", "301 Moved Permanently", "Location: /health/"),
            "{url} answered 301, a redirect, which is not followed",
        ),
        (response(PAGE, "500 Oops"), "{url} answered 500, and is no health endpoint of eventpipe"),
        (response(answer(), "405 Method Not Allowed"), "{url} answered 405, and is no health endpoint of eventpipe"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "{url} does not speak HTTP"),
    ],
    ids=[
        "no JSON", "other JSON", "compressed", "too large", "without an end", "404", "401", "403", "redirect elsewhere",
        "redirect to nowhere", "redirect here", "500", "405", "no HTTP",
    ],
)  # fmt: skip
async def test_what_is_no_health_endpoint_is_told_in_words(written: bytes, problem: str) -> None:
    """Asking again would not help."""
    async with far_process(written) as far:
        with pytest.raises(CommandError) as caught:
            await ask(far.url)

        assert not isinstance(caught.value, NoAnswerError)
        assert str(caught.value) == problem.format(url=far.url)
        assert len(far.requests) == 1


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        (b"", "{url} hung up before the end of its answer"),
        (response(answer())[:-5], "{url} hung up before the end of its answer"),
        (None, "{url} did not answer within 0.05 s"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", "{url} hung up before the end of its answer"),
        (response(PAGE, "502 Bad Gateway"), "{url} answered 502"),
        (response(PAGE, "503 Service Unavailable"), "{url} answered 503, and not for eventpipe"),
        (response(PAGE, "504 Gateway Timeout"), "{url} answered 504"),
        (response(PAGE, "429 Too Many Requests"), "{url} answered 429"),
    ],
    ids=["hung up", "cut off", "mute", "interim answer alone", "502", "503 of a proxy", "504", "429"],
)
async def test_silence_is_worth_another_try(written: bytes | None, problem: str) -> None:
    """What restarts, or is busy, answers later; proxies in front of it say so."""
    async with far_process(written) as far:
        with pytest.raises(NoAnswerError) as caught:
            await ask(far.url, timeout=0.05 if written is None else 5.0)

        assert str(caught.value) == problem.format(url=far.url)


async def test_nobody_there_is_worth_another_try() -> None:
    """A process that is being started does not listen yet."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

    with pytest.raises(NoAnswerError) as caught:
        await ask(f"http://127.0.0.1:{port}/health")

    assert str(caught.value) == f"cannot reach http://127.0.0.1:{port}/…: connection refused"


@pytest.mark.parametrize("url", ["http://nowhere.invalid", "http://[fe80::1%nowhere]:80"], ids=["name", "zone"])
async def test_name_that_is_not_known_is_told(url: str) -> None:
    """Not with the words of a resolver."""
    with pytest.raises(NoAnswerError) as caught:
        await ask(url)

    assert str(caught.value) == f"cannot reach {url}: no such host"


async def test_plain_http_asked_over_tls_is_told() -> None:
    """The scheme is wrong, and asking again would not help."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(response(b"", "400 Bad Request"))
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(CommandError) as caught:
            await ask(url)

    assert not isinstance(caught.value, NoAnswerError)
    assert str(caught.value) == f"no secure connection to {url}: wrong version number"


async def test_certificate_of_a_stranger_is_told() -> None:
    """Nothing is sent to whoever has one that nobody vouches for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    async with far_process(response(answer()), tls=context) as far:
        with pytest.raises(CommandError) as caught:
            await ask(far.url)

    assert not isinstance(caught.value, NoAnswerError)
    assert str(caught.value) == f"no secure connection to {far.url}: unable to get local issuer certificate"
    assert far.requests == []


async def test_cancelled_question_leaves_nothing() -> None:
    """The connection is closed; the fixture around every test counts."""
    async with far_process(None) as far:
        asking = asyncio.create_task(ask(far.url))
        await far.asked.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
