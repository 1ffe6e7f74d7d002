"""No sink and no store ships without its contract."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest

import eventpipe.sinks
import eventpipe.stores


def _sinks_of(module_name: str) -> list[str]:
    """The sink classes that a module defines; one without ``send`` is a part that sinks are made of."""
    return _classes_of(f"eventpipe.sinks.{module_name}", "Sink", "send")


def _stores_of(module_name: str) -> list[str]:
    """The engines that a module defines; the protocols that they keep are none."""
    is_protocol = module_name in ("base", "delivery_base")
    return [] if is_protocol else _classes_of(f"eventpipe.stores.{module_name}", "Store", "claim")


def _classes_of(module_name: str, ending: str, method: str) -> list[str]:
    module = importlib.import_module(module_name)
    return [
        name
        for name, value in inspect.getmembers(module, inspect.isclass)
        if name.endswith(ending) and value.__module__ == module.__name__ and hasattr(value, method)
    ]


MODULES = sorted(module.name for module in pkgutil.iter_modules(eventpipe.sinks.__path__))
WITH_SINKS = [name for name in MODULES if _sinks_of(name)]
WITH_STORES = sorted(
    module.name for module in pkgutil.iter_modules(eventpipe.stores.__path__) if _stores_of(module.name)
)


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


@pytest.mark.parametrize("name", WITH_STORES)
def test_every_store_runs_the_contracts(name: str) -> None:
    """Each engine of ``eventpipe.stores`` stands in a file here with the contract of stores, and that of leases."""
    path = Path(__file__).with_name(f"test_{name}_store.py")
    leases = path.read_text() + Path(__file__).with_name("test_leases.py").read_text()

    for store in _stores_of(name):
        assert "(StoreContract)" in path.read_text(), f"{path.name} does not run StoreContract on {store}"
        assert store in path.read_text()
        assert "(LeaseContract)" in leases
        assert store in leases


@pytest.mark.parametrize("name", WITH_STORES)
def test_every_store_that_keeps_deliveries_runs_their_contract(name: str) -> None:
    """Each such engine of ``eventpipe.stores`` stands in a file here with the contract of deliveries."""
    module = importlib.import_module(f"eventpipe.stores.{name}")
    path = Path(__file__).with_name(f"test_{name}_deliveries.py")

    for store in _stores_of(name):
        if hasattr(getattr(module, store), "deliveries"):
            assert path.exists(), f"eventpipe.stores.{name} has no {path.name}"
            assert "(DeliveryStoreContract)" in path.read_text()
            assert store in path.read_text()


def test_the_guard_finds_the_stores() -> None:
    """Of which there are those that need nothing else installed."""
    assert {"memory", "sqlite"} <= set(WITH_STORES)


def test_every_store_is_exported() -> None:
    """``from eventpipe.stores import …`` has every engine of the package."""
    assert {store for name in WITH_STORES for store in _stores_of(name)} <= set(eventpipe.stores.__all__)
