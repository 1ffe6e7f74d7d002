"""Which outcomes somebody wants: checked kinds, and a filter that costs itself only."""

from __future__ import annotations

import asyncio
import inspect
import logging
from typing import Any

import pytest

from eventpipe.core.hook import HookError
from eventpipe.outcomes import Outcome, OutcomeKind
from eventpipe.subscriptions import Interest
from tests.subscriptions.values import DELIVERED, DROPPED, outcome

ALL = "delivered, retry, dropped, interrupted, spooled"


def test_kinds_are_members_or_their_words() -> None:
    """Each once, in the order given, as the enum's members."""
    kinds = Interest(("dropped", OutcomeKind.DELIVERED, OutcomeKind.DROPPED, "delivered"), None, "audit").kinds

    assert kinds == (DROPPED, DELIVERED)
    assert all(type(kind) is OutcomeKind for kind in kinds)


def test_no_kind_is_refused() -> None:
    """Everything is not a default that one gets by forgetting something."""
    with pytest.raises(ValueError, match=rf"^audit needs at least one kind of outcome: {ALL}$"):
        Interest((), None, "audit")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("droped", f"unknown kind 'droped'; did you mean 'dropped'?; there are {ALL}"),
        ("", f"unknown kind ''; there are {ALL}"),
        ("DELIVERED", f"unknown kind 'DELIVERED'; there are {ALL}"),
    ],
)
def test_an_unknown_kind_is_named(kind: str, message: str) -> None:
    """With what there is, and what was probably meant."""
    with pytest.raises(ValueError, match="kind") as info:
        Interest((DELIVERED, kind), None, "audit")

    assert str(info.value) == message


@pytest.mark.parametrize(
    ("kind", "shown"), [(None, "NoneType"), (5, "5"), (["dropped"], "list"), (OutcomeKind, "EnumType")], ids=repr
)
def test_a_kind_that_is_no_word_is_refused(kind: Any, shown: str) -> None:
    """``None`` above all, which is no way to say all kinds."""
    with pytest.raises(TypeError) as info:
        Interest((kind,), None, "audit")

    assert str(info.value) == f"a kind must be an OutcomeKind or its word, one of {ALL}, not {shown}"


async def an_async_filter(one: Outcome) -> bool:
    return True


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (5, "filter of audit must be a function of one argument, not 5"),
        (an_async_filter, "filter of audit must be a plain function, not an async one, because it"),
    ],
    ids=["number", "async"],
)
def test_a_filter_that_is_no_plain_function_is_refused(given: Any, message: str) -> None:
    """At once, and not when the first outcome comes."""
    with pytest.raises(TypeError) as info:
        Interest((DELIVERED,), given, "audit")

    assert str(info.value).startswith(message)


def test_without_a_filter_everything_passes() -> None:
    """Nothing is counted."""
    interest = Interest((DELIVERED,), None, "audit")

    assert interest.passes(outcome(1))
    assert (interest.errors, interest.slowest, interest.is_filtering) == (0, 0.0, False)


@pytest.mark.parametrize(("answer", "passes"), [(True, True), (1, True), ("", False), (None, False), ([0], True)])
def test_what_a_filter_returns_is_true_or_false(answer: object, passes: bool) -> None:
    """As in an ``if``."""
    assert Interest((DELIVERED,), lambda _: answer, "audit").passes(outcome(1)) is passes


def test_a_filter_is_inside_while_it_judges() -> None:
    """So that what it causes can be told from what others do; its time is kept."""
    seen = []
    interest: Interest

    def look(one: Outcome) -> bool:
        seen.append(interest.is_filtering)
        return True

    interest = Interest((DELIVERED,), look, "audit")
    interest.passes(outcome(1))

    assert (seen, interest.is_filtering) == ([True], False)
    assert interest.slowest > 0


@pytest.mark.parametrize(
    "error",
    [ValueError("secret"), asyncio.CancelledError("secret"), SystemExit("secret"), GeneratorExit(), StopIteration()],
    ids=lambda error: type(error).__name__,
)
def test_an_error_of_a_filter_is_counted_and_named_without_its_text(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """Logged once, counted each time."""

    def fail(one: Outcome) -> bool:
        raise error

    interest = Interest((DELIVERED,), fail, "audit")
    for _ in range(2):
        with pytest.raises(HookError):
            interest.passes(outcome(1))

    name = type(error).__name__
    assert interest.errors == 2
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.WARNING, f"filter of audit raised {name}; further errors are counted only")
    ]


def test_ctrl_c_in_a_filter_passes_through() -> None:
    """It is not the filter's error."""

    def interrupt(one: Outcome) -> bool:
        raise KeyboardInterrupt

    interest = Interest((DELIVERED,), interrupt, "audit")
    with pytest.raises(KeyboardInterrupt):
        interest.passes(outcome(1))

    assert (interest.errors, interest.is_filtering) == (0, False)


def test_a_filter_that_makes_coroutines_is_in_error() -> None:
    """A lambda gets past the check of the constructor; every coroutine is true, and nobody would await it."""
    made: list[Any] = []

    def hide(one: Outcome) -> object:
        made.append(an_async_filter(one))
        return made[-1]

    interest = Interest((DELIVERED,), hide, "audit")
    with pytest.raises(HookError):
        interest.passes(outcome(1))

    assert interest.errors == 1
    assert inspect.getcoroutinestate(made[0]) == inspect.CORO_CLOSED


def test_an_answer_that_is_neither_true_nor_false_is_an_error_of_the_filter() -> None:
    """Also when it is the answer that raises, when asked."""

    class Neither:
        def __bool__(self) -> bool:
            raise ValueError("secret")

    interest = Interest((DELIVERED,), lambda _: Neither(), "audit")
    with pytest.raises(HookError):
        interest.passes(outcome(1))

    assert interest.errors == 1
