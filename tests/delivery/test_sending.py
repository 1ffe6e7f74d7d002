"""Attempts: what reaches the far end, what is told of it, and what becomes of the sinks."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio
from standardwebhooks import Webhook, WebhookVerificationError

from eventpipe.clock import Clock
from eventpipe.delivery import sending
from eventpipe.delivery.endpoint import Endpoint, Private
from eventpipe.delivery.machine import DeliveryOutcome
from eventpipe.delivery.sending import Attempted, Senders
from eventpipe.events import Batch
from eventpipe.sinks.withheld import WITHHELD
from eventpipe.stores.delivery_values import EndpointInfo
from eventpipe.testing.events import make_event
from eventpipe.testing.exchange import Received, Reply
from eventpipe.testing.recording import RecordingSink
from eventpipe.testing.server import ScriptedServer
from eventpipe.testing.sinks import GatedSink
from tests.delivery.facade import OTHER, SECRET, THIRD

pytestmark = pytest.mark.asyncio
real = pytest.mark.wallclock

EVENT = make_event("paid", properties={"sum": 5})
TOKEN = "tok-8f2b61c97d"
LENT = EndpointInfo("bus", "sink", created_at=1.0)


class Rig:
    """Senders, and what is private of every endpoint, which a test can change.

    Attributes:
        private: What each endpoint has.
        asked: How often that was asked for.
    """

    def __init__(self) -> None:
        self.private: Private | Callable[[], Awaitable[Private]] = Private((SECRET,))
        self.asked = 0
        self.senders = Senders(self._private, clock=Clock())

    async def _private(self, endpoint: EndpointInfo) -> Private:
        self.asked += 1
        return self.private if isinstance(self.private, Private) else await self.private()

    async def attempt(self, endpoint: EndpointInfo, number: int = 1, *, timeout: float = 5) -> Attempted:
        return await self.senders.attempt(endpoint, EVENT, number, timeout=timeout)


@pytest_asyncio.fixture
async def rig() -> AsyncIterator[Rig]:
    made = Rig()
    yield made
    await made.senders.aclose()
    await made.senders.close_lent()


@pytest_asyncio.fixture
async def far_end() -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer() as server:
        yield server


def local(server: ScriptedServer, **more: Any) -> EndpointInfo:
    return Endpoint("acme", f"{server.url}/hooks", allow_private=True, **more).info(created_at=1.0)


def believes(request: Received, secret: str) -> bool:
    """What the library of Standard Webhooks says of it."""
    try:
        Webhook(secret).verify(request.body, dict(request.headers))
    except WebhookVerificationError:
        return False
    return True


# -- what is sent -------------------------------------------------------------------------------------------------


@real
async def test_every_attempt_has_the_same_id_and_body(rig: Rig, far_end: ScriptedServer) -> None:
    """The event's own id, whatever became of the attempt before; each is signed anew."""
    far_end.script(503, Reply(301, headers={"Location": "https://acme.example/"}), 404, 200)

    made = [await rig.attempt(local(far_end), number) for number in (1, 2, 3, 4)]

    assert [one.record.outcome for one in made] == ["retry", "retry", "retry", "delivered"]
    assert [(one.record.number, one.record.status) for one in made] == [(1, 503), (2, 301), (3, 404), (4, 200)]
    assert {request.headers["webhook-id"] for request in far_end.requests} == {EVENT.uuid}
    assert len({request.body for request in far_end.requests}) == 1
    assert all(believes(request, SECRET) for request in far_end.requests)


@real
async def test_several_secrets_sign_every_attempt(rig: Rig, far_end: ScriptedServer) -> None:
    """A receiver that has one of them believes, and one that has another does not."""
    rig.private = Private((SECRET, OTHER), {"x-api-key": TOKEN})

    await rig.attempt(local(far_end))

    (request,) = far_end.requests
    assert [believes(request, one) for one in (SECRET, OTHER, THIRD)] == [True, True, False]
    assert request.headers["x-api-key"] == TOKEN


@real
async def test_a_rotation_while_attempts_run_disturbs_none(rig: Rig, far_end: ScriptedServer) -> None:
    """What runs ends with the old secret, what begins afterwards has the new one, and each is delivered once."""
    far_end.script(*[Reply(latency=0.1)] * 8)
    endpoint = local(far_end)
    running = [asyncio.create_task(rig.attempt(endpoint)) for _ in range(8)]
    await far_end.reached(8)
    rig.private = Private((OTHER,))

    after = await asyncio.gather(*(rig.attempt(replace(endpoint, version=2)) for _ in range(8)))
    before = await asyncio.gather(*running)

    assert {one.judgement.outcome for one in (*before, *after)} == {DeliveryOutcome.DELIVERED}
    assert [believes(one, SECRET) for one in far_end.requests] == [True] * 8 + [False] * 8
    assert [believes(one, OTHER) for one in far_end.requests] == [False] * 8 + [True] * 8


@real
async def test_a_row_that_was_claimed_before_a_change_displaces_no_newer_sink(
    rig: Rig, far_end: ScriptedServer
) -> None:
    """It is sent, and those after it go through the connection that is there."""
    old = local(far_end)
    new = replace(old, version=2)
    await rig.attempt(new)

    await rig.attempt(old)
    await rig.attempt(new)

    assert [one.connection for one in far_end.requests][::2] == [far_end.requests[0].connection] * 2
    assert rig.asked == 2


@real
async def test_a_changed_endpoint_gets_a_new_sink_and_the_old_one_is_closed_when_unused(
    rig: Rig, far_end: ScriptedServer
) -> None:
    """Not before its last attempt has ended, and then its connection ends."""
    far_end.script(Reply(latency=0.1), 200)
    endpoint = local(far_end)
    running = asyncio.create_task(rig.attempt(endpoint))
    await far_end.reached(1)

    await rig.attempt(replace(endpoint, version=2))
    both = far_end.open_connections
    assert (await running).judgement.outcome is DeliveryOutcome.DELIVERED
    async with asyncio.timeout(5):
        while far_end.open_connections > 1:  # noqa: ASYNC110  # the far end is told by the kernel
            await asyncio.sleep(0.005)

    assert both == 2


@real
async def test_attempts_that_begin_together_share_one_sink(rig: Rig, far_end: ScriptedServer) -> None:
    """The secrets are asked for once."""

    async def private() -> Private:
        await asyncio.sleep(0.01)
        return Private((SECRET,))

    rig.private = private
    endpoint = local(far_end)
    await asyncio.gather(*(rig.attempt(endpoint) for _ in range(8)))
    await rig.attempt(endpoint)

    assert rig.asked == 1
    assert len(rig.senders._made) == 1


@real
async def test_attempt_that_finds_no_secrets_leaves_the_next_to_ask(rig: Rig, far_end: ScriptedServer) -> None:
    """Whether they could not be read, or whoever asked was cancelled; what waits is as quick as they come."""
    asked = asyncio.Event()

    async def private() -> Private:
        if rig.asked == 1:
            asked.set()
            await asyncio.Event().wait()
        if rig.asked == 2:
            raise LookupError
        return Private((SECRET,))

    rig.private = private
    endpoint = local(far_end)
    cancelled, *others = [asyncio.create_task(rig.attempt(endpoint)) for _ in range(4)]
    await asked.wait()
    cancelled.cancel()
    made = await asyncio.gather(*others)

    assert rig.asked == 3
    assert sorted(str(one.record.outcome) for one in made) == ["delivered", "delivered", "retry"]
    assert not rig.senders._making


@real
async def test_each_timeout_is_kept(rig: Rig, far_end: ScriptedServer) -> None:
    """Of the reconciler that asks, whoever asked before; the endpoint's own goes before both."""
    far_end.script(200, *[Reply(latency=0.2)] * 3)
    endpoint = local(far_end)
    await rig.attempt(endpoint, timeout=0.1)

    late = await rig.attempt(endpoint, timeout=0.1)
    patient = await rig.attempt(endpoint, timeout=5)
    own = await rig.attempt(replace(endpoint, timeout=0.1), timeout=5)

    assert (late.judgement.outcome, late.judgement.error) == (DeliveryOutcome.RETRY, "no answer within 0.1 s")
    assert patient.judgement.outcome is DeliveryOutcome.DELIVERED
    assert own.judgement.outcome is DeliveryOutcome.RETRY
    assert 0.1 <= late.record.duration < 1


# -- what is told of it -------------------------------------------------------------------------------------------


@real
@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (b"no such customer", "no such customer"),
        (f"bad signature for {SECRET}".encode(), WITHHELD),
        (f"key {OTHER.removeprefix('whsec_')}".encode(), WITHHELD),
        (f"you sent {TOKEN}".encode(), WITHHELD),
        (b"x" * 5000, "x" * 1000),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"", None),
    ],
    ids=["words", "secret", "key alone", "header", "long", "no text", "nothing"],
)
async def test_what_the_far_end_says_is_kept_unless_it_repeats_a_secret(
    rig: Rig, far_end: ScriptedServer, said: bytes, kept: str | None
) -> None:
    """Its beginning, as text; a secret, its key alone, or a header's value are withheld."""
    rig.private = Private((SECRET, OTHER), {"x-api-key": TOKEN})
    far_end.script(Reply(422, body=said))

    made = await rig.attempt(local(far_end))

    assert (made.record.outcome, made.record.status, made.record.response) == ("rejected", 422, kept)


@real
@pytest.mark.parametrize(
    ("private", "said"),
    [
        (Private(("s3cret",)), b"not s3cret"),
        (Private(("open the door 1234567",)), b"you said open the door 1234567!"),
        (Private(("s3cret",), {"x-api-key": "tok en val ue"}), b"no such key: tok en val ue"),
    ],
    ids=["short", "several words", "header of several words"],
)
async def test_what_is_no_long_word_is_withheld_as_well(
    rig: Rig, far_end: ScriptedServer, private: Private, said: bytes
) -> None:
    """Any text signs in the scheme ``"hub"``."""
    rig.private = private
    far_end.script(Reply(500, body=said))

    made = await rig.attempt(local(far_end, scheme="hub"))

    assert made.record.response == WITHHELD


@real
@pytest.mark.parametrize("status", [410, 400, 500])
async def test_a_refusal_is_judged_by_its_status(rig: Rig, far_end: ScriptedServer, status: int) -> None:
    """And what is asked for is told."""
    far_end.script(Reply(status, headers={"Retry-After": "7"}))

    judgement = (await rig.attempt(local(far_end))).judgement

    expected = {410: "gone", 400: "rejected", 500: "retry"}[status]
    assert (judgement.outcome, judgement.retry_after) == (expected, 7 if status == 500 else None)


# -- secrets that cannot be had -----------------------------------------------------------------------------------


@real
@pytest.mark.parametrize("error", [LookupError(SECRET), SystemExit(SECRET), asyncio.CancelledError(SECRET)])
async def test_secrets_that_cannot_be_read_cost_an_attempt(
    rig: Rig, far_end: ScriptedServer, error: BaseException
) -> None:
    """Nothing is sent unsigned; the type of the error is named, and its text is not."""

    async def private() -> Private:
        raise error

    rig.private = private
    made = await rig.attempt(local(far_end))

    assert (made.record.outcome, made.record.status) == ("retry", None)
    assert type(error).__name__ in (made.record.error or "")
    assert SECRET not in repr(made)
    assert far_end.requests == []


async def test_secrets_that_do_not_come_end_with_the_attempt(rig: Rig) -> None:
    """At its timeout, so that no worker is held for longer than its claim."""

    async def private() -> Private:
        await asyncio.Event().wait()
        raise AssertionError

    rig.private = private
    began = asyncio.get_running_loop().time()
    made = await rig.attempt(Endpoint("acme", "https://acme.example/hooks").info(), timeout=5)

    assert asyncio.get_running_loop().time() - began == 6
    assert made.record.error == "the secrets of the endpoint were not to be had within 5 s"


async def test_a_secret_that_is_none_costs_an_attempt(rig: Rig) -> None:
    """What is wrong is said, without the value."""
    rig.private = Private(("whsec_secret-words",))

    made = await rig.attempt(Endpoint("acme", "https://acme.example/hooks").info())

    assert made.judgement.outcome is DeliveryOutcome.RETRY
    assert (made.record.error or "").startswith("the endpoint cannot be used: secret must be whsec_ and the base64")
    assert "secret-words" not in repr(made)


async def test_an_attempt_that_is_cancelled_ends_as_cancelled(rig: Rig) -> None:
    """While its secrets are read, and while it is sent; nobody uses the sink any more."""
    gate = asyncio.Event()

    async def private() -> Private:
        await gate.wait()
        raise AssertionError

    rig.private = private
    sink = GatedSink()
    rig.senders.lend("bus", sink)
    for endpoint in (Endpoint("acme", "https://acme.example/hooks").info(), LENT):
        running = asyncio.create_task(rig.attempt(endpoint))
        await asyncio.sleep(1)
        running.cancel()
        await asyncio.wait({running})
        assert running.cancelled()
    assert [sender.users for sender in rig.senders._lent.values()] == [0]


# -- sinks of others ----------------------------------------------------------------------------------------------


class Raising(RecordingSink):
    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    async def send(self, batch: Batch) -> None:
        raise self.error


@pytest.mark.parametrize("error", [asyncio.CancelledError(), SystemExit(1), RuntimeError("x"), TimeoutError()])
async def test_whatever_a_sink_raises_is_a_failed_attempt(rig: Rig, error: BaseException) -> None:
    """It ends neither the worker nor the process."""
    rig.senders.lend("bus", Raising(error))

    made = await rig.attempt(LENT)

    assert made.record.outcome == "retry"
    assert type(error).__name__ in (made.record.error or "")


async def test_a_sink_that_hangs_is_cut_off(rig: Rig) -> None:
    """At the timeout and a second, which leaves the word to a sink that has a timeout of its own."""
    rig.senders.lend("bus", GatedSink())
    began = asyncio.get_running_loop().time()

    made = await rig.attempt(LENT, timeout=5)

    assert asyncio.get_running_loop().time() - began == 6
    assert (made.record.outcome, made.record.error) == ("retry", "no answer within 5 s")


async def test_a_process_without_the_sink_says_so(rig: Rig) -> None:
    """The delivery waits for one that has it."""
    made = await rig.attempt(LENT)

    assert not rig.senders.has(LENT)
    assert made.record.outcome == "retry"
    assert made.record.error == "this process has no sink for endpoint 'bus'; give it one in sinks="


async def test_a_sink_that_takes_the_place_of_another_closes_it_when_unused(rig: Rig) -> None:
    """Not before its attempt has ended, and not while it is lent under another name; the next goes to the new one."""
    old, shared, new = GatedSink(), RecordingSink(), RecordingSink()
    rig.senders.lend("bus", old)
    rig.senders.lend("one", shared)
    rig.senders.lend("two", shared)
    running = asyncio.create_task(rig.attempt(LENT))
    await old.reached()

    rig.senders.lend("bus", new)
    rig.senders.lend("one", new)
    await rig.attempt(LENT)
    assert (len(new.events), old.is_closed, shared.is_closed) == (1, False, False)
    old.release()
    assert (await running).judgement.outcome is DeliveryOutcome.DELIVERED
    await rig.senders.aclose()

    assert (old.is_closed, shared.is_closed, new.is_closed) == (True, False, False)


@pytest.mark.parametrize("error", [RuntimeError("x"), SystemExit(1), asyncio.CancelledError()])
async def test_a_sink_that_cannot_be_closed_keeps_no_other_open(rig: Rig, error: BaseException) -> None:
    """Whatever it raises, or if it never ends: the others are closed, and it is over after five seconds."""

    class Stuck(RecordingSink):
        async def aclose(self) -> None:
            await asyncio.Event().wait()

    class Bad(RecordingSink):
        async def aclose(self) -> None:
            raise error

    well = RecordingSink()
    for number, sink in enumerate((Bad(), Stuck(), well)):
        rig.senders.lend(f"bus{number}", sink)
    began = asyncio.get_running_loop().time()

    await rig.senders.close_lent()

    assert well.is_closed
    assert asyncio.get_running_loop().time() - began == 5


async def test_what_is_no_sink_is_not_lent(rig: Rig) -> None:
    """A class is none, nor is a function."""
    for wrong in (RecordingSink, print):
        with pytest.raises(TypeError, match="a sink must be an object"):
            rig.senders.lend("bus", wrong)  # type: ignore[arg-type]  # which is the point


async def test_the_number_of_sinks_is_bounded(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that was used longest ago is closed, and made again when it is needed."""
    monkeypatch.setattr(sending, "MAX_SENDERS", 3)

    async def resolved(*_: object, **__: object) -> list[object]:
        raise OSError("no such host")

    monkeypatch.setattr("aiohttp.TCPConnector._resolve_host", resolved)
    ends = [Endpoint(f"end{number}", "https://acme.example/hooks").info() for number in range(5)]
    for endpoint in (*ends[:3], ends[0], *ends[3:]):
        await rig.attempt(endpoint)

    assert [name for name, _ in rig.senders._made] == ["end0", "end3", "end4"]
    assert rig.asked == 5


# -- where it never goes ------------------------------------------------------------------------------------------


@real
@pytest.mark.parametrize(
    "answers",
    [[["127.0.0.1"]], [["93.184.215.14"], ["127.0.0.1"]], [["10.0.0.1", "127.0.0.1"]], [["::ffff:127.0.0.1"]]],
    ids=["private", "public first, then private", "several", "mapped"],
)
async def test_a_private_address_is_refused_where_it_would_be_connected_to(
    rig: Rig, far_end: ScriptedServer, answers: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a resolver answered before: it may change its answer. The far end sees no connection."""
    resolve, left, port = socket.getaddrinfo, list(answers), int(far_end.url.rpartition(":")[2])

    def answer(host: Any, *args: Any, **options: Any) -> Any:
        if host != "hooks.example":
            return resolve(host, *args, **options)
        found = left.pop(0) if len(left) > 1 else left[0]
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0))
            if ":" in address
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in found
        ]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    if len(answers) > 1:  # what judges a name before it is connected to would see this one
        socket.getaddrinfo("hooks.example", port)
    endpoint = Endpoint("acme", f"http://hooks.example:{port}/", allow_insecure=True).info()

    made = [await rig.attempt(endpoint, number) for number in (1, 2)]

    assert [one.judgement.outcome for one in made] == [DeliveryOutcome.RETRY] * 2
    assert all("hooks.example" in (one.record.error or "") for one in made)
    assert (far_end.requests, far_end.open_connections) == ([], 0)
