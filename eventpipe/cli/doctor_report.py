"""What the checks of ``eventpipe doctor`` found, put into words: pure, it looks at nothing itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from eventpipe.cli.failures import FAILURE, one_line
from eventpipe.cli.text import count

HIDDEN = "(not shown)"
MIN_SECRET = 4  # characters: shorter ones are part of any sentence
NARROW = 60  # columns: below, what was found stands under its check

_STATUS_WIDTH = 13
_CHECK_WIDTH = 15


class Status(StrEnum):
    """How a check went."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    UNKNOWN = "not checked"


_STYLES = {Status.OK: "green", Status.WARNING: "yellow", Status.FAILED: "bold red", Status.UNKNOWN: "dim"}


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found.

    Attributes:
        check: Its name.
        status: How it went.
        found: What there is.
        advice: What to do; ``""``: nothing.
        seconds: How long it took; ``None``: no time to speak of.
    """

    check: str
    status: Status
    found: str
    advice: str = ""
    seconds: float | None = None

    def without(self, secrets: Sequence[str]) -> Finding:
        """The same, on one line each, with nothing in it that anybody may not see."""
        return replace(self, found=_masked(self.found, secrets), advice=_masked(self.advice, secrets))


@dataclass(frozen=True, slots=True)
class Report:
    """All that was found.

    Attributes:
        findings: In the order of the checks.
        timeout: How many seconds a check had.
    """

    findings: Sequence[Finding]
    timeout: float

    @property
    def exit_code(self) -> int:
        """1 where a check failed, else 0."""
        return FAILURE if self._number(Status.FAILED) else 0

    def summary(self) -> str:
        """The last line."""
        parts = [
            f"{self._number(Status.FAILED):,} failed",
            count(self._number(Status.WARNING), "warning"),
            f"{self._number(Status.OK):,} ok",
            f"{self._number(Status.UNKNOWN):,} not checked",
        ]
        return f"{', '.join(parts)}; each check had at most {self.timeout:g} s"

    def as_json(self) -> dict[str, Any]:  # Any: JSON
        """The whole as JSON."""
        return {
            "checks": [
                {
                    "check": finding.check,
                    "status": finding.status,
                    "found": finding.found,
                    "advice": finding.advice,
                    "seconds": finding.seconds,
                }
                for finding in self.findings
            ],
            "timeout": self.timeout,
            "exit_code": self.exit_code,
        }

    def _number(self, status: Status) -> int:
        return sum(finding.status is status for finding in self.findings)


def as_lines(finding: Finding) -> Iterator[str]:
    """One finding as plain lines: the second one, if there is one, is what to do."""
    yield f"{finding.status:<{_STATUS_WIDTH}}{finding.check:<{_CHECK_WIDTH}}{finding.found}"
    if finding.advice:
        yield f"{'':<{_STATUS_WIDTH + _CHECK_WIDTH}}-> {finding.advice}"


def as_picture(finding: Finding, width: int) -> RenderableType:
    """One finding for a terminal of ``width`` columns."""
    status, check = Text(finding.status, _STYLES[finding.status]), Text(finding.check)
    told: list[RenderableType] = [Text(finding.found, "dim" if finding.status is Status.UNKNOWN else "")]
    if finding.advice:
        told.append(Text(f"-> {finding.advice}", "bold" if finding.status is Status.FAILED else ""))
    if width < NARROW:
        return Group(Text.assemble(status, " ", check), *(Padding(line, (0, 0, 0, 2)) for line in told))
    grid = Table.grid()
    grid.add_column(width=_STATUS_WIDTH)
    grid.add_column(width=_CHECK_WIDTH)
    grid.add_column(overflow="fold", width=width - _STATUS_WIDTH - _CHECK_WIDTH)
    grid.add_row(status, check, Group(*told))
    return grid


def tell(finding: Finding, console: Console) -> None:
    """Print one finding: a picture on a terminal, plain lines elsewhere."""
    if console.is_terminal:
        console.print(as_picture(finding, console.width))
        return
    for line in as_lines(finding):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _masked(text: str, secrets: Sequence[str]) -> str:
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= MIN_SECRET:
            text = text.replace(secret, HIDDEN)
    return one_line(text)
