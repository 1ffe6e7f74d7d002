"""A live handle for one consumer: whoever pulls gets its events one by one, and settles each."""

from __future__ import annotations

import asyncio
import math
import random as randomness
import warnings
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Final, Protocol, Self, TypedDict, get_args

from eventpipe.checked import shown
from eventpipe.clock import Clock
from eventpipe.core.deadline import Deadline
from eventpipe.core.log import contained_logger
from eventpipe.errors import ClosedError, LeaseLostError, StoreFullError
from eventpipe.log.claimant import Claimant, ConsumedLog, WhenHeld
from eventpipe.log.claimed import alone_from
from eventpipe.log.delivery import Delivery, Settler
from eventpipe.log.holders import Holders
from eventpipe.log.positions import Position, check_position
from eventpipe.options import RetryPolicy
from eventpipe.stores.names import check_name
from eventpipe.stores.values import ClaimedEvent, ConsumerKey, Disposal, Disposition

# A page costs a claim, which is a transaction: with a hundred events to a page that is little beside the events.
PREFETCH_EVENTS: Final = 100

# As much as a client sends at once; a page is kept in memory until it is handed out.
PREFETCH_BYTES: Final = 1024 * 1024

# Seconds until an event is given up again whose letter found no room: somebody has to make room first.
_NO_ROOM: Final = 30.0

_logger = contained_logger(__name__)


class ReceiverOptions(TypedDict, total=False):
    """The keyword arguments of ``Receiver``, which says what each means."""

    start: Position
    competing: bool
    prefetch_events: int | None
    prefetch_bytes: int
    max_attempts: int
    when_held: WhenHeld
    ttl: float
    heartbeat: float
    retry: RetryPolicy | None


class ReceivedLog(ConsumedLog, Protocol):
    """What a receiver needs of its log.

    Attributes:
        clock: What tells the time.
        holders: Who is told when a consumer is moved, and before the log stops.
    """

    clock: Clock
    holders: Holders


class Receiver:
    """Hands out the events of one consumer to whoever asks, in as many tasks as there are; each gets its own.

    ::

        async with log.receiver("orders", "billing") as receiver:
            async for delivery in receiver:
                async with delivery:  # ack on success, nack on error
                    handle(delivery.event)

    Events come in the order of their offsets, but for those that were given back: later ones go on while they wait. An
    event that was handed out ``max_attempts`` times without an ack is not handed out again, but goes to the topic of
    dead letters. What retention dropped before it was handed out is told by ``delivery.gap`` of the next event. Whoever
    waits parks: there is no polling and no task that watches.

    It claims a few events at a time and has them in line. The first claim is of one, and each is of twice as many as
    the one before, up to ``prefetch_events``: an event that kills its process counts an attempt for what is in line
    with it, and after the restart it stands there alone. From the third attempt on, and at the last, nothing is in line
    behind what is handed out: so no event uses up its attempts that was not handed out at the last of them.

    The iteration ends when the receiver or its log is closed. A receiver is opened and closed once.

    Attributes:
        key: The consumer.
    """

    def __init__(
        self,
        log: ReceivedLog,
        topic: str,
        name: str,
        *,
        start: Position = "earliest",
        competing: bool = False,
        prefetch_events: int | None = None,
        prefetch_bytes: int = PREFETCH_BYTES,
        max_attempts: int = 10,
        when_held: WhenHeld = "wait",
        ttl: float = 60.0,
        heartbeat: float = 3.0,
        retry: RetryPolicy | None = None,
        random: Callable[[], float] = randomness.random,
    ) -> None:
        """Check everything; nothing is registered or claimed before ``async with``.

        Args:
            log: A log that runs when it is opened.
            topic: The topic.
            name: The consumer's name, its own in that topic.
            start: Where the consumer begins if it does not exist; ``"latest"``, or a time, becomes an offset when the
                receiver is opened.
            competing: Share the consumer with other receivers: each event goes to one of them, which holds it for
                ``ttl`` seconds. Otherwise one receiver at a time has the consumer.
            prefetch_events: Events that are claimed at once, at most. ``None``: 100; where the consumer is shared 1,
                because what is in line here is kept from the others.
            prefetch_bytes: Encoded bytes that are claimed at once, at most, but for one event.
            max_attempts: How often an event is handed out at most. What was in line when a process was killed has used
                up an attempt too, but never the last. With 1 nothing is ever in line: each event is a claim.
            when_held: What opening does while another receiver has the consumer: ``"wait"`` for it, or ``"raise"``.
            ttl: Seconds that the consumer, or an event of a shared one, is held unless renewed; others may have it
                then.
            heartbeat: Seconds between renewals of the consumer's lease; below half of ``ttl``.
            retry: How long an event waits that ``async with delivery`` gave back; its ``max_attempts`` is not used.
                ``None``: the default policy.
            random: A source of floats, uniform in ``[0, 1)``, for those delays.

        Raises:
            ValueError: An argument is wrong, or contradicts another; the message names it.
            TypeError: An argument is of another type.
        """
        check_position("start", start)
        _check_count("prefetch_events", 1 if prefetch_events is None else prefetch_events)
        _check_count("prefetch_bytes", prefetch_bytes)
        _check_count("max_attempts", max_attempts)
        if isinstance(ttl, bool) or not 0 < ttl < math.inf:
            raise ValueError(f"ttl must be a positive number of seconds, not {shown(ttl)}")
        if when_held not in get_args(WhenHeld):
            raise ValueError(f"when_held must be 'wait' or 'raise', not {shown(when_held)}")
        if competing and when_held == "raise":
            raise ValueError("when_held='raise' has no meaning with competing=True: nobody holds a shared consumer")
        self.key = ConsumerKey(check_name("topic", topic), check_name("consumer", name))
        self._claimant = Claimant(
            log, self.key, start=start, competing=competing, ttl=ttl, heartbeat=heartbeat, when_held=when_held
        )
        self._settler = Settler(
            self._claimant, log.clock, max_attempts=max_attempts, policy=retry or RetryPolicy(), random=random
        )
        self._holders = log.holders
        self._ttl = ttl
        self._prefetch_events = prefetch_events or (1 if competing else PREFETCH_EVENTS)
        self._prefetch_bytes = prefetch_bytes
        self._page = 1  # events of the next claim
        self._alone_from = alone_from(max_attempts)  # attempt: from there on, none waits in line
        self._line: deque[ClaimedEvent] = deque()  # claimed, and handed out to nobody
        self._moves = 0  # of the consumer, when what is in line was claimed
        self._line_until: float | None = None  # loop clock: then what is in line may be somebody else's
        self._exhausted: list[ClaimedEvent] = []  # claimed, to be given up
        self._back: list[ClaimedEvent] = []  # claimed, to be given back
        self._gap = 0  # events missed before the next in line
        self._goes_on = False  # the last claim had events
        self._turn = asyncio.Lock()  # of who claims and waits; the others wait for their turn
        self._is_open = False
        self._is_closed = False

    @property
    def gap(self) -> int:
        """Events that retention dropped before the consumer had settled them, since this was opened."""
        return self._claimant.gap

    @property
    def damaged(self) -> int:
        """Events that did not pass their checksum since this was opened; ``log.verify()`` lists them."""
        return self._claimant.damaged

    @property
    def is_closed(self) -> bool:
        """Whether it hands out nothing more."""
        return self._is_closed

    async def receive(self, timeout: float | None = None) -> Delivery:
        """Wait for the next event; one that is in line is returned at once.

        Args:
            timeout: Seconds on the loop clock to wait for an event; a claim that is under way is waited for. Zero or
                less looks once. ``None``: without end.

        Raises:
            TimeoutError: No event came within ``timeout``.
            ClosedError: The receiver or its log is closed, or it was not opened.
            LeaseLostError: The consumer was taken over by somebody else.
            UnknownConsumerError: The consumer was removed.
            StoreError: The engine failed; it may be called again.

        Cancellation:
            Safe. The event that this call was woken for goes to the next one; where the consumer is shared, of whoever
            asks first.
        """
        return self._next_in_line() or await self._next(1, timeout)

    async def receive_batch(self, max_events: int, timeout: float | None = None) -> list[Delivery]:
        """Wait for the next event, and take what is there behind it.

        Args:
            max_events: At most so many.
            timeout: As for ``receive()``.

        Returns:
            At least one, in the order in which ``receive()`` would have returned them.

        Raises and Cancellation are those of ``receive()``.
        """
        _check_count("max_events", max_events)
        is_enough = len(self._line) >= max_events
        batch = [(self._next_in_line() if is_enough else None) or await self._next(max_events, timeout)]
        while len(batch) < max_events and (delivery := self._next_in_line()) is not None:
            batch.append(delivery)
        return batch

    async def aclose(self) -> None:
        """Hand out nothing more, and let go of the consumer; may come twice, and before it was opened.

        Events in line are given back unharmed. Those that were handed out can be settled until somebody else has the
        consumer, who is handed what is not.

        Cancellation:
            It is closed when the caller goes on as cancelled.
        """
        self._is_closed = True
        self._line.clear()
        self._holders.remove(self)
        await self._claimant.close()

    def moved(self) -> None:
        """See that the consumer was moved; for the log, which says so. What is in line is dropped."""
        self._claimant.moved()

    def paused(self) -> None:
        """See that the consumer was paused; for the log, which says so. What is in line is given back."""
        self._claimant.moved()

    def limit(self, deadline: Deadline) -> None:
        """Nothing: what was handed out is in other hands; for the log, which says by when it is to be let go."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Delivery:
        delivery = self._next_in_line()
        try:
            return delivery or await self.receive()
        except ClosedError:
            if not self._is_open:
                raise
            raise StopAsyncIteration from None

    async def __aenter__(self) -> Self:
        if self._is_open:
            raise RuntimeError(f"the receiver of consumer {self.key} was opened before; make another one")
        await self._claimant.open()
        self._is_open = True
        self._holders.add(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        if getattr(self, "_is_open", False) and not self._is_closed:
            warnings.warn(
                f"the receiver of consumer {self.key} was forgotten and holds it for as long as the log runs; open it"
                " with `async with`, or await aclose()",
                ResourceWarning,
                source=self,
                stacklevel=2,
            )

    def __repr__(self) -> str:
        state = "closed" if self._is_closed else "open" if self._is_open else "not opened"
        return f"<{type(self).__name__} of consumer {self.key}, {state}, {len(self._line)} in line>"

    def _next_in_line(self) -> Delivery | None:
        if not self._line or self._is_stale:
            return None
        claimed = self._line.popleft()
        self._claimant.let_go(claimed)
        gap, self._gap = self._gap, 0
        return Delivery(self._settler, claimed, gap)

    @property
    def _is_stale(self) -> bool:
        """Whether what is in line may be somebody else's by now."""
        if self._moves != self._claimant.moves or not self._claimant.is_trusted:
            return True
        return self._line_until is not None and asyncio.get_running_loop().time() >= self._line_until

    async def _next(self, wanted: int, timeout: float | None) -> Delivery:
        deadline = Deadline.after(timeout)
        try:
            while True:
                await self._fill(wanted, deadline)
                if (delivery := self._next_in_line()) is not None:
                    return delivery
        except TimeoutError:
            if timeout is None:  # an engine's own
                raise
            raise TimeoutError(f"consumer {self.key} was handed no event within {timeout} s") from None
        except ClosedError:
            self._refuse_closed()  # in words of its own
            raise

    async def _fill(self, wanted: int, deadline: Deadline) -> None:
        """Wait until something is in line; take ``wanted`` events into it as far as they are there."""
        self._refuse_closed()
        async with deadline.scope():
            await self._turn.acquire()
        try:
            self._drop_stale()
            await self._give_back()
            if len(self._line) < wanted:  # it may have been filled by who had the turn before
                await self._claim(wanted - len(self._line))
            while not self._line:
                if not self._goes_on:  # else all that was claimed was to be given up, and more may be there
                    if deadline.expired:
                        raise TimeoutError
                    await self._claimant.wait(None if deadline.when is None else deadline.remaining())
                await self._claim(wanted)
        finally:
            self._turn.release()

    async def _claim(self, wanted: int) -> None:
        """Put what is due at the end of the line."""
        if self._goes_on:
            await asyncio.sleep(0)  # a backlog is handed out without a wait: others on the loop have their turn
        claims = await self._claimant.claim(max(self._page, wanted), self._prefetch_bytes)
        # Nothing waits from here to the end of the line: what was claimed is in it, whoever is cancelled.
        self._drop_stale()
        self._gap += claims.gap
        self._goes_on = bool(claims.events)
        events, back = self._together([*claims.events], wanted)
        self._back += back
        self._moves = self._claimant.moves
        if self._claimant.is_competing and not self._line:  # else what is in line already ends first
            self._line_until = self._claimant.claimed_at + self._ttl
        for claimed in events:
            (self._exhausted if self._settler.is_exhausted(claimed) else self._line).append(claimed)
        await self._give_back()
        if self._exhausted:
            await self._give_up()

    def _together(self, events: list[ClaimedEvent], wanted: int) -> tuple[list[ClaimedEvent], list[ClaimedEvent]]:
        """Part what may be in line from what is to be claimed anew; ``wanted`` are handed out at once."""
        for number, claimed in enumerate(events):
            if claimed.attempt >= self._alone_from:
                self._page = 1
                number = max(number, wanted)
                return events[:number], events[number:]
        self._page = min(2 * self._page, self._prefetch_events)
        return events, []

    def _refuse_closed(self) -> None:
        if not self._is_open or self._is_closed:
            state = "closed" if self._is_closed else "not open; use `async with`"
            raise ClosedError(f"the receiver of consumer {self.key} is {state}") from None

    def _drop_stale(self) -> None:
        if self._is_stale:
            self._back += self._line
            self._line.clear()

    async def _give_back(self) -> None:
        if self._back:
            await self._claimant.give_back(self._back)
            self._back = []

    async def _give_up(self) -> None:
        """Send to the dead letters what was handed out often enough, one by one; what fails stays for the next call."""
        while self._exhausted:
            claimed = self._exhausted[-1]
            try:
                await self._claimant.settle((self._settler.give_up(claimed, None),))
                self._settler.told(claimed.offset, None)
            except LeaseLostError:
                pass  # somebody else has it
            except StoreFullError as error:
                _logger.warning("consumer %s keeps the event at offset %d: %s", self.key, claimed.offset, error)
                await self._claimant.settle((Disposition(claimed, Disposal.RELEASE, _NO_ROOM),))
            self._exhausted.pop()


def _check_count(option: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{option} must be a whole number, at least 1, not {shown(value)}")
