"""``python -m benchmarks report``: the page and the pictures of what was measured, from the results file alone."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.chapters import CHAPTERS, IN_SHORT, LIMITS, PARTS, READERS
from benchmarks.peers import PEERS
from benchmarks.promises import PROMISES, Promise
from benchmarks.results import FILE, Measurement, Results
from benchmarks.series import Picture, batch_of, of, pictures, uncompressed
from benchmarks.tables import grouped, label, number, parameters, spread, table, varying

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"
PICTURES = PAGE.parent / "benchmarks"
MISSING = "Not measured yet."
# What there is to compare with: nobody asks for its ratios to something else.
BESIDE = ("floor", "nothing")
LATENCIES = ("p50_us", "p99_us", "p999_us", "max_us", "lag_p99_ms")


def main(arguments: Sequence[str] = ()) -> int:
    """Write the page and its pictures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks report", description=__doc__)
    parser.parse_args(arguments)
    from benchmarks.plots import draw_all  # here: it needs matplotlib, and a page does not

    results = Results.read(FILE)
    draw_all(pictures(results), PICTURES)
    PAGE.write_text(page(results))
    return 0


def page(results: Results) -> str:
    """The whole page; the same results make the same bytes."""
    drawn = {picture.name: picture for picture in pictures(results)}
    return "\n\n".join(section.strip() for section in _sections(results, drawn) if section) + "\n"


def _sections(results: Results, drawn: Mapping[str, Picture]) -> Iterator[str]:
    yield "# Benchmarks"
    yield (
        "This page is generated: `python -m benchmarks report` writes it from `benchmarks/results.json`, and the other "
        "commands fill that file; [benchmarks/README.md](../benchmarks/README.md) has them. "
        + (f"The newest figure is of {results.date}." if results.date else MISSING)
    )
    yield "## How to read it"
    yield READERS
    yield "## In short"
    yield IN_SHORT
    yield headline(results)
    yield picture(drawn.get("throughput"))
    yield "## What is promised"
    yield promised(results)
    yield "## The scenarios"
    for chapter in CHAPTERS:
        yield f"### {chapter.title}"
        yield chapter.text
        yield scenario(results, chapter.scenario)
        if chapter.scenario != "throughput":
            yield picture(drawn.get(chapter.scenario))
    yield "## The parts"
    yield PARTS
    yield parts(results)
    yield "## The libraries"
    yield libraries(results)
    yield "## Where it was measured"
    yield environment(results)
    yield "## What this does not say"
    yield LIMITS


def headline(results: Results) -> str:
    """Every subject with each of its settings: cost and speed at full load, delays at a usual one."""
    paced = {(found.subject, found.settings, batch_of(found)): found for found in of(results, "paced")}
    rows = []
    for quick in uncompressed(of(results, "throughput")):
        who = (quick.subject, quick.settings, batch_of(quick))
        slow = paced.get(who)
        measured = [found for found in (quick, slow) if found]
        rows.append(
            [
                *who,
                value(quick, "cpu_us"),
                *(ratio(quick, "cpu_us", other) for other in ("floor", "reference")),
                value(quick, "per_second"),
                *(value(slow, name) for name in LATENCIES),
                grouped(sum(found.lost for found in measured)),
                grouped(sum(found.duplicated for found in measured)),
            ]
        )
    heading = ["subject", "settings", "a batch", label("cpu_us"), "to the floor", "to the reference"]
    heading += [label("per_second"), *(f"capture {label(name)}" for name in LATENCIES[:-1]), label(LATENCIES[-1])]
    return table([*heading, "lost", "duplicated"], rows) if rows else MISSING


def promised(results: Results) -> str:
    """Every promise, with what was measured."""
    words = {True: "met", False: "**not met**", None: "not measured"}
    return table(
        ("promise", "measured", "bound", "", "measured by"),
        (
            [promise.what, *judged(promise, results), words[promise.is_met(results)], f"`{promise.command}`"]
            for promise in PROMISES
        ),
    )


def scenario(results: Results, name: str) -> str:
    """What was measured in a scenario: the figures, then their ratios to what ran beside them."""
    measured = of(results, name)
    if not measured:
        return MISSING
    differing = varying(measured)
    shared = parameters(measured[0], sorted(measured[0].parameters.keys() - set(differing)))
    whose = [[found.subject, found.settings, *(setting(found, one) for one in differing)] for found in measured]
    heading = ["subject", "settings", *(one.replace("_", " ") for one in differing)]
    figures = list(dict.fromkeys(one for found in measured for one in found.figures))
    figures.sort(key=lambda one: one == "far_end_us")  # of the far end, so behind those of the subject
    rows = [
        [*who, *(spread(found.figures.get(one)) for one in figures), *counts(found)]
        for who, found in zip(whose, measured, strict=True)
    ]
    text = table([*heading, *map(label, figures), "captured", "lost", "reported", "duplicated"], rows)
    pairs = list(
        dict.fromkeys((one, other) for found in measured for one in found.ratios for other in found.ratios[one])
    )
    compared = [
        [*who, *(spread(found.ratios.get(one, {}).get(other)) for one, other in pairs)]
        for who, found in zip(whose, measured, strict=True)
        if found.subject not in BESIDE and any(found.ratios.values())
    ]
    if compared:
        text += "\nAs ratios to those that ran beside them:\n\n"
        text += table([*heading, *(f"{label(one).partition(',')[0]}, to {other}" for one, other in pairs)], compared)
    return f"All with {shared}.\n\n{text}" if shared else text


def counts(found: Measurement) -> list[str]:
    """Where its events went."""
    reported = "" if found.dropped is None else grouped(found.dropped)
    return [grouped(found.captured), grouped(found.lost), reported, grouped(found.duplicated)]


def parts(results: Results) -> str:
    """What each part costs by itself, and beside what."""
    rows = []
    for found in results.parts:
        lowest, highest = found["spread"]
        beside = ("", "") if found["ratio"] is None else (number(found["ratio"]), found["baseline"])
        rows.append([found["name"], number(found["us"]), f"{number(lowest)}-{number(highest)}", *beside])
    return table(("part", "µs", "lowest-highest", "ratio of the lowest", "to"), rows) if rows else MISSING


def libraries(results: Results) -> str:
    """The other libraries, in the versions that were measured, and what a reader of their figures should know."""
    versions = {name: f"{name} {found}" for name, found in results.environment.items()}
    rows = []
    for name, peer in PEERS.items():
        packages = [package.partition("[")[0].partition(">")[0] for package in peer.packages]
        installed = [versions[package] for package in packages if package in versions]
        rows.append([name, ", ".join(installed) or "not measured", peer.wire, peer.note])
    return table(("library", "packages", "speaks", "what to know"), rows)


def environment(results: Results) -> str:
    """Machine and versions."""
    return table(("what", "which"), flat(results.environment)) if results.environment else MISSING


def picture(drawn: Picture | None) -> str:
    """The place of a picture, if there is one."""
    return f"![{drawn.alt}]({PICTURES.name}/{drawn.name}.svg)" if drawn else ""


def value(found: Measurement | None, name: str) -> str:
    """The median of a figure."""
    return number(found.figures[name].median) if found and name in found.figures else ""


def ratio(found: Measurement | None, name: str, other: str) -> str:
    """The median ratio of a figure to that of another subject; one to itself is 1."""
    if found is None or name not in found.figures:
        return ""
    beside = found.ratios.get(name, {}).get(other)
    return number(beside.median) if beside else "1" if found.subject == other else ""


def setting(found: Measurement, name: str) -> str:
    """A parameter in the column of its name."""
    given = found.parameters.get(name, "")
    if isinstance(given, bool):
        return "yes" if given else "no"
    return grouped(given) if isinstance(given, int) else str(given)


def flat(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:  # Any: JSON
    """A line for each value, by the names above it."""
    for name, found in sorted(tree.items()):
        if isinstance(found, dict):
            yield from flat(found, f"{above}{name} ")
        else:
            yield above + name.replace("_", " "), str(found)


def judged(promise: Promise, results: Results) -> tuple[str, str]:
    """What was measured for a promise, and its bound, in words."""
    found = promise.find(results)
    unit = f" {promise.unit}" if promise.unit else ""
    sign = "≥" if promise.is_least else "≤"
    return ("" if found is None else number(found) + unit), f"{sign} {number(promise.bound)}{unit}"


if __name__ == "__main__":
    raise SystemExit(main())
