"""The benchmarks run, and count exactly; how fast they are is for them to say, not for a test."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from benchmarks import check
from benchmarks.process import Behaviour, Counts, SinkProcess
from benchmarks.results import Measurement, Results, Spread

ROOT = Path(__file__).parent.parent
TIMEOUT = 170  # seconds that a command may take: usual are ten to twenty, beside other tests


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """One command of the benchmarks."""
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )


@pytest.mark.wallclock
@pytest.mark.timeout(TIMEOUT + 5)
def test_the_guard_measures_what_is_recorded() -> None:
    """It runs, counts every event (it fails where one is missing), and prints each figure beside the recorded one."""
    done = run("check", "--quick")

    assert done.returncode == 0, done.stderr
    recorded: dict[str, float] = json.loads(check.RECORD.read_text())["ratios"]
    lines = done.stdout.splitlines()[1:]
    assert [line[:40].strip() for line in lines] == list(recorded)
    assert [line[47:57].strip() for line in lines] == [f"{ratio:.2f}" for ratio in recorded.values()]


def test_the_guard_allows_a_ratio_15_percent_worse_and_no_more() -> None:
    """Figure by figure; one that got better does not make up for another."""
    recorded = {"a": 1.0, "b": 2.0, "c": 1.0}

    found = check.verdicts({"a": 1.15, "b": 2.31, "c": 0.5}, recorded)

    assert found == {"a": True, "b": False, "c": True}


def test_the_guard_keeps_what_is_promised_however_high_the_record() -> None:
    """Version 1 of PostHog's format costs a tenth more than version 0 at most."""
    name = "CPU per event, PostHog v1 to v0"

    assert check.verdicts({name: 1.1}, {name: 1.09}) == {name: True}
    assert check.verdicts({name: 1.11}, {name: 1.09}) == {name: False}


def test_the_guard_refuses_a_record_of_other_figures() -> None:
    """What was never recorded cannot be found to be as it was."""
    with pytest.raises(SystemExit, match="--record"):
        check.verdicts({"a": 1.0}, {"b": 1.0})


@pytest.mark.wallclock
@pytest.mark.timeout(TIMEOUT + 5)
def test_scenarios_count_every_event_of_every_subject(tmp_path: Path) -> None:
    """What is captured is delivered once by each subject, to each far end, also one that refuses for a while."""
    file = tmp_path / "results.json"
    names = ["throughput", "outage", "fan_out", "flush_storm", "growth"]

    done = run("scenarios", *names, "--quick", "--json", str(file))

    assert done.returncode == 0, done.stderr
    found = Results.read(file).measurements
    # A thousand events a turn, and another turn that warms up; paced, 0.2 s of 2 000 a second.
    assert sorted((one.scenario, one.subject, one.captured) for one in found) == [
        ("fan_out", "eventpipe", 2_000),
        ("fan_out", "eventpipe", 4_000),
        ("fan_out", "eventpipe", 6_000),
        ("flush_storm", "eventpipe", 0),
        ("flush_storm", "reference", 0),
        ("growth", "eventpipe", 1_000),
        ("growth", "floor", 1_000),
        ("growth", "reference", 1_000),
        ("outage", "eventpipe", 400),
        ("outage", "reference", 400),
        ("throughput", "eventpipe", 2_000),
        ("throughput", "floor", 2_000),
        ("throughput", "reference", 2_000),
    ]
    assert {(one.lost, one.duplicated, one.dropped or 0) for one in found} == {(0, 0, 0)}
    throughput = next(one for one in found if (one.scenario, one.subject) == ("throughput", "eventpipe"))
    assert set(throughput.ratios["cpu_us"]) == {"floor", "reference"}


@pytest.mark.wallclock
def test_far_end_counts_as_delivered_what_it_accepted() -> None:
    """What was answered with 503 is read and not delivered; what is accepted twice shows in the unique ids."""
    body = b'[{"uuid":"a"},{"uuid":"b"}]'
    with SinkProcess() as far_end:
        far_end.reset(Behaviour(outage_seconds=60, verify=True))
        refused = [post(far_end.url, body)]
        counts_of_outage = far_end.reset(Behaviour(verify=True))
        accepted = [post(far_end.url, body), post(far_end.url, body)]
        times = far_end.times()
        counts = far_end.counts()

    assert (refused, accepted) == ([503], [200, 200])
    assert counts_of_outage == Counts(1, 2, 0, 0, len(body), 1, counts_of_outage.cpu)
    assert counts == Counts(2, 4, 4, 2, 2 * len(body), 2, counts.cpu)
    assert [count for _, count in times["accepts"]] == [2, 0]


@pytest.mark.wallclock
def test_far_end_stalls_one_request_in_so_many() -> None:
    """One request in two is held up, and the ones between are not; a mute far end reads and never answers."""
    with SinkProcess() as far_end:
        far_end.reset(Behaviour(stall_every=2, stall_seconds=60))
        prompt = [post(far_end.url, b'[{"uuid":"a"}]'), post(far_end.url, b'[{"uuid":"b"}]', timeout=0.01)]
        stalled = far_end.reset(Behaviour(is_mute=True))
        mute = post(far_end.url, b'[{"uuid":"c"}]', timeout=0.01)
        counts = far_end.counts()

    assert (prompt, mute) == ([200, None], None)
    assert (stalled.read, stalled.events) == (2, 1)
    assert (counts.read, counts.events) == (1, 0)


def post(url: str, body: bytes, timeout: float = 10) -> int | None:
    """The status that the far end answers with; ``None`` when it does not."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=timeout)
    try:
        connection.request("POST", urlsplit(url).path, body)
        return connection.getresponse().status
    except TimeoutError:
        return None
    finally:
        connection.close()


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    """A file has each measurement once, the newest, with its spreads and ratios."""
    old, new = (
        Measurement(
            "throughput", "eventpipe", "default", {"batch_events": 500}, {"cpu_us": Spread.of(values)}, {}, 10, 9, 1
        )
        for values in ([9.0], [3.0, 1.0, 2.0])
    )
    new.ratios = {"cpu_us": {"floor": Spread.of([1.1])}}
    results = Results()
    results.add(old)
    results.add(new)
    results.write(tmp_path / "results.json")

    found = Results.read(tmp_path / "results.json")

    assert found == results
    assert found.measurements == [new]
    assert found.measurements[0].figures["cpu_us"] == Spread(2.0, 1.0, 3.0, 3)
    assert found.measurements[0].lost == 1
