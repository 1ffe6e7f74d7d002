"""Several hooks as one: in their order, until one drops the event or fails."""

from __future__ import annotations

import asyncio
import functools
from typing import Any

import pytest

from eventpipe import AsyncClient, DropReason, Event
from eventpipe.core.hook import HookError
from eventpipe.privacy import EMAIL, AllowEvents, AllowProperties, HashIds, Sample, SampleBy, Scrub, chain
from eventpipe.sinks import MemorySink
from eventpipe.testing import check_ledger
from tests.privacy.sent import dropped, sent

pytestmark = pytest.mark.asyncio


def named(name: str, seen: list[str], answer: Any = ...) -> Any:
    """A hook that notes its name, and passes the event on with the name at its end, or answers otherwise."""

    def hook(event: Event) -> Any:
        seen.append(name)
        if isinstance(answer, BaseException):
            raise answer
        return Event(event.event + name) if answer is ... else answer

    hook.__name__ = name
    return hook


async def test_each_hook_sees_what_the_one_before_returned() -> None:
    """From the first to the last."""
    seen: list[str] = []

    (event,) = await sent(chain(*(named(name, seen) for name in "abc")), Event("e-"))

    assert (event.event, seen) == ("e-abc", ["a", "b", "c"])


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (None, DropReason.BEFORE_SEND),
        (DropReason.BEFORE_SEND, DropReason.BEFORE_SEND),
        (DropReason.SAMPLED, DropReason.SAMPLED),
        (DropReason.NOT_ALLOWED, DropReason.NOT_ALLOWED),
    ],
    ids=["none", "before_send", "sampled", "not_allowed"],
)
async def test_the_first_that_drops_ends_it(answer: Any, reason: DropReason) -> None:
    """With its reason; nobody behind it sees the event."""
    seen: list[str] = []

    reasons = await dropped(chain(named("a", seen), named("b", seen, answer), named("c", seen)), Event("e"))

    assert reasons == {reason: 1}
    assert seen == ["a", "b"]


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (ValueError("tell-nobody"), "ValueError in b"),
        (asyncio.CancelledError("tell-nobody"), "CancelledError in b"),
        (SystemExit("tell-nobody"), "SystemExit in b"),
        ("tell-nobody", "TypeError in b: it returned str, not an Event, a DropReason or None"),
        (False, "TypeError in b: it returned bool, not an Event, a DropReason or None"),
    ],
    ids=["error", "cancelled", "exit", "text", "false"],
)
async def test_a_hook_that_fails_drops_the_event_and_is_named(
    answer: Any, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    """With the type of its error and never its text; what it returned is nowhere either."""
    seen: list[str] = []
    hook = chain(named("a", seen), named("b", seen, answer), named("c", seen))

    with pytest.raises(HookError) as caught:
        hook(Event("e"))
    assert str(caught.value) == told
    assert caught.value.__cause__ is None

    outcomes: list[str | None] = []
    client = AsyncClient(MemorySink(), before_send=hook, on_drop=lambda outcome: outcomes.append(outcome.error))
    async with client:
        receipt = await client.capture("e")
        assert receipt.reason == DropReason.BEFORE_SEND
    assert seen == ["a", "b", "a", "b"]
    assert check_ledger(client, drained=True).hook_errors == 1
    assert outcomes == [f"before_send raised {told}"]
    assert [record.getMessage() for record in caplog.records if "further" in record.getMessage()] == [
        f"before_send raised {told}; further errors are counted only"
    ]
    assert "tell-nobody" not in caplog.text


async def test_a_chain_in_a_chain_names_the_hook_inside() -> None:
    """Through each chain."""
    hook = chain(chain(named("inner", [], KeyError())), named("b", []))

    with pytest.raises(HookError, match=r"^KeyError in inner, in chain$"):
        hook(Event("e"))


async def test_ctrl_c_passes() -> None:
    """As it does through every hook."""
    with pytest.raises(KeyboardInterrupt):
        chain(named("a", [], KeyboardInterrupt()))(Event("e"))


async def test_a_coroutine_is_closed() -> None:
    """One that a lambda hides is no event, and leaves no warning."""

    async def later() -> None:
        raise AssertionError

    with pytest.raises(
        HookError, match=r"^TypeError in <lambda>: it returned coroutine, not an Event, a DropReason or None$"
    ):
        chain(lambda event: later())(Event("e"))  # type: ignore[arg-type, return-value]


class Hook:
    """A hook without a name."""

    def __call__(self, event: Event) -> Event:
        return event


async def test_repr_has_the_names_in_their_order() -> None:
    """Of functions their own, of everything else that of its type."""
    partial = functools.partial(Hook(), Event("e"))

    hook = chain(Scrub(["a"]), Hook(), partial, named("x", []), chain(Hook()))

    assert repr(hook) == "chain(Scrub, Hook, partial, x, chain)"


async def surely(event: Event) -> Event:
    return event


@pytest.mark.parametrize(
    ("hooks", "message"),
    [
        ((), "chain() needs at least one hook; without any, leave before_send out"),
        ((Hook(), 5), "hooks[1] must be a function of one argument, not 5"),
        (([Hook()],), "hooks[0] must be a function of one argument, not list"),
        ((surely,), "hooks[0] must be a plain function, not an async one, as before_send"),
    ],
    ids=["none", "number", "list", "async"],
)
async def test_what_is_wrong_is_said_at_once(hooks: Any, message: str) -> None:
    """Which one, and the rule."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # the whole message is compared
        chain(*hooks)

    assert str(caught.value) == message


async def test_all_of_them_together_are_counted_apart() -> None:
    """Each drop under the reason of the hook that made it, and what is left is scrubbed and hashed."""
    hook = chain(
        AllowEvents("paid", "seen"),
        SampleBy(0.5),
        Sample(1, {"seen": 0}),
        AllowProperties(["note", "user_id"]),
        HashIds("k" * 16, ["user_id"]),
        Scrub(patterns=[EMAIL]),
        lambda event: event if event.properties else None,
    )
    people = [f"u{number}" for number in range(100)]
    chosen = [who for who in people if type(SampleBy(0.5)(Event("e", who))) is Event]
    properties = {"note": "to a@b.c", "user_id": 7, "other": "a@b.c"}
    sink = MemorySink()

    async with AsyncClient(sink, before_send=hook) as client:
        for who in people:
            await client.capture("paid", distinct_id=who, properties=properties)
            await client.capture("seen", distinct_id=who, properties=properties)
            await client.capture("else", distinct_id=who, properties=properties)
        await client.capture("paid", distinct_id=chosen[0])

    assert check_ledger(client, drained=True).dropped_by_reason == {
        DropReason.NOT_ALLOWED: 100,
        DropReason.SAMPLED: 2 * (100 - len(chosen)) + len(chosen),
        DropReason.BEFORE_SEND: 1,
    }
    assert len(sink.events) == len(chosen)
    assert {str(sorted(event.properties)) for event in sink.events} == {"['note', 'user_id']"}
    assert {event.properties["note"] for event in sink.events} == {"to [scrubbed]"}
    assert not any(event.distinct_id in people for event in sink.events)
