"""What every test of this folder has: a watch for secrets, a client to send with, and a place for its figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from eventpipe.sinks.http_connections import Wire
from tests.edge.leaks import Watch
from tests.edge.pipeline import Pipelines
from tests.edge.rows import GUARANTEES, Row

PROPERTY = "edge"
HERE = Path(__file__).parent


class Record(Protocol):
    """Keeps the figures of one case for the table at the end."""

    def __call__(self, case: str, **figures: object) -> None: ...


@pytest.fixture(autouse=True)
def watch(request: pytest.FixtureRequest) -> Iterator[Watch]:
    """No test of this folder shows a secret anywhere; one that wants to is marked ``shows_secrets``."""
    watch = Watch()
    with watch.listening():
        yield watch
    record = request.node.user_properties.append
    record((PROPERTY, (Row.SECRETS.name, "", {"lines": len(watch.lines), "texts": len(watch.texts)})))
    watch.check()


@pytest.fixture
def pipeline(watch: Watch) -> Pipelines:
    """Makes clients whose every word is watched."""
    return Pipelines(watch)


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Record:
    """Keep figures, under the row that the module says it proves."""
    row: Row = request.module.ROW

    def keep(case: str, **figures: object) -> None:
        request.node.user_properties.append((PROPERTY, (row.name, case, figures)))

    return keep


@pytest.fixture(params=["directly", "by aiohttp"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How requests are written: as most are, or by the session of aiohttp, as large ones and those of lent sessions."""
    if request.param == "by aiohttp":
        monkeypatch.setattr(Wire, "direct", lambda *_: None)
    return f", {request.param}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print every figure that was recorded, by row, where nothing but this folder was asked for."""
    if not all((config.invocation_params.dir / arg.split("::")[0]).is_relative_to(HERE) for arg in config.args):
        return
    rows: dict[str, list[tuple[str, dict[str, object]]]] = {row.name: [] for row in Row}
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", None) != "teardown":
                continue  # the last report of a test has all that was recorded
            for name, value in report.user_properties:
                if name == PROPERTY:
                    row, case, figures = value
                    rows[row].append((case, figures))
    if not any(rows.values()):
        return
    shown = rows | {Row.SECRETS.name: [*summed(rows[Row.SECRETS.name]), *named(rows[Row.SECRETS.name])]}
    terminalreporter.section("hostile far ends, measured")
    for row in Row:
        if shown[row.name]:
            terminalreporter.write_line(f"{row}: {GUARANTEES[row]}", bold=True)
        width = max((len(case) for case, _ in shown[row.name]), default=0)
        for case, figures in sorted(shown[row.name], key=lambda pair: pair[0]):
            told = "  ".join(f"{name.replace('_', ' ')} {written(value)}" for name, value in figures.items())
            terminalreporter.write_line(f"    {case:<{width}} {told}")


def summed(watched: list[tuple[str, dict[str, object]]]) -> list[tuple[str, dict[str, object]]]:
    """What the watches of all tests saw, as one line."""
    sums = Counter[str]()
    for case, figures in watched:
        if not case:
            sums.update({name: int(str(value)) for name, value in figures.items()})
            sums["tests"] += 1
    return [("over all cases above and below", dict(sums))] if sums else []


def named(cases: list[tuple[str, dict[str, object]]]) -> list[tuple[str, dict[str, object]]]:
    return [pair for pair in cases if pair[0]]


def written(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
