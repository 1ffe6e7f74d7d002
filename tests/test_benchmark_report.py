"""The page of the benchmarks says what the results file has, all of it, and nothing else."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.chapters import CHAPTERS
from benchmarks.peers import PEERS
from benchmarks.promises import DELIVERIES, LOG, PROMISES, SPOOL
from benchmarks.report import MISSING, PAGE, page
from benchmarks.results import Measurement, Results, Spread
from benchmarks.scenarios import SCENARIOS
from benchmarks.series import Line, pictures
from benchmarks.tables import number

LOG_SCENARIOS = ("log_append", "log_bounded", "log_consume", "log_backlog", "log_parked")
DELIVERY_SCENARIOS = ("deliveries", "deliveries_endpoints", "deliveries_idle", "deliveries_first")
SPOOL_SCENARIOS = ("spool_capture", "spool_paced", "spool_unused", "spool_drain", "spool_opening")
PLAIN = {"batch_events": 500, "gzip": False}
SMALL = {"batch_events": 100, "gzip": False}


def measurement(
    scenario: str,
    subject: str,
    parameters: dict[str, Any],  # Any: JSON
    figures: dict[str, float],
    ratios: dict[str, dict[str, float]] | None = None,
    *,
    settings: str = "default",
    lost: int = 0,
    curves: dict[str, list[list[float]]] | None = None,
) -> Measurement:
    """One of 1 000 events in five runs, which lie a tenth apart to either side."""
    return Measurement(
        scenario=scenario,
        subject=subject,
        settings=settings,
        parameters=parameters,
        figures={name: spread(value) for name, value in figures.items()},
        ratios={
            name: {other: spread(value) for other, value in others.items()} for name, others in (ratios or {}).items()
        },
        captured=1_000,
        delivered=1_000 - lost,
        duplicated=3,
        dropped=lost if subject == "eventpipe" else None,
        curves=curves or {},
    )


def spread(value: float) -> Spread:
    return Spread(value, value * 0.9, value * 1.1, 5)


MEASUREMENTS = [
    measurement("throughput", "floor", PLAIN, {"cpu_us": 3.0, "per_second": 300_000}),
    measurement(
        "throughput",
        "eventpipe",
        PLAIN,
        {"cpu_us": 3.333, "per_second": 271_234},
        {"cpu_us": {"floor": 1.111, "reference": 0.4}, "per_second": {"reference": 2.5}},
    ),
    measurement(
        "throughput",
        "eventpipe",
        SMALL,
        {"cpu_us": 5.0, "per_second": 190_000},
        {"cpu_us": {"floor": 1.2}, "per_second": {"floor": 0.9}},
    ),
    measurement(
        "throughput",
        "posthog",
        SMALL,
        {"cpu_us": 90.0, "per_second": 9_000},
        {"cpu_us": {"floor": 20.0}, "per_second": {"floor": 0.05}},
        settings="best",
        lost=12,
    ),
    measurement(
        "throughput",
        "posthog",
        SMALL,
        {"cpu_us": 100.0, "per_second": 8_000},
        {"cpu_us": {"floor": 24.0, "eventpipe": 30.0}, "per_second": {"floor": 0.04, "eventpipe": 0.04}},
        lost=12,
    ),
    measurement(
        "paced",
        "eventpipe",
        {**PLAIN, "per_second": 2_000},
        {"p50_us": 2.5, "p99_us": 40.0, "p999_us": 350.0, "max_us": 4_000.0, "lag_p99_ms": 0.25},
        {"lag_p99_ms": {"floor": 0.95}},
        lost=1,
        curves={"capture_us": [[50, 2.5], [99, 40.0], [99.9, 350.0], [100, 4_000.0]]},
    ),
    measurement("growth", "eventpipe", {"events": 100_000}, {"cpu_us": 4.0}, {"cpu_us": {"floor": 1.1}}),
    measurement("growth", "eventpipe", {"events": 5_000_000}, {"cpu_us": 4.4}, {"cpu_us": {"floor": 1.155}}),
]
PARTS = [
    {"name": "by hand", "us": 1.5, "spread": [1.4, 1.9], "baseline": None, "ratio": None},
    {
        "name": "import eventpipe",
        "us": 120_000.0,
        "spread": [110_000.0, 130_000.0],
        "baseline": "by hand",
        "ratio": 2.0,
    },
]
RESULTS = Results(
    "2026-01-02", {"python": "3.11.7", "event_bytes": 432, "segment-analytics-python": "2.4.1"}, MEASUREMENTS, PARTS
)


def lines(heading: str, text: str) -> list[str]:
    """The lines of one section, without the empty ones."""
    section = text.partition(f"# {heading}\n")[2].partition("\n#")[0]
    return [line for line in section.splitlines() if line]


def test_headline_has_every_subject_with_each_of_its_settings() -> None:
    """One row each: its own figures, its ratios to what ran beside it, what it lost in both scenarios."""
    rows = [line for line in lines("In short", page(RESULTS)) if line.startswith("|")]

    assert rows == [
        "| subject | settings | a batch | CPU per event, µs | to the floor | to the reference | events per second "
        "| capture p50, µs | capture p99, µs | capture p99.9, µs | capture max, µs | lag of the loop p99, ms "
        "| lost | duplicated |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        "| eventpipe | default | 100 | 5 | 1.2 |  | 190 000 |  |  |  |  |  | 0 | 3 |",
        "| eventpipe | default | 500 | 3.33 | 1.11 | 0.4 | 271 000 | 2.5 | 40 | 350 | 4 000 | 0.25 | 1 | 6 |",
        "| floor | default | 500 | 3 | 1 |  | 300 000 |  |  |  |  |  | 0 | 3 |",
        "| posthog | default |  | 100 | 24 |  | 8 000 |  |  |  |  |  | 12 | 3 |",
        "| posthog | best |  | 90 | 20 |  | 9 000 |  |  |  |  |  | 12 | 3 |",
    ]


def test_promises_are_judged_by_their_bounds() -> None:
    """Each is met, not met, or not measured; a library is held against eventpipe beside it, the other way round."""
    rows = [line.split(" | ")[:4] for line in lines("What is promised", page(RESULTS))[2:]]
    found = {what.removeprefix("| "): (measured, bound, word) for what, measured, bound, word in rows}

    assert len(found) == len(PROMISES)
    assert found["CPU per event, 100 a batch, to the floor"] == ("1.2", "≤ 1.15", "**not met**")
    assert found["CPU per event, 500 a batch, to the floor"] == ("1.11", "≤ 1.2", "met")
    assert found["CPU per event, 500 a batch"] == ("3.33 µs", "≤ 4.5 µs", "met")
    assert found["events per second, 500 a batch, to the reference"] == ("2.5", "≥ 2", "met")
    assert found["events per second, defaults of both, to posthog"] == ("25", "≥ 20", "met")
    assert found["events per second, defaults of both, to posthog_async"] == ("", "≥ 45", "not measured")
    assert found["`await capture()` at 2 000/s, p99.9"] == ("350 µs", "≤ 300 µs", "**not met**")
    assert found["lag of the loop at 2 000/s, p99, to the floor"] == ("0.95", "≤ 1", "met")
    assert found["change of CPU per event over 5 million, to the floor"] == ("0.05", "≤ 0.1", "met")
    assert found["`import eventpipe`, to asyncio, orjson and pydantic with a model"] == ("2", "≤ 1.15", "**not met**")
    assert [word for _, _, word in found.values()].count("not measured") == len(PROMISES) - 11


def test_scenario_has_spreads_counts_and_ratios() -> None:
    """What all rows share is said once; what a subject does not count itself stays empty."""
    growth = next(chapter.title for chapter in CHAPTERS if chapter.scenario == "growth")
    paced = next(chapter.title for chapter in CHAPTERS if chapter.scenario == "paced")

    assert lines(growth, page(RESULTS))[1:-1] == [
        "| subject | settings | events | CPU per event, µs | captured | lost | reported | duplicated |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        "| eventpipe | default | 100 000 | 4 (3.6-4.4) | 1 000 | 0 | 0 | 3 |",
        "| eventpipe | default | 5 000 000 | 4.4 (3.96-4.84) | 1 000 | 0 | 0 | 3 |",
        "As ratios to those that ran beside them:",
        "| subject | settings | events | CPU per event, to floor |",
        "| --- | --- | --- | --- |",
        "| eventpipe | default | 100 000 | 1.1 (0.99-1.21) |",
        "| eventpipe | default | 5 000 000 | 1.16 (1.04-1.27) |",
    ]
    assert lines(paced, page(RESULTS))[1] == "All with batch events 500, no gzip, per second 2 000."


def test_parts_and_environment_are_those_of_the_file() -> None:
    """A part without a baseline is one."""
    assert lines("The parts", page(RESULTS))[-4:] == [
        "| part | µs | lowest-highest | ratio of the lowest | to |",
        "| --- | --- | --- | --- | --- |",
        "| by hand | 1.5 | 1.4-1.9 |  |  |",
        "| import eventpipe | 120 000 | 110 000-130 000 | 2 | by hand |",
    ]
    assert lines("Where it was measured", page(RESULTS))[2:-1] == ["| event bytes | 432 |", "| python | 3.11.7 |"]
    assert "The newest figure is of 2026-01-02." in page(RESULTS)


def test_libraries_stand_with_the_versions_that_were_measured() -> None:
    """Their notes are those of their drivers."""
    rows = {row.split(" | ")[0].removeprefix("| "): row for row in lines("The libraries", page(RESULTS))[2:]}
    note = PEERS["segment"].note

    assert list(rows) == list(PEERS)
    assert rows["segment"] == f"| segment | segment-analytics-python 2.4.1 | Segment /v1/batch | {note} |"
    assert rows["sentry"].startswith("| sentry | not measured | Sentry envelopes |")


@pytest.mark.parametrize("chapter", CHAPTERS, ids=[chapter.scenario for chapter in CHAPTERS])
def test_missing_scenario_is_said_to_be_missing(chapter: Any) -> None:  # Any: a row of the table
    """Nothing stands in for a figure that nobody measured, and no picture either."""
    without = replace(RESULTS, measurements=[one for one in MEASUREMENTS if one.scenario != chapter.scenario])

    assert lines(chapter.title, page(without))[-1] == MISSING
    assert f"benchmarks/{chapter.scenario}.svg" not in page(without)


def test_empty_file_makes_a_page_that_says_so() -> None:
    """No section has a figure."""
    text = page(Results())

    assert text.count(MISSING) == len(CHAPTERS) + 4
    assert text.count("not measured |") == len(PROMISES) + len(PEERS)
    assert "svg" not in text


def test_same_results_make_the_same_page(tmp_path: Path) -> None:
    """Through the file, and in whatever order the scenarios were run."""
    shuffled = random.Random(5).sample(MEASUREMENTS, len(MEASUREMENTS))
    file = tmp_path / "results.json"
    replace(RESULTS, measurements=shuffled).write(file)
    read = Results.read(file)

    assert page(replace(read, date=RESULTS.date)) == page(RESULTS)


def test_page_in_the_documentation_is_that_of_the_results() -> None:
    """``python -m benchmarks report`` was run after the last measurement, and after the last change to the report."""
    results = Results.read()

    assert PAGE.read_text() == page(results)
    assert {f"{drawn.name}.svg" for drawn in pictures(results)} == {
        path.name for path in (PAGE.parent / "benchmarks").glob("*.svg")
    }


def test_every_scenario_has_a_chapter() -> None:
    """In the order in which they run; web handlers, the log, deliveries and the spool have commands of their own."""
    own = ("handlers", *LOG_SCENARIOS, *DELIVERY_SCENARIOS, *SPOOL_SCENARIOS)

    assert [chapter.scenario for chapter in CHAPTERS] == [*SCENARIOS, *own]


def test_every_promise_names_a_command_that_there_is() -> None:
    """Who doubts a row can run it."""
    known = {f"python -m benchmarks scenarios {name}" for name in SCENARIOS}
    known |= {"python -m benchmarks parts", "python -m benchmarks handlers", LOG, DELIVERIES, SPOOL}
    commands = [promise.command.partition(" --subjects ") for promise in PROMISES]

    assert {command for command, _, _ in commands} <= known
    assert {library for _, _, library in commands} - {""} <= PEERS.keys()


def test_picture_of_the_cost_has_a_point_for_each_row() -> None:
    """CPU to the right, throughput upwards, compressed ones left out."""
    gzip = measurement("throughput", "eventpipe", {**PLAIN, "gzip": True}, {"cpu_us": 6.0, "per_second": 150_000})
    picture = pictures(replace(RESULTS, measurements=[*MEASUREMENTS, gzip]))[0]

    assert list(picture.panels[0].lines) == [
        Line("eventpipe", "default", "100 a batch", ((5.0, 190_000),)),
        Line("eventpipe", "default", "500 a batch", ((3.333, 271_234),)),
        Line("floor", "default", "500 a batch", ((3.0, 300_000),)),
        Line("posthog", "default", "", ((100.0, 8_000),)),
        Line("posthog", "best", "", ((90.0, 9_000),)),
    ]
    assert [line.name for line in picture.panels[0].lines][-2:] == ["posthog", "posthog (best)"]
    assert picture.alt == (
        "Throughput against CPU. events per second over CPU per event, µs: eventpipe (100 a batch) 190 000 at 5; "
        "eventpipe (500 a batch) 271 000 at 3.33; floor (500 a batch) 300 000 at 3."
    )


def test_pictures_show_what_was_measured() -> None:
    """A curve without its last point, which is at no place of the axis; a line of each growing parameter."""
    found = {picture.name: picture for picture in pictures(RESULTS)}

    assert list(found) == ["throughput", "paced", "growth"]
    assert list(found["paced"].panels[0].lines[0].points) == [(50, 2.5), (99, 40.0), (99.9, 350.0)]
    assert found["paced"].alt == "How long a capture takes. µs over percentile: eventpipe 2.5 at 50, 350 at 99.9."
    assert [line.points for line in found["growth"].panels[0].lines] == [((100_000, 4.0), (5_000_000, 4.4))]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.03124, "0.0312"),
        (1.0, "1"),
        (3.999, "4"),
        (9.999, "10"),
        (99.96, "100"),
        (412.3, "412"),
        (1_000, "1 000"),
        (214_312, "214 000"),
        (-3.21, "-3.21"),
    ],
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    """More would be noise."""
    assert number(value) == text
