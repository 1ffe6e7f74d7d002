"""What the options of a consumer come to, with what its sink says of itself."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from eventpipe.checked import shown
from eventpipe.clock import Clock
from eventpipe.contracts import Sink
from eventpipe.core.hook import is_async, is_plain
from eventpipe.events import CapturedEvent
from eventpipe.log.booking import Booking
from eventpipe.log.consumer_options import ConsumerOptions
from eventpipe.log.filling import Rules
from eventpipe.log.handling import Handler, Handling
from eventpipe.log.shards import Shard, shard_name
from eventpipe.log.sieve import Sieve, Wanted
from eventpipe.options import RetryPolicy
from eventpipe.stores.names import check_name
from eventpipe.stores.values import ConsumerKey
from eventpipe.transport.traits import Traits


class Plan(NamedTuple):
    """What is the same for every shift of a consumer.

    Attributes:
        key: The consumer.
        rules: How events leave.
        sieve: Which events are handed out at all.
        handling: What they are handed to.
        policy: How long what failed waits.
        concurrency: How many hand-outs there are at once.
        booking: Says what becomes of events after an attempt.
        clock: What tells the time.
        lifted: Properties that the far end wants outside the others.
    """

    key: ConsumerKey
    rules: Rules
    sieve: Sieve
    handling: Handling
    policy: RetryPolicy
    concurrency: int
    booking: Booking
    clock: Clock
    lifted: frozenset[str]


def key_of(topic: str, name: str, shard: Shard | None) -> ConsumerKey:
    """Which consumer it is; each shard is one.

    Raises:
        ValueError: No topic or consumer can have such a name.
        TypeError: A name is no text.
    """
    full = check_name("consumer", name)
    if shard is not None:
        full = check_name("consumer", shard_name(full, shard))
    return ConsumerKey(check_name("topic", topic), full)


def plan_of(key: ConsumerKey, options: ConsumerOptions, far: Sink | Handler, clock: Clock) -> Plan:
    """What is the same for every shift.

    Raises:
        TypeError: ``far`` is neither a sink nor an async function, or an attribute of the sink or the filter is not
            what it should be.
    """
    sink = sink_of(far)
    traits = None if sink is None else Traits.of(sink)
    random = Random().random  # noqa: S311  # spreads retries, guards nothing
    return Plan(
        key,
        _rules(options, traits),
        Sieve(key.name, _functions(options, traits), options.max_attempts),
        Handling(far, key, options.timeout, clock),
        options.retry,
        options.concurrency,
        Booking(key, options.retry, options.max_attempts, clock, random),
        clock,
        frozenset() if traits is None else traits.lifted,
    )


def check_outcomes_topic(topic: str | None, key: ConsumerKey) -> None:
    """Refuse a topic of outcomes that would feed on itself.

    Raises:
        ValueError: It is the topic that is consumed, or no topic can have such a name.
    """
    if topic is not None and check_name("topic", topic) == key.topic:
        raise ValueError(
            f"outcomes_topic must be another topic than the one that is consumed, {shown(topic)}: each outcome would be"
            " an event that leads to one more"
        )


def sink_of(given: Sink | Handler) -> Sink | None:
    """What was given, if it is a sink.

    Raises:
        TypeError: It is neither a sink nor an async function.
    """
    if callable(getattr(given, "send", None)) and not isinstance(given, type):
        return given  # type: ignore[return-value]  # Traits.of() looks at the rest
    if not callable(given) or not is_async(given):
        raise TypeError(
            f"a consumer needs a sink, or an async function of one event, not {shown(given)}; wrap a plain function of"
            " a batch as CallbackSink(function)"
        )
    return None


def _functions(options: ConsumerOptions, traits: Traits | None) -> dict[str, Wanted]:
    """What turns events away, by name."""
    functions: dict[str, Wanted] = {}
    shard, wanted = options.shard, options.filter
    if shard is not None:

        def is_ours(event: CapturedEvent) -> bool:
            return shard.holds(event.key)

        functions["shard"] = is_ours
    if wanted is not None:
        if not is_plain(wanted):
            given = "an async one: it is asked where nothing can wait" if is_async(wanted) else shown(wanted)
            raise TypeError(f"filter must be a plain function of the captured event, not {given}")
        functions["filter"] = wanted
    if traits is not None and traits.where is not None:
        functions["where"] = traits.where
    return functions


def _rules(options: ConsumerOptions, traits: Traits | None) -> Rules:
    """How events leave, within what the sink says of itself."""
    if traits is None:
        batch_events, batch_bytes, age, lane_of = 1, options.max_batch_bytes, 0.0, None
    else:
        batch_events = min(options.batch_events, traits.max_batch_events)
        batch_bytes = min(options.max_batch_bytes, traits.max_batch_bytes)
        age, lane_of = options.max_batch_age, traits.lane
    # One batch ahead of those that are handed out, so that none of them waits for the store.
    ahead = options.concurrency + 1
    return Rules(
        options.ordered_by,
        batch_events,
        batch_bytes,
        age,
        options.delay,
        max(options.batch_events, ahead * batch_events),
        ahead * options.max_batch_bytes,
        options.max_attempts,
        options.concurrency,
        lane_of,
    )
