"""Users' functions: timed, isolated, never re-entered."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from eventpipe.events import Event
from eventpipe.outcomes import DropReason, Outcome, OutcomeKind
from eventpipe.transport import hooks as module
from eventpipe.transport.hooks import SLOW_HOOK, Hook, HookError, Hooks, is_async


class Stopwatch:
    """A clock that moves by what the test says."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def stopwatch(monkeypatch: pytest.MonkeyPatch) -> Stopwatch:
    watch = Stopwatch()
    monkeypatch.setattr(module, "time", watch)
    return watch


def raising(error: BaseException) -> Callable[[object], Any]:
    def hook(argument: object) -> None:
        raise error

    return hook


def outcome(
    kind: OutcomeKind = OutcomeKind.DROPPED, *, error: str | None = None, attempt: int = 1, reason: str | None = None
) -> Outcome:
    return Outcome(kind, "sink", attempt, reason, error=error)


async def a_coroutine_function(argument: object) -> None:
    pass


class AsyncCall:
    async def __call__(self, argument: object) -> None:
        pass


class PlainCall:
    def __call__(self, argument: object) -> None:
        pass


def test_a_hook_passes_the_argument_in_and_the_answer_out() -> None:
    """As a plain call would, and nothing is counted but time."""
    hook: Hook[int, str] = Hook("on_drop", str)

    assert hook(5) == "5"
    assert (hook.errors, hook.is_running) == (0, False)


@pytest.mark.parametrize("function", [5, "print", None, object()], ids=["int", "str", "None", "object"])
def test_a_hook_must_be_a_function(function: Any) -> None:
    """Said at construction, with its name and the value."""
    with pytest.raises(TypeError) as info:
        Hook("on_drop", function)

    assert str(info.value) == f"on_drop must be a function of one argument, not {function!r}"


@pytest.mark.parametrize("function", [a_coroutine_function, AsyncCall()], ids=["function", "object"])
@pytest.mark.parametrize("name", ["before_send", "on_drop", "on_error"])
def test_an_async_hook_is_refused_with_the_way_out(name: str, function: Any) -> None:
    """At construction, of any of the three."""
    with pytest.raises(
        TypeError, match=rf"^{name} must be a plain function, not an async one, .*a task or a queue of your own$"
    ):
        Hooks(**{"before_send": None, "on_drop": None, "on_error": None, name: function})


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (a_coroutine_function, True),
        (AsyncCall(), True),
        (print, False),
        (PlainCall(), False),
        (5, False),
        (AsyncCall, False),
        (partial(a_coroutine_function, 1), True),
    ],
    ids=["async function", "async object", "function", "object", "a number", "a class", "partial"],
)
def test_what_makes_coroutines_is_told_apart(function: object, expected: bool) -> None:
    """Without calling it; a class makes its object and not a coroutine."""
    assert is_async(function) is expected


@pytest.mark.parametrize(
    "error",
    [
        ValueError("secret"),
        asyncio.CancelledError("secret"),
        SystemExit("secret"),
        GeneratorExit("secret"),
        StopIteration(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_in_a_hook_is_counted_and_named_without_its_text(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever it is; the first is logged, all are counted, and the payload it may quote is shown nowhere."""
    hook: Hook[object, None] = Hook("before_send", raising(error))

    for _ in range(3):
        assert len(caplog.records) == min(hook.errors, 1)
        with pytest.raises(HookError, match=rf"^before_send raised {type(error).__name__}$") as info:
            hook(None)
        assert info.value.__cause__ is None
        assert info.value.__suppress_context__

    assert (hook.errors, hook.is_running) == (3, False)
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.WARNING, f"before_send raised {type(error).__name__}; further errors are counted only")
    ]


def test_ctrl_c_in_a_hook_passes_through() -> None:
    """It is not the hook's error, and the hook is not taken for running afterwards."""
    hook: Hook[object, None] = Hook("on_drop", raising(KeyboardInterrupt()))

    with pytest.raises(KeyboardInterrupt):
        hook(None)

    assert (hook.errors, hook.is_running) == (0, False)


def test_a_hook_is_running_for_its_own_thread_only() -> None:
    """Another thread may call it at the same time."""
    seen: list[bool] = []
    hook: Hook[bool, None]

    def beside() -> None:
        seen.append(hook.is_running)
        hook(False)

    def look(first: bool) -> None:
        seen.append(hook.is_running)
        if first:
            thread = threading.Thread(target=beside)
            thread.start()
            thread.join()
            seen.append(hook.is_running)

    hook = Hook("on_drop", look)
    hook(True)

    assert seen == [True, False, True, True]
    assert not hook.is_running


def test_the_slowest_call_is_kept_and_named(stopwatch: Stopwatch, caplog: pytest.LogCaptureFixture) -> None:
    """A new record above a tenth of a second is logged; a slow call below the record is not."""

    def work(duration: float) -> None:
        stopwatch.now = duration

    hook: Hook[float, None] = Hook("on_drop", work)
    records = []
    for duration in (0.0625, SLOW_HOOK, 0.25, 0.125, 0.25, 0.5):
        stopwatch.now = 0.0
        hook(duration)
        records.append(hook.slowest)

    assert records == [0.0625, SLOW_HOOK, 0.25, 0.25, 0.25, 0.5]
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.WARNING, "on_drop held up its caller for 0.250 s"),
        (logging.WARNING, "on_drop held up its caller for 0.500 s"),
    ]


def test_a_failing_call_is_timed_as_well(stopwatch: Stopwatch) -> None:
    """It held up its caller all the same."""

    def work(argument: object) -> None:
        stopwatch.now += 0.25
        raise ValueError

    hook: Hook[object, None] = Hook("on_drop", work)

    with pytest.raises(HookError):
        hook(None)

    assert hook.slowest == 0.25


def test_without_hooks_nothing_happens() -> None:
    """Events pass unchanged, outcomes are told nobody."""
    hooks = Hooks(None, None, None)
    event = Event("e")

    assert hooks.before_send(event) is event
    hooks.observe([outcome(error="x")])
    assert (hooks.changes_events, hooks.errors, hooks.slowest) == (False, 0, 0.0)


def test_before_send_returns_the_event_another_or_none() -> None:
    """Each is handed on."""
    event, other = Event("e"), Event("other")

    assert Hooks(lambda event: event, None, None).before_send(event) is event
    assert Hooks(lambda event: other, None, None).before_send(event) is other
    assert Hooks(lambda event: None, None, None).before_send(event) is None
    assert Hooks(lambda event: None, None, None).changes_events


@pytest.mark.parametrize("value", [5, True, {"event": "e"}, "e"], ids=repr)
def test_before_send_that_returns_something_else_is_an_error(value: Any) -> None:
    """An event must not slip past a scrubber."""
    with pytest.raises(HookError, match=rf"^before_send returned {type(value).__name__}, not an Event or None$"):
        Hooks(lambda event: value, None, None).before_send(Event("e"))


def test_before_send_that_makes_a_coroutine_leaves_none_unawaited() -> None:
    """A lambda gets past the check of the constructor; warnings are errors here."""
    made: list[Any] = []

    def hook(event: Event) -> Any:
        made.append(a_coroutine_function(event))
        return made[-1]

    with pytest.raises(HookError, match=r"^before_send returned coroutine, not an Event or None$"):
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
