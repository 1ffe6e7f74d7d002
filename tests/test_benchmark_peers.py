"""The drivers of other libraries can be run where only that library is installed, in an environment made once."""

from __future__ import annotations

import ast
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import environments, peers
from benchmarks.peers import PEERS, Peer

DRIVERS = Path(peers.__file__).parent
# What a package in PEERS is imported as, where that is not its name.
IMPORTED_AS = {
    "amplitude-analytics": "amplitude",
    "opentelemetry-exporter-otlp-proto-http": "opentelemetry",
    "opentelemetry-sdk": "opentelemetry",
    "segment-analytics-python": "segment",
}
# They need nothing that is not everywhere.
SHARED = {"benchmarks.peers", "benchmarks.peers.kafka", "benchmarks.subject", "benchmarks.workload"}


def imported(module: Path) -> Iterator[str]:
    """Every module that a file imports, by its whole name."""
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


@pytest.mark.parametrize("name", PEERS)
def test_a_driver_imports_its_library_alone(name: str) -> None:
    """Beside the standard library a driver needs what its environment is made of, and no more."""
    distributions = [package.partition(">=")[0].partition("[")[0] for package in PEERS[name].packages]
    own = {IMPORTED_AS.get(package, package.replace("-", "_")) for package in distributions}
    files = [DRIVERS / f"{name}.py"]
    if PEERS[name].wire == "Kafka":
        files.append(DRIVERS / "kafka.py")

    found = {module for file in files for module in imported(file)}

    foreign = {module for module in found if module.partition(".")[0] not in sys.stdlib_module_names}
    assert {module.partition(".")[0] for module in foreign if module not in SHARED} == own


def test_an_environment_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was installed is found again; when other packages are asked for, the environment is made anew."""
    made: list[str] = []

    def create(place: Path, *, with_pip: bool) -> None:
        place.mkdir(parents=True)

    def install(command: list[str], *, check: bool) -> None:
        made.append(command[-1])

    monkeypatch.setenv("EVENTPIPE_BENCH_ENVS", str(tmp_path))
    monkeypatch.setattr(venv, "create", create)
    monkeypatch.setattr(subprocess, "run", install)
    monkeypatch.setitem(PEERS, "lib", Peer(("lib>=1",), "", ""))
    first = environments.python_of("lib")
    again = environments.python_of("lib")
    monkeypatch.setitem(PEERS, "lib", Peer(("lib>=2",), "", ""))
    environments.python_of("lib")

    assert made == ["lib>=1", "lib>=2"]
    assert first == again
    assert first.is_relative_to(tmp_path)


def test_an_interrupted_environment_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands there without having been finished is removed first."""

    def create(place: Path, *, with_pip: bool) -> None:
        place.mkdir(parents=True)
        (place / "begun").touch(exist_ok=False)

    def fail(command: list[str], *, check: bool) -> None:
        raise subprocess.CalledProcessError(1, command)

    monkeypatch.setenv("EVENTPIPE_BENCH_ENVS", str(tmp_path))
    monkeypatch.setattr(venv, "create", create)
    monkeypatch.setattr(subprocess, "run", fail)
    for _ in range(2):
        with pytest.raises(subprocess.CalledProcessError):
            environments.python_of("segment")
