"""Endpoints and rules: made, changed, looked at, removed; by name, and with a message that helps."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from eventpipe.delivery.deliveries import Deliveries
from eventpipe.delivery.endpoint import Endpoint, Private
from eventpipe.errors import InvalidEventError, PermanentSinkError, StoreError, UnknownEndpointError
from eventpipe.stores.delivery_base import DeliveringStore
from eventpipe.stores.delivery_values import (
    DELIVERIES,
    DeliveryState,
    EndpointInfo,
    EndpointState,
    FailureReason,
    Rule,
)
from eventpipe.testing.clock import LoopClock
from eventpipe.testing.recording import RecordingSink
from eventpipe.testing.sinks import GatedSink
from tests.delivery.conftest import Faults
from tests.delivery.facade import ENGINES, SECRET, URL, deliver, engine

pytestmark = pytest.mark.asyncio

ACTIVE, PAUSED, DISABLED, REMOVED = EndpointState


@pytest.fixture(params=ENGINES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> DeliveringStore:
    return engine(request.param, tmp_path, LoopClock())


@pytest_asyncio.fixture
async def deliveries(store: DeliveringStore) -> AsyncIterator[Deliveries]:
    async with Deliveries(store, clock=LoopClock()) as running:
        yield running


async def test_an_endpoint_is_kept_as_it_was_described(deliveries: Deliveries) -> None:
    """All but what is private, from when it was added on, as version 1."""
    endpoint = Endpoint(
        "acme", URL, SECRET, headers={"x-a": "1", "x-b": "2"}, rate_limit=5, timeout=3, allow_private=True
    )

    added = await deliveries.add_endpoint(endpoint)

    assert added.created_at == pytest.approx(deliveries.clock.time(), abs=1)
    assert added == EndpointInfo(
        "acme", "webhook", URL, "standard", ("x-a", "x-b"), 5, 3, True, False, ACTIVE, None, added.created_at, 1
    )
    assert [await deliveries.endpoint("acme"), *await deliveries.endpoints()] == [added, added]


async def test_endpoints_are_listed_by_name(deliveries: Deliveries) -> None:
    """Those that were removed are not."""
    for name in ("c", "a", "b", "d"):
        await deliveries.add_endpoint(Endpoint(name, URL))
    await deliveries.remove_endpoint("b")

    assert [endpoint.name for endpoint in await deliveries.endpoints()] == ["a", "c", "d"]


async def test_an_endpoint_takes_no_others_place_unless_it_may(deliveries: Deliveries) -> None:
    """The one that is there stays as it is; its sink as well."""
    mine, theirs = RecordingSink(), RecordingSink()
    added = await deliveries.add_endpoint(Endpoint("acme", sink=mine))

    with pytest.raises(ValueError, match="acme"):
        await deliveries.add_endpoint(Endpoint("acme", sink=theirs))

    assert await deliveries.endpoint("acme") == added
    await deliveries.test_endpoint("acme")
    assert (len(mine.attempts), len(theirs.attempts)) == (1, 0)


async def test_an_endpoint_that_takes_anothers_place_keeps_its_rows_and_its_state(deliveries: Deliveries) -> None:
    """And goes where it says now, from now on."""
    old, new = RecordingSink(), RecordingSink()
    first = await deliveries.add_endpoint(Endpoint("acme", sink=old))
    await deliveries.publish("paid", endpoints=["acme"])
    paused = await deliveries.pause_endpoint("acme", "asked to")
    await asyncio.sleep(5)

    second = await deliveries.add_endpoint(Endpoint("acme", sink=new, rate_limit=3), replace=True)

    assert second == dataclasses.replace(paused, rate_limit=3, version=paused.version + 1)
    assert (second.created_at, second.state_reason) == (first.created_at, "asked to")
    await deliveries.resume_endpoint("acme")
    assert await deliver(deliveries) == 1
    assert (len(old.attempts), len(new.attempts)) == (0, 1)
    assert [row.state for row in await deliveries.rows()] == [DeliveryState.SUCCESS]


@pytest.mark.parametrize("endpoint", ["acme", None, Endpoint, {"name": "acme"}])
async def test_what_is_no_endpoint_is_refused(deliveries: Deliveries, endpoint: Any) -> None:
    """The message shows how one is made."""
    with pytest.raises(TypeError, match=r"^endpoint must be an Endpoint, such as Endpoint\('acme', "):
        await deliveries.add_endpoint(endpoint)


async def test_states_change_with_their_reasons(deliveries: Deliveries) -> None:
    """Each change is a version; who asks for the state that it has changes nothing."""
    await deliveries.add_endpoint(Endpoint("acme", URL))

    seen = [
        await deliveries.pause_endpoint("acme", "asked to"),
        await deliveries.pause_endpoint("acme", "again"),
        await deliveries.disable_endpoint("acme", "gone"),
        await deliveries.resume_endpoint("acme"),
        await deliveries.pause_endpoint("acme"),
    ]

    assert [(one.state, one.state_reason, one.version) for one in seen] == [
        (PAUSED, "asked to", 2),
        (PAUSED, "asked to", 2),
        (DISABLED, "gone", 3),
        (ACTIVE, None, 4),
        (PAUSED, None, 5),
    ]
    assert await deliveries.endpoint("acme") == seen[-1]


async def test_a_resume_wakes_whoever_delivers(deliveries: Deliveries) -> None:
    """What waited is attempted at once."""
    await deliveries.add_endpoint(Endpoint("acme", URL))
    await deliveries.pause_endpoint("acme")
    before = deliveries.store.version(DELIVERIES)

    await deliveries.resume_endpoint("acme")

    assert deliveries.store.version(DELIVERIES) > before


async def test_what_was_published_before_an_endpoint_was_disabled_can_be_sent_again(deliveries: Deliveries) -> None:
    """What failed meanwhile waits for a resend."""
    sink = RecordingSink()
    await deliveries.add_endpoint(Endpoint("acme", sink=sink))
    await deliveries.disable_endpoint("acme")
    uuid = (await deliveries.publish("paid", endpoints=["acme"])).event_uuid
    await deliveries.resume_endpoint("acme")
    await deliver(deliveries)
    (row,) = await deliveries.rows()
    assert (row.reason, len(sink.attempts)) == (FailureReason.ENDPOINT_DISABLED, 0)

    await deliveries.resend(uuid)
    await deliver(deliveries)

    assert sink.uuids == [uuid]


async def test_a_removed_endpoint_leaves_its_rows(deliveries: Deliveries) -> None:
    """To look at; its name is free for another, which has none of them."""
    await deliveries.add_endpoint(Endpoint("acme", URL))
    await deliveries.publish("paid", endpoints=["acme"])

    await deliveries.remove_endpoint("acme")

    assert [(row.endpoint, row.state) for row in await deliveries.rows()] == [("acme", DeliveryState.PENDING)]
    assert [stats.endpoint.state for stats in await deliveries.stats()] == [REMOVED]
    await deliveries.add_endpoint(Endpoint("acme", URL))
    assert [(one.endpoint.state, sum(one.rows.values())) for one in await deliveries.stats()] == [
        (REMOVED, 1),
        (ACTIVE, 0),
    ]


@pytest.mark.parametrize(
    "ask",
    [
        lambda d: d.endpoint("acmee"),
        lambda d: d.pause_endpoint("acmee"),
        lambda d: d.resume_endpoint("acmee"),
        lambda d: d.disable_endpoint("acmee"),
        lambda d: d.remove_endpoint("acmee"),
        lambda d: d.set_rate_limit("acmee", 5),
        lambda d: d.rotate_secret("acmee", SECRET),
        lambda d: d.test_endpoint("acmee"),
        lambda d: d.add_rule(Rule("all", ("*",), ("acmee",))),
    ],
)
async def test_an_unknown_endpoint_is_named_with_the_one_that_is_meant(deliveries: Deliveries, ask: Any) -> None:
    """Whatever is asked of it."""
    await deliveries.add_endpoint(Endpoint("acme", URL))

    with pytest.raises(UnknownEndpointError, match=r"^there is no endpoint 'acmee'; .*'acme'") as caught:
        await ask(deliveries)

    assert caught.value.endpoint == "acmee"
    assert await deliveries.rules() == []


@pytest.mark.parametrize(
    ("ask", "text"),
    [
        (lambda d: d.set_rate_limit("acme", 0), r"^rate_limit must be a finite number .* above 0, or None, not 0$"),
        (lambda d: d.set_rate_limit("acme", float("nan")), r"^rate_limit must be a finite number .*, not nan$"),
        (lambda d: d.set_rate_limit("acme", True), r"^rate_limit must be a finite number .*, not True$"),
        (lambda d: d.pause_endpoint("acme", "x" * 501), r"^reason must be text of at most 500 characters, or None"),
        (lambda d: d.disable_endpoint("acme", 7), r"^reason must be text of at most 500 characters, or None, not 7$"),
        (lambda d: d.test_endpoint("acme", timeout=0), r"^timeout must be a finite number of seconds above 0"),
    ],
)
async def test_a_value_that_means_nothing_is_refused(deliveries: Deliveries, ask: Any, text: str) -> None:
    """The message names the option, the value and the rule; nothing is changed."""
    added = await deliveries.add_endpoint(Endpoint("acme", URL))

    with pytest.raises(ValueError, match=text):
        await ask(deliveries)

    assert await deliveries.endpoint("acme") == added


async def test_a_rate_limit_is_set_and_taken_away(deliveries: Deliveries) -> None:
    """All else stays as it was."""
    added = await deliveries.add_endpoint(Endpoint("acme", URL, SECRET))

    limited = await deliveries.set_rate_limit("acme", 2.5)
    free = await deliveries.set_rate_limit("acme", None)

    assert limited == dataclasses.replace(added, rate_limit=2.5, version=2)
    assert free == dataclasses.replace(added, version=3)
    assert SECRET.encode() in (await deliveries.kept.private("acme") or b"")


async def test_a_removed_endpoint_is_not_put_back_by_a_change_at_once(deliveries: Deliveries) -> None:
    """Whoever comes later finds none, whichever begins first."""
    for number in range(10):
        await deliveries.add_endpoint(Endpoint("acme", URL, SECRET))
        calls = [deliveries.set_rate_limit("acme", 5), deliveries.remove_endpoint("acme")]
        await asyncio.gather(*(calls if number % 2 else reversed(calls)), return_exceptions=True)
        assert await deliveries.endpoints() == []


# -- a test delivery ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [ACTIVE, PAUSED, DISABLED])
async def test_a_test_is_sent_once_and_not_kept(deliveries: Deliveries, state: EndpointState) -> None:
    """At once, also where the endpoint is not delivered to; the answer is what is returned."""
    sink = RecordingSink()
    await deliveries.add_endpoint(Endpoint("acme", sink=sink))
    if state is PAUSED:
        await deliveries.pause_endpoint("acme")
    if state is DISABLED:
        await deliveries.disable_endpoint("acme")

    record = await deliveries.test_endpoint("acme")
    await deliveries.test_endpoint("acme", "mine", properties={"n": 1})

    assert (record.number, record.outcome, record.error) == (1, "delivered", None)
    assert [(event.name, event.properties) for event in sink.events] == [("eventpipe.test", {}), ("mine", {"n": 1})]
    assert (await deliveries.rows(), await deliveries.events()) == ([], [])


async def test_a_test_that_is_refused_is_a_result(deliveries: Deliveries) -> None:
    """What the far end says is in what is returned, and nothing is raised or disabled for it."""
    sink = GatedSink()
    sink.release(error=PermanentSinkError("no such account"))
    added = await deliveries.add_endpoint(Endpoint("acme", sink=sink))

    record = await deliveries.test_endpoint("acme")

    assert (record.outcome, record.error) == ("rejected", "no such account")
    assert await deliveries.endpoint("acme") == added


async def test_a_test_that_is_not_answered_ends_at_its_timeout(deliveries: Deliveries) -> None:
    """Within a second of it."""
    await deliveries.add_endpoint(Endpoint("acme", sink=GatedSink()))
    began = asyncio.get_running_loop().time()

    record = await deliveries.test_endpoint("acme", timeout=2)

    assert (record.outcome, record.error) == ("retry", "no answer within 2 s")
    assert 2 <= asyncio.get_running_loop().time() - began < 3.5


async def test_a_test_needs_an_event_that_can_be_sent(deliveries: Deliveries) -> None:
    """One without a name is refused."""
    await deliveries.add_endpoint(Endpoint("acme", sink=RecordingSink()))

    with pytest.raises(InvalidEventError):
        await deliveries.test_endpoint("acme", "")


# -- rules ----------------------------------------------------------------------------------------------------------


async def test_rules_are_kept_by_name(deliveries: Deliveries) -> None:
    """One takes the place of another of its name; who forgets one hears whether there was one."""
    for name in ("acme", "other"):
        await deliveries.add_endpoint(Endpoint(name, URL))
    await deliveries.add_rule(Rule("b", ("*",), ("acme",)))
    await deliveries.add_rule(Rule("a", ("x",), ("acme",)))
    await deliveries.add_rule(Rule("b", ("y", "z*"), ("other", "acme"), {"plan": ["pro"]}))

    assert await deliveries.rules() == [
        Rule("a", ("x",), ("acme",)),
        Rule("b", ("y", "z*"), ("other", "acme"), {"plan": ["pro"]}),
    ]
    assert [await deliveries.remove_rule("a") for _ in range(2)] == [True, False]
    assert [rule.name for rule in await deliveries.rules()] == ["b"]


@pytest.mark.parametrize(
    ("rule", "error"),
    [
        (Rule("all", (), ("acme",)), ValueError),
        (Rule("all", ("*",), ()), ValueError),
        (Rule("a b", ("*",), ("acme",)), ValueError),
        (Rule("all", ("*",), ("acme",), {"a": object()}), ValueError),
        ("all", TypeError),
    ],
)
async def test_a_rule_that_means_nothing_is_refused(deliveries: Deliveries, rule: Any, error: type[Exception]) -> None:
    """And none is kept."""
    await deliveries.add_endpoint(Endpoint("acme", URL))

    with pytest.raises(error, match="rule"):
        await deliveries.add_rule(rule)

    assert await deliveries.rules() == []


# -- several who change one at once -----------------------------------------------------------------------------------


async def test_change_that_is_lost_is_made_again_with_what_is_there_then(
    deliveries: Deliveries, faults: Faults
) -> None:
    """A rotation beside a rate limit, each of its own process: twice lost, and done the third time."""
    await deliveries.add_endpoint(Endpoint("acme", URL, SECRET))
    kept = faults.kept
    limits = iter([1.0, 2.0])

    async def disturb(number: int) -> None:
        limit = next(limits, None)
        if limit is not None:
            there = (await kept.endpoints("acme"))[0]
            await kept.change_endpoint(dataclasses.replace(there, rate_limit=limit), await kept.private("acme"))
        del number

    faults.before("change_endpoint", disturb)
    other = "whsec_" + base64.b64encode(bytes(32)).decode()
    made = await deliveries.rotate_secret("acme", other)

    assert (made.rate_limit, faults.calls.count("change_endpoint")) == (2.0, 3)
    assert Private.unpack(await kept.private("acme")).secrets == (other, SECRET)


async def test_change_that_is_always_lost_is_an_error(deliveries: Deliveries, faults: Faults) -> None:
    """After as many tries as nobody loses by chance; nothing was changed."""
    added = await deliveries.add_endpoint(Endpoint("acme", URL, SECRET))

    async def refuse(number: int) -> None:
        there = (await faults.kept.endpoints("acme"))[0]
        await faults.kept.change_endpoint(there, await faults.kept.private("acme"))
        del number

    faults.before("change_endpoint", refuse)
    with pytest.raises(StoreError, match=r"^endpoint 'acme' was changed by others 20 times meanwhile; try again"):
        await deliveries.set_rate_limit("acme", 5)
    assert (await deliveries.endpoint("acme")).rate_limit == added.rate_limit
