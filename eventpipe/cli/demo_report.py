"""What ``eventpipe demo`` says in the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from eventpipe.cli.producer import Producer
from eventpipe.cli.reconciliation import Reconciliation
from eventpipe.cli.text import count, duration
from eventpipe.statistics import Statistics

_FAULTS = ("stalls", "failed", "resets")


@dataclass(frozen=True, slots=True)
class DemoReport:
    """The reconciliation, and what the run was like.

    Attributes:
        reconciliation: What the client counted against what the collector saw.
        retries: Attempts that were not the first of their batch.
        faults: What the collector did on purpose, requests by kind: ``stalls``, ``failed``, ``resets``.
        capture_p50: Seconds that half of all captures did not exceed.
        capture_p99: Seconds that 99 % of all captures did not exceed.
        lag_p99: Seconds that the loop was late at most, 99 % of the time.
        seconds: How long everything took, closing included.
    """

    reconciliation: Reconciliation
    retries: int
    faults: Mapping[str, int]
    capture_p50: float
    capture_p99: float
    lag_p99: float
    seconds: float

    @classmethod
    def of(
        cls,
        reconciliation: Reconciliation,
        statistics: Statistics,
        producer: Producer,
        collector: Mapping[str, Any],  # Any: JSON
        seconds: float,
    ) -> Self:
        """Gather it from the parts."""
        return cls(
            reconciliation=reconciliation,
            retries=statistics.retries,
            faults={name: collector[name] for name in _FAULTS},
            capture_p50=producer.captures.quantile(0.5),
            capture_p99=producer.captures.quantile(0.99),
            lag_p99=producer.lags.quantile(0.99),
            seconds=seconds,
        )

    @property
    def is_ok(self) -> bool:
        """Whether client and collector agree, and every event arrived."""
        return self.reconciliation.is_ok

    def as_json(self) -> dict[str, Any]:  # Any: JSON
        """The report as it is printed with ``--json``."""
        return {"ok": self.is_ok, "agrees": self.reconciliation.agrees, **asdict(self)}

    def text(self) -> list[str]:
        """The report as people read it, one line each."""
        found = self.reconciliation
        reasons = ", ".join(f"{count(number)} {reason}" for reason, number in sorted(found.dropped_by_reason.items()))
        stalls, failed, resets = (self.faults[name] for name in _FAULTS)
        said = [
            "",
            f"client:     {count(found.captured)} captured, {count(found.delivered)} delivered, "
            f"{count(found.dropped)} dropped{f' ({reasons})' if reasons else ''}, {count(found.pending)} pending",
            f"collector:  {count(found.arrived)} arrived, {count(found.lost)} lost, {count(found.duplicated)} "
            f"duplicated, {count(found.unknown)} unknown, {count(found.dropped_but_arrived)} arrived though dropped",
            f"on the way: {count(stalls, 'stall')}, {count(failed, 'answer')} of 503, {count(resets, 'reset')}; "
            f"{count(self.retries, 'retry', 'retries')}",
            f"capture:    p50 {duration(self.capture_p50)}, p99 {duration(self.capture_p99)}; "
            f"loop lag p99 {duration(self.lag_p99)}; {duration(self.seconds)} in all",
        ]
        if found.lost_ids:
            said.append(f"lost:       {', '.join(found.lost_ids)}{', …' if found.lost > len(found.lost_ids) else ''}")
        if self.is_ok:
            return [*said, "They agree, by event id: nothing was lost."]
        if found.agrees:
            return [*said, "They agree, by event id, and not every event arrived."]
        return [*said, "They do not agree."]
