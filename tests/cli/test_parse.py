from __future__ import annotations

import pytest

from eventpipe.cli.failures import UsageError, one_line
from eventpipe.cli.faults import Fail, Outage, Stall, VerdictShare
from eventpipe.cli.parse import (
    parse_duration,
    parse_fail,
    parse_outage,
    parse_port,
    parse_seconds,
    parse_share,
    parse_stall,
    parse_verdicts,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("50ms", 0.05), ("5s", 5.0), ("1.5s", 1.5), (".5s", 0.5), ("2m", 120.0), ("1h", 3600.0), ("0", 0.0), (" 3 ", 3.0)],
)
def test_duration_is_read_with_its_unit(text: str, seconds: float) -> None:
    """A number and a unit are seconds; without a unit it is seconds already."""
    assert parse_duration("--latency", text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "5x", "-1s", "1e9s", "nan", "inf", "5 s", "\u0665s", "25h", "1s2s"])
def test_wrong_duration_is_a_usage_error_that_names_the_option(text: str) -> None:
    """What is no duration is refused in one line that says where it stands."""
    with pytest.raises(UsageError, match=r"^--latency: "):
        parse_duration("--latency", text)


def test_fault_values_are_read() -> None:
    """Each option's form gives the values it stands for."""
    assert parse_stall("--stall", "0.1:5s") == Stall(0.1, 5.0)
    assert parse_fail("--fail", "503:0.25") == Fail(503, 0.25)
    assert parse_outage("--outage", "3s:2s") == Outage(3.0, 2.0, 503)
    assert parse_verdicts("--verdict", ["retry:0.1", "drop:0.05"]) == [
        VerdictShare("retry", 0.1),
        VerdictShare("drop", 0.05),
    ]
    assert parse_share("--reset", "1") == 1.0
    assert parse_port("--port", 0) == 0
    assert parse_seconds("--seconds", 0.5) == 0.5


@pytest.mark.parametrize("text", ["5s", "0.1", "0.1:", ":5s", "2:5s", "-0.1:5s", "nan:5s", "0.1:5x", "a:b", "0.1:5s:1"])
def test_wrong_stall_is_a_usage_error(text: str) -> None:
    """A share above one, a missing half or a wrong duration is refused."""
    with pytest.raises(UsageError, match=r"^--stall: "):
        parse_stall("--stall", text)


@pytest.mark.parametrize("text", ["503", "200:0.1", "600:0.1", "50x:0.1", "503:1.1", "503:", "-503:0.1", "50000:0.1"])
def test_wrong_fail_is_a_usage_error(text: str) -> None:
    """A status that is no error, or a share outside 0 to 1, is refused."""
    with pytest.raises(UsageError, match=r"^--fail: "):
        parse_fail("--fail", text)


@pytest.mark.parametrize(
    "texts",
    [["retry"], ["0.1"], ["retry:2"], ["Retry:0.1"], ["re try:0.1"], [":0.1"], ["retry:0.6", "drop:0.6"]],
)
def test_wrong_verdicts_are_a_usage_error(texts: list[str]) -> None:
    """A verdict is a word with a share, and all together are no more than all events."""
    with pytest.raises(UsageError, match=r"^--verdict: "):
        parse_verdicts("--verdict", texts)


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf"), 1e6])
def test_wrong_seconds_is_a_usage_error(seconds: float) -> None:
    """Zero, negative, endless and undefined times are refused."""
    with pytest.raises(UsageError, match=r"^--seconds: "):
        parse_seconds("--seconds", seconds)


@pytest.mark.parametrize("port", [-1, 65536])
def test_wrong_port_is_a_usage_error(port: int) -> None:
    """A port has sixteen bits."""
    with pytest.raises(UsageError, match=r"^--port: "):
        parse_port("--port", port)


def test_an_error_is_one_printable_line() -> None:
    """Line breaks become spaces, what a terminal would obey is masked, and the length is bounded."""
    assert one_line("a\r\n  b\x1b[31m\tc") == "a b?[31m c"
    assert len(one_line("x" * 10_000)) == 500
