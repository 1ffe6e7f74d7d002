"""A deadline is one moment: what is handed down never ends later than what it was handed from."""

from __future__ import annotations

import asyncio
import math

import pytest

from eventpipe.core.deadline import Deadline

pytestmark = pytest.mark.asyncio


async def test_after_is_a_moment_that_does_not_move() -> None:
    """The seconds left shrink as time passes, down to zero and not below."""
    deadline = Deadline.after(10)

    left = [deadline.remaining()]
    for _ in range(3):
        await asyncio.sleep(4)
        left.append(deadline.remaining())

    assert left == [10, 6, 2, 0]
    assert deadline.when == 10


async def test_expires_at_its_moment_and_not_before() -> None:
    """A timer set for the moment finds the deadline expired."""
    deadline = Deadline.after(0.3)
    seen = []
    loop = asyncio.get_running_loop()
    loop.call_at(0.2999, lambda: seen.append(deadline.expired))
    loop.call_at(0.3, lambda: seen.append(deadline.expired))

    await asyncio.sleep(1)

    assert seen == [False, True]


@pytest.mark.parametrize("never", [None, math.inf])
async def test_never_expires(never: float | None) -> None:
    """No timeout and an infinite one are the same deadline, which sets no timer."""
    deadlines = [Deadline.after(never), Deadline.at(never), Deadline()]

    await asyncio.sleep(10**6)

    assert [deadline.when for deadline in deadlines] == [None] * 3
    assert [deadline.remaining() for deadline in deadlines] == [math.inf] * 3
    assert not any(deadline.expired for deadline in deadlines)


@pytest.mark.parametrize("timeout", [0, -5])
async def test_a_timeout_of_zero_or_less_has_expired(timeout: float) -> None:
    """What is due already has no seconds left, and never a negative number of them."""
    deadline = Deadline.after(timeout)

    assert deadline.expired
    assert deadline.remaining() == 0


async def test_scopes_that_share_a_deadline_do_not_add_up() -> None:
    """Three steps of eight seconds under one deadline of ten end at ten, in the second step."""
    deadline = Deadline.after(10)
    ended = []

    with pytest.raises(TimeoutError):  # noqa: PT012  # the point is which of the steps raises
        for step in range(3):
            async with deadline.scope():
                await asyncio.sleep(8)
            ended.append(step)

    assert ended == [0]
    assert asyncio.get_running_loop().time() == 10


async def test_scope_without_a_deadline_waits() -> None:
    """Never means that the scope ends with its work."""
    async with Deadline().scope():
        await asyncio.sleep(10**6)

    assert asyncio.get_running_loop().time() == 10**6


@pytest.mark.parametrize(
    ("outer", "timeout", "when"),
    [(10, 3, 5), (10, 30, 12), (10, None, 12), (None, 3, 5), (None, None, None), (10, math.inf, 12), (3, 3, 5)],
)
async def test_earlier_takes_what_comes_first(outer: float | None, timeout: float | None, when: float | None) -> None:
    """A step with a timeout of its own never outlasts the deadline it was handed."""
    await asyncio.sleep(2)

    assert Deadline.after(outer).earlier(timeout).when == when


async def test_not_a_number_is_refused() -> None:
    """NaN compares with nothing, so it would be a deadline that neither comes nor is never."""
    with pytest.raises(ValueError, match="must be a number or None, not nan"):
        Deadline.after(math.nan)


async def test_what_is_no_number_is_refused_in_words() -> None:
    """Whatever takes a timeout says what it wants; the value of an object is not shown."""
    for wrong, said in (("5", "'5'"), (asyncio.Event(), "Event")):
        with pytest.raises(TypeError, match=f"^a timeout must be a number of seconds or None, not {said}$"):
            Deadline.after(wrong)  # type: ignore[arg-type]
