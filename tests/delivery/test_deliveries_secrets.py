"""Secrets of endpoints and values of headers: sent to their far end, and to be seen nowhere else."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import orjson
import pytest
import pytest_asyncio

from eventpipe.codecs import verify_webhook
from eventpipe.delivery.deliveries import Deliveries
from eventpipe.delivery.endpoint import Endpoint
from eventpipe.delivery.policy import DeliveryPolicy
from eventpipe.errors import SignatureError, UnknownEndpointError
from eventpipe.stores.delivery_base import DeliveringStore
from eventpipe.stores.delivery_values import DeliveryState
from eventpipe.stores.sqlite import SqliteStore
from eventpipe.testing.clock import LoopClock
from eventpipe.testing.exchange import Received, Reply
from eventpipe.testing.recording import RecordingSink
from eventpipe.testing.server import ScriptedServer
from tests.delivery.facade import ENGINES, OTHER, SECRET, THIRD, URL, attempted, claimed, deliver, engine, settle

pytestmark = pytest.mark.asyncio

TOKEN = "tok-8f2b61c97d"
HEADERS = {"x-api-key": TOKEN}
HIDDEN = (SECRET, SECRET.removeprefix("whsec_"), OTHER, OTHER.removeprefix("whsec_"), TOKEN)

SecretsOf = Callable[[str], "str | list[str] | Awaitable[str | list[str] | None] | None"]


@pytest.fixture(params=ENGINES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> DeliveringStore:
    return engine(request.param, tmp_path, LoopClock())


@pytest_asyncio.fixture
async def deliveries(store: DeliveringStore) -> AsyncIterator[Deliveries]:
    async with Deliveries(store, clock=LoopClock(), policy=DeliveryPolicy(delays=[0.005])) as running:
        yield running


@pytest_asyncio.fixture
async def far_end() -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer() as server:
        yield server


def local(server: ScriptedServer, secret: str | list[str] | None = None, **more: object) -> Endpoint:
    return Endpoint("acme", f"{server.url}/hooks", secret, allow_private=True, **more)  # type: ignore[arg-type]


def believes(received: Received, secret: str, clock: LoopClock) -> bool:
    try:
        verify_webhook(received.body, received.headers, secret, now=clock.time())
    except SignatureError:
        return False
    return True


@pytest.mark.wallclock
async def test_nothing_secret_is_to_be_seen(
    deliveries: Deliveries, far_end: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Not in infos, rows, attempts, events, logs or errors, even where the far end says them itself."""
    caplog.set_level(logging.DEBUG)
    endpoint = local(far_end, [SECRET, OTHER], headers=HEADERS)
    far_end.script(Reply(500, body=f"{TOKEN} {SECRET}".encode()), Reply(422, body=f"no {TOKEN}".encode()))
    seen: list[object] = [endpoint, await deliveries.add_endpoint(endpoint), deliveries]
    with pytest.raises(ValueError, match="acme") as caught:
        await deliveries.add_endpoint(endpoint)
    seen += traceback.format_exception(caught.value)

    await deliveries.publish("paid", endpoints=["acme"])
    await deliver(deliveries)
    seen.append(await deliveries.rows())
    await asyncio.sleep(0.01)
    await deliver(deliveries)

    (row,) = await deliveries.rows()
    seen += [row, await deliveries.attempts(row.id), await deliveries.event(row.event_uuid), await deliveries.stats()]
    seen += [await deliveries.endpoints(), await deliveries.test_endpoint("acme")]
    seen += [await deliveries.rotate_secret("acme", OTHER), await deliveries.set_rate_limit("acme", 5)]
    seen += [await deliveries.pause_endpoint("acme"), caplog.text, deliveries.senders, vars(deliveries)]
    text = "\n".join(map(repr, seen))
    assert [secret for secret in HIDDEN if secret in text] == []
    assert len(far_end.requests) == 3
    assert far_end.requests[0].headers["x-api-key"] == TOKEN
    assert (await deliveries.endpoint("acme")).headers == ("x-api-key",)


@pytest.mark.parametrize(
    "secret", [SECRET[:-3] + "?", "whsec_c2hvcnQ=", "plain-secret-words", ["whsec_" + "!" * 40, SECRET]]
)
async def test_a_secret_that_is_none_is_not_quoted(deliveries: Deliveries, secret: str | list[str]) -> None:
    """What is refused is named, and the value is in no error; what was there before stays."""
    await deliveries.add_endpoint(Endpoint("acme", URL, SECRET))
    before = await deliveries.kept.private("acme")

    with pytest.raises(ValueError, match="secret") as caught:
        await deliveries.rotate_secret("acme", secret)

    text = "".join(traceback.format_exception(caught.value))
    shown = [secret] if isinstance(secret, str) else secret
    assert [one for one in shown if one in text] == []
    assert await deliveries.kept.private("acme") == before


@pytest.mark.wallclock
async def test_a_rotation_signs_with_both(store: DeliveringStore, far_end: ScriptedServer) -> None:
    """A receiver with the old secret goes on believing, until the next rotation; without ``keep_old`` at once not."""
    clock = LoopClock()
    async with Deliveries(store, clock=clock) as deliveries:
        await deliveries.add_endpoint(local(far_end, SECRET))
        believed = []
        for rotate in (None, OTHER, THIRD):
            if rotate:
                await deliveries.rotate_secret("acme", rotate)
            await deliveries.test_endpoint("acme")
            believed.append([believes(far_end.requests[-1], one, clock) for one in (SECRET, OTHER, THIRD)])
        await deliveries.rotate_secret("acme", SECRET, keep_old=False)
        await deliveries.test_endpoint("acme")
        believed.append([believes(far_end.requests[-1], one, clock) for one in (SECRET, OTHER, THIRD)])

    assert believed == [[True, False, False], [True, True, False], [False, True, True], [True, False, False]]


async def test_a_rotation_keeps_all_else(deliveries: Deliveries) -> None:
    """Headers, state, rate limit and rows stay; the version is one more."""
    await deliveries.add_endpoint(Endpoint("acme", URL, SECRET, headers=HEADERS, rate_limit=3))
    paused = await deliveries.pause_endpoint("acme", "asked to")

    rotated = await deliveries.rotate_secret("acme", [OTHER, SECRET])

    assert rotated == dataclasses.replace(paused, version=paused.version + 1)
    kept = await deliveries.kept.private("acme")
    assert kept is not None
    assert orjson.loads(kept) == {"secrets": [OTHER, SECRET], "headers": HEADERS}


async def test_a_rotation_in_the_hub_scheme_replaces(deliveries: Deliveries) -> None:
    """There is room for one signature, so the old secret goes."""
    await deliveries.add_endpoint(Endpoint("acme", URL, "old words", scheme="hub"))

    await deliveries.rotate_secret("acme", "new words")

    kept = await deliveries.kept.private("acme")
    assert kept is not None
    assert orjson.loads(kept)["secrets"] == ["new words"]


@pytest.mark.parametrize("secret", [None, [], ()])
async def test_a_rotation_to_nothing_is_refused(deliveries: Deliveries, secret: object) -> None:
    """An endpoint would go on unsigned without anybody having said so."""
    await deliveries.add_endpoint(Endpoint("acme", URL, SECRET))

    with pytest.raises(ValueError, match=r"^secret must be a secret, or a list of at least one$"):
        await deliveries.rotate_secret("acme", secret, keep_old=False)  # type: ignore[arg-type]


async def test_a_rotation_needs_an_endpoint_that_signs_here(deliveries: Deliveries) -> None:
    """One that is unknown, or has a sink, is refused by name."""
    await deliveries.add_endpoint(Endpoint("bus", sink=RecordingSink()))
    with pytest.raises(ValueError, match=r"^endpoint 'bus' has a sink, which signs by itself"):
        await deliveries.rotate_secret("bus", SECRET)
    with pytest.raises(UnknownEndpointError, match=r"^there is no endpoint 'buss'; .*'bus'"):
        await deliveries.rotate_secret("buss", SECRET)


async def test_changes_at_once_lose_nothing_of_each_other(deliveries: Deliveries) -> None:
    """A rotation and new rates, again and again, in the same moment: the last secret and the last rate are kept."""
    await deliveries.add_endpoint(Endpoint("acme", URL, SECRET))

    for number in range(1, 11):
        secret = (SECRET, OTHER)[number % 2]
        await asyncio.gather(
            deliveries.set_rate_limit("acme", number + 0.5),
            deliveries.rotate_secret("acme", secret, keep_old=False),
            deliveries.set_rate_limit("acme", number),
        )
        kept = await deliveries.kept.private("acme")
        assert kept is not None
        assert orjson.loads(kept)["secrets"] == [secret]
        assert (await deliveries.endpoint("acme")).rate_limit == number
    assert (await deliveries.endpoint("acme")).version == 31


async def test_a_removed_endpoint_has_no_secrets_any_more(deliveries: Deliveries) -> None:
    """They are deleted, and one that is added under its name has its own."""
    await deliveries.add_endpoint(Endpoint("acme", URL, SECRET, headers=HEADERS))
    await deliveries.remove_endpoint("acme")
    with pytest.raises(UnknownEndpointError):
        await deliveries.kept.private("acme")

    await deliveries.add_endpoint(Endpoint("acme", URL))

    assert await deliveries.kept.private("acme") is None


@pytest.mark.wallclock
async def test_a_row_of_an_endpoint_that_leads_elsewhere_now_is_not_sent(
    deliveries: Deliveries, far_end: ScriptedServer
) -> None:
    """Headers of the new address are not told to the old one, where a row was claimed before the change."""
    await deliveries.add_endpoint(local(far_end, SECRET))
    await deliveries.publish("paid", endpoints=["acme"])
    before = await deliveries.endpoint("acme")
    (one,) = await claimed(deliveries)
    await deliveries.add_endpoint(Endpoint("acme", "https://new.example/", OTHER, headers=HEADERS), replace=True)

    assert one.event.event is not None
    made = await deliveries.senders.attempt(before, one.event.event, 1, timeout=15)

    assert made.record.outcome == "retry"
    assert far_end.requests == []


# -- with a function that gives them --------------------------------------------------------------------------------


@pytest.mark.wallclock
@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
async def test_secrets_that_a_function_gives_are_not_in_the_store(
    tmp_path: Path, far_end: ScriptedServer, is_async: bool
) -> None:
    """Not in any byte of its files, while it is open and afterwards; what is sent is signed with them."""
    asked: list[str] = []

    def plain(name: str) -> list[str]:
        asked.append(name)
        return [SECRET, OTHER]

    async def later(name: str) -> list[str]:
        await asyncio.sleep(0)
        return plain(name)

    clock = LoopClock()
    store = SqliteStore(tmp_path / "events.db", clock=clock)

    def bytes_kept() -> bytes:
        return b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.is_file())

    async with Deliveries(store, clock=clock, secrets=later if is_async else plain) as deliveries:
        await deliveries.add_endpoint(local(far_end))
        await deliveries.publish("paid", endpoints=["acme"])
        await deliveries.publish("refunded", endpoints=["acme"])
        await deliver(deliveries)
        with pytest.raises(ValueError, match=r"^secret must be changed where secrets= gets it from"):
            await deliveries.rotate_secret("acme", THIRD)
        with pytest.raises(ValueError, match=r"^endpoint 'more' must have no secret: secrets= gives them here"):
            await deliveries.add_endpoint(Endpoint("more", URL, SECRET))
        kept = bytes_kept()
        rows = await deliveries.rows()
    kept += bytes_kept()

    assert b"paid" in kept
    assert [one for one in HIDDEN if one.encode() in kept] == []
    assert [row.state for row in rows] == [DeliveryState.SUCCESS] * 2
    assert all(believes(one, SECRET, clock) and believes(one, OTHER, clock) for one in far_end.requests)
    assert asked == ["acme"]


@pytest.mark.wallclock
async def test_a_function_is_asked_again_when_the_endpoint_has_changed(
    store: DeliveringStore, far_end: ScriptedServer
) -> None:
    """So that a secret which was changed there is used from the next change here on."""
    given = iter([SECRET, OTHER])
    clock = LoopClock()
    async with Deliveries(store, clock=clock, secrets=lambda _: next(given)) as deliveries:
        await deliveries.add_endpoint(local(far_end))
        await deliveries.test_endpoint("acme")
        await deliveries.test_endpoint("acme")
        await deliveries.set_rate_limit("acme", 100)
        await deliveries.test_endpoint("acme")

    assert [believes(one, SECRET, clock) for one in far_end.requests] == [True, True, False]
    assert believes(far_end.requests[2], OTHER, clock)


@pytest.mark.wallclock
async def test_a_function_that_fails_costs_an_attempt(store: DeliveringStore, far_end: ScriptedServer) -> None:
    """Nothing is sent unsigned; the attempt says why, without the text of the error, and is made again later."""

    def secrets(name: str) -> str:
        raise LookupError(f"vault says {SECRET}")

    async with Deliveries(store, clock=LoopClock(), secrets=secrets) as deliveries:
        await deliveries.add_endpoint(local(far_end))
        await deliveries.publish("paid", endpoints=["acme"])
        (one,) = await claimed(deliveries)
        made = await attempted(deliveries, one)
        await settle(deliveries, one, made)
        (row,) = await deliveries.rows()

    assert (row.state, row.attempts) == (DeliveryState.SENDING, 1)
    assert (row.last_error or "").startswith("the secrets of the endpoint cannot be read: LookupError")
    assert SECRET not in repr(made)
    assert far_end.requests == []
