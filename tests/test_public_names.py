"""What is public is documented, typed, and used in ``tests/typing/api.py``."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from pathlib import Path

import pytest

API = Path(__file__).parent / "typing" / "api.py"
DOCS = Path(__file__).parents[1] / "docs"
PACKAGES = (
    "eventpipe",
    "eventpipe.codecs",
    "eventpipe.delivery",
    "eventpipe.integrations.opentelemetry",
    "eventpipe.log",
    "eventpipe.pipeline",
    "eventpipe.privacy",
    "eventpipe.sinks",
    "eventpipe.stores",
    "eventpipe.testing",
)


def public_names(package: str) -> list[str]:
    names: list[str] = importlib.import_module(package).__all__
    return names


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_exist(package: str) -> None:
    """``__all__`` lists each public name once, and each can be imported."""
    names = public_names(package)

    assert len(names) == len(set(names))
    assert [name for name in names if not hasattr(importlib.import_module(package), name)] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_are_used_in_the_typed_api(package: str) -> None:
    """``tests/typing/api.py`` imports exactly the public names, so that mypy sees a use of each."""
    assert imported_from(package) == set(public_names(package)) - {"__version__"}


def imported_from(package: str) -> set[str]:
    return {
        name.name
        for node in ast.walk(ast.parse(API.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module == package
        for name in node.names
    }


@pytest.mark.parametrize("module", ["aiohttp_web", "asgi", "django", "fastapi", "quart"])
def test_names_for_web_frameworks_are_documented_and_typed(module: str) -> None:
    """Except those that ``asgi`` has, which the others hand on."""
    package = f"eventpipe.integrations.{module}"
    theirs, asgi = (importlib.import_module(name) for name in (package, "eventpipe.integrations.asgi"))
    names = {
        name
        for name in public_names(package)
        if theirs is asgi or getattr(theirs, name) is not getattr(asgi, name, None)
    }

    rows = re.findall(rf"^\| (`{module}\..*?) \|", (DOCS / "api.md").read_text(), re.MULTILINE)
    documented = {word.removeprefix(f"{module}.") for row in rows for word in re.findall(r"`([\w.]+)", row)}

    assert (imported_from(package), documented) == (names, names)


def test_typed_api_uses_what_it_imports() -> None:
    """An import alone is no use: each name occurs again below."""
    tree = ast.parse(API.read_text())
    imported = {
        name.asname or name.name for node in tree.body if isinstance(node, ast.ImportFrom) for name in node.names
    }
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}

    assert imported - used - {"annotations"} == set()


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_have_docstrings(package: str) -> None:
    """Each public class and function says what it is, and so does each of its public methods."""
    module = importlib.import_module(package)
    silent = []
    for name in public_names(package):
        thing = getattr(module, name)
        if not (inspect.isclass(thing) or inspect.isfunction(thing)):
            continue
        members = vars(thing).items() if inspect.isclass(thing) else []
        described = [
            (name, thing),
            *((f"{name}.{member}", value) for member, value in members if is_method(member, value)),
        ]
        silent += [label for label, value in described if not (inspect.getdoc(value) or "").strip()]

    assert silent == []


def is_method(name: str, value: object) -> bool:
    return not name.startswith("_") and (inspect.isfunction(value) or isinstance(value, (property, classmethod)))


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_are_in_the_documentation(package: str) -> None:
    """Each public name occurs on a page of ``docs/``."""
    text = "\n".join(page.read_text() for page in DOCS.glob("*.md"))

    assert [name for name in public_names(package) if name not in text and name != "__version__"] == []
