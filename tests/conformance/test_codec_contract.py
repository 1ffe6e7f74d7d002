"""The contract of codecs finds out those that break it."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable

import pytest

from eventpipe.testing import CodecContract, CodecRig
from tests.conformance.broken_codecs import BROKEN, Good, rig_of


class TestAGoodCodec(CodecContract):
    @pytest.fixture
    def rig(self) -> CodecRig:
        return rig_of(Good())


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_codec_is_found_out(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each breaks one rule, and the scenario of that rule fails."""
    scenario, codec = BROKEN[what]
    given = {"number": 3, "value": "7", "seconds": 7.0, "complete": True, "monkeypatch": monkeypatch}
    wanted = {name: given[name] for name in inspect.signature(scenario).parameters if name in given}

    with pytest.raises((AssertionError, UnicodeDecodeError, ZeroDivisionError)):
        scenario(CodecContract(), rig=rig_of(codec()), **wanted)


def test_every_scenario_finds_something() -> None:
    """No scenario is there for nothing: a broken codec fails in each."""
    scenarios = {name for name in dir(CodecContract) if name.startswith("test_")}
    at_random = {"test_no_answer_made_up_at_random_is_an_exception"}  # the same checks as in that with a table

    assert {getattr(scenario, "__name__", None) for scenario, _ in BROKEN.values()} == scenarios - at_random


@pytest.mark.parametrize(
    "scenario",
    [
        CodecContract.test_events_made_up_at_random_arrive,
        CodecContract.test_no_answer_made_up_at_random_is_an_exception,
    ],
)
def test_only_what_is_made_up_at_random_needs_hypothesis(
    scenario: Callable[[CodecContract, CodecRig], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it these scenarios are skipped, and say why."""
    monkeypatch.setitem(sys.modules, "hypothesis", None)

    with pytest.raises(pytest.skip.Exception, match=r"^hypothesis makes up the (events|answers)"):
        scenario(CodecContract(), rig_of(Good()))


def test_the_suite_can_be_had_without_hypothesis() -> None:
    """Importing it imports no hypothesis."""
    code = "import sys, eventpipe.testing as t; t.CodecContract, t.CodecRig; assert 'hypothesis' not in sys.modules"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
