"""Imports point one way, optional libraries stay in their folder, and importing the package does nothing else."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "eventpipe"

# From the bottom up; a unit imports from units before it, and from itself. Modules of one line may use each other.
LAYERS = (
    (
        "checked",
        "clock",
        "configuration",
        "contracts",
        "environment",
        "errors",
        "events",
        "measures",
        "models",
        "unfolding",
        "options",
        "outcomes",
        "retention",
        "statistics",
        "vocabulary",
    ),
    ("encoding",),
    ("core",),
    ("health", "privacy", "scopes", "subscriptions"),
    ("codecs",),
    ("sinks", "stores"),
    ("spool",),
    ("transport",),
    ("log",),
    ("delivery",),
    ("observed",),
    ("settling",),
    ("client",),
    ("blocking",),
    ("pipeline",),
    ("default", "sync"),
    ("",),  # eventpipe/__init__.py, which re-exports
    ("integrations",),
    ("cli",),
)
RANK = {unit: rank for rank, layer in enumerate(LAYERS) for unit in layer}
OPTIONAL = {
    "asgiref": "integrations",
    "cyclopts": "cli",
    "django": "integrations",
    "fastapi": "integrations",
    "litestar": "integrations",
    "opentelemetry": "integrations",
    "prometheus_client": "integrations",
    "quart": "integrations",
    "rich": "cli",
    "starlette": "integrations",
    "structlog": "integrations",
    "pytest": "testing",
    "pytest_asyncio": "testing",
    "hypothesis": "testing",
}
CORE_LIBRARIES = {"aiohttp", "anyio", "orjson", "pydantic", "pydantic_core", "uuid_utils", "yarl"}


@dataclass(frozen=True)
class Import:
    """One import statement: who imports what, and whether importing the module runs it."""

    importer: str
    imported: str
    at_import: bool

    @property
    def unit(self) -> str:
        return unit_of(self.importer)


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def unit_of(module: str) -> str:
    """``eventpipe.core.room`` is of the unit ``core``, ``eventpipe`` itself of ``""``."""
    return module.partition(".")[2].partition(".")[0]


SOURCES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def imports_in(node: ast.AST, importer: str, at_import: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(importer, name.name, at_import) for name in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"{importer} imports relatively; name the module in full"
            assert child.module is not None
            for name in child.names:
                inner = f"{child.module}.{name.name}"
                yield Import(importer, inner if inner in SOURCES else child.module, at_import)
        elif isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)) or is_type_checking(child):
            yield from imports_in(child, importer, at_import=False)
        else:
            yield from imports_in(child, importer, at_import)


IMPORTS = [
    found
    for module, path in SOURCES.items()
    for found in imports_in(ast.parse(path.read_text()), module, at_import=True)
]
OWN = [found for found in IMPORTS if found.imported.partition(".")[0] == "eventpipe"]
FOREIGN = [found for found in IMPORTS if found not in OWN]


def test_every_module_has_a_layer() -> None:
    """A new top-level module or folder is put into ``LAYERS`` before anything imports it."""
    units = {unit_of(module) for module in SOURCES} - {"testing", "__main__"}

    assert units == set(RANK)


def may_import(unit: str, other: str) -> bool:
    if other not in RANK:
        return False
    return unit == other or RANK[other] < RANK[unit] or RANK[other] == RANK[unit] == 0


def test_imports_point_to_lower_layers() -> None:
    """Values and errors know nothing of core, core of sinks, sinks of transport, transport of the client."""
    wrong = [
        f"{found.importer} imports {found.imported}"
        for found in OWN
        if found.unit in RANK and not may_import(found.unit, unit_of(found.imported))
    ]

    assert wrong == []


def test_nothing_imports_the_testing_kit() -> None:
    """``eventpipe.testing`` is for tests: no part of the package needs it."""
    assert [found for found in OWN if unit_of(found.imported) == "testing" and found.unit != "testing"] == []


def test_modules_import_each_other_in_no_circle() -> None:
    """Any module can be imported first."""
    edges: dict[str, set[str]] = {module: set() for module in SOURCES}
    for found in OWN:
        if found.at_import and found.imported != found.importer:
            edges[found.importer].add(found.imported)
    done: set[str] = set()

    def walk(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " imports ".join((*path[path.index(module) :], module))
        if module not in done:
            for imported in sorted(edges[module]):
                walk(imported, (*path, module))
            done.add(module)

    for module in SOURCES:
        walk(module, ())


@pytest.mark.parametrize("library", sorted(OPTIONAL))
def test_optional_library_stays_in_its_folder(library: str) -> None:
    """A library that only an extra installs is imported by that extra's folder and by nothing else."""
    importers = {
        found.unit
        for found in FOREIGN
        # The messages of OpenTelemetry are an extra of their own, which the codec and its reader look for when made.
        if found.imported.partition(".")[0] == library and not found.imported.startswith("opentelemetry.proto.")
    }

    assert importers <= {OPTIONAL[library]}


def test_messages_of_opentelemetry_are_imported_when_they_are_needed() -> None:
    """The codec that writes them, and the reader of the command line, do so inside functions."""
    users = [found for found in FOREIGN if found.imported.startswith("opentelemetry.proto.")]

    assert {found.importer for found in users} == {
        "eventpipe.cli.wires.otlp",
        "eventpipe.codecs.otlp",
    }
    assert not [found.importer for found in users if found.at_import]


def test_core_needs_only_its_declared_libraries() -> None:
    """Outside the folders of the extras, imports are of the standard library or of the five core dependencies."""
    tops = {
        found.imported.partition(".")[0]
        for found in FOREIGN
        if found.unit not in ("cli", "integrations", "testing") and found.at_import
    }

    assert tops - set(sys.stdlib_module_names) - CORE_LIBRARIES == set()


def test_aiohttp_is_imported_when_an_http_sink_is_made() -> None:
    """Only ``sinks/http*.py``, the folders above and aiohttp's own integration do; ``http.py`` inside functions."""
    users = [found for found in FOREIGN if found.imported.partition(".")[0] == "aiohttp"]

    assert {found.importer for found in users if found.at_import and found.unit not in ("cli", "testing")} <= {
        "eventpipe.integrations.aiohttp_web",
        "eventpipe.sinks.http_connections",
        "eventpipe.sinks.http_connectors",
        "eventpipe.sinks.http_direct",
        "eventpipe.sinks.http_errors",
        "eventpipe.sinks.http_wire",
    }
    assert not [
        found.importer
        for found in OWN
        if found.imported.startswith("eventpipe.sinks.http_")
        and found.at_import
        and found.unit != "cli"
        and not found.importer.startswith("eventpipe.sinks.http_")
    ]
    assert {
        found.importer
        for found in users
        if found.unit not in ("cli", "testing") and not found.importer.startswith("eventpipe.sinks.http")
    } <= {"eventpipe.integrations.aiohttp_web", "eventpipe.sinks.webhook"}  # whose lent session has a type


PROBE = """
import json, logging, os, signal, sys, threading
def state():
    return dict(os.environ), [signal.getsignal(number) for number in (2, 15)], list(logging.root.handlers)
before = state()
files = set(os.listdir("/dev/fd"))
import eventpipe, eventpipe.sinks, eventpipe.codecs
print(json.dumps({
    "changed": before != state(),
    "threads": threading.active_count() - 1,
    "files": len(set(os.listdir("/dev/fd")) - files),
}))
"""


@pytest.mark.wallclock
def test_import_has_no_side_effect() -> None:
    """Importing changes no environment, signal handler or logging, and starts no thread and opens no file."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    seen = subprocess.run(
        [sys.executable, "-c", PROBE], capture_output=True, text=True, check=True, cwd=ROOT, env=environment
    )

    assert seen.stderr == ""
    assert json.loads(seen.stdout) == {"changed": False, "threads": 0, "files": 0}
