"""The command that writes typed events as JSON schemas, and compares them with saved ones."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eventpipe.cli.main import main
from tests.cli.process import run

MODULE = '''
from __future__ import annotations

from typing import Generic, Literal, TypeVar

from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from eventpipe.models import EventModel

T = TypeVar("T")


class Address(BaseModel):
    street: str
    zip: str | None = None


class Part(TypedDict, total=False):
    sku: str


class SignedUp(EventModel, version=2):
    """Somebody has
    an account."""

    plan: Literal["free", "pro"] = "free"
    home: Address | None = None


class Paid(EventModel):
    total: int = Field(serialization_alias="$total")
    parts: list[Part] = []


class _Base(EventModel):
    shared: int


class Generic_(EventModel, Generic[T], name="generic"):
    value: T


Alias = Paid
'''

_names = itertools.count()


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module with events in the current directory, under a name that was never imported."""
    path = tmp_path / f"events_{next(_names)}.py"
    path.write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # the file is written again within a second
    before = list(sys.path)
    yield path
    sys.modules.pop(path.stem, None)
    assert sys.path == before


def changed(module: Path, *changes: tuple[str, str]) -> None:
    """Write the module anew, and forget the one that was imported."""
    text = module.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    module.write_text(text)
    sys.modules.pop(module.stem, None)


def document(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    """What the command prints."""
    assert main(["schema", *words]) == 0
    return json.loads(capsys.readouterr().out)


def test_every_event_of_a_module_is_written(module: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By name, with version, description and the schema of what is sent: neither bases nor parts of others."""
    text = document(capsys, module.stem)

    assert text["eventpipe_schema"] == 1
    paid, signed_up = text["events"]
    assert [paid["name"], paid["version"], paid["description"]] == ["paid", None, ""]
    assert [signed_up["name"], signed_up["version"]] == ["signed_up", 2]
    assert signed_up["description"] == "Somebody has an account."
    assert signed_up["schema"] == {
        "$defs": {
            "Address": {
                "properties": {
                    "street": {"title": "Street", "type": "string"},
                    "zip": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None, "title": "Zip"},
                },
                "required": ["street", "zip"],
                "title": "Address",
                "type": "object",
            }
        },
        "properties": {
            "plan": {"default": "free", "enum": ["free", "pro"], "title": "Plan", "type": "string"},
            "home": {"anyOf": [{"$ref": "#/$defs/Address"}, {"type": "null"}], "default": None},
            "event_version": {"const": 2, "title": "Event Version", "type": "integer"},
        },
        "required": ["plan", "home", "event_version"],
        "title": "SignedUp",
        "type": "object",
    }
    assert paid["schema"]["required"] == ["$total", "parts"]
    assert "required" not in paid["schema"]["$defs"]["Part"]


def test_document_is_the_same_for_the_same_events(module: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In whatever order they are named, and however often."""
    one, other = f"{module.stem}:Paid", f"{module.stem}:SignedUp"

    assert document(capsys, one, other) == document(capsys, other, one, one) == document(capsys, module.stem)
    assert [event["name"] for event in document(capsys, one)["events"]] == ["paid"]


def test_document_is_written_to_a_file(module: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is printed then is one line; the file has what would have been printed."""
    printed = document(capsys, module.stem)

    assert main(["schema", module.stem, "--output", "saved.json"]) == 0

    assert capsys.readouterr().out == "2 events written to saved.json\n"
    assert json.loads(Path("saved.json").read_text()) == printed


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        pytest.param([], ["compatible with saved.json: 2 events, 0 new"], id="nothing"),
        pytest.param(
            [("_Base", "Base"), ("    total:", "    more: int\n    total:")],
            ["compatible with saved.json: 2 events, 1 new"],
            id="more events and properties",
        ),
        pytest.param(
            [
                ('"free", "pro"', '"free", "gold"'),
                ("total: int", "total: float"),
                ("zip: str | None", "zip: int | None"),
            ],
            [
                "paid: $total: may now be a number; readers expect a whole number",
                "signed_up version 2: home.zip: may now be a whole number; readers expect text or null",
                "signed_up version 2: plan: may now be 'gold'; readers expect 'free' or 'pro'",
            ],
            id="properties",
        ),
        pytest.param(
            [("version=2", "version=3")],
            ["signed_up version 2: was removed; readers expect it"],
            id="version",
        ),
        pytest.param(
            [("class Paid(EventModel)", 'class Paid(EventModel, name="bought")')],
            ["paid: was removed; readers expect it"],
            id="name",
        ),
    ],
)
def test_changes_since_a_saved_document(
    module: Path, changes: list[tuple[str, str]], lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1 and a line for each that readers would not survive, else 0 and one line."""
    assert main(["schema", module.stem, "--output", "saved.json"]) == 0
    capsys.readouterr()
    changed(module, *changes)

    code = main(["schema", module.stem, "--check", "saved.json"])

    assert capsys.readouterr().out.splitlines() == lines
    assert code == (0 if "compatible" in lines[0] else 1)


def test_document_is_replaced_only_by_a_compatible_one(module: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``--check`` and ``--output`` together keep a file up to date, and never hide a change."""
    assert main(["schema", module.stem, "--output", "saved.json"]) == 0
    saved = Path("saved.json").read_text()

    changed(module, ('"free", "pro"', "str"), ("Literal[str]", "str"))
    assert main(["schema", module.stem, "--check", "saved.json", "--output", "saved.json"]) == 1
    assert Path("saved.json").read_text() == saved

    changed(module, ("plan: str", 'plan: Literal["free"]'))
    assert main(["schema", module.stem, "--check", "saved.json", "--output", "saved.json"]) == 0
    assert '"const": "free"' in Path("saved.json").read_text()


WRONG: dict[str, tuple[str, list[str], int, str]] = {
    "nothing named": ("", [], 2, "name at least one module with events, such as app.events"),
    "no such module": ("", ["nowhere.events"], 2, "there is no module nowhere.events here, and none is installed"),
    "path": (
        "",
        ["app/events.py:Paid"],
        2,
        "there is no module app/events.py here, and none is installed; did you mean app.events?",
    ),
    "file": ("", ["{}.py"], 2, "there is no module {}.py here, and none is installed; did you mean {}?"),
    "no name": ("", [":Paid"], 2, "'' is no module"),
    "relative": ("", [".events"], 1, ".events cannot be imported: TypeError: "),
    "module without events": ("", ["json"], 2, "json defines and imports no event; an event is a class of EventModel"),
    "no such class": ("", ["{}:Nope"], 2, "Nope of {} is no event; an event is a class of EventModel"),
    "no event": ("", ["{}:Address"], 2, "Address of {} is no event; an event is a class of EventModel"),
    "module that raises": ("raise RuntimeError('broken')", ["{}"], 1, "{} cannot be imported: RuntimeError: broken"),
    "module that ends": ("raise SystemExit(0)", ["{}"], 1, "{} cannot be imported: SystemExit: 0"),
    "module that lacks another": ("import nowhere", ["{}"], 1, "{} cannot be imported: No module named 'nowhere'"),
    "two of one name": (
        "class Other(EventModel, name='paid'):\n    x: str",
        ["{}"],
        1,
        "{}:Paid and {}:Other are both the event paid; give one another name or version",
    ),
    "no schema": (
        "import types\nclass Odd(EventModel, arbitrary_types_allowed=True):\n    x: types.ModuleType",
        ["{}"],
        1,
        "{}:Odd has no JSON schema: ",
    ),
    "default that is no number": (
        "class Odd(EventModel):\n    x: float = float('inf')",
        ["{}"],
        1,
        "{}:Odd has no JSON schema: ",
    ),
    "no file": ("", ["{}", "--check", "missing.json"], 1, "missing.json: no such file or directory"),
    "no document": (
        "",
        ["{}", "--check", "{}.py"],
        1,
        "{}.py is no document of eventpipe schema; write it with --output",
    ),
    "unwritable": ("", ["{}", "--output", "missing/saved.json"], 1, "missing/saved.json: no such file or directory"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_cannot_be_done_is_one_line(what: str, module: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On stderr, with nothing on stdout: 2 where the command line is wrong, else 1."""
    more, words, code, text = WRONG[what]
    module.write_text(MODULE + more)

    assert main(["schema", *(word.replace("{}", module.stem) for word in words)]) == code

    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("eventpipe: " + text.replace("{}", module.stem))
    assert shown.err.count("\n") == 1


@pytest.mark.parametrize(
    "saved",
    [
        "[]",
        "{}",
        '{"eventpipe_schema": 2, "events": []}',
        '{"eventpipe_schema": 1, "events": [{}]}',
        '{"eventpipe_schema": 1, "events": [{"name": "paid", "version": null, "schema": 5}]}',
        "\xff",
    ],
)
def test_other_documents_are_told(saved: str, module: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Compared with one of them, everything would be compatible."""
    Path("saved.json").write_text(saved, encoding="latin-1")

    assert main(["schema", module.stem, "--check", "saved.json"]) == 1

    assert capsys.readouterr().err == (
        "eventpipe: saved.json is no document of eventpipe schema; write it with --output\n"
    )


@pytest.mark.parametrize(
    "schema", [{"$ref": "#/$defs/Missing"}, {"type": "object", "required": 5}, {"properties": 5}], ids=repr
)
def test_saved_schema_that_is_none_is_told(
    schema: dict[str, Any], module: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the event that it is of."""
    saved = {"eventpipe_schema": 1, "events": [{"name": "paid", "version": None, "schema": schema}]}
    Path("saved.json").write_text(json.dumps(saved))

    assert main(["schema", module.stem, "--check", "saved.json"]) == 1

    assert capsys.readouterr().err.startswith("eventpipe: the schema of paid cannot be compared: ")


@pytest.mark.asyncio
@pytest.mark.wallclock
async def test_command_finds_modules_as_python_does(module: Path) -> None:
    """In the current directory; what they print is no part of the document."""
    changed(module, ("Alias = Paid", "print('hello from the module')"))

    ended = await run("schema", module.stem)

    assert (ended.code, ended.stderr) == (0, "hello from the module\n")
    assert len(json.loads(ended.stdout)["events"]) == 2
