from __future__ import annotations

from collections import Counter

from eventpipe.cli.faults import Fail, Fault, Faults, Outage, Stall, VerdictShare


def test_no_faults_unless_asked_for() -> None:
    """A collector without options serves every request at once."""
    faults = Faults(seed=1)

    assert {faults.next(float(moment)) for moment in range(1000)} == {Fault()}


def test_shares_hold_over_many_requests() -> None:
    """Each fault meets its share of requests, and a request at most one of them."""
    faults = Faults(stall=Stall(0.1, 5.0), fail=Fail(503, 0.2), reset=0.05, seed=7)

    seen = Counter(faults.next(0.0) for _ in range(20_000))

    assert set(seen) == {Fault(), Fault(reset=True), Fault(status=503), Fault(delay=5.0, stalled=True)}
    assert 900 < seen[Fault(reset=True)] < 1100  # 5 % of 20 000
    assert 3600 < seen[Fault(status=503)] < 4000  # 20 % of the other 95 %
    assert 1400 < seen[Fault(delay=5.0, stalled=True)] < 1640  # 10 % of the rest


def test_a_seed_repeats_the_same_faults() -> None:
    """Two collectors with one seed do the same to the same requests; another seed does something else."""
    first, second, other = (Faults(stall=Stall(0.5, 1.0), reset=0.3, seed=seed) for seed in (3, 3, 4))

    faults = [first.next(0.0) for _ in range(100)]

    assert faults == [second.next(0.0) for _ in range(100)]
    assert faults != [other.next(0.0) for _ in range(100)]


def test_one_fault_does_not_shift_the_others() -> None:
    """Adding an outage changes the requests in it, and none after it."""
    plain = Faults(stall=Stall(0.5, 1.0), seed=3)
    broken = Faults(stall=Stall(0.5, 1.0), outage=Outage(0.0, 10.0), seed=3)

    pairs = [(plain.next(float(moment)), broken.next(float(moment))) for moment in range(100)]

    assert all(fault.status == 503 for _, fault in pairs[:10])
    assert [left for left, _ in pairs[10:]] == [right for _, right in pairs[10:]]


def test_an_outage_is_counted_from_the_first_request() -> None:
    """The outage begins and ends at its moments after the first request, whenever that came."""
    faults = Faults(outage=Outage(3.0, 2.0))

    statuses = {moment: faults.next(1000.0 + moment).status for moment in (0.0, 2.9, 3.0, 4.9, 5.0)}

    assert statuses == {0.0: None, 2.9: None, 3.0: 503, 4.9: 503, 5.0: None}


def test_latency_comes_on_top() -> None:
    """Stalls and failures are late by the latency as well; a reset waits for nothing."""
    assert Faults(latency=0.05, stall=Stall(1.0, 5.0)).next(0.0).delay == 5.05
    assert Faults(latency=0.05, fail=Fail(500, 1.0)).next(0.0) == Fault(status=500, delay=0.05)
    assert Faults(latency=0.05, reset=1.0).next(0.0) == Fault(reset=True)


def test_verdicts_hold_over_many_events() -> None:
    """Each word is said of its share of events, of the others ``ok``; a seed repeats them."""
    first, second = (Faults(verdicts=[VerdictShare("retry", 0.1), VerdictShare("drop", 0.2)], seed=3) for _ in "ab")

    said = [first.verdict() for _ in range(20_000)]

    seen = Counter(said)
    assert set(seen) == {"ok", "retry", "drop"}
    assert 1900 < seen["retry"] < 2100
    assert 3850 < seen["drop"] < 4150
    assert said == [second.verdict() for _ in range(20_000)]


def test_verdicts_shift_no_fault() -> None:
    """What happens to a request does not depend on how many events the ones before had."""
    first, second = (Faults(fail=Fail(503, 0.5), verdicts=[VerdictShare("drop", 0.5)], seed=3) for _ in "ab")
    for _ in range(7):
        first.verdict()

    assert [first.next(0.0) for _ in range(50)] == [second.next(0.0) for _ in range(50)]
