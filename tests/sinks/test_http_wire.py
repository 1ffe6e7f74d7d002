"""Connections of the HTTP sink: kept alive, found dead, cut, lent, encrypted; across loops and across a fork."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from eventpipe.errors import ClosedError, PermanentSinkError, TransientSinkError
from eventpipe.sinks import HttpSink
from eventpipe.testing.events import make_batch, make_event
from eventpipe.testing.exchange import Behaviour, Reply
from eventpipe.testing.leaks import Baseline
from eventpipe.testing.server import Answer, ScriptedServer
from eventpipe.testing.sweep import cancellation_sweep

pytestmark = pytest.mark.wallclock


@asynccontextmanager
async def http_sink(url: str, **options: Any) -> AsyncIterator[HttpSink]:
    sink = HttpSink(url, **options)
    try:
        yield sink
    finally:
        await sink.aclose()


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture
def unreachable_port() -> Iterator[int]:
    """A port whose queue of connections is full: a further one is neither accepted nor refused."""
    with contextlib.ExitStack() as sockets:
        listener = sockets.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            filler = sockets.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


# Kept alive


@pytest.mark.asyncio
async def test_one_connection_serves_one_batch_after_another() -> None:
    """A kept-alive connection is used again."""
    async with ScriptedServer() as server, http_sink(server.url) as sink:
        for _ in range(5):
            await sink.send(make_batch())

        assert server.connections == 1


@pytest.mark.asyncio
async def test_there_is_no_limit_to_connections_at_once() -> None:
    """Attempts never wait for one another: the driver's workers are the limit."""
    async with ScriptedServer(default="hang") as server, http_sink(server.url) as sink:
        sends = [asyncio.create_task(sink.send(make_batch())) for _ in range(120)]
        await server.reached(120)
        for send in sends:
            send.cancel()
        ends = await asyncio.gather(*sends, return_exceptions=True)

        assert all(isinstance(end, asyncio.CancelledError) for end in ends)
        await server.disconnected()


@pytest.mark.asyncio
@pytest.mark.parametrize("death", ["close", "reset"])
async def test_a_kept_alive_connection_found_dead_is_replaced_within_the_attempt(death: Behaviour) -> None:
    """The far end closed it just as the request went out: the batch goes again at once, once, and arrives."""
    async with ScriptedServer(200, death) as server, http_sink(server.url) as sink:
        await sink.send(make_batch())
        batch = make_batch(3)

        assert await sink.send(batch) is None

        assert server.requests[1].uuids == server.requests[2].uuids == [event.uuid for event in batch.events]
        assert [request.connection for request in server.requests] == [1, 1, 2]


@pytest.mark.asyncio
async def test_a_connection_that_closed_while_idle_costs_nothing() -> None:
    """Its end was seen before the next batch: that goes out on a new one, once."""
    async with ScriptedServer("answer_then_close") as server, http_sink(server.url) as sink:
        await sink.send(make_batch())
        await server.disconnected()
        await sink.send(make_batch())

        assert [request.connection for request in server.requests] == [1, 2]


@pytest.mark.asyncio
@pytest.mark.parametrize("death", ["close", "reset"])
async def test_a_new_connection_that_dies_is_a_network_error(death: Behaviour) -> None:
    """The far end took the request and left: sending again is the driver's decision."""
    async with ScriptedServer(death) as server, http_sink(server.url) as sink:
        with pytest.raises(TransientSinkError) as caught:
            await sink.send(make_batch())

        assert (caught.value.reason, caught.value.status, len(server.requests)) == ("network", None, 1)


@pytest.mark.asyncio
async def test_only_one_dead_connection_is_replaced_per_attempt() -> None:
    """The second is a network error, whether it was kept alive, or new, or met after a redirect."""
    async with ScriptedServer() as server, http_sink(server.url) as sink:
        for dying in (["close", "close"], ["reset", Reply(307, {"Location": "/"}), "close"], ["close", "reset"]):
            server.script(Reply(latency=0.05), Reply(latency=0.05))
            await asyncio.gather(sink.send(make_batch()), sink.send(make_batch()))
            assert server.open_connections == 2
            server.script(*dying)
            before = len(server.requests)
            with pytest.raises(TransientSinkError) as caught:
                await sink.send(make_batch())
            assert (caught.value.reason, len(server.requests) - before) == ("network", len(dying))


@pytest.mark.asyncio
async def test_a_dead_connection_is_not_replaced_after_an_answer_began() -> None:
    """The far end has answered: the status stands, and the batch is not sent twice."""
    broken = Reply(503, body=b"xx", behaviour="reset_body")
    async with ScriptedServer(200, broken) as server, http_sink(server.url) as sink:
        await sink.send(make_batch())
        with pytest.raises(TransientSinkError) as caught:
            await sink.send(make_batch())

        assert (caught.value.reason, len(server.requests)) == ("status_503", 2)


# Not reached


@pytest.mark.asyncio
async def test_a_closed_port_is_a_network_error(closed_port: int) -> None:
    """With the system's words for it."""
    async with http_sink(f"http://127.0.0.1:{closed_port}/SECRET") as sink:
        with pytest.raises(TransientSinkError, match=r"^the far end gave no answer: ") as caught:
            await sink.send(make_batch())

    assert caught.value.reason == "network"
    assert "SECRET" not in str(caught.value)


@pytest.mark.asyncio
async def test_a_host_that_does_not_exist_is_a_network_error() -> None:
    """Names may resolve later: it is worth another attempt."""
    async with http_sink("https://collector.invalid") as sink:
        with pytest.raises(TransientSinkError) as caught:
            await sink.send(make_batch())

    assert caught.value.reason == "network"


@pytest.mark.asyncio
async def test_what_aiohttp_takes_for_no_host_is_a_wrong_configuration() -> None:
    """A name whose punycode would be too long for one."""
    async with http_sink(f"https://{'ü' * 60}.example/") as sink:
        with pytest.raises(PermanentSinkError, match="URL cannot be used") as caught:
            await sink.send(make_batch())

    assert caught.value.scope == "sink"


@pytest.mark.asyncio
@pytest.mark.parametrize("lent", [False, True], ids=["own", "lent"])
async def test_connecting_has_a_timeout_of_its_own(lent: bool, unreachable_port: int) -> None:
    """A far end that drops packets is given up on long before the attempt's timeout, in any session."""
    baseline = Baseline.take()
    async with aiohttp.ClientSession() as session:
        options: dict[str, Any] = {"session": session} if lent else {}
        async with http_sink(f"http://127.0.0.1:{unreachable_port}", connect_timeout=0.1, **options) as sink:
            started = asyncio.get_running_loop().time()
            with pytest.raises(TransientSinkError, match="could not be reached in time") as caught:
                await sink.send(make_batch())

            assert caught.value.reason == "timeout"
            assert 0.1 <= asyncio.get_running_loop().time() - started < 0.5
    assert baseline.files_left() == []


@pytest.mark.asyncio
@pytest.mark.parametrize("lent", [False, True], ids=["own", "lent"])
async def test_finding_the_address_is_part_of_connecting(lent: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server that does not answer counts for an own session; a lent one is its owner's in this."""

    async def never(*args: object, **kwargs: object) -> None:
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(aiohttp.TCPConnector, "_resolve_host", never)
    async with aiohttp.ClientSession() as session:
        options = {"session": session} if lent else {}
        async with http_sink("https://collector.example", connect_timeout=0.05, timeout=0.2, **options) as sink:
            with pytest.raises(TransientSinkError) as caught:
                await sink.send(make_batch())

    assert str(caught.value) == ("no answer within 0.2 s" if lent else "the far end could not be reached in time")


# Cut


@pytest.mark.asyncio
@pytest.mark.parametrize("step", ["_resolve_host", "_wrap_create_connection"], ids=["looking up", "connecting"])
async def test_a_send_that_is_connecting_meets_a_network_error_at_aclose(
    step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not taken for cancelled, since nobody cancelled it, and what it was to connect to is closed again."""
    gate = asyncio.Event()
    original = getattr(aiohttp.TCPConnector, step)

    async def gated(*args: Any, **kwargs: Any) -> object:
        result = await original(*args, **kwargs)
        await gate.wait()
        return result

    monkeypatch.setattr(aiohttp.TCPConnector, step, gated)
    async with ScriptedServer() as server:
        baseline = Baseline.take()
        async with http_sink(server.url.replace("127.0.0.1", "localhost")) as sink:
            sending = asyncio.create_task(sink.send(make_batch()))
            if step == "_wrap_create_connection":
                await server.connected(1)
            await asyncio.sleep(0.01)
            await sink.aclose()
            gate.set()

            with pytest.raises(TransientSinkError) as caught:
                await sending

        assert (caught.value.reason, server.requests) == ("network", [])
        await server.disconnected()
        assert (baseline.tasks_left(), baseline.files_left()) == ([], [])


@pytest.mark.asyncio
async def test_an_answer_before_the_body_was_read_ends_the_connection() -> None:
    """A 413 at first sight of the head: the rest is thrown away, and the next batch gets a new connection."""
    batch = make_batch([make_event(properties={"text": "x" * (16 << 20)})])
    async with ScriptedServer(Reply(413, behaviour="answer_early")) as server:
        baseline = Baseline.take()
        async with http_sink(server.url, compression=None) as sink:
            with pytest.raises(PermanentSinkError) as caught:
                await sink.send(batch)
            await sink.send(make_batch())

            assert caught.value.scope == "size"
            assert [request.connection for request in server.requests] == [1, 2]
        # The server's end of the first, which is not read, and of the second, which may have ended by now.
        assert len([file for file in baseline.files_left() if "socket" in file]) <= 2


@pytest.mark.asyncio
@pytest.mark.parametrize("stuck", ["timeout", "cancel", "aclose"])
async def test_a_connection_that_is_given_up_is_closed_at_once(stuck: str) -> None:
    """Even with megabytes written to a far end that never reads: no socket waits for it."""
    batch = make_batch([make_event(properties={"text": "x" * (16 << 20)})])
    async with ScriptedServer(mute=True) as server:
        baseline = Baseline.take()
        timeout = 0.1 if stuck == "timeout" else 10.0
        async with http_sink(server.url, compression=None, timeout=timeout) as sink:
            sending = asyncio.create_task(sink.send(batch))
            await server.connected(1)
            if stuck == "cancel":
                await asyncio.sleep(0.05)
                sending.cancel()
            if stuck == "aclose":
                await asyncio.sleep(0.05)
                async with asyncio.timeout(0.5):
                    await sink.aclose()
            _, pending = await asyncio.wait({sending}, timeout=2)
            assert not pending

            assert sending.cancelled() == (stuck == "cancel")
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert not [task for task in baseline.tasks_left() if "ScriptedServer" not in task]
            ours = [file for file in baseline.files_left() if "socket" in file]
            assert len(ours) == 1  # the server's end, which is mute
        with contextlib.suppress(TransientSinkError, asyncio.CancelledError):
            sending.result()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "answer", [200, Reply(307, {"Location": "/"}), Reply(body=b"x" * 200_000), Reply(503, body=b"x" * 10)], ids=repr
)
async def test_cancelled_at_any_point_a_send_leaves_nothing(answer: Answer) -> None:
    """No task and no connection but those kept alive, wherever it was suspended."""
    baseline = Baseline.take()
    async with ScriptedServer(default=answer) as server:

        async def send() -> None:
            with contextlib.suppress(TransientSinkError, PermanentSinkError):
                await sink.send(make_batch(500))

        async with http_sink(server.url) as sink:
            assert await cancellation_sweep(send) > 5
            assert server.open_connections <= 1
        await server.disconnected()
    await asyncio.sleep(0.01)
    assert baseline.tasks_left() == []
    assert baseline.files_left() == []


@pytest.mark.asyncio
async def test_a_sink_works_on_after_cancelled_sends() -> None:
    """A cut connection is not given to the next batch."""
    async with ScriptedServer("hang", "hang") as server, http_sink(server.url) as sink:
        for count in (1, 2):
            send = asyncio.create_task(sink.send(make_batch()))
            await server.reached(count)
            send.cancel()
            with pytest.raises(asyncio.CancelledError):
                await send

        assert await sink.send(make_batch()) is None
        assert [request.connection for request in server.requests] == [1, 2, 3]


# Own sessions


@pytest.mark.asyncio
async def test_an_own_session_keeps_no_cookies_and_reads_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither what the far end sets nor what the environment says changes where and what is sent."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with ScriptedServer(Reply(headers={"Set-Cookie": "id=1; Path=/"})) as server, http_sink(server.url) as sink:
        await sink.send(make_batch())
        await sink.send(make_batch())

        assert [request.headers.get("cookie") for request in server.requests] == [None, None]


def test_each_loop_gets_a_session_of_its_own() -> None:
    """A loop that ended without ``aclose`` takes its connections along; ``aclose`` in the last one is enough."""
    server = ScriptedServer()

    async def send(*, close: bool = False) -> None:
        async with server:
            await sink.send(make_batch())
            await sink.send(make_batch())
            if close:
                await sink.aclose()

    asyncio.run(start_and_stop(server))
    sink = HttpSink(server.url)
    asyncio.run(send())
    asyncio.run(send())
    asyncio.run(send(close=True))

    assert [request.connection for request in server.requests] == [1, 1, 2, 2, 3, 3]


def test_aclose_after_the_loop_has_ended_is_harmless() -> None:
    """From another loop there is nothing to wait for."""
    server = ScriptedServer()

    async def send() -> None:
        async with server:
            await sink.send(make_batch())

    asyncio.run(start_and_stop(server))
    sink = HttpSink(server.url)
    asyncio.run(send())
    asyncio.run(sink.aclose())

    with pytest.raises(ClosedError):
        asyncio.run(send())


async def start_and_stop(server: ScriptedServer) -> None:
    """Let it take a port, which it keeps."""
    async with server:
        pass


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # what Python says of what is meant here
def test_a_loop_that_ended_with_open_connections_leaves_no_socket() -> None:
    """The next loop gets a new session, and the old one's connections are closed with it."""
    baseline = Baseline.take()
    listener = socket.create_server(("127.0.0.1", 0))
    accepted: list[socket.socket] = []

    async def send() -> None:
        loop = asyncio.get_running_loop()
        listener.setblocking(False)
        sending = asyncio.create_task(sink.send(make_batch()))
        connection, _ = await loop.sock_accept(listener)
        accepted.append(connection)
        assert b"POST" in await loop.sock_recv(connection, 65_536)
        await loop.sock_sendall(connection, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await sending

    sink = HttpSink(f"http://127.0.0.1:{listener.getsockname()[1]}")
    asyncio.run(send())
    asyncio.run(send())
    asyncio.run(sink.aclose())
    for end in (listener, *accepted):
        end.close()
    gc.collect()

    assert baseline.files_left() == []


def test_a_loop_that_still_exists_cuts_the_connections_it_had() -> None:
    """The sink has moved on to another loop: the first closes its own, when it next runs."""
    first = asyncio.new_event_loop()
    server, far_end = ScriptedServer(), asyncio.new_event_loop()
    far_end.run_until_complete(server.start())
    thread = threading.Thread(target=far_end.run_forever)
    thread.start()
    try:
        sink = HttpSink(server.url)
        first.run_until_complete(sink.send(make_batch()))
        baseline = Baseline.take()
        asyncio.run(send_and_close(sink))
        first.run_until_complete(asyncio.sleep(0))
        first.run_until_complete(asyncio.sleep(0))

        assert [request.connection for request in server.requests] == [1, 2]
        assert asyncio.run_coroutine_threadsafe(server.disconnected(), far_end).result(5) is None
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), far_end).result(5)
        far_end.call_soon_threadsafe(far_end.stop)
        thread.join()
        far_end.close()
        first.close()
    assert baseline.threads_left() == []


async def send_and_close(sink: HttpSink) -> None:
    await sink.send(make_batch())
    await sink.aclose()


FORK = """
import asyncio, gc, os, sys, warnings
warnings.simplefilter("error")
from eventpipe.sinks import HttpSink
from eventpipe.testing.events import make_batch

sink = HttpSink(sys.argv[1])
loop = asyncio.new_event_loop()
loop.run_until_complete(sink.send(make_batch()))
pid = os.fork()
if pid == 0:
    if sys.argv[2] == "another loop":
        loop_of_child = asyncio.new_event_loop()
    else:
        loop_of_child = loop
    loop_of_child.run_until_complete(sink.send(make_batch()))
    loop_of_child.run_until_complete(sink.aclose())
    del sink
    gc.collect()
    os._exit(0)
_, status = os.waitpid(pid, 0)
loop.run_until_complete(sink.send(make_batch()))
loop.run_until_complete(sink.aclose())
loop.close()
sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.asyncio
@pytest.mark.parametrize("where", ["another loop", "the same loop"])
async def test_a_forked_child_leaves_its_parents_connections_alone(where: str) -> None:
    """The child opens its own; the parent's is alive, and used again after the child has ended."""
    async with ScriptedServer() as server, asyncio.timeout(30):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", FORK, server.url, where, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        output = await process.communicate()

        assert (process.returncode, output) == (0, (b"", b""))
        assert [request.connection for request in server.requests] == [1, 2, 1]


# Lent sessions


@pytest.mark.asyncio
async def test_a_lent_session_is_used_and_never_closed() -> None:
    """Its cookies and headers are its owner's; an own connection is not opened."""
    async with (
        ScriptedServer() as server,
        aiohttp.ClientSession(
            headers={"X-Owner": "o"},
            cookies={"id": "1"},
            raise_for_status=True,
            cookie_jar=aiohttp.CookieJar(unsafe=True),
        ) as session,
    ):
        async with http_sink(server.url, session=session) as sink:
            await sink.send(make_batch())
            server.script(503)
            with pytest.raises(TransientSinkError, match="503"):
                await sink.send(make_batch())

        assert not session.closed
        async with session.post(server.url, data=b"[]"):
            pass
        assert server.connections == 1
        assert [request.headers["x-owner"] for request in server.requests] == ["o"] * 3


@pytest.mark.asyncio
async def test_redirects_and_bounds_hold_with_a_lent_session_too() -> None:
    """Its own defaults would follow redirects anywhere and inflate answers."""
    async with ScriptedServer() as elsewhere, ScriptedServer() as server, aiohttp.ClientSession() as session:
        server.script(Reply(307, {"Location": f"{elsewhere.url}/"}), Reply(307, {"Location": "/moved"}))
        async with http_sink(server.url, session=session) as sink:
            with pytest.raises(PermanentSinkError):
                await sink.send(make_batch())
            await sink.send(make_batch())

        assert elsewhere.requests == []
        assert [request.path for request in server.requests] == ["/", "/", "/moved"]


@pytest.mark.asyncio
async def test_a_dead_connection_of_a_lent_session_is_a_network_error() -> None:
    """Whether it was a kept-alive one cannot be known, and a far end that fails is not hit twice."""
    async with (
        ScriptedServer(200, "close") as server,
        aiohttp.ClientSession() as session,
        http_sink(server.url, session=session) as sink,
    ):
        await sink.send(make_batch())
        with pytest.raises(TransientSinkError) as caught:
            await sink.send(make_batch())

        assert (caught.value.reason, len(server.requests)) == ("network", 2)


@pytest.mark.asyncio
async def test_a_lent_session_that_its_owner_closed_is_closed() -> None:
    """``ClosedError``, before anything is sent."""
    async with ScriptedServer() as server:
        session = aiohttp.ClientSession()
        await session.close()
        async with http_sink(server.url, session=session) as sink:
            with pytest.raises(ClosedError, match="closed by its owner"):
                await sink.send(make_batch())

        assert server.connections == 0


@pytest.mark.asyncio
async def test_a_lent_session_stays_with_the_process_that_lent_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A forked child cannot use it: both would write to the same connections."""
    async with (
        ScriptedServer() as server,
        aiohttp.ClientSession() as session,
        http_sink(server.url, session=session) as sink,
    ):
        monkeypatch.setattr("os.getpid", lambda: -1)
        with pytest.raises(PermanentSinkError, match="parent process") as caught:
            await sink.send(make_batch())
        monkeypatch.undo()

        assert (caught.value.scope, server.connections) == ("sink", 0)


@pytest.mark.asyncio
async def test_a_lent_session_checks_certificates_as_its_owner_set_it() -> None:
    """An ``ssl`` beside it would be without effect, and is refused."""
    async with aiohttp.ClientSession() as session:
        with pytest.raises(ValueError, match=r"^ssl must be None where a session is lent"):
            HttpSink("https://collector.example", session=session, ssl=ssl.create_default_context())
