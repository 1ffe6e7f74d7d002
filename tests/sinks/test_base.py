"""What every sink of the package takes and refuses alike."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from eventpipe.events import CapturedEvent
from eventpipe.sinks import CallbackSink, FileSink, LoggingSink, MemorySink
from eventpipe.sinks.base import BaseSink, check_seconds

MAKERS: dict[str, Callable[..., BaseSink]] = {
    "MemorySink": MemorySink,
    "CallbackSink": lambda **options: CallbackSink(print, **options),
    "LoggingSink": LoggingSink,
    "FileSink": lambda **options: FileSink("never-made.ndjson", **options),
}


@pytest.fixture(params=MAKERS)
def make(request: pytest.FixtureRequest) -> Callable[..., BaseSink]:
    return MAKERS[request.param]


@pytest.mark.parametrize("name", list(MAKERS))
def test_is_called_by_its_class_unless_named(name: str) -> None:
    """Reports call a sink by its class, or as its maker says."""
    assert MAKERS[name]().name == name
    assert MAKERS[name](name="audit").name == "audit"


def test_keeps_its_filter(make: Callable[..., BaseSink]) -> None:
    """``where`` is there for the client to read."""

    def where(event: CapturedEvent) -> bool:
        return True

    assert make(where=where).where is where
    assert make().where is None


async def _where(event: CapturedEvent) -> bool:
    return True


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"where": _where}, "where must be a plain function or None, not <function _where", id="async"),
        pytest.param({"where": True}, "where must be a plain function or None, not True", id="no function"),
        pytest.param({"name": ""}, "name must be a string that is not blank, or None, not ''", id="empty name"),
        pytest.param({"name": "  "}, "name must be a string that is not blank, or None, not '  '", id="blank name"),
        pytest.param({"name": 5}, "name must be a string that is not blank, or None, not 5", id="a number as name"),
    ],
)
def test_refuses_bad_options(make: Callable[..., BaseSink], options: dict[str, Any], message: str) -> None:
    """A wrong option is a ``ValueError`` at construction."""
    with pytest.raises(ValueError, match=f"^{message}"):
        make(**options)


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, True, "1", 10**400], ids=str)
def test_refuses_times_without_meaning(value: Any) -> None:
    """A time is a finite number above 0."""
    with pytest.raises(ValueError, match=r"^timeout must be a finite number of seconds above 0, or None, not "):
        check_seconds("timeout", value)


@pytest.mark.parametrize("value", [None, 1, 0.001], ids=repr)
def test_takes_times_with_a_meaning(value: Any) -> None:
    """``None`` is left to the option's own meaning."""
    check_seconds("timeout", value)
