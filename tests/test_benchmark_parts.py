"""The parts that are timed still do their work; how quickly is for the benchmark to say."""

from __future__ import annotations

import math

import pytest

from benchmarks.steps import STEPS, Step


@pytest.mark.parametrize("step", STEPS, ids=[step.name for step in STEPS])
def test_a_step_does_its_work(step: Step) -> None:
    """Every part can be called as the benchmark calls it, as often as it likes."""
    timed = step.make()

    assert 0 < timed(1) < math.inf
    assert 0 < timed(2) < math.inf


def test_a_step_comes_behind_what_it_is_held_against() -> None:
    """A ratio needs the time of its baseline, which has none of its own."""
    baselines: set[str] = set()
    for step in STEPS:
        if step.baseline is None:
            baselines.add(step.name)
        else:
            assert step.baseline in baselines
