"""What becomes of a delivery: every state with everything that can happen, and any run of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from eventpipe.delivery.machine import FAILURES, TRANSITIONS, DeliveryOutcome, advance
from eventpipe.delivery.policy import DeliveryPolicy
from eventpipe.stores.delivery_values import OPEN, AttemptRecord, Change, DeliveryRow, DeliveryState, FailureReason

PENDING, SENDING, SUCCESS, FAILED, RESENDING = DeliveryState
Out = DeliveryOutcome
NOW = 1_000_000.0
POLICY = DeliveryPolicy(delays=[10, 100], jitter=0, attempts=3, pending=1000, sending=5000, max_retry_after=400)
ATTEMPTED = frozenset({Out.DELIVERED, Out.RETRY, Out.REJECTED, Out.GONE})


def row(state: DeliveryState = PENDING, attempts: int = 0, **parts: object) -> DeliveryRow:
    is_open = state in OPEN
    made = DeliveryRow(
        id=7,
        event_uuid="e",
        event_name="paid",
        endpoint="acme",
        state=state,
        reason=FailureReason.REJECTED if state is FAILED else None,
        attempts=attempts,
        total_attempts=attempts,
        resends=0,
        created_at=NOW,
        due_at=NOW if is_open else None,
        deadline_at=NOW + 1000,
        settled_at=None if is_open else NOW,
        claimed_until=None,
        holder=None,
        version=3,
    )
    return replace(made, **parts)  # type: ignore[arg-type]  # parts of a row


def record(number: int, outcome: DeliveryOutcome) -> AttemptRecord:
    return AttemptRecord(number, NOW, 0.1, outcome)


def step(
    of: DeliveryRow, outcome: DeliveryOutcome, now: float = NOW, retry_after: float | None = None
) -> Change | None:
    attempt = record(of.total_attempts + 1, outcome) if outcome in ATTEMPTED else None
    return advance(of, outcome, now, POLICY, random=lambda: 0.0, retry_after=retry_after, attempt=attempt)


# As it is to be, written down by hand: each row a state, each word what comes next.
EXPECTED = {
    PENDING: {Out.DELIVERED: SUCCESS, Out.RETRY: SENDING, Out.RESEND: PENDING},
    SENDING: {Out.DELIVERED: SUCCESS, Out.RETRY: SENDING, Out.RESEND: RESENDING},
    RESENDING: {Out.DELIVERED: SUCCESS, Out.RETRY: RESENDING, Out.RESEND: RESENDING},
    SUCCESS: {Out.RESEND: RESENDING},
    FAILED: {Out.RESEND: RESENDING},
}
REASONS = {
    Out.REJECTED: FailureReason.REJECTED,
    Out.GONE: FailureReason.ENDPOINT_GONE,
    Out.DISABLED: FailureReason.ENDPOINT_DISABLED,
    Out.REMOVED: FailureReason.ENDPOINT_REMOVED,
    Out.UNREADABLE: FailureReason.UNREADABLE,
    Out.CANCEL: FailureReason.CANCELLED,
}


def test_the_table_has_every_state_with_everything_that_can_happen() -> None:
    """No pair is missing, and none is there besides."""
    assert set(TRANSITIONS) == {(state, outcome) for state in DeliveryState for outcome in DeliveryOutcome}


@pytest.mark.parametrize("outcome", DeliveryOutcome)
@pytest.mark.parametrize("state", DeliveryState)
def test_each_transition_is_the_one_that_is_meant(state: DeliveryState, outcome: DeliveryOutcome) -> None:
    """State, reason, attempts, moments and the record, for each pair; what is final changes by a resend alone."""
    before = row(state, attempts=0 if state is PENDING else 1)
    made = step(before, outcome)

    expected = EXPECTED[state].get(outcome, FAILED if state in OPEN else None)
    if expected is None:
        assert made is None
        return
    assert made is not None
    assert (made.id, made.version, made.state) == (before.id, before.version, expected)
    assert TRANSITIONS[state, outcome] is expected
    assert made.reason is (REASONS[outcome] if expected is FAILED else None)
    if outcome is Out.RESEND:
        assert (made.attempts, made.due_at, made.deadline_at, made.is_resend) == (0, NOW, NOW + 1000, True)
        assert (made.settled_at, made.attempt) == (None, None)
        return
    assert not made.is_resend
    assert made.attempts == before.attempts + (outcome in ATTEMPTED)
    assert made.attempt == (record(before.attempts + 1, outcome) if outcome in ATTEMPTED else None)
    if expected in OPEN:
        assert made.due_at == NOW + (10 if before.attempts == 0 else 100)
        assert made.settled_at is None
    else:
        assert (made.due_at, made.settled_at, made.deadline_at) == (None, NOW, before.deadline_at)


def test_each_reason_to_fail_is_reached() -> None:
    """By an outcome of its own, by the last attempt, or by the deadline."""
    assert {*FAILURES.values(), FailureReason.EXHAUSTED, FailureReason.EXPIRED} == set(FailureReason)


def test_the_deadline_of_the_first_attempt_gives_way_to_that_of_all() -> None:
    """From the first failed attempt on it is ``sending`` that counts, and later ones do not move it."""
    first = step(row(), Out.RETRY, NOW + 500)
    assert first is not None
    assert first.deadline_at == NOW + 5500
    second = step(row(SENDING, 1, deadline_at=first.deadline_at), Out.RETRY, NOW + 600)
    assert second is not None
    assert second.deadline_at == NOW + 5500


@pytest.mark.parametrize("state", [PENDING, SENDING, RESENDING])
def test_a_failed_attempt_at_the_deadline_or_later_is_the_last(state: DeliveryState) -> None:
    """Not a moment before; and the last of its attempts is named as that, whatever the time is."""
    attempts = 0 if state is PENDING else 1
    before = step(row(state, attempts), Out.RETRY, NOW + 999.9)
    at = step(row(state, attempts), Out.RETRY, NOW + 1000)
    last = step(row(state, 2), Out.RETRY, NOW + 1000)

    assert before is not None
    assert before.state in OPEN
    assert at is not None
    assert (at.state, at.reason) == (FAILED, FailureReason.EXPIRED)
    assert last is not None
    assert (last.state, last.reason, last.attempts) == (FAILED, FailureReason.EXHAUSTED, 3)


@pytest.mark.parametrize("state", [PENDING, SENDING, RESENDING])
def test_what_arrives_after_the_deadline_has_arrived(state: DeliveryState) -> None:
    """A deadline fails nothing by itself."""
    made = step(row(state), Out.DELIVERED, NOW + 10**6)

    assert made is not None
    assert made.state is SUCCESS


def test_a_delay_that_would_pass_the_deadline_ends_with_it() -> None:
    """So that there is one last attempt, instead of none."""
    made = step(row(SENDING, 1, deadline_at=NOW + 60), Out.RETRY)

    assert made is not None
    assert made.due_at == NOW + 60


def test_what_the_far_end_asks_for_is_a_floor() -> None:
    """Longer than the delay it counts, shorter not, and up to ``max_retry_after``."""
    due = [made.due_at for asked in (5, 50, 9999) if (made := step(row(), Out.RETRY, retry_after=asked))]

    assert due == [NOW + 10, NOW + 50, NOW + 400]


class Deliveries(RuleBasedStateMachine):
    """One row, to which anything happens at any time, the clock set back included."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.policy = POLICY
        self.row = row(deadline_at=NOW + POLICY.pending)
        self.since_resend = 0  # attempts

    @initialize(
        attempts=st.integers(1, 6),
        delays=st.lists(st.floats(0.1, 1e5), min_size=1, max_size=4),
        jitter=st.floats(0, 1),
        pending=st.floats(1, 1e5),
        sending=st.floats(1, 1e5),
    )
    def begin(self, attempts: int, delays: list[float], jitter: float, pending: float, sending: float) -> None:
        self.policy = DeliveryPolicy(delays, jitter, attempts, pending, sending)
        self.row = row(deadline_at=NOW + pending)

    @rule(seconds=st.one_of(st.floats(0, 1e5), st.floats(-1e4, 0)))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.row.due_at is not None)
    @rule()
    def wait_until_due(self) -> None:
        assert self.row.due_at is not None
        self.now = max(self.now, self.row.due_at)

    @rule(
        outcome=st.sampled_from(DeliveryOutcome),
        random=st.floats(0, 0.999),
        retry_after=st.one_of(st.none(), st.floats(0, 1e7)),
    )
    def happens(self, outcome: DeliveryOutcome, random: float, retry_after: float | None) -> None:
        before = self.row
        attempt = record(before.total_attempts + 1, outcome) if outcome in ATTEMPTED else None
        made = advance(
            before, outcome, self.now, self.policy, random=lambda: random, retry_after=retry_after, attempt=attempt
        )
        if before.state not in OPEN:
            assert (made is None) is (outcome is not Out.RESEND)
        if made is None:
            return
        assert (made.id, made.version) == (before.id, before.version)
        if outcome is Out.RESEND:
            self.since_resend = 0
            assert (made.attempts, made.due_at, made.deadline_at) == (0, self.now, self.now + self.policy.pending)
        else:
            self.since_resend += attempt is not None
        if outcome is Out.RETRY:
            self.check_retry(before, made)
        self.row = replace(
            before,
            state=made.state,
            reason=made.reason,
            attempts=made.attempts,
            total_attempts=before.total_attempts + (attempt is not None),
            resends=before.resends + made.is_resend,
            due_at=made.due_at,
            deadline_at=made.deadline_at,
            settled_at=made.settled_at,
            version=before.version + 1,
        )

    def check_retry(self, before: DeliveryRow, made: Change) -> None:
        """A failed attempt is the last if there are no more, or the deadline is over, and else never."""
        is_last = made.attempts >= self.policy.attempts
        is_over = self.now >= before.deadline_at
        assert (made.state is FAILED) is (is_last or is_over)
        if made.state is FAILED:
            assert made.reason is (FailureReason.EXHAUSTED if is_last else FailureReason.EXPIRED)
        else:
            assert made.due_at is not None
            assert made.due_at <= self.now + self.policy.longest

    @invariant()
    def is_as_a_row_can_be(self) -> None:
        now = self.row
        assert now.attempts == self.since_resend <= self.policy.attempts
        assert (now.due_at is None) is (now.settled_at is not None) is (now.state not in OPEN)
        assert (now.reason is None) is (now.state is not FAILED)
        assert now.due_at is None or now.due_at <= now.deadline_at
        assert now.state is not PENDING or now.attempts == 0
        assert now.state is not SENDING or now.attempts > 0
        # A deadline alone fails nothing.
        assert now.reason not in (FailureReason.EXPIRED, FailureReason.EXHAUSTED) or now.attempts > 0


TestDeliveries = Deliveries.TestCase
TestDeliveries.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
