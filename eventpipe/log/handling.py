"""One hand-out of events to a handler or a sink, whatever that does, as what became of each event."""

from __future__ import annotations

import asyncio
import hashlib
import uuid as uuidlib
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import NamedTuple

from eventpipe.clock import Clock
from eventpipe.contracts import Sink
from eventpipe.errors import PermanentSinkError, SinkError, TransientSinkError
from eventpipe.events import Batch, CapturedEvent
from eventpipe.log.fresh import Run, attempt_of, captured_of, claimed_of, ids_of
from eventpipe.log.lines import Held
from eventpipe.outcomes import DropReason, Durations, OutcomeKind, Verdict
from eventpipe.stores.values import ConsumerKey
from eventpipe.transport.attempt import Answer, attempt, describe
from eventpipe.transport.batch import Bisection

UNDECODABLE = "undecodable"
"""Why an event went to the dead letters: what is kept of it cannot be turned into an event again."""


class ConsumedEvent(NamedTuple):
    """An event as a consumer's handler is given it.

    Attributes:
        event: The event, as it was captured.
        topic: The topic it is of.
        offset: Its place in the topic.
        attempt: How many times this consumer has been handed it, counted from 1; also across restarts and crashes.
        appended_at: When it was appended, wall clock, seconds since the epoch.
    """

    event: CapturedEvent
    topic: str
    offset: int
    attempt: int
    appended_at: float


Handler = Callable[[ConsumedEvent], Awaitable[object]]


class Handled(NamedTuple):
    """What became of some events in one attempt.

    Attributes:
        events: By offset.
        kind: ``DELIVERED``; ``DROPPED``: they would fail again; ``RETRY``: they may not; ``INTERRUPTED``.
        reason: For a drop and a retry, in a word; for a delivery what a far end had to say.
        error: The last error, without payload.
        status: The far end's status code, if there was one.
        retry_after: Seconds that the far end asked to wait.
        durations: What the attempt took.
    """

    events: Sequence[Held]
    kind: OutcomeKind
    reason: str | None = None
    error: str | None = None
    status: int | None = None
    retry_after: float | None = None
    durations: Durations = Durations()


class Work:
    """One hand-out, and how far it got; read also where it was cut off.

    Attributes:
        events: What was handed out, by offset.
        handled: What became of events, in order.
        left: Parts that were not begun with.
        running: What is being attempted now.
        blame: Why no event can be sent at all; ``None``: they can.
        attempts: How many attempts it took so far.
    """

    def __init__(self, events: Sequence[Held]) -> None:
        self.events = events
        self.handled: list[Handled] = []
        self.left: deque[Sequence[Held]] = deque([events])
        self.running: Sequence[Held] = ()
        self.blame: SinkError | None = None
        self.attempts = 0
        self.began = 0.0
        self.bisection: Bisection | None = None

    def untouched(self) -> list[Held]:
        """Events that nothing became of, by offset."""
        return [held for part in self.left for held in part]


class Handling:
    """Hands events to a handler one by one, or to a sink in batches, and finds out which of them a refusal is about.

    As in the transport, a batch that is too large is halved, and one that is refused because of an event is bisected,
    so that the neighbours of a poison event are delivered. The parts go in order, and stop where one fails for now.
    Each part counts as the same attempt of its events.
    """

    def __init__(self, far: Sink | Handler, key: ConsumerKey, timeout: float, clock: Clock) -> None:
        """Hand out nothing yet.

        Args:
            far: The sink or handler.
            key: The consumer.
            timeout: Seconds that one attempt may take.
            clock: What tells the time.
        """
        self._sink = far if isinstance(far, Sink) else None
        self._handler = None if isinstance(far, Sink) else far
        self._fault = "handler_error" if self._sink is None else "sink_error"  # what raises no error of a sink
        self._key = key
        self._timeout = timeout
        self._clock = clock

    @property
    def takes_batches(self) -> bool:
        """Whether the far end is a sink."""
        return self._sink is not None

    async def handle(self, work: Work) -> None:
        """Do what can be done for these events, and note it in ``work``; raises nothing else than its cancellation.

        Cancellation:
            ``work`` says how far it got; what became of ``running`` nobody can know.
        """
        while work.left and work.blame is None:
            part = work.running = work.left.popleft()
            if not isinstance(part, Run) and part[0].fault is not None:
                work.handled.append(_at_fault(part))
                work.running = ()
                continue
            loop = asyncio.get_running_loop()
            began = loop.time()
            work.began = work.began or began
            work.attempts += 1
            batch = self._batch(part)
            answer = await self._attempt(part, batch)
            durations = self._durations(part, work.began, began, loop.time())
            work.running = ()
            if answer.delivered is batch.events:  # all of them, without a word: nothing is to be told apart
                work.handled.append(Handled(part, OutcomeKind.DELIVERED, durations=durations))
            elif not self._sort(work, part, answer, durations):
                return

    def cancelled(self, work: Work) -> None:
        """Note that what was attempted cancelled its own task: that costs an attempt, as any error of its own."""
        part, work.running = work.running, ()
        if part:
            durations = self._durations(part, work.began, work.began, asyncio.get_running_loop().time())
            error = _NotedError("it cancelled its own task", reason=self._fault)
            work.handled.append(_failed(part, error, durations))

    async def _attempt(self, part: Sequence[Held], batch: Batch) -> Answer:
        sink = _Call(self._handler, self._consumed(part[0])) if self._handler is not None else self._sink
        assert sink is not None  # noqa: S101  # there is the one or the other
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        try:
            async with asyncio.timeout(self._timeout):
                return await attempt(sink, batch)
        except TimeoutError:  # ours: attempt() lets none of theirs out
            error = _NotedError(f"did not end within {self._timeout:g} s", reason="timeout")
            return Answer(again=batch.events, error=error)
        except GeneratorExit as raised:
            if asyncio.current_task(loop) is not task:  # nobody raised it: its loop was closed under it
                raise
            return Answer(again=batch.events, error=_NotedError(describe(raised), reason=self._fault))

    def _batch(self, part: Sequence[Held]) -> Batch:
        events = captured_of(part)
        if len(events) == 1:
            id_ = events[0].uuid
        else:
            # The same events have the same id, also after a crash, so that a far end can tell what it has.
            own = self._key.lease.encode()
            id_ = str(
                uuidlib.UUID(bytes=hashlib.blake2b(ids_of(part), digest_size=16, key=own[:64]).digest(), version=5)
            )
        return Batch(id_, events[0].lane, events, self._clock.time(), attempt_of(part))

    def _consumed(self, held: Held) -> ConsumedEvent:
        claimed = held.claimed
        assert claimed.event is not None  # noqa: S101  # what is undecodable has a fault
        return ConsumedEvent(claimed.event, self._key.topic, claimed.offset, claimed.attempt, claimed.appended_at)

    def _durations(self, part: Sequence[Held], first: float, began: float, ended: float) -> Durations:
        # The loop clock that an event was captured by may have been another one: the queue is the topic.
        waited = self._clock.time() - (ended - first) - claimed_of(part)[0].appended_at
        return Durations(max(waited, 0.0), began - first, ended - began)

    def _sort(self, work: Work, part: Sequence[Held], answer: Answer, durations: Durations) -> bool:
        """Note what became of each event of ``part``; whether to go on with the next part."""
        by_event = {id(held.claimed.event): held for held in part}  # no batch has an event twice

        def held(events: Iterable[CapturedEvent]) -> Sequence[Held]:
            return tuple(by_event[id(event)] for event in events)

        if answer.delivered:
            work.handled.append(Handled(held(answer.delivered), OutcomeKind.DELIVERED, durations=durations))
        for (word, detail), events in answer.remarked.items():
            work.handled.append(Handled(held(events), OutcomeKind.DELIVERED, word, detail, durations=durations))
        for (reason, detail), events in answer.dropped.items():
            work.handled.append(Handled(held(events), OutcomeKind.DROPPED, reason, detail, durations=durations))
        if answer.error is None:
            return True
        again = held(answer.again)
        if not isinstance(answer.error, PermanentSinkError):
            work.handled.append(_failed(again, answer.error, durations))
            return False
        return self._refused(work, again, answer.error, durations)

    def _refused(self, work: Work, again: Sequence[Held], error: PermanentSinkError, durations: Durations) -> bool:
        if error.scope == "sink":
            work.left.appendleft(again)
            work.blame = error
            return False
        if len(again) == 1 or error.scope not in ("size", "event"):
            reason = DropReason.listed(error.reason)
            text = _text(error)
            work.handled.append(Handled(again, OutcomeKind.DROPPED, reason, text, error.status, durations=durations))
            return True
        if error.scope == "event":
            bisection = work.bisection = work.bisection or Bisection.of(len(again))
            if bisection.requests_left < 2:
                # Nothing is given up for its neighbours' sake: the search goes on at the next attempt.
                work.handled.append(_failed(again, error, durations))
                return False
            bisection.requests_left -= 2
        middle = (len(again) + 1) // 2
        work.left.extendleft((again[middle:], again[:middle]))
        return True


class _NotedError(TransientSinkError):
    """What happened to an attempt that raised no error of a sink: its text says all, and its class nothing."""


class _Call:
    """A handler and its event, as a sink."""

    def __init__(self, handler: Handler, consumed: ConsumedEvent) -> None:
        self._handler = handler
        self._consumed = consumed

    async def send(self, batch: Batch) -> Sequence[Verdict] | None:
        """Call the handler.

        Raises:
            SinkError: What it raised; of a foreign error only where it came from, as its text may quote the event.
        """
        del batch
        try:
            await self._handler(self._consumed)
        except (SinkError, asyncio.CancelledError, KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # noqa: BLE001  # whatever it is, it costs this event an attempt and nobody else
            raise _NotedError(describe(error), reason="handler_error") from None
        return None

    async def aclose(self) -> None:
        """There is nothing to release."""


def _failed(events: Sequence[Held], error: SinkError, durations: Durations) -> Handled:
    """Events that are tried again."""
    retry_after = error.retry_after if isinstance(error, TransientSinkError) else None
    if retry_after is not None and not retry_after > 0:  # NaN too
        retry_after = None
    text = _text(error)
    return Handled(events, OutcomeKind.RETRY, error.reason, text, error.status, retry_after, durations)


def _text(error: SinkError) -> str:
    return str(error) if isinstance(error, _NotedError) else describe(error)


def _at_fault(part: Sequence[Held]) -> Handled:
    """What becomes of an event that cannot be handed to anybody."""
    held = part[0]
    if held.claimed.event is None:
        return Handled(part, OutcomeKind.DROPPED, UNDECODABLE, held.claimed.fault)
    return Handled(part, OutcomeKind.RETRY, held.fault, None)
