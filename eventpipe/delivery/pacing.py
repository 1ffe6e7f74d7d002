"""How many attempts an endpoint may have at once: its rate, its failures, and its share of the workers.

Plain classes that take ``now``, on the loop clock: no await, no clock of their own.
"""

from __future__ import annotations

import math
from typing import Final

from eventpipe.stores.delivery_values import EndpointInfo

# Of the seconds whose attempts may leave at once, after a rest: a timer for each single one would limit what 1000
# attempts a second can be. Below ten a second they leave one by one.
BURST: Final = 0.1
_ROUNDING: Final = 1e-6  # of an attempt: a timer that is due is never a hair too early

# Seconds until an endpoint that failed is probed by itself; twice as many after each further failure.
FIRST_PAUSE: Final = 1.0

# Rows are claimed before there are slots for them only where they are likely to begin within so many seconds, and so
# many for each slot at most: while rows are claimed and written, which takes a store milliseconds, attempts go on.
AHEAD: Final = 0.05
MAX_AHEAD: Final = 8
_SHORTEST: Final = 1e-4  # seconds of an attempt
_WEIGHT: Final = 0.125  # of an attempt in the average of how long they take

# A far end's Retry-After holds for its row, as long as the policy allows, and for its neighbours no longer than this.
MAX_ASKED: Final = 300.0


class Bucket:
    """A token bucket: so many attempts per second, at most.

    Args:
        rate: Attempts per second.
        now: It is full then.
    """

    def __init__(self, rate: float, now: float) -> None:
        self.rate = rate
        self.capacity = max(1.0, rate * BURST)
        self._tokens = self.capacity
        self._at = now

    def available(self, now: float) -> int:
        """How many attempts may begin now."""
        return int(self._level(now) + _ROUNDING)

    def ready_at(self, now: float) -> float:
        """When one may begin: now, or later."""
        return now + max(0.0, 1.0 - self._level(now)) / self.rate

    def take(self, number: int, now: float) -> None:
        """Count attempts that begin."""
        self._tokens = self._level(now) - number
        self._at = now

    def give_back(self, number: int) -> None:
        """Forget attempts that were counted, and did not begin."""
        self._tokens = min(self.capacity, self._tokens + number)

    def is_full(self, now: float) -> bool:
        """Whether it is as if nothing had ever been taken."""
        return self._level(now) >= self.capacity

    def _level(self, now: float) -> float:
        return min(self.capacity, self._tokens + max(0.0, now - self._at) * self.rate)


class Pace:
    """What is known of one endpoint: what runs there, how it has answered, what it asked for.

    After a failed attempt it gets one at a time, a probe; each success doubles that, up to all. A probe that fails says
    that it is no use to go on.

    Attributes:
        in_flight: Slots that it has.
        lanes: Passes that have due rows of it to claim.
        listed: Wall clock: due until then were the rows that passes claimed last, or are claiming.
        epoch: Failures so far; an attempt that failed is a probe if there was none since its slot was taken.
        trips: Probes that failed; one more says to a pass that it leaves the other rows where they are.
        probe_at: Before that, a pass that nobody asked for need not look whether it has recovered.
        asked_until: Until then it asked to be left alone.
    """

    def __init__(self, workers: int) -> None:
        self.in_flight = 0
        self.lanes = 0
        self.listed = -math.inf
        self.epoch = 0
        self.trips = 0
        self.probe_at = -math.inf
        self.asked_until = -math.inf
        self._workers = workers
        self._limit = workers
        self._failures = 0  # in a row; those of attempts that ran at the same time are one
        self._takes: float | None = None  # seconds of an attempt, about; ``None``: that cannot be said
        self._bucket: Bucket | None = None

    def set_rate(self, rate: float | None, now: float) -> None:
        """Keep to a rate from now on; ``None``: to none."""
        if rate is None:
            self._bucket = None
        elif self._bucket is None or self._bucket.rate != rate:
            self._bucket = Bucket(rate, now)

    def ready_at(self, now: float) -> float:
        """When its rate lets an attempt begin: now, or later."""
        return now if self._bucket is None else self._bucket.ready_at(now)

    def limit(self, now: float) -> int:
        """Attempts that it may have at once, whatever others want."""
        if self._bucket is None:
            return self._limit
        return min(self._limit, self.in_flight + self._bucket.available(now))

    def ahead(self, slots: int) -> int:
        """Rows that are likely to begin very soon, if it has so many slots, beside those that run."""
        if self._takes is None or self._bucket is not None:
            return 0
        slots = min(slots, self._limit)
        return min(MAX_AHEAD * slots, int(slots * AHEAD / max(self._takes, _SHORTEST)))

    @property
    def is_well(self) -> bool:
        """Whether it may have an attempt whenever there is a slot, as far as is known."""
        return not self._failures and self._bucket is None

    def take(self, number: int, now: float) -> None:
        """Count attempts that are about to begin."""
        self.in_flight += number
        if self._bucket is not None:
            self._bucket.take(number, now)

    def give_back(self, number: int) -> None:
        """Forget attempts that did not begin."""
        self.in_flight -= number
        if self._bucket is not None:
            self._bucket.give_back(number)

    def ended(self) -> None:
        """Count one attempt less, whatever became of it."""
        self.in_flight -= 1

    def succeeded(self, took: float) -> None:
        """See that the far end works, and how many seconds it took."""
        self._limit = min(self._workers, 2 * self._limit)
        self._failures = 0
        self._takes = took if self._takes is None else self._takes + _WEIGHT * (took - self._takes)
        self.probe_at = -math.inf

    def stalled(self) -> None:
        """See that attempts take longer than they did."""
        self._takes = None

    def failed(self, epoch: int, now: float, max_pause: float, retry_after: float | None = None) -> None:
        """See an attempt that failed, and may succeed later.

        Args:
            epoch: As it was when the slot of the attempt was taken.
            now: When it failed.
            max_pause: Seconds that it is left alone by passes that nobody asked for, at most.
            retry_after: Seconds that the far end asked for; ``None``: it did not say.
        """
        if epoch == self.epoch:
            if self._failures:
                self.trips += 1
            self._failures += 1
        self.epoch += 1
        self._limit = 1
        self._takes = None
        self.probe_at = now + min(max_pause, FIRST_PAUSE * 2.0 ** min(self._failures - 1, 30))
        if retry_after is not None:
            self.asked_until = max(self.asked_until, now + min(retry_after, MAX_ASKED))

    def is_at_rest(self, now: float) -> bool:
        """Whether it is as if it had just been made."""
        if self.in_flight or self.lanes or self._failures or self._limit < self._workers or now < self.asked_until:
            return False
        return self._bucket is None or self._bucket.is_full(now)


class Pacing:
    """Divides the slots of one reconciler among the endpoints that have due rows, in all of its passes.

    Where several have some, none takes all: each has its equal share for sure, and more where others cannot use theirs.

    Args:
        workers: Slots.

    Attributes:
        workers: The same.
        free: Slots that nobody has.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.free = workers
        self._paces: dict[tuple[str, float], Pace] = {}  # one that was removed and added again begins anew
        self._wanting: set[Pace] = set()
        self._takes: float | None = None  # seconds that an attempt has a slot, about, at any endpoint

    @property
    def is_crowded(self) -> bool:
        """Whether more endpoints want slots than there are, so that none may keep one from attempt to attempt."""
        return len(self._wanting) > self.workers

    def pace(self, endpoint: EndpointInfo, now: float) -> Pace:
        """What is known of an endpoint."""
        key = (endpoint.name, endpoint.created_at)
        pace = self._paces.get(key)
        if pace is None:
            pace = self._paces[key] = Pace(self.workers)
        pace.set_rate(endpoint.rate_limit, now)
        return pace

    def tidy(self, now: float) -> None:
        """Forget what is not worth keeping."""
        self._paces = {key: pace for key, pace in self._paces.items() if not pace.is_at_rest(now)}

    def enter(self, pace: Pace) -> None:
        """See a pass that has due rows of an endpoint to claim."""
        pace.lanes += 1
        self._wanting.add(pace)

    def leave(self, pace: Pace) -> None:
        """See that it has none any more."""
        pace.lanes -= 1
        if not pace.lanes:
            self._wanting.discard(pace)

    def room(self, pace: Pace, now: float) -> int:
        """How many attempts an endpoint may begin now."""
        limit = pace.limit(now)
        if limit <= pace.in_flight or not self.free:
            return 0
        return max(0, min(self.free, limit - pace.in_flight, self._share(pace, now) - pace.in_flight))

    @property
    def most_ahead(self) -> int:
        """How many rows of all endpoints may be claimed beside those that have slots.

        Where endpoints take turns at single slots, as many as are likely to begin very soon, whatever is known of them.
        """
        most = MAX_AHEAD * self.workers
        if not self.is_crowded:
            return most
        return 0 if self._takes is None else min(most, int(self.workers * AHEAD / max(self._takes, _SHORTEST)))

    def ahead(self, pace: Pace, now: float) -> int:
        """How many rows of an endpoint may be claimed beside those that have slots."""
        if not self.is_crowded:
            return pace.ahead(self._share(pace, now))
        # One that has nothing under way is the next to begin, however long it takes.
        is_next = pace.is_well and not pace.in_flight and not self.free
        return min(self.most_ahead, max(int(is_next), min(pace.ahead(1), self.most_ahead // len(self._wanting))))

    def took(self, seconds: float) -> None:
        """See how long an attempt had a slot, whatever became of it."""
        self._takes = seconds if self._takes is None else self._takes + _WEIGHT * (seconds - self._takes)

    def stalled(self) -> None:
        """See that slots are not free as soon as they were."""
        self._takes = None

    def take(self, pace: Pace, number: int, now: float) -> None:
        """Take slots."""
        self.free -= number
        pace.take(number, now)

    def give_back(self, pace: Pace, number: int) -> None:
        """Give slots back in which nothing began."""
        self.free += number
        pace.give_back(number)

    def ended(self, pace: Pace) -> None:
        """Give back the slot of an attempt that ended."""
        self.free += 1
        pace.ended()

    def _share(self, pace: Pace, now: float) -> int:
        """Slots that an endpoint may have while others want some."""
        others = len(self._wanting) - (pace in self._wanting)
        share = math.ceil(self.workers / (others + 1))
        if not others or others >= self.workers:
            return share
        used = sum(min(share, max(1, other.limit(now))) for other in self._wanting if other is not pace)
        return max(share, self.workers - used)
