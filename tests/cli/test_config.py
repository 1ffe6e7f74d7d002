"""``eventpipe config show``: every option, its value and its origin; no secret; all faults at once."""

from __future__ import annotations

import ast
import io
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

import orjson
import pytest
from rich.console import Console

import eventpipe
from eventpipe.cli.config import ConfigOptions, as_table, show
from eventpipe.cli.settings import SECRET_VARIABLES, Origin, read_settings, unread
from eventpipe.environment import CONFIG_VARIABLE, variables
from eventpipe.options import ClientOptions, resolve
from tests.cli.process import run
from tests.cli.terminal import terminal

PACKAGE = Path(eventpipe.__file__).parent
SECRET = "not-to-be-seen"
SECRETS = {
    "EVENTPIPE_API_KEY": f"phc_{SECRET}",
    "EVENTPIPE_WEBHOOK_SECRET": f"whsec_{SECRET} {SECRET}",
    "EVENTPIPE_TOP_HEADER": f"Authorization: Bearer {SECRET}",
    "EVENTPIPE_URL": f"https://user:{SECRET}@collector.example",
}


def shown(environ: Mapping[str, str], *, json: bool = False, **console: object) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    code = show(
        ConfigOptions(json=json),
        environ,
        Console(file=out, **console),  # type: ignore[arg-type]  # whatever a console takes
        Console(file=err),
    )
    return code, out.getvalue(), err.getvalue()


def from_where(environ: Mapping[str, str]) -> dict[str, tuple[object, str, str]]:
    return {
        setting.name: (setting.value, setting.origin.value, setting.where)
        for setting in read_settings(environ).settings
    }


def test_each_value_has_its_origin(tmp_path: Path) -> None:
    """The variable, the key and its file, or the default, also for the options of the retry policy."""
    path = tmp_path / "pyproject.toml"
    path.write_text(
        "[tool.eventpipe]\nworkers = 3\nqueue_events = 300\n[tool.eventpipe.retry]\nmax_attempts = 2\njitter = 0\n"
    )
    environ = {
        "EVENTPIPE_CONFIG": str(path),
        "EVENTPIPE_WORKERS": "4",
        "EVENTPIPE_RETRY_JITTER": "1",
        "EVENTPIPE_STRICT": "",
    }

    found = from_where(environ)

    assert found["workers"] == (4, "environment", "EVENTPIPE_WORKERS")
    assert found["retry.jitter"] == (1.0, "environment", "EVENTPIPE_RETRY_JITTER")
    assert found["queue_events"] == (300, "file", f"tool.eventpipe.queue_events in {path}")
    assert found["retry.max_attempts"] == (2, "file", f"tool.eventpipe.retry.max_attempts in {path}")
    assert found["batch_events"] == (300, "default", "default, lowered to queue_events")
    assert found["strict"] == (False, "default", "default")
    assert found["max_event_age"] == (None, "default", "default")
    assert found["clock"] == (None, "code", "code alone can set it")


def test_every_option_is_there() -> None:
    """Whatever becomes an option is shown, with a unit."""
    settings = read_settings({}).settings
    names = {name for name, _ in variables(ClientOptions).values()} | {"json_default", "clock", "random", "new_id"}

    assert {setting.name for setting in settings} == names
    assert all(setting.unit for setting in settings)
    assert {setting.origin for setting in settings} == {Origin.DEFAULT, Origin.CODE}


def test_plain_output_is_a_file_that_says_the_same(tmp_path: Path) -> None:
    """Kept as a file and named by ``EVENTPIPE_CONFIG`` it leads to the very same options."""
    environ = {
        "EVENTPIPE_QUEUE_EVENTS": "300",
        "EVENTPIPE_OVERFLOW": "wait",
        "EVENTPIPE_STRICT": "yes",
        "EVENTPIPE_MAX_EVENT_AGE": "2.5",
        "EVENTPIPE_RETRY_INITIAL": "0.25",
        "EVENTPIPE_RETRI": "5",
    }
    code, text, faults = shown(environ, width=20)
    path = tmp_path / "events.toml"
    path.write_text(text)

    before, after = resolve(None, {}, environ), resolve(None, {}, {"EVENTPIPE_CONFIG": str(path)})

    assert (code, faults) == (
        0,
        "eventpipe: EVENTPIPE_RETRI is read by nothing\n",
    )
    assert (before, before.retry) == (after, after.retry)
    assert tomllib.loads(text)["retry"]["initial"] == 0.25
    lines = text.splitlines()
    assert "queue_events = 300  # events; EVENTPIPE_QUEUE_EVENTS" in lines
    assert 'overflow = "wait"  # policy; EVENTPIPE_OVERFLOW' in lines
    assert "strict = true  # switch; EVENTPIPE_STRICT" in lines
    assert "# overflow_timeout is not set (seconds; default)" in lines
    assert "# file: none, EVENTPIPE_CONFIG is not set" in lines
    assert "\x1b" not in text


def test_json_has_the_same() -> None:
    """One object on one line."""
    code, text, _ = shown({"EVENTPIPE_WORKERS": "3", "EVENTPIPE_WORKER": "3", **SECRETS}, json=True)

    told = orjson.loads(text)
    assert (code, text.count("\n"), told["file"]) == (0, 1, None)
    assert {
        "name": "workers",
        "value": 3,
        "unit": "attempts",
        "origin": "environment",
        "where": "EVENTPIPE_WORKERS",
    } in told["options"]
    assert told["secrets"] == dict.fromkeys(SECRET_VARIABLES, True)
    assert told["unread"] == {"EVENTPIPE_URL": "", "EVENTPIPE_WORKER": "did you mean EVENTPIPE_WORKERS?"}


@pytest.mark.parametrize("form", ["plain", "json", "terminal"])
def test_numbers_of_any_length_are_shown(form: str) -> None:
    """As a client takes them."""
    number = 10**20
    code, text, faults = shown(
        {"EVENTPIPE_QUEUE_EVENTS": str(number)}, json=form == "json", force_terminal=form == "terminal", width=200
    )

    assert (code, faults) == (0, "")
    assert str(number) in text
    assert form != "plain" or tomllib.loads(text)["queue_events"] == number


@pytest.mark.parametrize("form", ["plain", "json", "terminal"])
def test_no_secret_is_shown(form: str) -> None:
    """Only that there is one; nor the value of a variable that nothing reads, which may be one too."""
    settings = {"force_terminal": True, "width": 200} if form == "terminal" else {"width": 200}
    _, text, faults = shown(SECRETS, json=form == "json", **settings)

    assert SECRET not in text + faults
    assert all(name in text for name in SECRETS)


@pytest.mark.parametrize("width", [20, 40, 80, 300])
def test_table_fits_any_terminal(width: int) -> None:
    """Long names and places are folded, and nothing of them is cut off."""
    environ = {"EVENTPIPE_QUEUE_EVENTS": "300", "EVENTPIPE_RETRY_MAX_RETRY_AFTER": "7"}
    console = Console(file=io.StringIO(), width=width, record=True)

    console.print(as_table(read_settings(environ)))

    text = console.export_text()
    assert all(len(line) <= width for line in text.splitlines())
    if width == 300:
        assert re.search(r"retry\.max_retry_after +7\.0 +seconds +EVENTPIPE_RETRY_MAX_RETRY_AFTER", text)
    assert "…" not in text


def test_all_that_is_wrong_is_told(tmp_path: Path) -> None:
    """A line each on standard error, nothing on standard output, and exit code 2."""
    path = tmp_path / "events.toml"
    path.write_text("worker = 3")

    code, text, faults = shown({"EVENTPIPE_CONFIG": str(path), "EVENTPIPE_STRICT": "maybe", "EVENTPIPE_WORKERS": "x"})

    assert (code, text) == (2, "")
    assert faults.splitlines() == [
        f"eventpipe: unknown option worker in {path}; did you mean 'workers'?",
        "eventpipe: EVENTPIPE_WORKERS must be a whole number, not 'x'",
        "eventpipe: EVENTPIPE_STRICT must be one of 1, true, yes, on, 0, false, no, off, not 'maybe'",
    ]


def test_what_a_terminal_would_obey_is_not_said(tmp_path: Path) -> None:
    """Names of files and variables come from others."""
    path = tmp_path / "\x1b[2J.toml"
    path.write_text("workers = 3\n'\x1b[2J' = 1".replace("'\x1b", '"\\u001b').replace("J'", 'J"'))

    code, text, faults = shown({"EVENTPIPE_CONFIG": str(path), "EVENTPIPE_\x1b[2J": "1"})
    assert (code, text) == (2, "")
    assert "\x1b" not in faults

    path.write_text("workers = 3")
    for settings in ({}, {"json": True}):
        code, text, faults = shown({"EVENTPIPE_CONFIG": str(path), "EVENTPIPE_\x1b[2J": "1"}, **settings)
        assert code == 0
        assert "\x1b" not in text + faults


def test_every_variable_that_the_package_reads_is_known() -> None:
    """A variable that a module names is an option's or is among those of the commands."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found |= set(re.findall(r"^EVENTPIPE_[A-Z_]+$", node.value))

    assert found - {"EVENTPIPE_"} == {CONFIG_VARIABLE, *SECRET_VARIABLES}
    assert unread(dict.fromkeys([*found, *variables(ClientOptions)], "1")) == {}


@pytest.mark.wallclock
@pytest.mark.asyncio
async def test_command_shows_and_refuses(tmp_path: Path) -> None:
    """As a process: plain without a terminal; faults on standard error."""
    path = tmp_path / "events.toml"
    path.write_text("workers = 3")

    shown = await run("config", "show", environment={"EVENTPIPE_CONFIG": str(path)})
    refused = await run("config", "show", "--json", environment={"EVENTPIPE_CONFIG": str(tmp_path / "no.toml")})

    assert (shown.code, shown.stderr) == (0, "")
    assert f"workers = 3  # attempts; workers in {path}" in shown.stdout.splitlines()
    assert (refused.code, refused.stdout) == (2, "")
    assert refused.stderr.startswith(f"eventpipe: EVENTPIPE_CONFIG: cannot read {tmp_path}/no.toml: no such file")


@pytest.mark.wallclock
@pytest.mark.asyncio
async def test_terminal_gets_a_table() -> None:
    """With its headings, and the terminal is left as it was."""
    async with terminal("config", "show") as running:
        await running.shows("EVENTPIPE_TOP_HEADER is not set")
        code = await running.end()

        assert (code, running.is_as_before) == (0, True)
        assert re.search(r"option.*value.*unit.*from", running.shown)
