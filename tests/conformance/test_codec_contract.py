"""The contract of codecs finds out those that break it."""

from __future__ import annotations

import inspect

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
