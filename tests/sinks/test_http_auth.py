"""The auth hook of the HTTP sink: asked once for all who need it, again after a 401, and no secret in a message."""

from __future__ import annotations

import asyncio
import contextlib
import traceback
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from eventpipe.errors import PermanentSinkError, SinkError, TransientSinkError
from eventpipe.outcomes import DropReason
from eventpipe.sinks import HttpSink
from eventpipe.testing.events import make_batch
from eventpipe.testing.exchange import Received, Reply
from eventpipe.testing.leaks import Baseline
from eventpipe.testing.server import Answer, ScriptedServer
from eventpipe.testing.sweep import cancellation_sweep

pytestmark = pytest.mark.wallclock


class Tokens:
    """An auth hook that hands out numbered tokens, one for each call."""

    def __init__(self) -> None:
        self.calls: list[bool] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, refresh: bool, /) -> Mapping[str, str]:
        self.calls.append(refresh)
        number = len(self.calls)
        await self.gate.wait()
        return {"Authorization": f"Bearer {number}"}


class Guard:
    """Lets in those with one of the tokens it knows."""

    def __init__(self, *known: int) -> None:
        self.known = known

    def __call__(self, request: Received) -> Answer:
        return 200 if request.headers.get("authorization") in [f"Bearer {number}" for number in self.known] else 401


@asynccontextmanager
async def http_sink(server: ScriptedServer, auth: Any, **options: Any) -> AsyncIterator[HttpSink]:
    sink = HttpSink(server.url, auth=auth, **options)
    try:
        yield sink
    finally:
        await sink.aclose()


def sent(server: ScriptedServer) -> list[str | None]:
    return [request.headers.get("authorization") for request in server.requests]


@pytest.mark.asyncio
async def test_its_headers_go_with_every_request_and_it_is_asked_once() -> None:
    """What it returned is kept; it wins over the headers of the sink and of the codec, whatever their case."""
    tokens = Tokens()
    async with ScriptedServer() as server, http_sink(server, tokens, headers={"authorization": "mine"}) as sink:
        await sink.send(make_batch())
        await sink.send(make_batch())

    assert (tokens.calls, sent(server)) == ([False], ["Bearer 1", "Bearer 1"])


@pytest.mark.asyncio
async def test_a_401_is_met_with_new_headers_within_the_attempt() -> None:
    """The same batch goes once more, on the same connection, and what was fetched is kept for the next one."""
    tokens, batch = Tokens(), make_batch(3)
    async with ScriptedServer(default=Guard(2)) as server, http_sink(server, tokens) as sink:
        assert await sink.send(batch) is None
        await sink.send(make_batch())

    assert (tokens.calls, sent(server)) == ([False, True], ["Bearer 1", "Bearer 2", "Bearer 2"])
    assert server.requests[0].raw == server.requests[1].raw
    assert server.connections == 1


@pytest.mark.asyncio
async def test_a_second_401_is_what_a_401_is_without_a_hook() -> None:
    """The key is wrong, not old: one more request was made, not more."""
    tokens = Tokens()
    async with ScriptedServer(default=Guard()) as server, http_sink(server, tokens) as sink:
        with pytest.raises(PermanentSinkError) as caught:
            await sink.send(make_batch())

    assert (caught.value.reason, caught.value.status) == (DropReason.UNAUTHORIZED, 401)
    assert (tokens.calls, len(server.requests)) == ([False, True], 2)


@pytest.mark.asyncio
@pytest.mark.parametrize("status", [403, 400, 503, 200])
async def test_no_other_answer_asks_for_new_headers(status: int) -> None:
    """A 403 says that who we are is known and not enough."""
    tokens = Tokens()
    async with ScriptedServer(default=status) as server, http_sink(server, tokens) as sink:
        try:
            await sink.send(make_batch())
        except SinkError as error:
            assert error.status == status  # noqa: PT017 - one of them is no error

    assert (tokens.calls, len(server.requests)) == ([False], 1)


@pytest.mark.asyncio
async def test_a_401_behind_a_redirect_starts_at_the_first_address_again() -> None:
    """The redirect may depend on who asks."""
    tokens = Tokens()

    def answer(request: Received) -> Answer:
        return Reply(307, {"Location": "/moved"}) if request.path == "/" else Guard(2)(request)

    async with ScriptedServer(default=answer) as server, http_sink(server, tokens) as sink:
        await sink.send(make_batch())

    assert [request.path for request in server.requests] == ["/", "/moved", "/", "/moved"]
    assert sent(server) == ["Bearer 1", "Bearer 1", "Bearer 2", "Bearer 2"]


@pytest.mark.asyncio
async def test_workers_that_meet_a_401_at_once_share_one_call() -> None:
    """Also one that meets it when the call has ended: what is kept is newer than what it sent."""
    tokens = Tokens()
    async with ScriptedServer(default=Guard(1)) as server, http_sink(server, tokens) as sink:
        await sink.send(make_batch())
        tokens.gate.clear()
        server.default = Guard(2)
        sends = [asyncio.create_task(sink.send(make_batch())) for _ in range(8)]
        await server.reached(9)
        await asyncio.sleep(0.01)
        tokens.gate.set()
        await asyncio.gather(*sends)

    assert tokens.calls == [False, True]
    assert sent(server).count("Bearer 2") == 8


@pytest.mark.asyncio
async def test_one_who_gives_up_does_not_end_the_call_of_the_others() -> None:
    """Not the first to wait, who began it, either."""
    tokens = Tokens()
    tokens.gate.clear()
    baseline = Baseline.take()
    async with ScriptedServer() as server, http_sink(server, tokens) as sink:
        sends = [asyncio.create_task(sink.send(make_batch())) for _ in range(3)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        sends[0].cancel()
        await asyncio.wait({sends[0]})
        tokens.gate.set()
        await asyncio.gather(*sends[1:])

        assert (tokens.calls, len(server.requests)) == ([False], 2)
    assert baseline.tasks_left() == []


@pytest.mark.asyncio
async def test_the_last_to_give_up_ends_the_call() -> None:
    """A hook that hangs leaves no task, and the next attempt calls it anew."""
    tokens = Tokens()
    tokens.gate.clear()
    async with ScriptedServer() as server, http_sink(server, tokens, timeout=0.05) as sink:
        baseline = Baseline.take()
        for _ in range(2):
            with pytest.raises(TransientSinkError, match=r"^the auth hook did not answer within 0.05 s$") as caught:
                await sink.send(make_batch())
            assert caught.value.reason == "auth"
        await asyncio.sleep(0)
        assert baseline.tasks_left() == []

    assert (tokens.calls, server.connections) == ([False, False], 0)


@pytest.mark.asyncio
async def test_a_refresh_that_hangs_ends_at_the_attempts_timeout() -> None:
    """The far end's 401 decides nothing, because it is not known whether new headers would do."""
    tokens = Tokens()
    async with ScriptedServer(default=Guard()) as server, http_sink(server, tokens, timeout=0.1) as sink:
        sending = asyncio.create_task(sink.send(make_batch()))
        await server.reached(1)
        tokens.gate.clear()
        with pytest.raises(TransientSinkError) as caught:
            await sending

    assert (caught.value.reason, tokens.calls, len(server.requests)) == ("auth", [False, True], 1)


@pytest.mark.asyncio
async def test_cancelled_at_any_point_a_send_leaves_no_call() -> None:
    """Wherever it was suspended: in the hook, at the far end, in the refresh."""
    baseline = Baseline.take()
    sinks: list[HttpSink] = []

    async def hook(refresh: bool) -> Mapping[str, str]:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return {"Authorization": str(refresh)}

    async with ScriptedServer(default=401) as server:

        async def send() -> None:
            sinks.append(HttpSink(server.url, auth=hook))
            with pytest.raises(PermanentSinkError):
                await sinks[-1].send(make_batch())

        assert await cancellation_sweep(send) > 5
        for sink in sinks:
            await sink.aclose()
        await server.disconnected()
    await asyncio.sleep(0.01)
    assert baseline.tasks_left() == []


@pytest.mark.asyncio
async def test_aclose_ends_a_call_under_way() -> None:
    """Who waits for it meets a transient error; no task is left when ``aclose()`` returns."""
    tokens = Tokens()
    tokens.gate.clear()
    async with ScriptedServer() as server, http_sink(server, tokens) as sink:
        baseline = Baseline.take()
        sending = asyncio.create_task(sink.send(make_batch()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await sink.aclose()
        with pytest.raises(TransientSinkError) as caught:
            await sending

        assert (str(caught.value), caught.value.reason) == ("the auth hook was cancelled", "auth")
        assert baseline.tasks_left() == []


@pytest.mark.asyncio
async def test_a_hook_that_holds_on_brings_nothing_to_a_closed_sink() -> None:
    """Its attempt ends before it connects: what would be opened then nobody would close."""
    waiting = asyncio.Event()

    async def hook(refresh: bool) -> Mapping[str, str]:
        with contextlib.suppress(asyncio.CancelledError):
            await waiting.wait()
        return {}

    async with ScriptedServer() as server, http_sink(server, hook) as sink:
        sending = asyncio.create_task(sink.send(make_batch()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await sink.aclose()
        with pytest.raises(TransientSinkError, match=r"^the sink was closed meanwhile$"):
            await sending

        assert server.connections == 0


def test_each_loop_makes_calls_of_its_own() -> None:
    """A call that its loop took along is not waited for; headers that were kept serve every loop."""
    tokens: list[str] = []

    async def hook(refresh: bool) -> Mapping[str, str]:
        tokens.append("hangs" if not tokens else "answers")
        if len(tokens) == 1:
            await asyncio.sleep(3600)
        return {"Authorization": "Bearer 1"}

    sink = HttpSink("http://127.0.0.1:9", auth=hook)

    async def leave() -> None:
        sending = asyncio.create_task(sink.send(make_batch()))
        await asyncio.sleep(0.01)
        assert tokens == ["hangs"]
        del sending

    async def send() -> None:
        with pytest.raises(TransientSinkError) as caught:
            await sink.send(make_batch())
        assert caught.value.reason == "network"

    asyncio.run(leave())
    asyncio.run(send())
    asyncio.run(send())
    asyncio.run(sink.aclose())

    assert tokens == ["hangs", "answers"]


async def raises(refresh: bool) -> Mapping[str, str]:
    raise RuntimeError("SECRET")


async def asks_itself(refresh: bool) -> Mapping[str, str]:
    raise asyncio.CancelledError("SECRET")


def plain(refresh: bool) -> Mapping[str, str]:
    return {"Authorization": "SECRET"}


async def breaks_lines(refresh: bool) -> Mapping[str, str]:
    return {"Authorization": "SECRET\r\nX: y"}


async def lists(refresh: bool) -> Any:
    return ["SECRET"]


async def has_ours(refresh: bool) -> Mapping[str, str]:
    return {"Content-Length": "0"}


async def swaps(refresh: bool) -> Mapping[str, str]:
    return {"Bearer SECRET": "Authorization"}


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("hook", "message"),
    [
        (raises, "the auth hook failed: RuntimeError"),
        (asks_itself, "the auth hook was cancelled"),
        (plain, "auth must be an async function"),
        (
            breaks_lines,
            "what auth returns['Authorization'] must be a string of printable ASCII (its value is not shown)",
        ),
        (lists, "what auth returns must be a mapping of strings to strings or None, not list"),
        (has_ours, "what auth returns must not have 'Content-Length': the sink writes that one"),
        (swaps, "what auth returns must have names of letters, digits and !#$%&'*+-.^_`|~ (this one is not shown)"),
    ],
)
async def test_a_hook_that_fails_is_named_without_what_it_said(hook: Any, message: str) -> None:
    """What it raises is worth another attempt; what it returns and cannot be sent is a wrong configuration."""
    async with ScriptedServer() as server, http_sink(server, hook) as sink:
        with pytest.raises(SinkError) as caught:
            await sink.send(make_batch())

    error = caught.value
    assert str(error) == message
    if isinstance(error, PermanentSinkError):
        assert error.scope == "sink"
    else:
        assert error.reason == "auth"
    assert (error.__cause__, error.__context__, server.connections) == (None, None, 0)
    assert "SECRET" not in "".join(traceback.format_exception(error))


def test_what_cannot_be_called_is_refused() -> None:
    """A token is no function; it is not shown."""
    with pytest.raises(ValueError, match=r"^auth must be an async function or None, not str$"):
        HttpSink("https://collector.example", auth="SECRET")  # type: ignore[arg-type]
