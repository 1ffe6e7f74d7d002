from __future__ import annotations

import pytest

from eventpipe.stores.names import MAX_DEAD_NAME, MAX_NAME, check_name
from eventpipe.stores.values import DEAD_SUFFIX

LONGEST = "x" * MAX_NAME


@pytest.mark.parametrize("name", ["x", "orders", "ü" * MAX_NAME, ".", DEAD_SUFFIX, "a.dead.b"])
def test_a_good_name_is_handed_back(name: str) -> None:
    """As it was given."""
    assert [check_name(kind, name) for kind in ("topic", "consumer")] == [name, name]


@pytest.mark.parametrize("times", [1, 2, 11])
def test_dead_letters_of_every_topic_have_a_topic(times: int) -> None:
    """Also those of the topic with the longest name, and those of letters in turn."""
    assert check_name("topic", LONGEST + DEAD_SUFFIX * times) == LONGEST + DEAD_SUFFIX * times


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [
        ("topic", LONGEST + "x", "a topic must have at most 200 characters, not 201"),
        ("topic", LONGEST + "x" + DEAD_SUFFIX, "a topic must have at most 200 characters before .dead, not 201"),
        ("topic", LONGEST + DEAD_SUFFIX + "x", "a topic must have at most 200 characters, not 206"),
        ("topic", DEAD_SUFFIX * 52, "a topic of dead letters must have at most 255 characters, not 260"),
        ("consumer", LONGEST + DEAD_SUFFIX, "a consumer must have at most 200 characters, not 205"),
    ],
)
def test_a_name_that_is_too_long_is_refused(kind: str, name: str, said: str) -> None:
    """With the limit, and what was counted."""
    with pytest.raises(ValueError, match=rf"^the name of {said}$"):
        check_name(kind, name)


def test_a_name_of_dead_letters_is_bounded_as_a_whole() -> None:
    """Whoever makes names of what others send has no topic with a name of a megabyte."""
    check_name("topic", "x" * (MAX_DEAD_NAME % len(DEAD_SUFFIX)) + DEAD_SUFFIX * (MAX_DEAD_NAME // len(DEAD_SUFFIX)))
    with pytest.raises(ValueError, match="dead letters"):
        check_name("topic", DEAD_SUFFIX * 200_000)
