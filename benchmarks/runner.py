"""Runs cases: each subject in a process of its own beside the floor and the reference, several times.

The subjects share one core and their far ends another. In a run the subjects take turns of a fraction of a second, so
that those that are compared had the same machine; who is not at work stands still. What mostly waits runs all at once
instead.
"""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.broker import BrokerProcess
from benchmarks.peers import PEERS
from benchmarks.process import PROMPT, Behaviour, RunError, SinkProcess, SubjectProcess
from benchmarks.results import Measurement, Spread
from benchmarks.subject import OWN, Setup
from benchmarks.workload import EVENT_BYTES, Result

Options = Mapping[str, Any]  # Any: JSON
Figures = dict[str, float]
Times = dict[str, list[tuple[float, int]]]
Watch = Callable[[Result, Times], Figures]


@dataclass(frozen=True, slots=True)
class Contender:
    """One of those that are compared.

    Attributes:
        subject: Whose driver it is.
        settings: ``default`` or ``best``.
        options: For the driver.
        arguments: For the load, in place of those of the case.
        parameters: What its measurement has beside those of the case.
        name: What ratios to it are called; ``None``: as the subject.
        copies: How many far ends each event goes to.
    """

    subject: str
    settings: str = "default"
    options: Options = field(default_factory=dict)
    arguments: Options = field(default_factory=dict)
    parameters: Options = field(default_factory=dict)
    name: str | None = None
    copies: int = 1


@dataclass(frozen=True, slots=True)
class Case:
    """One load with one set of parameters, and who bears it.

    Attributes:
        scenario: What it belongs to.
        load: What each process does.
        contenders: Who is measured, all beside each other.
        arguments: For the load.
        parameters: What its measurements are told apart by.
        baselines: The names of those that all others are compared with.
        behaviour: Of the far end.
        event_bytes: Size of an event.
        turns: Turns in a run that count.
        warm: Arguments of a turn before them that does not, in place of the others; ``None``: there is none.
        added: Figures of which the difference to the first baseline is a figure too.
        is_waiting: Whether the load mostly waits, so that all runs may go on at once.
        step: After so many turns begins the next measurement of a process that grows; 0: all make one.
        watch: Makes figures of what a turn found and of the far end's times.
    """

    scenario: str
    load: str
    contenders: Sequence[Contender]
    arguments: Options = field(default_factory=dict)
    parameters: Options = field(default_factory=dict)
    baselines: Sequence[str] = ("floor", "reference")
    behaviour: Behaviour = PROMPT
    event_bytes: int = EVENT_BYTES
    turns: int = 3
    warm: Options | None = field(default_factory=dict)
    added: Sequence[str] = ()
    is_waiting: bool = False
    step: int = 0
    watch: Watch | None = None


@dataclass(slots=True)
class Run:
    """What one process found, turn by turn without the one that warms up, and what became of all its events.

    ``far_end_us`` is the far end's own CPU for each event that it read: it must be far below the subject's.
    """

    turns: list[Figures]
    curves: dict[str, list[list[float]]]
    captured: int
    delivered: int
    duplicated: int
    dropped: int | None
    far_end_us: float


class Runner:
    """Runs cases on this machine.

    Args:
        runs: Fresh processes of each contender.
        python_of: Finds the interpreter that has a library.
    """

    def __init__(self, runs: int, python_of: Callable[[str], Path]) -> None:
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        self._core = cores[0] if cores else None
        self._far_core = cores[-1] if len(cores) > 1 else None
        self._runs = runs
        self._python_of = python_of

    def measure(self, case: Case) -> list[Measurement]:
        """One measurement of each contender, in their order; of a process that grows, one for each of its steps."""
        if case.step:
            return _grown(case, self._beside(case, case.contenders, 0))
        if case.is_waiting:
            with ThreadPoolExecutor(self._runs * len(case.contenders)) as threads:
                started = [
                    [threads.submit(self._beside, case, [contender], 0) for contender in case.contenders]
                    for _ in range(self._runs)
                ]
                runs = [[one.result()[0] for one in beside] for beside in started]
        else:
            runs = [self._beside(case, case.contenders, number) for number in range(self._runs)]
        return [_measurement(case, at, runs) for at in range(len(case.contenders))]

    def _beside(self, case: Case, contenders: Sequence[Contender], number: int) -> list[Run]:
        """One run of each, turn and turn about; who comes first changes from turn to turn and from run to run."""
        with ExitStack() as stack:
            far_ends = [stack.enter_context(self._far_end(case, contender)) for contender in contenders]
            processes = [
                stack.enter_context(self._process(case, contender, far_end.url))
                for contender, far_end in zip(contenders, far_ends, strict=True)
            ]
            for far_end in far_ends:
                far_end.reset(case.behaviour)
            turns: list[list[Result]] = [[] for _ in contenders]
            order = [(at + number) % len(contenders) for at in range(len(contenders))]
            instead: list[Options] = [] if case.warm is None else [case.warm]
            for arguments in [*instead, *[{}] * case.turns]:
                for at in order:
                    own = contenders[at].arguments
                    turns[at].append(processes[at].turn({**case.arguments, **own, **arguments}))
                order.append(order.pop(0))
            for process in processes:
                process.end()
            return [_run(case, *found) for found in zip(contenders, turns, far_ends, strict=True)]

    def _far_end(self, case: Case, contender: Contender) -> SinkProcess:
        if contender.subject in PEERS and PEERS[contender.subject].wire == "Kafka":
            return BrokerProcess(self._far_core, latency=case.behaviour.latency)
        return SinkProcess(self._far_core)

    def _process(self, case: Case, contender: Contender, url: str) -> SubjectProcess:
        command = {
            "load": case.load,
            "subject": contender.subject,
            "setup": asdict(Setup(url, contender.settings, contender.options)),
            "event_bytes": case.event_bytes,
            "cpu": self._core,
        }
        python = Path(sys.executable) if contender.subject in OWN else self._python_of(contender.subject)
        return SubjectProcess(command, python)


def _run(case: Case, contender: Contender, turns: Sequence[Result], far_end: SinkProcess) -> Run:
    """Add up what one process did, and hold eventpipe to its own account."""
    counts = far_end.counts()
    captured = contender.copies * sum(turn["captured"] for turn in turns) - turns[-1].get("pending", 0)
    if contender.subject == "nothing":
        captured = 0
    dropped = turns[-1]["dropped"]
    delivered = counts.unique if case.behaviour.verify else min(counts.events, captured)
    if contender.subject == "eventpipe" and captured != delivered + dropped:
        raise RunError(f"{case.scenario}: captured {captured}, dropped {dropped}, the far end counted {counts}")
    counted = turns[-case.turns :]
    figures = [dict(turn["figures"]) for turn in counted]
    if case.watch is not None:
        figures = [found | case.watch(turn, far_end.times()) for found, turn in zip(figures, counted, strict=True)]
    far_end_us = counts.cpu / counts.read * 1e6 if counts.read else 0.0
    curves = counted[-1].get("curves", {})
    return Run(figures, curves, captured, delivered, counts.events - delivered, dropped, far_end_us)


def _grown(case: Case, found: Sequence[Run]) -> list[Measurement]:
    """The turns of each step as if they were runs; ``events`` says how many a process had sent when they ended."""
    measurements = []
    for end in range(case.step, case.turns + 1, case.step):
        runs = [[_turn(run, at) for run in found] for at in range(end - case.step, end)]
        grown = replace(case, parameters={**case.parameters, "events": end * case.arguments["total"]})
        measurements += [_measurement(grown, at, runs) for at in range(len(case.contenders))]
    return measurements


def _turn(run: Run, at: int) -> Run:
    """One turn of a run, and its share of the run's events."""
    turns = len(run.turns)
    return replace(
        run,
        turns=[run.turns[at]],
        captured=run.captured // turns,
        delivered=run.delivered // turns,
        duplicated=run.duplicated // turns,
    )


def _measurement(case: Case, at: int, runs: Sequence[Sequence[Run]]) -> Measurement:
    """One contender's figures over all runs, and their ratios to those that ran beside it."""
    contender = case.contenders[at]
    own = [beside[at] for beside in runs]
    names = [one.name or one.subject for one in case.contenders]
    bases = [names.index(name) for name in case.baselines if name in names and name != names[at]]
    dropped = [run.dropped for run in own if run.dropped is not None]
    return Measurement(
        scenario=case.scenario,
        subject=contender.subject,
        settings=contender.settings,
        parameters={**case.parameters, **contender.parameters},
        figures={
            **{name: Spread.of(_middle(run, name) for run in own) for name in own[0].turns[0]},
            **{f"added_{name}": Spread.of(_added(runs, at, bases[0], name)) for name in case.added if bases},
            "far_end_us": Spread.of(run.far_end_us for run in own),
        },
        ratios={
            name: {names[base]: Spread.of(found) for base in bases if (found := _ratios(runs, at, base, name))}
            for name in own[0].turns[0]
        },
        captured=sum(run.captured for run in own),
        delivered=sum(run.delivered for run in own),
        duplicated=sum(run.duplicated for run in own),
        dropped=sum(dropped) if dropped else None,
        curves=own[len(own) // 2].curves,
    )


def _middle(run: Run, name: str) -> float:
    return statistics.median(turn[name] for turn in run.turns)


def _added(runs: Sequence[Sequence[Run]], at: int, base: int, name: str) -> list[float]:
    """One difference a run, made as the ratios are."""
    return [
        statistics.median(
            turn[name] - below[name] for turn, below in zip(beside[at].turns, beside[base].turns, strict=True)
        )
        for beside in runs
    ]


def _ratios(runs: Sequence[Sequence[Run]], at: int, base: int, name: str) -> list[float]:
    """One ratio a run: the median over its turns, in each of which both had the same machine."""
    found = []
    for beside in runs:
        pairs = [
            (turn[name], below[name])
            for turn, below in zip(beside[at].turns, beside[base].turns, strict=True)
            if below.get(name)
        ]
        if pairs:
            found.append(statistics.median(value / below for value, below in pairs))
    return found
