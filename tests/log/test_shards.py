"""Shards: every key is in exactly one, for ever, and another number of them loses nothing."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum, StrEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventpipe.log import shards as module
from eventpipe.log.shards import (
    Key,
    Shard,
    check_shards,
    migration,
    read_shard_name,
    shard_name,
    shard_of,
)
from eventpipe.stores.names import check_name

# All of Unicode, lone surrogates among it, and numbers of any size.
TEXTS = st.text(st.characters(exclude_categories=()))
KEYS = st.one_of(TEXTS, st.integers(), st.integers(0, 99).map(lambda bits: -(1 << (bits * 300))), st.none())
COUNTS = st.one_of(st.integers(1, 64), st.integers(1, 100_000))

# The shards of these keys among 8 and among 1 000: they may never change, or what is running hands out events twice.
GOLDEN: list[tuple[Key, int, int]] = [
    ("", 5, 472),
    ("a", 6, 379),
    ("42", 7, 436),
    (42, 7, 436),
    (-1, 2, 490),
    (10**30, 5, 20),
    (10**5000, 0, 799),
    (-(10**5000), 0, 224),
    ("\ud800", 6, 161),
    ("é", 2, 349),
    ("😀", 0, 379),
    (None, 0, 0),
]


class Colour(StrEnum):
    RED = "42"


class Number(IntEnum):
    ANSWER = 42


@contextmanager
def digits_limited_to(digits: int) -> Iterator[None]:
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(digits)
    try:
        yield
    finally:
        sys.set_int_max_str_digits(before)


@pytest.mark.parametrize(("key", "of_8", "of_1000"), GOLDEN, ids=range(len(GOLDEN)))
def test_a_key_stays_in_its_shard_for_ever(key: Key, of_8: int, of_1000: int) -> None:
    """In every process, release and Python it is the one that it was."""
    assert (shard_of(key, 8), shard_of(key, 1000)) == (of_8, of_1000)


@pytest.mark.parametrize(
    ("state", "buckets", "bucket"),
    [(1, 1, 0), (42, 57, 43), (0xDEAD10CC, 1, 0), (0xDEAD10CC, 666, 361), (256, 1024, 520)],
)
def test_the_hash_is_the_published_one(state: int, buckets: int, bucket: int) -> None:
    """It answers as other implementations of jump consistent hash do, by the vectors that these are tested with."""
    assert module._jump(state, buckets) == bucket


@given(KEYS, COUNTS)
def test_every_key_is_in_exactly_one_shard(key: Key, count: int) -> None:
    """It is one of those that there are, and the same each time that it is asked for."""
    shard = shard_of(key, count)

    assert 0 <= shard < count
    assert shard_of(key, count) == shard
    assert [index for index in {0, shard, count - 1} if Shard(index, count).holds(key)] == [shard]


@given(KEYS, st.integers(1, 16))
def test_of_all_shards_one_holds_a_key(key: Key, count: int) -> None:
    """Asked one after the other, as the consumers of the shards do."""
    assert sum(Shard(index, count).holds(key) for index in range(count)) == 1


@given(KEYS, COUNTS, COUNTS)
def test_a_key_moves_only_to_new_shards_or_from_those_that_are_gone(key: Key, some: int, other: int) -> None:
    """Between the shards that are there before and after, none moves."""
    fewer, more = sorted((some, other))
    before, after = shard_of(key, fewer), shard_of(key, more)

    assert after == before or after >= fewer


@given(st.integers())
def test_a_number_is_where_its_digits_are(number: int) -> None:
    """Whoever writes its key as a number, and whoever writes it as text, mean the same."""
    assert shard_of(number, 1000) == shard_of(str(number), 1000)


@pytest.mark.parametrize("key", [10**400, 10**700, 10**5000, -(10**700)], ids=["400", "700", "5000", "-700"])
def test_no_limit_of_the_interpreter_moves_a_number(key: int) -> None:
    """How many digits it may write can be set for each process; the shard is the same."""
    usual = shard_of(key, 1000)
    for digits in (0, 640):
        with digits_limited_to(digits):
            assert shard_of(key, 1000) == usual


@pytest.mark.parametrize("key", [Colour.RED, Number.ANSWER])
def test_a_member_of_an_enumeration_is_where_its_value_is(key: Key) -> None:
    """However it is shown."""
    assert shard_of(key, 1000) == shard_of("42", 1000)


@given(COUNTS)
def test_events_without_a_key_are_in_the_first_shard(count: int) -> None:
    """In the one that there is with any number of shards."""
    assert shard_of(None, count) == 0


@pytest.mark.parametrize("count", [2, 7, 8, 64])
@pytest.mark.parametrize("form", ["user-{}", "{}", "{:032x}"])
def test_keys_spread_evenly(form: str, count: int) -> None:
    """Of keys that differ in a digit only, each shard has its share, give or take what chance does."""
    keys = 500 * count
    sizes = Counter(shard_of(form.format(number), count) for number in range(keys))

    deviation = 500**0.5
    assert len(sizes) == count
    assert max(abs(size - 500) for size in sizes.values()) < 5 * deviation


@pytest.mark.parametrize("count", [0, -1, -8])
def test_fewer_than_one_shard_is_refused(count: int) -> None:
    """Wherever a number of shards is given."""
    for call in (
        lambda: shard_of("a", count),
        lambda: Shard(0, count),
        lambda: check_shards([], "billing", count),
        lambda: migration({}, count, 1),
        lambda: migration({0: 0}, 1, count),
    ):
        with pytest.raises(ValueError, match=rf"^the number of shards must be at least 1, not {count}$"):
            call()


@pytest.mark.parametrize("wrong", ["8", 8.0, None, True])
def test_a_count_or_an_index_that_is_no_whole_number_is_refused(wrong: object) -> None:
    """By an error that names what was given."""
    with pytest.raises(TypeError, match=r"^the number of shards must be a whole number, not "):
        shard_of("a", wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^the index of a shard must be a whole number, not "):
        Shard(wrong, 8)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [b"a", 1.0, ("a",)])
def test_a_key_that_is_neither_text_nor_number_is_refused(wrong: object) -> None:
    """By an error that does not show it."""
    with pytest.raises(TypeError, match=r"^a key must be text, a whole number or None, not "):
        shard_of(wrong, 8)  # type: ignore[arg-type]


@pytest.mark.parametrize("index", [-1, 8, 100])
def test_a_shard_that_does_not_exist_is_refused(index: int) -> None:
    """Indices go from 0 to one below the count."""
    with pytest.raises(ValueError, match=rf"^the index of a shard of 8 must be 0 to 7, not {index}$"):
        Shard(index, 8)


@given(TEXTS.filter(bool), st.integers(2, 100_000), st.data())
def test_a_name_and_a_shard_can_be_read_from_the_consumer(name: str, count: int, data: st.DataObject) -> None:
    """Whatever the name is, also one that looks like that of a shard."""
    shard = Shard(data.draw(st.integers(0, count - 1)), count)

    assert read_shard_name(shard_name(name, shard)) == (name, shard)


@pytest.mark.parametrize(
    ("consumer", "read"),
    [
        ("billing[2/8]", ("billing", Shard(2, 8))),
        ("billing[2/8][0/4]", ("billing[2/8]", Shard(0, 4))),
        ("billing", ("billing", Shard(0, 1))),
        *((plain, (plain, Shard(0, 1))) for plain in ("[2/8]", "a[8/8]", "a[0/1]", "a[02/8]", "a[2/8] ", "a[-1/8]")),
        *(
            (plain, (plain, Shard(0, 1)))
            for plain in ("a[1/0]", "a[2/8", "a[²/8]", f"a[1/{'9' * 5000}]", f"a[{'9' * 5000}/8]", "")
        ),
    ],
)
def test_only_what_a_shard_is_called_is_taken_for_one(consumer: str, read: tuple[str, Shard]) -> None:
    """Other names with brackets are names."""
    assert read_shard_name(consumer) == read


def test_a_shard_is_named_after_its_place() -> None:
    """Counted from 0; a consumer that is not divided keeps its name."""
    assert [shard_name("billing", Shard(index, 2)) for index in range(2)] == ["billing[0/2]", "billing[1/2]"]
    assert shard_name("billing", Shard(0, 1)) == "billing"
    assert check_name("consumer", shard_name("billing", Shard(999, 1000))) == "billing[999/1000]"


@pytest.mark.parametrize(
    ("consumers", "count"),
    [
        ([], 8),
        (["billing[0/8]", "billing[7/8]"], 8),
        (["billing"], 1),
        (["audit[0/4]", "audit", "billing2", "xbilling[0/4]", "billing[8/8]"], 8),
    ],
    ids=["none", "the same", "undivided", "others"],
)
def test_the_same_count_is_accepted(consumers: list[str], count: int) -> None:
    """Whatever other consumers there are."""
    check_shards(consumers, "billing", count)


@pytest.mark.parametrize(
    ("consumers", "count", "named"),
    [
        (
            ["billing[0/8]", "audit", "billing[1/8]"],
            12,
            r"12 shards while the topic has billing\[0/8\], billing\[1/8\]",
        ),
        (["billing"], 8, "8 shards while the topic has billing"),
        (["billing[1/2]"], 1, r"1 shard while the topic has billing\[1/2\]"),
        (["billing[1/2]", "billing[0/3]"], 2, r"2 shards while the topic has billing\[0/3\]"),
        ([f"billing[{n}/8]" for n in range(8)], 4, r"4 shards .* has billing\[0/8\], .*, billing\[4/8\] and 3 more"),
    ],
    ids=["more", "first divided", "undivided again", "two ways", "many"],
)
def test_another_count_is_refused(consumers: list[str], count: int, named: str) -> None:
    """The error names the consumers that are in the way, and what to do."""
    with pytest.raises(ValueError, match=f"^consumer 'billing' cannot have {named}.*: ") as refused:
        check_shards(consumers, "billing", count)

    assert str(refused.value).endswith(
        ": reshard() of the log moves their cursors, or eventpipe reshard FILE TOPIC NAME COUNT; or let them finish,"
        " and remove them"
    )
    assert "audit" not in str(refused.value)


@pytest.mark.parametrize(
    ("cursors", "count", "starts"),
    [
        ([10, 20, 30], 3, [10, 20, 30]),
        ([10, 20, 30], 5, [10, 20, 30, 10, 10]),
        ([40, 20, 30], 2, [30, 20]),
        ([40, 20, 30], 1, [20]),
        ([7], 4, [7, 7, 7, 7]),
    ],
    ids=["the same", "more", "fewer", "one", "first divided"],
)
def test_shards_begin_where_nothing_is_lost(cursors: list[int], count: int, starts: list[int]) -> None:
    """Those that stay go on where they were, as far as they take nothing over from a slower one."""
    assert migration(dict(enumerate(cursors)), len(cursors), count) == starts


@given(
    st.lists(st.one_of(TEXTS, st.none()), max_size=60),
    st.lists(st.integers(0, 60), min_size=1, max_size=12),
    st.integers(1, 12),
)
def test_no_event_is_lost_by_another_count(keys: list[str | None], cursors: list[int], count: int) -> None:
    """What an old shard had not settled is handed out by the new one; again only between two cursors, as is said."""
    old = len(cursors)
    starts = migration(dict(enumerate(cursors)), old, count)
    again = 0
    for offset, key in enumerate(keys):
        cursor, start = cursors[shard_of(key, old)], starts[shard_of(key, count)]
        if offset >= cursor:
            assert offset >= start
        elif offset >= start:
            again += 1

    assert again <= max(cursors) - min(cursors)
    assert min(starts) >= min(cursors)


@pytest.mark.parametrize("indices", [[], [0, 1], [0, 1, 2, 3], [1, 2, 3]], ids=["none", "few", "many", "others"])
def test_cursors_that_are_not_those_of_the_old_shards_are_refused(indices: list[int]) -> None:
    """One that is missing would lose its events."""
    given = ", ".join(map(str, indices)) or "none"
    with pytest.raises(ValueError, match=f"^cursors must be those of the shards 0 to 2, each of them, not of {given}$"):
        migration(dict.fromkeys(indices, 0), 3, 5)
