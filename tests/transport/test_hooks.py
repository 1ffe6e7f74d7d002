"""The hooks of one client: what each is told, and what it may do."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable
from typing import Any

import pytest

from eventpipe.core import hook as module
from eventpipe.core.hook import HookError
from eventpipe.events import Event
from eventpipe.outcomes import DropReason, Outcome, OutcomeKind
from eventpipe.transport.hooks import DROPS, Hooks, OutcomeCallback
from tests.core.hooked import AsyncCall, Stopwatch, a_coroutine_function, raising


@pytest.fixture
def stopwatch(monkeypatch: pytest.MonkeyPatch) -> Stopwatch:
    watch = Stopwatch()
    monkeypatch.setattr(module, "time", watch)
    return watch


def outcome(
    kind: OutcomeKind = OutcomeKind.DROPPED, *, error: str | None = None, attempt: int = 1, reason: str | None = None
) -> Outcome:
    return Outcome(kind, "sink", attempt, reason, error=error)


@pytest.mark.parametrize("function", [a_coroutine_function, AsyncCall()], ids=["function", "object"])
@pytest.mark.parametrize("name", ["before_send", "on_drop", "on_error"])
def test_an_async_hook_is_refused_with_the_way_out(name: str, function: Any) -> None:
    """At construction, of any of the three."""
    with pytest.raises(
        TypeError, match=rf"^{name} must be a plain function, not an async one, .*a task or a queue of your own$"
    ):
        Hooks(**{"before_send": None, "on_drop": None, "on_error": None, name: function})


def test_without_hooks_nothing_happens() -> None:
    """Events pass unchanged, outcomes are told nobody."""
    hooks = Hooks(None, None, None)
    event = Event("e")

    assert hooks.before_send(event) is event
    hooks.observe([outcome(error="x")])
    assert (hooks.changes_events, hooks.errors, hooks.slowest) == (False, 0, 0.0)


def test_before_send_returns_the_event_another_or_why_it_is_dropped() -> None:
    """Each is handed on; ``None`` is the reason that every hook may have."""
    event, other = Event("e"), Event("other")

    assert Hooks(lambda event: event, None, None).before_send(event) is event
    assert Hooks(lambda event: other, None, None).before_send(event) is other
    assert Hooks(lambda event: None, None, None).before_send(event) is DropReason.BEFORE_SEND
    for reason in DROPS:
        assert Hooks(lambda event, reason=reason: reason, None, None).before_send(event) is reason
    assert Hooks(lambda event: None, None, None).changes_events


@pytest.mark.parametrize("value", [5, True, {"event": "e"}, "e"], ids=repr)
def test_before_send_that_returns_something_else_is_an_error(value: Any) -> None:
    """An event must not slip past a scrubber."""
    with pytest.raises(
        HookError, match=rf"^before_send returned {type(value).__name__}, not an Event, a DropReason or None$"
    ):
        Hooks(lambda event: value, None, None).before_send(Event("e"))


@pytest.mark.parametrize("reason", sorted(set(DropReason) - set(DROPS)))
def test_before_send_that_returns_the_reason_of_somebody_else_is_an_error(reason: DropReason) -> None:
    """A hook does not say that a queue was full."""
    with pytest.raises(HookError, match=rf"^before_send returned '{reason}', not one of {', '.join(DROPS)}$"):
        Hooks(lambda event: reason, None, None).before_send(Event("e"))


def test_before_send_that_makes_a_coroutine_leaves_none_unawaited() -> None:
    """A lambda gets past the check of the constructor; warnings are errors here."""
    made: list[Any] = []

    def hook(event: Event) -> Any:
        made.append(a_coroutine_function(event))
        return made[-1]

    with pytest.raises(HookError, match=r"^before_send returned coroutine, not an Event, a DropReason or None$"):
        Hooks(hook, None, None).before_send(Event("e"))

    assert inspect.getcoroutinestate(made[0]) == inspect.CORO_CLOSED


def test_before_send_is_not_entered_from_within() -> None:
    """It captured an event itself: that one is refused, the outer one goes on."""
    errors: list[str] = []
    hooks: Hooks

    def hook(event: Event) -> Event:
        with pytest.raises(HookError) as info:
            hooks.before_send(Event("inner"))
        errors.append(str(info.value))
        return event

    hooks = Hooks(hook, None, None)
    event = Event("outer")

    assert hooks.before_send(event) is event
    assert errors == ["before_send captured an event itself"]
    assert hooks.errors == 0


@pytest.mark.parametrize("kind", list(OutcomeKind))
def test_on_drop_is_told_of_drops_only(kind: OutcomeKind) -> None:
    """Of every one, whether it had an attempt or not."""
    told: list[Outcome] = []
    outcomes = [outcome(kind), outcome(kind, attempt=0, reason=DropReason.QUEUE_FULL)]

    Hooks(None, told.append, None).observe(outcomes)

    assert told == (outcomes if kind is OutcomeKind.DROPPED else [])


@pytest.mark.parametrize("kind", list(OutcomeKind))
@pytest.mark.parametrize(
    ("error", "attempt", "expected"), [("down", 1, True), ("down", 0, False), (None, 1, False), ("", 2, True)]
)
def test_on_error_is_told_of_failed_attempts(
    kind: OutcomeKind, error: str | None, attempt: int, expected: bool
) -> None:
    """Of what went wrong in ``send``, also when it is tried again; not of a refusal before it, nor of a delivery."""
    told: list[Outcome] = []
    one = outcome(kind, error=error, attempt=attempt)

    Hooks(None, None, told.append).observe([one])

    assert told == ([one] if expected and kind is not OutcomeKind.DELIVERED else [])


def test_a_failed_drop_is_told_to_both() -> None:
    """The drop first."""
    told: list[str] = []

    hooks = Hooks(None, lambda _: told.append("drop"), lambda _: told.append("error"))
    hooks.observe([outcome(error="down")])

    assert told == ["drop", "error"]


def test_a_callback_that_raises_costs_nobody_else() -> None:
    """The other callback and the other outcomes are told; the errors are counted."""
    told: list[Outcome] = []
    outcomes = [outcome(error="a"), outcome(error="b")]
    hooks = Hooks(None, raising(asyncio.CancelledError()), told.append)

    hooks.observe(outcomes)

    assert (told, hooks.errors) == (outcomes, 2)


def test_a_callback_is_not_entered_from_within() -> None:
    """What it causes itself is not told to it again, and to the other it is."""
    dropped: list[Outcome] = []
    failed: list[Outcome] = []
    inner = outcome(error="inner")
    hooks: Hooks

    def on_drop(one: Outcome) -> None:
        dropped.append(one)
        hooks.observe([inner])

    hooks = Hooks(None, on_drop, failed.append)
    outer = outcome(error="outer")
    hooks.observe([outer])

    assert (dropped, failed) == ([outer], [inner, outer])


def test_a_callback_that_makes_a_coroutine_leaves_none_unawaited() -> None:
    """Nobody would await it; what it returns is ignored otherwise."""
    made: list[Any] = []

    def on_drop(one: Outcome) -> object:
        made.append(a_coroutine_function(one))
        return made[-1]

    Hooks(None, on_drop, None).observe([outcome()])

    assert inspect.getcoroutinestate(made[0]) == inspect.CORO_CLOSED


def test_errors_and_times_are_those_of_all_hooks(stopwatch: Stopwatch) -> None:
    """The sum, and the slowest of them."""

    def slow(duration: float) -> Callable[[object], Any]:
        def work(argument: object) -> None:
            stopwatch.now += duration
            raise ValueError

        return work

    hooks = Hooks(slow(0.25), slow(0.75), slow(0.5))
    with pytest.raises(HookError):
        hooks.before_send(Event("e"))
    hooks.observe([outcome(error="x"), outcome(error="x")])

    assert (hooks.errors, hooks.slowest) == (5, 0.75)


# -- callbacks that are added ------------------------------------------------------------------------------------------


def test_an_added_callback_is_told_of_its_kinds_behind_those_before_it() -> None:
    """Once per outcome, whatever other kinds there are."""
    told: list[tuple[str, Outcome]] = []
    hooks = Hooks(None, lambda one: told.append(("on_drop", one)), None)
    hooks.add(lambda one: told.append(("added", one)), "delivered", OutcomeKind.DROPPED)
    outcomes = [outcome(kind) for kind in OutcomeKind]

    hooks.observe(outcomes)

    delivered, _, dropped, *_ = outcomes
    assert told == [("added", delivered), ("on_drop", dropped), ("added", dropped)]


def test_filter_of_a_callback_says_what_it_is_told() -> None:
    """Where it raises, the callback is not told, and the error is counted with its own."""
    told: list[Outcome] = []

    def judge(one: Outcome) -> bool:
        if one.attempt == 3:
            raise ValueError
        return one.attempt > 1

    hooks = Hooks(None, None, None)
    callback = hooks.add(told.append, OutcomeKind.DROPPED, filter=judge)
    outcomes = [outcome(attempt=number) for number in (1, 2, 3)]

    hooks.observe(outcomes)

    assert told == outcomes[1:2]
    assert (callback.errors, hooks.errors) == (1, 1)


@pytest.mark.parametrize(
    ("kinds", "judge", "error", "message"),
    [
        ((), None, ValueError, r"^on_outcome needs at least one kind of outcome: "),
        (("lost",), None, ValueError, r"^unknown kind 'lost'"),
        ((None,), None, TypeError, r"^a kind must be an OutcomeKind or its word"),
        (("dropped",), 5, TypeError, r"^filter of on_outcome must be a function of one argument"),
        (("dropped",), a_coroutine_function, TypeError, r"^filter of on_outcome must be a plain function"),
    ],
    ids=["no kind", "unknown kind", "None", "no filter", "async filter"],
)
def test_wrong_kinds_and_filters_of_a_callback_are_refused(
    kinds: Any, judge: Any, error: type[Exception], message: str
) -> None:
    """When it is added; it is not told of anything."""
    hooks = Hooks(None, None, None)

    with pytest.raises(error, match=message):
        hooks.add(raising(ValueError()), *kinds, filter=judge)

    hooks.observe([outcome()])
    assert hooks.errors == 0


@pytest.mark.parametrize(
    "function", [5, None, a_coroutine_function, AsyncCall()], ids=["number", "None", "async", "object"]
)
def test_a_callback_must_be_a_plain_function(function: Any) -> None:
    """As any hook."""
    with pytest.raises(TypeError, match=r"^on_outcome must be a"):
        Hooks(None, None, None).add(function, "dropped")


def test_closed_callback_is_told_nothing_more_and_what_it_cost_still_counts(stopwatch: Stopwatch) -> None:
    """A counter never goes back; closing again is a no-op."""

    def work(one: Outcome) -> None:
        stopwatch.now += 0.5
        raise ValueError

    hooks = Hooks(None, None, None)
    callback = hooks.add(work, "dropped")
    assert not callback.is_closed
    hooks.observe([outcome()])

    for _ in range(2):
        callback.close()
        hooks.observe([outcome()])

    assert (callback.is_closed, callback.errors, callback.slowest) == (True, 1, 0.5)
    assert (hooks.errors, hooks.slowest) == (1, 0.5)


def test_callback_that_closes_itself_has_its_last_error_counted() -> None:
    """It is forgotten when it has returned, and not before."""

    def work(one: Outcome) -> None:
        callback.close()
        raise ValueError

    hooks = Hooks(None, None, None)
    callback = hooks.add(work, "dropped")

    hooks.observe([outcome(), outcome()])

    assert (callback.errors, hooks.errors) == (1, 1)
    assert hooks._callbacks.open == ()


def test_callback_that_another_closes_is_not_told_of_the_same_outcome() -> None:
    """Closed is closed, at once; one that another adds is told from the next list on."""
    told: list[str] = []

    def meddle(one: Outcome) -> None:
        victim.close()
        hooks.add(lambda _: told.append("new"), "dropped")

    hooks = Hooks(None, None, None)
    hooks.add(meddle, "dropped")
    victim = hooks.add(lambda _: told.append("victim"), "dropped")

    hooks.observe([outcome()])
    assert told == []
    hooks.observe([outcome()])

    assert told == ["new"]


def test_callback_and_its_filter_are_not_entered_from_within() -> None:
    """What they cause themselves is told to others alone, and has an end."""
    asked: list[int] = []
    told: list[int] = []
    others: list[int] = []

    def judge(one: Outcome) -> bool:
        asked.append(one.attempt)
        hooks.observe([outcome(attempt=one.attempt + 10)])
        return True

    def tell(one: Outcome) -> None:
        told.append(one.attempt)
        hooks.observe([outcome(attempt=one.attempt + 100)])

    hooks = Hooks(None, None, None)
    hooks.add(tell, "dropped", filter=judge)
    hooks.add(lambda one: others.append(one.attempt), "dropped")

    hooks.observe([outcome(attempt=1)])

    assert (asked, told, others) == ([1], [1], [11, 101, 1])


def test_callback_tells_its_state() -> None:
    """And shows no payload."""
    callback = Hooks(None, None, None).add(print, "dropped", OutcomeKind.RETRY)

    assert repr(callback) == "<OutcomeCallback on_outcome to dropped, retry, open, 0 errors>"
    callback.close()
    assert repr(callback) == "<OutcomeCallback on_outcome to dropped, retry, closed, 0 errors>"


@pytest.mark.wallclock
def test_callbacks_come_and_go_in_other_threads() -> None:
    """None is forgotten, and none stays."""
    hooks = Hooks(None, None, None)
    told: list[Outcome] = []
    kept: list[OutcomeCallback] = []

    def change() -> None:
        for _ in range(200):
            hooks.add(raising(ValueError()), "retry").close()
        kept.append(hooks.add(told.append, "dropped"))

    threads = [threading.Thread(target=change) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    hooks.observe([outcome(), outcome(OutcomeKind.RETRY)])

    assert (len(told), hooks.errors) == (4, 0)
    assert len(hooks._callbacks.open) == 4
