from __future__ import annotations

import signal
from typing import Any

import orjson
import pytest

from tests.cli.process import Ended, command, run

pytestmark = [pytest.mark.asyncio, pytest.mark.wallclock]


def report(ended: Ended) -> dict[str, Any]:
    parsed: dict[str, Any] = orjson.loads(ended.stdout)
    return parsed


async def test_client_and_collector_agree() -> None:
    """Through an outage and resets every event arrives once, by id; the report is JSON and nothing else."""
    ended = await run("demo", "--seconds", "1", "--json")

    found = report(ended)
    counted = found["reconciliation"]
    assert (ended.code, ended.stderr, found["ok"], found["agrees"]) == (0, "", True, True)
    assert counted["captured"] == counted["delivered"] == counted["arrived"] == 2000
    assert [counted[name] for name in ("dropped", "pending", "lost", "duplicated", "unknown")] == [0] * 5
    assert sum(found["faults"].values()) > 0
    assert 0 < found["capture_p50"] <= found["capture_p99"]


async def test_plain_lines_where_there_is_no_terminal() -> None:
    """Each second has a line, and the end a verdict, without a code for terminals."""
    ended = await run("demo", "--seconds", "1.2", "--rate", "100")

    lines = ended.stdout.splitlines()
    assert (ended.code, ended.stderr) == (0, "")
    assert " captured, " in lines[0]
    assert lines[0].split(": ")[0].strip().startswith("1.")
    assert lines[-1] == "They agree, by event id: nothing was lost."
    assert "client:     120 captured, 120 delivered, 0 dropped, 0 pending" in lines
    assert "\x1b" not in ended.stdout


async def test_interrupted_it_still_reconciles() -> None:
    """Ctrl-C ends the producing; what was captured by then is delivered and compared."""
    async with command("demo", "--seconds", "300") as demo:
        await demo.line()
        demo.signal(signal.SIGINT)
        ended = await demo.end()

    assert (ended.code, ended.stderr) == (0, "")
    assert ended.stdout.splitlines()[-1] == "They agree, by event id: nothing was lost."


async def test_dropped_events_are_reported_and_cost_the_exit_code() -> None:
    """With too little room events are dropped; both sides agree on which, and the exit code is 1."""
    ended = await run("demo", "--seconds", "1", "--json", environment={"EVENTPIPE_QUEUE_EVENTS": "50"})

    found = report(ended)
    counted = found["reconciliation"]
    assert (ended.code, found["ok"], found["agrees"]) == (1, False, True)
    assert counted["dropped_by_reason"] == {"queue_full": counted["dropped"]}
    assert counted["dropped"] > 0
    assert counted["delivered"] + counted["dropped"] == counted["captured"] == 2000
    assert (counted["arrived"], counted["lost"]) == (counted["delivered"], 0)
