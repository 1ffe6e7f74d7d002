"""What ``eventpipe run`` says: of a file, of a pipeline that runs, and of one that has ended."""

from __future__ import annotations

import json
import sys
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from eventpipe.cli.failures import CommandError
from eventpipe.cli.run import RunOptions, run_pipeline
from eventpipe.cli.run_view import RunView, ended_text
from eventpipe.log.consumer import Consumer
from eventpipe.log.eventlog import EventLog
from eventpipe.log.handling import ConsumedEvent
from eventpipe.outcomes import CloseReport
from eventpipe.pipeline import ConsumerSummary, Pipeline, PipelineReport
from eventpipe.stores.memory import MemoryStore
from tests.pipeline.running import write_pipeline


def said(file: Path, options: RunOptions) -> tuple[int, str, str]:
    """The exit code, standard output and standard error."""
    out, err = (Console(file=StringIO(), width=80) for _ in range(2))
    code = run_pipeline(file, options, out, err)
    return code, *(console.file.getvalue() for console in (out, err))  # type: ignore[attr-defined]  # as just made


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_right_file_is_described_and_not_run(tmp_path: Path) -> None:
    """``--check`` opens nothing: there is no file of a log afterwards."""
    file = write_pipeline(tmp_path)
    told = said(file, RunOptions(check=True))
    code, out, err = said(file, RunOptions(check=True, json=True))

    store = f"sqlite {tmp_path / 'events.db'}"
    assert told == (0, f"{file} is right: a log in {store}, 1 consumer\norders → audit\n", "")
    assert (code, err) == (0, "")
    assert json.loads(out) == {
        "ok": True,
        "store": store,
        "client": False,
        "consumers": [{"topic": "orders", "name": "audit"}],
        "deliveries": False,
        "reconciler": False,
        "endpoints": [],
    }
    assert names_in(tmp_path) == ["pipeline.toml"]


@pytest.mark.parametrize("check", [False, True], ids=["run", "check"])
def test_a_wrong_file_is_told_in_a_line_for_each_fault(check: bool, tmp_path: Path) -> None:
    """With exit code 2 and, for programs, as JSON; nothing was opened."""
    file = write_pipeline(tmp_path, sink='kind = "fil"', stop_timeout=-1)
    code, out, err = said(file, RunOptions(check=check, json=True))

    assert code == 2
    faults = [
        f"pipeline.stop_timeout in {file} must be above 0 and finite, not -1",
        f"sink.kind of consumer 'audit' in {file} must be one of 'http', 'file', 'webhook', 'logging', 'deliveries',"
        " not 'fil'; did you mean 'file'?",
    ]
    assert err.splitlines() == [f"eventpipe: {fault}" for fault in faults]
    assert json.loads(out) == {"ok": False, "faults": faults}
    assert names_in(tmp_path) == ["pipeline.toml"]


def test_handlers_of_the_current_directory_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As with ``python -m``; what the module prints is no part of the report, and the path is as it was before."""
    (tmp_path / "handlers_of_a_shop.py").write_text("print('hello')\nasync def take(event): pass\n")
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)

    code, out, _ = said(write_pipeline(tmp_path, handler="handlers_of_a_shop:take"), RunOptions(check=True))

    assert (code, "hello" in out) == (0, False)
    assert capsys.readouterr() == ("", "hello\n")
    assert sys.path == before
    del sys.modules["handlers_of_a_shop"]


@pytest.mark.wallclock
def test_a_log_that_cannot_be_opened_is_one_line(tmp_path: Path) -> None:
    """The file is no database: the store's own words, and nothing else."""
    (tmp_path / "events.db").write_text("no database at all, and long enough to be looked at" * 100)

    with pytest.raises(CommandError, match=r"events\.db") as caught:
        said(write_pipeline(tmp_path), RunOptions())

    assert len(str(caught.value).splitlines()) == 1


async def idle(consumed: ConsumedEvent) -> None:
    """Take an event."""


@pytest.mark.asyncio
async def test_status_lines_are_few() -> None:
    """Nothing new is no line; what is new is told a tenth of the life later at the latest, a minute at most."""
    log = EventLog(MemoryStore())
    consumers = [Consumer(log, "orders", f"consumer{number}", idle) for number in range(5)]
    async with Pipeline(log=log, consumers=consumers) as pipeline:
        clock = [1000.0]
        view = RunView(pipeline, 1000.0, now=lambda: clock[0])
        await view.refresh()
        first = view.line()
        assert view.line() is None
        lines = []
        for _ in range(3600):
            clock[0] += 1.0
            await log.append("orders", "paid")
            await view.refresh()
            lines.append(view.line())

    assert first is not None
    assert first.endswith("; 2 more")
    assert first.startswith("orders/consumer0: 0 delivered, 0 pending; ")
    assert 60 <= len([line for line in lines if line is not None]) <= 120
    assert lines[-61:].count(None) == 60


def test_a_report_is_told_in_words() -> None:
    """What was dropped and why, what is left and why, and who did not stop by themselves."""
    report = PipelineReport(
        ("log",),
        ("one",),
        ("two",),
        ("three",),
        1.5,
        client=CloseReport(delivered=1200, dropped=3, dropped_by_reason={"queue_full": 2, "closed": 1}, spooled=40),
        consumers=(
            ConsumerSummary("orders", "audit", delivered=1200, dead=2, gap=1, damaged=4, pending=7, last_error="down"),
            ConsumerSummary("orders", "hooks"),
        ),
    )

    assert list(ended_text(report)) == [
        "drained in 1.5 s: not everything was delivered",
        "client: 1,200 delivered, 3 dropped (1 closed, 2 queue_full), 40 on disk",
        "orders/audit: 1,200 delivered, 7 pending, 2 in the dead letters, 1 lost to retention, 4 damaged"
        " (last error: down)",
        "orders/hooks: 0 delivered, unknown how many pending",
        "cut off: one",
        "failed: two",
        "still runs: three",
    ]
