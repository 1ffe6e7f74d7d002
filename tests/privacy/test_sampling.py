"""Sampling: as many as asked for, the same people everywhere, and each drop counted as sampled."""

from __future__ import annotations

import math
import os
import random
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventpipe import DropReason, Event
from eventpipe.privacy import Sample, SampleBy
from tests.privacy.sent import SEED, dropped, sent

ROOT = Path(__file__).parents[2]
PEOPLE = [f"user-{number}" for number in range(10_000)]


def kept(hook: Sample | SampleBy, *events: Event) -> int:
    answers = [hook(event) for event in events]
    assert set(map(type, answers)) <= {Event, DropReason}
    assert all(answer is event or answer is DropReason.SAMPLED for answer, event in zip(answers, events, strict=True))
    return sum(answer is event for answer, event in zip(answers, events, strict=True))


def within(number: int, of: int, rate: float) -> bool:
    """Whether ``number`` is within four standard deviations of what is expected."""
    return abs(number - of * rate) <= 4 * math.sqrt(of * rate * (1 - rate))


@pytest.mark.parametrize("rate", [0.001, 0.1, 0.5, 0.9, 0.999])
def test_a_rate_is_the_part_that_is_kept(rate: float) -> None:
    """With a seeded source, exactly those for which it gave less; and as many as there should be."""
    source = random.Random(SEED)
    numbers = [source.random() for _ in PEOPLE]

    number = kept(Sample(rate, random=random.Random(SEED).random), *[Event("e")] * len(PEOPLE))

    assert number == sum(drawn < rate for drawn in numbers)
    assert within(number, len(PEOPLE), rate)


def test_without_a_source_it_is_pythons_own() -> None:
    """Within bounds that a fair source leaves once in fifteen thousand runs."""
    random.seed(SEED)

    assert within(kept(Sample(0.3), *[Event("e")] * len(PEOPLE)), len(PEOPLE), 0.3)


def test_one_keeps_all_and_zero_none() -> None:
    """Whatever the source gives."""
    numbers = [0.0, math.nextafter(1, 0), 1.0, math.nan]

    assert kept(Sample(1, random=iter(numbers).__next__), *[Event("e")] * 4) == 4
    assert kept(Sample(0, random=iter(numbers).__next__), *[Event("e")] * 4) == 0


def test_an_event_may_have_a_rate_of_its_own() -> None:
    """The others have the common one; the source is asked once for each, and not for what is always kept."""
    asked: Iterator[float] = iter([0.3, 0.3, 0.005])
    hook = Sample(0.5, {"scrolled": 0.01, "paid": 1}, random=lambda: next(asked))
    events = [Event(name) for name in ("scrolled", "viewed", "paid", "paid", "scrolled")]

    assert [hook(event) is event for event in events] == [False, True, True, True, True]
    assert list(asked) == []


@pytest.mark.asyncio
@pytest.mark.parametrize("hook", [Sample(0), SampleBy(0)], ids=["Sample", "SampleBy"])
async def test_each_drop_is_counted_as_sampled(hook: Sample | SampleBy) -> None:
    """In the client's statistics, and nothing else is."""
    assert await dropped(hook, *(Event("e", "u") for _ in range(7))) == {DropReason.SAMPLED: 7}


@pytest.mark.asyncio
async def test_what_is_kept_arrives_as_it_was() -> None:
    """The very event is passed on."""
    (event,) = await sent(Sample(1), Event("e", "u", {"a": 1}))

    assert (event.event, event.distinct_id, event.properties) == ("e", "u", {"a": 1})


@pytest.mark.parametrize("rate", [0.01, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("salt", ["", "second"])
def test_a_rate_is_the_part_of_the_people_that_is_kept(rate: float, salt: str) -> None:
    """All of their events or none."""
    hook = SampleBy(rate, salt=salt)
    number = kept(hook, *(Event("e", who) for who in PEOPLE))

    assert within(number, len(PEOPLE), rate)
    assert kept(hook, *(Event("other", who, {"a": 1}) for who in PEOPLE for _ in range(2))) == 2 * number


@given(st.text(min_size=1), st.floats(0, 1), st.floats(0, 1))
def test_who_is_kept_is_kept_at_every_higher_rate(who: str, one: float, other: float) -> None:
    """So that a rate can be raised without losing anybody."""
    low, high = sorted([one, other])
    event = Event("e", who)

    assert SampleBy(high)(event) is event or SampleBy(low)(event) is DropReason.SAMPLED


def test_another_salt_is_another_choice() -> None:
    """Independent of the first: of a half, a half is kept."""
    first, second = SampleBy(0.5), SampleBy(0.5, salt="x")
    both = [who for who in PEOPLE if kept(first, Event("e", who)) and kept(second, Event("e", who))]

    assert within(len(both), len(PEOPLE), 0.25)


def test_an_id_of_another_type_is_the_same_id() -> None:
    """As the client writes it; and in a property as in ``distinct_id``."""
    by_property = SampleBy(0.5, "who")
    for number in range(200):
        for who in (number, uuid.UUID(int=number)):
            answers = {
                kept(SampleBy(0.5), Event("e", who)),
                kept(SampleBy(0.5), Event("e", str(who))),
                kept(by_property, Event("e", "u", {"who": who})),
                kept(by_property, Event("e", None, {"who": str(who)})),
            }
            assert len(answers) == 1


@pytest.mark.parametrize("value", [None, "", object(), b"x", ["u"], True], ids=lambda value: type(value).__name__)
def test_where_nothing_says_who_the_event_is_kept(value: Any) -> None:
    """By ``distinct_id`` and by a property; where there are no properties, too."""
    assert kept(SampleBy(0), Event("e", value)) == 1
    assert kept(SampleBy(0, "who"), Event("e", "u", {"who": value}), Event("e", "u", {"a": 1}), Event("e", "u")) == 3


CHOICE = """
from eventpipe import Event
from eventpipe.privacy import SampleBy
for hook in SampleBy(0.3), SampleBy(0.3, "who", salt="s"):
    events = [Event("e", f"user-{number}", {"who": number}) for number in range(500)]
    print("".join("01"[type(hook(event)) is Event] for event in events))
"""
FIRST = "0000000010110000001110000001011011010001"  # of the first forty people at 0.3: as it was when this was written


@pytest.mark.wallclock
def test_every_process_keeps_the_same_people() -> None:
    """Whatever its hash seed is; and the choice is the same in each version, which figures rely on."""
    chosen = {
        subprocess.run(
            [sys.executable, "-c", CHOICE],
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("0", "1", "12345")
    }
    here = "".join("01"[kept(SampleBy(0.3), Event("e", f"user-{number}"))] for number in range(500))
    by_property = SampleBy(0.3, "who", salt="s")
    there = "".join("01"[kept(by_property, Event("e", None, {"who": number}))] for number in range(500))

    assert chosen == {f"{here}\n{there}\n"}
    assert here.startswith(FIRST)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Sample(1.1), "rate must be a number from 0 to 1, not 1.1"),
        (lambda: Sample(-0.1), "rate must be a number from 0 to 1, not -0.1"),
        (lambda: Sample(math.nan), "rate must be a number from 0 to 1, not nan"),
        (lambda: Sample(True), "rate must be a number from 0 to 1, not True"),
        (lambda: Sample("1"), "rate must be a number from 0 to 1, not '1'"),  # type: ignore[arg-type]
        (lambda: Sample(1, {"e": 2}), "by_event['e'] must be a number from 0 to 1, not 2"),
        (lambda: Sample(1, {"": 1}), "by_event must hold names, not ''"),
        (lambda: Sample(1, [1]), "by_event must be a mapping of names to rates, not list"),  # type: ignore[arg-type]
        (lambda: Sample(1, random=0.5), "random must be a function without arguments, not 0.5"),  # type: ignore[arg-type]
        (lambda: SampleBy(math.inf), "rate must be a number from 0 to 1, not inf"),
        (lambda: SampleBy(1, ""), "key must be the name of a property, or None for distinct_id, not ''"),
        (lambda: SampleBy(1, 5), "key must be text, not 5"),  # type: ignore[arg-type]
        (lambda: SampleBy(1, salt=5), "salt must be text, not 5"),  # type: ignore[arg-type]
    ],
    ids=[
        "above", "below", "nan", "bool", "text", "event", "no-name", "list", "random", "inf", "no-key", "key", "salt",
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_at_once(make: Any, message: str) -> None:
    """The option, the value, the rule."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # the whole message is compared
        make()

    assert str(caught.value) == message


def test_repr_is_what_was_written() -> None:
    """For a log line of one's own."""
    assert repr(Sample(0.1, {"paid": 1})) == "Sample(0.1, by_event={'paid': 1.0})"
    assert repr(SampleBy(0.1, "who")) == "SampleBy(0.1, key='who', salt='')"
