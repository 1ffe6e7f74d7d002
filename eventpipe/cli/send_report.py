"""What ``eventpipe send`` says in the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from eventpipe.cli.failures import one_line
from eventpipe.cli.rejects import Rejects
from eventpipe.cli.sending import Sending
from eventpipe.cli.text import count, duration, readable, size
from eventpipe.statistics import Statistics


@dataclass(frozen=True, slots=True)
class SendReport:
    """What became of the lines.

    Attributes:
        lines: Lines read, blank ones left out.
        delivered: Lines whose event the far end accepted.
        malformed: Lines of which no event could be made.
        dropped: Lines whose event was not delivered.
        dropped_by_reason: The same, by ``DropReason``.
        retries: Attempts that were not the first of their batch.
        bytes_read: Bytes read.
        seconds: How long it took.
        rejects: Lines that were malformed or dropped, as written to the file of rejects.
        rejects_file: That file; ``None`` when there is none.
        stopped: What ended it early; ``None`` when nothing did.
        is_all_read: Whether the end of the last input was reached.
        stopped_at: The file and line that were taken last; ``None`` when everything was read, or nothing.
    """

    lines: int
    delivered: int
    malformed: int
    dropped: int
    dropped_by_reason: Mapping[str, int]
    retries: int
    bytes_read: int
    seconds: float
    rejects: int
    rejects_file: str | None
    stopped: str | None
    is_all_read: bool
    stopped_at: tuple[str, int] | None

    @classmethod
    def of(cls, sending: Sending, statistics: Statistics, rejects: Rejects, path: Path | None, seconds: float) -> Self:
        """Gather it from the parts."""
        return cls(
            lines=sending.lines,
            delivered=statistics.delivered,
            malformed=sending.malformed,
            dropped=statistics.dropped,
            dropped_by_reason=dict(statistics.dropped_by_reason),
            retries=statistics.retries,
            bytes_read=sending.bytes_read,
            seconds=seconds,
            rejects=rejects.count,
            rejects_file=readable(str(path)) if path is not None else None,
            stopped=sending.stopped,
            is_all_read=sending.is_all_read,
            stopped_at=None if sending.is_all_read else sending.position,
        )

    @property
    def is_ok(self) -> bool:
        """Whether everything was read, and every line delivered."""
        return self.is_all_read and self.delivered == self.lines

    def as_json(self) -> dict[str, Any]:  # Any: JSON
        """The report as it is printed with ``--json``."""
        return {"ok": self.is_ok, **asdict(self)}

    def text(self) -> list[str]:
        """The report as people read it, one line each."""
        speed = f"{self.delivered / self.seconds:,.0f} events/s" if self.seconds else ""
        details = ", ".join([speed, size(self.bytes_read), count(self.retries, "retry", "retries")])
        of = f"{count(self.delivered)} of {count(self.lines, 'line')}"
        said = [f"{of} delivered in {duration(self.seconds)} ({details})"]
        if self.malformed:
            said.append(f"{count(self.malformed)} malformed")
        if self.dropped:
            reasons = ", ".join(
                f"{count(number)} {reason}" for reason, number in sorted(self.dropped_by_reason.items())
            )
            said.append(f"{count(self.dropped)} dropped: {reasons}")
        if self.stopped is not None:
            said.append(f"stopped: {one_line(self.stopped)}")
        if self.stopped_at is not None:
            file, line = self.stopped_at
            said.append(f"left: everything after {file}:{line}")
        if self.rejects and self.rejects_file is not None:
            said.append(f"{count(self.rejects, 'line')} that did not arrive: {self.rejects_file}")
        return said
