"""No sink ships without its contract."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest

import eventpipe.sinks


def _sinks_of(module_name: str) -> list[str]:
    """The sink classes that a module defines; one without ``send`` is a part that sinks are made of."""
    module = importlib.import_module(f"eventpipe.sinks.{module_name}")
    return [
        name
        for name, value in inspect.getmembers(module, inspect.isclass)
        if name.endswith("Sink") and value.__module__ == module.__name__ and hasattr(value, "send")
    ]


MODULES = sorted(module.name for module in pkgutil.iter_modules(eventpipe.sinks.__path__))
WITH_SINKS = [name for name in MODULES if _sinks_of(name)]


@pytest.mark.parametrize("name", WITH_SINKS)
def test_every_sink_runs_the_contract(name: str) -> None:
    """Each module of ``eventpipe.sinks`` with a sink has a file here, in which that sink's class stands."""
    path = Path(__file__).with_name(f"test_{name}_sink.py")

    assert path.exists(), f"eventpipe.sinks.{name} has no {path.name}"
    for sink in _sinks_of(name):
        assert f"class Test{sink}(SinkContract)" in path.read_text(), f"{path.name} does not run SinkContract on {sink}"


def test_the_guard_finds_the_sinks() -> None:
    """The guard looks at what is there: the sinks that everybody has are among those that it checks."""
    assert {"callback", "file", "http", "logging", "memory"} <= set(WITH_SINKS)


def test_every_sink_is_exported() -> None:
    """``from eventpipe.sinks import …`` has every sink of the package."""
    assert sorted(eventpipe.sinks.__all__) == sorted(sink for name in WITH_SINKS for sink in _sinks_of(name))
