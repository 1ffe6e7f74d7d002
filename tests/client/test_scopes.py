"""What a scope says of every event captured in it."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from eventpipe import AsyncClient, DropReason, Event, scope, scopes
from eventpipe.events import CapturedEvent
from eventpipe.sinks import MemorySink
from eventpipe.testing import check_ledger

pytestmark = pytest.mark.asyncio


async def captured(capture: Callable[[AsyncClient], Any], **options: Any) -> CapturedEvent:
    """The one event that ``capture`` captures."""
    sink = MemorySink()
    async with AsyncClient(sink, **options) as client:
        await capture(client)
        await client.flush()
        check_ledger(client)
    [event] = sink.events
    return event


FORMS: dict[str, Callable[[AsyncClient], Any]] = {
    "capture": lambda client: client.capture("e", properties={"own": 1}),
    "capture of an Event": lambda client: client.capture(Event("e", properties={"own": 1})),
    "capture with a key": lambda client: client.capture("e", properties={"own": 1}, key="k"),
    "capture_ai": lambda client: client.capture_ai("e", properties={"own": 1}),
    "capture_many": lambda client: client.capture_many([Event("e", properties={"own": 1})]),
    "deliver": lambda client: client.deliver(Event("e", properties={"own": 1})),
    "capture_nowait": lambda client: asyncio.sleep(0, client.capture_nowait("e", properties={"own": 1})),
    "capture_nowait in a thread": lambda client: asyncio.to_thread(client.capture_nowait, "e", properties={"own": 1}),
}


@pytest.mark.parametrize("hook", [None, lambda event: event], ids=["no hook", "hook"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.wallclock
async def test_each_form_of_capture_has_what_the_scope_says(form: str, hook: Callable[[Event], Event] | None) -> None:
    """Person, properties and headers come from the scope, beside the call's own."""
    with scope(distinct_id="u1", properties={"tenant": "acme"}):
        event = await captured(FORMS[form], before_send=hook)
    assert (event.distinct_id, event.properties) == ("u1", {"tenant": "acme", "own": 1})

    with scope(properties={"tenant": "acme"}, headers={"traceparent": "00-1"}):
        event = await captured(FORMS[form], before_send=hook)
    assert (event.distinct_id, event.properties) == (None, {"tenant": "acme", "own": 1})
    assert event.headers == {"traceparent": "00-1"}


@pytest.mark.parametrize("hook", [None, lambda event: event], ids=["no hook", "hook"])
async def test_what_the_call_says_wins(hook: Callable[[Event], Event] | None) -> None:
    """Its person, and its properties and headers name by name; with headers and, on the shorter way, without."""
    with scope(distinct_id="u1", properties={"a": 1, "b": 1}, headers={"x": "1", "y": "1"}):
        event = await captured(
            lambda client: client.capture("e", distinct_id="u2", properties={"b": 2}, headers={"y": "2"}),
            before_send=hook,
        )
    assert (event.distinct_id, event.properties) == ("u2", {"a": 1, "b": 2})
    assert event.headers == {"x": "1", "y": "2"}

    with scope(distinct_id="u1", properties={"a": 1, "b": 1}):
        event = await captured(
            lambda client: client.capture("e", distinct_id="u2", properties={"b": 2}), before_send=hook
        )
    assert (event.distinct_id, event.properties) == ("u2", {"a": 1, "b": 2})


async def test_an_inner_scope_wins_and_ends() -> None:
    """It adds to the outer one, and what it does not say is as there; the outer one is as it was afterwards."""
    async with AsyncClient(sink := MemorySink()) as client:
        with scope(distinct_id="u1", properties={"a": 1, "b": 1}, headers={"x": "1", "y": "1"}) as outer:
            with scope(distinct_id="u2", properties={"b": 2}, headers={"y": "2", "z": "2"}) as inner:
                await client.capture("inner")
                assert scopes.current() is inner
                assert inner.distinct_id == "u2"
                assert dict(inner.properties) == {"a": 1, "b": 2}
                assert dict(inner.headers) == {"x": "1", "y": "2", "z": "2"}
            with scope(properties={"b": 3}):
                await client.capture("without a person")
            await client.capture("outer")
            assert scopes.current() is outer
        await client.capture("none")
        assert scopes.current() is None

    assert [(event.event, event.distinct_id, event.properties, dict(event.headers or {})) for event in sink.events] == [
        ("inner", "u2", {"a": 1, "b": 2}, {"x": "1", "y": "2", "z": "2"}),
        ("without a person", "u1", {"a": 1, "b": 3}, {"x": "1", "y": "1"}),
        ("outer", "u1", {"a": 1, "b": 1}, {"x": "1", "y": "1"}),
        ("none", None, {}, {}),
    ]


async def test_what_a_source_finds_is_said_unless_the_scope_says_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before what an outer scope says, behind its own; a source that fails costs what it would have said."""
    monkeypatch.setattr(scopes, "_sources", [])
    with scope(properties={"a": 1, "b": 1, "c": 1}):
        scopes.add_source(lambda: {"b": 2, "c": 2})
        scopes.add_source(lambda: {"c": 1 / 0})
        with scope(properties={"c": 3}):
            event = await captured(lambda client: client.capture("e"))
    assert event.properties == {"a": 1, "b": 2, "c": 3}


async def test_an_error_inside_ends_it() -> None:
    """It passes through, and the scope is over."""
    with pytest.raises(KeyError), scope(distinct_id="u1"):
        raise KeyError
    assert scopes.current() is None


async def test_two_tasks_have_each_their_own() -> None:
    """A hundred requests at once, and what each starts, say what is true of it alone."""
    sink = MemorySink()
    async with AsyncClient(sink) as client:

        async def background() -> None:
            await asyncio.sleep(1)
            await client.capture("later")

        async def request(user: str) -> None:
            with scope(distinct_id=user, properties={"user": user}):
                task = asyncio.create_task(background())
                await asyncio.sleep(0.5)
                await client.capture("now")
            await task

        await asyncio.gather(*(request(f"u{number}") for number in range(100)))

    expected = sorted(f"u{number}" for number in range(100))
    for name in ("now", "later"):
        events = [event for event in sink.events if event.event == name]
        assert sorted(event.distinct_id or "" for event in events) == expected
        assert all(event.properties == {"user": event.distinct_id} for event in events)


@pytest.mark.wallclock
async def test_a_plain_thread_has_it_where_its_context_is_taken_along() -> None:
    """``copy_context().run`` takes it there; a thread that is not given one has none, or what Python gives it."""
    sink = MemorySink()
    async with AsyncClient(sink) as client:
        with scope(distinct_id="u1"):
            here = contextvars.copy_context()
            thread = threading.Thread(target=here.run, args=(client.capture_nowait, "e"))
            thread.start()
            await asyncio.to_thread(thread.join)

    assert [event.distinct_id for event in sink.events] == ["u1"]


async def test_the_hook_sees_what_the_scope_says() -> None:
    """A scrubber is asked about all that would leave."""
    seen: list[object] = []

    def scrub(event: Event) -> Event:
        seen.append(event.distinct_id)
        event.properties = {name: value for name, value in (event.properties or {}).items() if name != "token"}
        event.distinct_id = None
        return event

    with scope(distinct_id="u1", properties={"token": "secret", "a": 1}) as here:
        for form in ("capture", "capture with a key", "deliver"):
            event = await captured(FORMS[form], before_send=scrub)
            assert (event.distinct_id, event.properties) == (None, {"a": 1, "own": 1})
        assert dict(here.properties) == {"token": "secret", "a": 1}
    assert seen == ["u1"] * 3


async def test_what_the_caller_keeps_is_not_changed() -> None:
    """Neither the properties of the call nor those of the scope nor an ``Event``, whoever changes them later."""
    of_scope, of_call = {"a": 1}, {"b": 2}
    event = Event("e", properties=of_call)
    with scope(properties=of_scope):
        of_scope["a"] = 5
        sent = await captured(lambda client: client.capture(event))
    assert sent.properties == {"a": 1, "b": 2}
    assert (of_call, event.properties, event.distinct_id) == ({"b": 2}, of_call, None)


class Odd(Mapping[str, Any]):
    """Properties that are no dict, and that may fail when they are read."""

    def __init__(self, fails: bool) -> None:
        self._fails = fails

    def __getitem__(self, name: str) -> Any:
        if self._fails:
            raise OSError("secret")
        return 1

    def __iter__(self) -> Iterator[str]:
        return iter(["own"])

    def __len__(self) -> int:
        return 1


async def test_properties_that_are_no_dict_are_joined_too() -> None:
    """As far as they can be read; what cannot costs its event, with the reason that it has outside a scope."""
    with scope(properties={"a": 1}):
        event = await captured(lambda client: client.capture("e", properties=Odd(fails=False)))
        assert event.properties == {"a": 1, "own": 1}
        async with AsyncClient(MemorySink()) as client:
            receipt = await client.capture("e", properties=Odd(fails=True))
            assert (receipt.accepted, receipt.reason) == (False, DropReason.INVALID)


async def test_a_scope_ended_elsewhere_costs_nothing(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frameworks finish generators in other contexts: one line says so, and everything goes on."""
    monkeypatch.setattr(scopes, "_has_warned", False)
    for _ in range(2):
        left = scope(distinct_id="u1")
        contextvars.copy_context().run(left.__enter__)
        left.__exit__(None, None, None)
    assert scopes.current() is None
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "left in another context" in caplog.text


async def test_a_scope_left_open_ends_with_its_task() -> None:
    """Whoever forgets to leave it has it for the rest of the task, nobody else."""

    async def careless() -> None:
        scope(distinct_id="u1").__enter__()

    await asyncio.create_task(careless())

    assert (await captured(lambda client: client.capture("e"))).distinct_id is None


async def test_scopes_left_out_of_order_each_end_for_themselves() -> None:
    """An inner one goes on when its outer one is left, which does not come back; so do generators that take turns."""
    first, second, third = (scope(distinct_id=f"u{number}", properties={f"p{number}": 1}) for number in (1, 2, 3))
    first.__enter__()
    second.__enter__()
    third.__enter__()
    second.__exit__(None, None, None)
    assert scopes.current() is third
    first.__exit__(None, None, None)
    assert scopes.current() is third
    assert dict(third.properties) == {"p1": 1, "p2": 1, "p3": 1}
    third.__exit__(None, None, None)
    assert scopes.current() is None

    def rows(user: str) -> Iterator[str]:
        with scope(distinct_id=user):
            yield user

    with scope(distinct_id="outer") as outer:
        for one, other in zip(rows("u1"), rows("u2"), strict=True):
            here = scopes.current()
            assert here is not None
            assert (one, here.distinct_id) == ("u1", other)
        assert scopes.current() is outer
    assert scopes.current() is None


async def test_a_task_keeps_the_scope_it_was_started_in() -> None:
    """Left by whoever entered it, in order or not, it goes on for the task, also after a scope of the task's own."""
    left = asyncio.Event()

    async def background() -> list[object]:
        await left.wait()
        seen: list[object] = [scopes.current()]
        with scope(distinct_id="own"):
            pass
        return [*seen, scopes.current()]

    outer, inner = scope(distinct_id="u1"), scope(distinct_id="u2")
    outer.__enter__()
    of_outer = asyncio.create_task(background())
    inner.__enter__()
    of_inner = asyncio.create_task(background())
    outer.__exit__(None, None, None)
    inner.__exit__(None, None, None)
    left.set()

    assert await of_outer == [outer, outer]
    assert await of_inner == [inner, inner]
    assert scopes.current() is None


async def test_a_scope_is_entered_once() -> None:
    """Two tasks in one would end each other's."""
    here = scope()
    with here, pytest.raises(RuntimeError, match=r"entered once; call scope\(\) for each"), here:
        pass
    with pytest.raises(RuntimeError, match="entered once"):
        here.__enter__()


@pytest.mark.parametrize("name", ["properties", "headers"])
async def test_what_is_no_mapping_is_an_error(name: str) -> None:
    """It names the argument and what it must be."""
    with pytest.raises(TypeError, match=rf"{name} must be a mapping of names to values, not list"):
        scope(**{name: ["a"]})  # type: ignore[arg-type]


async def test_a_repr_has_names_and_no_values() -> None:
    """It gets into logs."""
    assert repr(scope(distinct_id="u1", properties={"token": "secret"})) == "<Scope of 'token'>"


async def test_without_any_scope_the_way_in_is_the_shorter_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks for a scope in a process that never had one."""
    monkeypatch.setattr(scopes, "in_use", False)
    client = AsyncClient(MemorySink())
    monkeypatch.setattr(client, "_prepare_scoped", lambda *_: pytest.fail("asked for the scope"))
    async with client:
        await client.capture("first")
        assert (await client.capture("e")).accepted
        assert client.capture_nowait("e").accepted
