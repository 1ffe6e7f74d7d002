"""Functions that users hand in: timed, isolated, never re-entered."""

from __future__ import annotations

import asyncio
import logging
import threading
from functools import partial
from typing import Any

import pytest

from eventpipe.core import hook as module
from eventpipe.core.hook import SLOW_HOOK, Hook, HookError, is_async
from tests.core.hooked import AsyncCall, Stopwatch, a_coroutine_function, raising


@pytest.fixture
def stopwatch(monkeypatch: pytest.MonkeyPatch) -> Stopwatch:
    watch = Stopwatch()
    monkeypatch.setattr(module, "time", watch)
    return watch


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
