"""The options of a consumer, with their units, defaults and reasons."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, TypedDict, Unpack, cast

from pydantic import InstanceOf

from eventpipe.checked import Checked, option
from eventpipe.log.shards import Shard
from eventpipe.log.sieve import Wanted
from eventpipe.options import MIB, RetryPolicy


class ConsumerOptionsDict(TypedDict, total=False):
    """The keyword arguments of ``Consumer``, which ``ConsumerOptions`` explains."""

    batch_events: int
    max_batch_bytes: int
    max_batch_age: float
    concurrency: int
    ordered_by: Literal["topic", "key"] | None
    retry: RetryPolicy | None
    max_attempts: int | None
    timeout: float
    delay: float
    filter: Wanted | None
    outcomes_topic: str | None
    shard: Shard | None
    when_held: Literal["wait", "raise"]
    ttl: float
    heartbeat: float


class ConsumerOptions(Checked):
    """How a consumer works; frozen.

    Raises:
        ValueError: Something is out of range, of the wrong type, contradictory or unknown; one line each.
    """

    batch_events: int = option(
        500,
        "events",
        "A batch leaves for a sink when it has so many; 1 sends each event by itself, at once. Of a handler, which is "
        "given one event at a time, so many are claimed at once. Beyond 500 little is gained, as with a client.",
        ge=1,
    )
    max_batch_bytes: int = option(
        MIB, "bytes", "A batch leaves when its events have so many encoded bytes; one larger event travels alone.", ge=1
    )
    max_batch_age: float = option(
        1.0,
        "seconds",
        "A batch leaves at the latest so long after its first event was appended, so that a far end is at most a "
        "second behind; a backlog waits for nothing. 0 sends whatever is there. A handler never waits for a batch.",
        ge=0,
    )
    concurrency: int = option(
        1, "hand-outs", "Batches, or events of a handler, that are handed out at once; needs another order.", ge=1
    )
    ordered_by: Literal["topic", "key"] | None = option(
        "topic",
        "",
        "What is kept in order: all events; those of each key, where one without a key has no order; or, with None, "
        "nothing. An event that fails holds up what it is in order with, until it succeeds or is given up.",
    )
    retry: InstanceOf[RetryPolicy] = option(
        RetryPolicy, "", "How long an event waits that failed. How often it may fail is said by max_attempts."
    )
    max_attempts: int | None = option(
        10,
        "attempts",
        "An event that was handed out so often, counted in the store, goes to the dead letters. With the default "
        "delays ten attempts span one to two minutes. What a process has in hand when it is killed has used up an "
        "attempt too, begun with or not, but none is given up that was not handed out at the last one: from the third "
        "on, and at the last, events are claimed one by one. With 1, what was in hand is handed out once more, one by "
        "one. None: it is tried until it succeeds, so that an outage of the far end, however long, costs nothing but "
        "time.",
        ge=1,
    )
    timeout: float = option(
        60.0,
        "seconds",
        "An attempt that takes longer is cancelled, and has failed; sinks have timeouts below it.",
        gt=0,
    )
    delay: float = option(0.0, "seconds", "An event is handed out when it was appended so long ago.", ge=0)
    filter: Any = option(
        None,
        "",
        "A plain function of the captured event: where it says no, the event is settled, counted as skipped and handed "
        "to nobody. Where it raises, the event has failed. None: every event is handed out.",
    )
    outcomes_topic: str | None = option(
        None, "", "A topic of the same log that outcomes are appended to, for other processes. None: they are not."
    )
    shard: InstanceOf[Shard] | None = option(
        None, "", "The part of the events that this consumer is handed, by key; each shard is a consumer. None: all."
    )
    when_held: Literal["wait", "raise"] = option(
        "wait", "", "Whether it waits while another process has the consumer, or raises LeaseHeldError."
    )
    ttl: float = option(
        60.0, "seconds", "Where the store is shared: another process takes over when this one is silent so long.", gt=0
    )
    heartbeat: float = option(
        3.0, "seconds", "Where the store is shared: the time between two signs of life, below half of ttl.", gt=0
    )

    def __init__(self, **values: Unpack[ConsumerOptionsDict]) -> None:
        # None is left out where it is no value of its own.
        given = {name: value for name, value in values.items() if value is not None or name in _WITH_NONE}
        self.fill(cast("dict[str, Any]", {name: value for name, value in given.items() if value is not None}), {})
        for name in _WITH_NONE & given.keys():
            if given[name] is None:
                self.__dict__[name] = None
        lines = list(self._clashes())
        if lines:
            raise ValueError("\n".join(lines))

    def _clashes(self) -> Iterator[str]:
        if self.ordered_by == "topic" and self.concurrency > 1:
            yield (
                f"concurrency must be 1 with ordered_by='topic', not {self.concurrency}: choose ordered_by='key' to"
                " keep the order of each key, or ordered_by=None to keep none"
            )
        if self.heartbeat >= self.ttl / 2:
            yield f"heartbeat must be below half of ttl ({self.ttl / 2:g} s), not {self.heartbeat:g}"


_WITH_NONE = frozenset({"ordered_by", "max_attempts"})
