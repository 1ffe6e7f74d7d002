"""When a delivery is attempted again."""

from __future__ import annotations

import math
from typing import Any

import pytest

from eventpipe.delivery.policy import HOUR, MINUTE, DeliveryPolicy


def test_the_defaults_are_those_of_standard_webhooks() -> None:
    """Seven delays, eight attempts, three hours to the first and two days for all."""
    policy = DeliveryPolicy(jitter=0)
    delays = [policy.delay(attempts, lambda: 0.5) for attempts in range(1, 8)]

    assert delays == [5, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR]
    assert (policy.attempts, policy.pending, policy.sending) == (8, 3 * HOUR, 48 * HOUR)
    assert sum(delays) * (1 + DeliveryPolicy().jitter) < policy.sending


def test_attempts_beyond_the_delays_wait_as_long_as_the_last_says() -> None:
    """Whatever number there are."""
    policy = DeliveryPolicy(delays=[1, 7], attempts=100, jitter=0)

    assert [policy.delay(attempts, lambda: 0.0) for attempts in (1, 2, 3, 99)] == [1, 7, 7, 7]


@pytest.mark.parametrize(("random", "delay"), [(0.0, 100), (0.5, 110), (1.0, 120)])
def test_jitter_comes_on_top(random: float, delay: float) -> None:
    """Of a delay, at most its part; never less than the delay itself."""
    assert DeliveryPolicy(delays=[100], jitter=0.2).delay(1, lambda: random) == pytest.approx(delay)


@pytest.mark.parametrize(
    ("asked", "delay"), [(None, 10), (0, 10), (-5, 10), (math.nan, 10), (30, 30), (math.inf, 60), (10**400, 60)]
)
def test_what_a_far_end_asks_for_is_a_floor_and_clamped(asked: float | None, delay: float) -> None:
    """What is no time to wait changes nothing; jitter comes on top of what is asked."""
    policy = DeliveryPolicy(delays=[10], jitter=0.5, max_retry_after=60)

    assert policy.delay(1, lambda: 0.0, asked) == delay
    assert policy.delay(1, lambda: 1.0, asked) == delay * 1.5
    assert policy.delay(1, lambda: 1.0, asked) <= policy.longest


def test_delays_that_were_given_as_a_list_do_not_change_with_it() -> None:
    """The policy is a value."""
    delays = [1.0, 2.0]
    policy = DeliveryPolicy(delays=delays)
    delays.clear()

    assert policy.delays == (1.0, 2.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"delays": []}, "delays must be a list of at least one number of seconds, not list"),
        ({"delays": 5}, "delays must be a list of at least one number of seconds, not 5"),
        ({"delays": "55"}, "delays must be a list of at least one number of seconds, not '55'"),
        ({"delays": [5, 0]}, "delays[1] must be a finite number of seconds above 0, not 0"),
        ({"delays": [math.nan]}, "delays[0] must be a finite number of seconds above 0, not nan"),
        ({"delays": [True]}, "delays[0] must be a finite number of seconds above 0, not True"),
        ({"pending": 0}, "pending must be a finite number of seconds above 0, not 0"),
        ({"sending": -1}, "sending must be a finite number of seconds above 0, not -1"),
        ({"max_retry_after": math.inf}, "max_retry_after must be a finite number of seconds above 0, not inf"),
        ({"jitter": 1.1}, "jitter must be a number from 0 to 1, not 1.1"),
        ({"jitter": math.nan}, "jitter must be a number from 0 to 1, not nan"),
        ({"jitter": "half"}, "jitter must be a number from 0 to 1, not 'half'"),
        ({"attempts": 0}, "attempts must be a whole number, at least 1, not 0"),
        ({"attempts": True}, "attempts must be a whole number, at least 1, not True"),
        ({"attempts": 2.0}, "attempts must be a whole number, at least 1, not 2.0"),
    ],
)
def test_what_has_no_meaning_is_refused(options: dict[str, Any], message: str) -> None:
    """The message names the option, the value and the rule."""
    with pytest.raises(ValueError, match="must be") as caught:
        DeliveryPolicy(**options)

    assert str(caught.value) == message
