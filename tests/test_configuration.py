"""A file of options: where it is read, what it may hold, and one clear line for everything else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eventpipe import AsyncClient, ClientOptions, RetryPolicy
from eventpipe.configuration import MAX_FILE_BYTES
from eventpipe.options import resolve
from eventpipe.sinks import MemorySink

ROOT = Path(__file__).parents[1]
WAY_OUT = "mend it, or unset EVENTPIPE_CONFIG"


def written(folder: Path, text: str | bytes, name: str = "events.toml") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def resolved(path: Path | str, /, **environ: str) -> ClientOptions:
    return resolve(None, {}, {"EVENTPIPE_CONFIG": str(path), **environ})


def faults_of(call: Callable[[], object]) -> list[str]:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is what the tests compare
        call()
    assert type(caught.value) is ValueError
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return str(caught.value).splitlines()


def test_file_sets_options_at_its_top(tmp_path: Path) -> None:
    """Every type of option as TOML writes it, and the retry policy in a table of its own."""
    path = written(
        tmp_path,
        """
        queue_events = 1_000
        max_batch_age = 2          # a whole number is a number too
        flush_timeout = 2.5
        overflow = "drop_oldest"
        strict = true
        [retry]
        max_attempts = 3
        jitter = 0
        """,
    )

    options = resolved(path)

    assert options == ClientOptions(
        queue_events=1000,
        max_batch_age=2.0,
        flush_timeout=2.5,
        overflow="drop_oldest",
        strict=True,
        retry=RetryPolicy(max_attempts=3, jitter=0.0),
    )
    assert type(options.max_batch_age) is float
    assert options.model_fields_set == {
        "queue_events",
        "max_batch_age",
        "flush_timeout",
        "overflow",
        "strict",
        "retry",
    }


def test_project_file_has_a_table_for_us(tmp_path: Path) -> None:
    """In ``pyproject.toml`` the options are below ``[tool.eventpipe]``, and nothing else there is looked at."""
    path = written(
        tmp_path,
        '[project]\nname = "shop"\n[tool.ruff]\nworkers = 3\n[tool.eventpipe]\nworkers = 4\n'
        "[tool.eventpipe.retry]\ninitial = 1.5\n",
        "pyproject.toml",
    )

    assert resolved(path) == ClientOptions(workers=4, retry=RetryPolicy(initial=1.5))


def test_places_have_their_rank(tmp_path: Path) -> None:
    """Keyword before object before environment before file before default, for the policy's options too."""
    path = written(
        tmp_path,
        "workers = 1\nbatch_events = 1\nqueue_events = 1_000\nflush_timeout = 1\n"
        "[retry]\nmax_attempts = 1\ninitial = 0.1\nfactor = 1\nmax_delay = 7\n",
    )
    environ = {
        "EVENTPIPE_CONFIG": str(path),
        "EVENTPIPE_WORKERS": "2",
        "EVENTPIPE_BATCH_EVENTS": "2",
        "EVENTPIPE_QUEUE_EVENTS": "2000",
        "EVENTPIPE_RETRY_MAX_ATTEMPTS": "2",
        "EVENTPIPE_RETRY_INITIAL": "0.2",
        "EVENTPIPE_RETRY_FACTOR": "2",
    }
    given = ClientOptions(workers=3, batch_events=3, retry=RetryPolicy(max_attempts=3, initial=0.3))

    options = resolve(given, {"workers": 4, "retry": RetryPolicy(max_attempts=4)}, environ)

    assert (options.workers, options.batch_events, options.queue_events, options.flush_timeout, options.strict) == (
        4,
        3,
        2000,
        1.0,
        False,
    )
    assert options.retry == RetryPolicy(max_attempts=4, initial=0.3, factor=2.0, max_delay=7.0)


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "[retry]\n", "\N{BYTE ORDER MARK}workers = 16"])
def test_file_may_set_little(text: str, tmp_path: Path) -> None:
    """An empty file is one that sets nothing, and a byte order mark is none of its letters."""
    options = resolved(written(tmp_path, text))

    assert options.workers == 16
    assert options.retry == RetryPolicy()


def test_a_client_reads_it_when_it_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each client reads it anew, a path from the working directory on and one from home included."""
    path = written(tmp_path, "workers = 3")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    seen = []

    for name, text in (("events.toml", "workers = 4"), ("~/events.toml", "workers = 5"), ("", "workers = 6")):
        path.write_text(text)
        monkeypatch.setenv("EVENTPIPE_CONFIG", name)
        seen.append(AsyncClient(MemorySink())._options.workers)

    assert seen == [4, 5, 16]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("workers = -2", ["workers in {file} must be at least 1, not -2 (default: 16)"]),
        ("workers = '4'", ["workers in {file} must be a whole number, not '4'"]),
        ("workers = 4.0", ["workers in {file} must be a whole number, not 4.0"]),
        ("workers = true", ["workers in {file} must be a whole number, not true"]),
        ("flush_timeout = true", ["flush_timeout in {file} must be a number, not true"]),
        ("strict = 1", ["strict in {file} must be true or false, not 1"]),
        ("overflow = 1", ["overflow in {file} must be a string, not 1"]),
        ("flush_timeout = [1]", ["flush_timeout in {file} must be a number, not an array"]),
        ("flush_timeout = 2026-01-01", ["flush_timeout in {file} must be a number, not a date or a time"]),
        ("[workers]\na = 1", ["workers in {file} must be a whole number, not a table"]),
        ("[[retry]]\ninitial = 1", ["retry in {file} must be a table, such as [retry], not an array"]),
        ("retry = 3", ["retry in {file} must be a table, such as [retry], not 3"]),
        ("max_event_age = nan", ["max_event_age in {file} must be a finite number, not nan"]),
        (
            "overflow = 'block'",
            [
                "overflow in {file} must be one of 'drop_newest', 'drop_oldest', 'wait', 'raise' or 'spill', "
                "not 'block' (default: drop_newest)"
            ],
        ),
        ("worker = 3", ["unknown option worker in {file}; did you mean 'workers'?"]),
        ("queue-events = 3", ["unknown option queue-events in {file}; did you mean 'queue_events'?"]),
        ("api_key = 'phc_secret'", ["unknown option api_key in {file}"]),
        (
            "[tool.eventpipe]\nworkers = 3",
            ["unknown option tool in {file}; options stand at the top of every file but pyproject.toml"],
        ),
        ("'a\\nb' = 1", ["unknown option a\\nb in {file}"]),
        ("clock = 1", ["clock in {file} cannot be set by a file, because it is no text; give it in code"]),
        ("[retry]\njitter = 2", ["retry.jitter in {file} must be at most 1, not 2 (default: 0.5)"]),
        ("[retry]\nattempts = 2", ["unknown option retry.attempts in {file}; did you mean 'max_attempts'?"]),
        (
            "queue_events = 10\nbatch_events = 11",
            [
                "batch_events in {file} must be at most queue_events in {file} (10), not 11: "
                "lower batch_events in {file} or raise queue_events in {file}"
            ],
        ),
        (
            "worker = 3\nstrict = 'no'\n[retry]\nx = 1\ninitial = '1'",
            [
                "unknown option worker in {file}; did you mean 'workers'?",
                "strict in {file} must be true or false, not 'no'",
                "unknown option retry.x in {file}",
                "retry.initial in {file} must be a number, not '1'",
            ],
        ),
        (
            "workers = 0\n[retry]\nmax_attempts = 0",
            [
                "retry.max_attempts in {file} must be at least 1, not 0 (default: 10)",
                "workers in {file} must be at least 1, not 0 (default: 16)",
            ],
        ),
    ],
    ids=[str(number) for number in range(25)],
)
def test_what_is_wrong_is_named(text: str, lines: list[str], tmp_path: Path) -> None:
    """Each fault says the option, the file, the rule and what was given; a value of no option of ours is not shown."""
    path = written(tmp_path, text)

    assert faults_of(lambda: resolved(path)) == [line.format(file=path) for line in lines]


def test_fault_in_a_project_file_names_the_whole_key(tmp_path: Path) -> None:
    """So that it can be looked for as it is written there."""
    path = written(tmp_path, "[tool.eventpipe]\nworkers = 0\nretry = 1", "pyproject.toml")

    assert faults_of(lambda: resolved(path)) == [
        f"tool.eventpipe.retry in {path} must be a table, such as [tool.eventpipe.retry], not 1"
    ]
    written(tmp_path, "[tool.eventpipe]\nworkers = 0\n[tool.eventpipe.retry]\nmax_attempts = 0", "pyproject.toml")
    assert faults_of(lambda: resolved(path)) == [
        f"tool.eventpipe.retry.max_attempts in {path} must be at least 1, not 0 (default: 10)",
        f"tool.eventpipe.workers in {path} must be at least 1, not 0 (default: 16)",
    ]


@pytest.mark.parametrize("text", ["", "[tool]\n", "tool = 3", "[tool.eventpip]\n", "[tool]\neventpipe = 3"])
def test_project_file_without_our_table_is_refused(text: str, tmp_path: Path) -> None:
    """Whoever names it expects it to say something."""
    path = written(tmp_path, text, "pyproject.toml")

    assert faults_of(lambda: resolved(path)) == [
        f"EVENTPIPE_CONFIG: {path} has no table [tool.eventpipe]; add it, empty or not, or name another file"
    ]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"workers", "{file} is no TOML: Expected '=' after a key in a key/value pair (at end of document)"),
        (b"workers = 1\nworkers = 2\n", "{file} is no TOML: Cannot overwrite a value (at line 2, column 12)"),
        (b"workers = 1\n\nname = '\xff'", "{file} must be UTF-8; line 3 is not"),
        (b"workers = " + b"9" * 5000, "{file} is no TOML: a value is too long, or nested too deeply"),
        (b"workers = " + b"[" * 20_000, "{file} is no TOML: a value is too long, or nested too deeply"),
        (b"\0", "{file} is no TOML: Invalid statement (at line 1, column 1)"),
    ],
    ids=["no value", "twice", "latin-1", "long", "deep", "NUL"],
)
def test_what_is_no_toml_is_refused(data: bytes, problem: str, tmp_path: Path) -> None:
    """One line, with the place where there is one."""
    path = written(tmp_path, data)

    assert faults_of(lambda: resolved(path)) == [f"EVENTPIPE_CONFIG: {problem.format(file=path)}; {WAY_OUT}"]


def test_file_that_is_missing_is_no_default(tmp_path: Path) -> None:
    """A path that leads nowhere is told, whatever the reason."""
    way_out = "name a file that this process may read, or unset EVENTPIPE_CONFIG"
    path = tmp_path / "no.toml"

    assert faults_of(lambda: resolved(path)) == [
        f"EVENTPIPE_CONFIG: cannot read {path}: no such file or directory; {way_out}"
    ]
    assert faults_of(lambda: resolved("a\0b")) == [
        f"EVENTPIPE_CONFIG: cannot read a\\x00b: it cannot be a file's name; {way_out}"
    ]
    assert faults_of(lambda: resolved(tmp_path / "a\nb")) == [
        f"EVENTPIPE_CONFIG: cannot read {tmp_path}/a\\nb: no such file or directory; {way_out}"
    ]
    assert faults_of(lambda: resolved(tmp_path)) == [
        f"EVENTPIPE_CONFIG: {tmp_path} is no file; name a TOML file, or unset EVENTPIPE_CONFIG"
    ]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may open everything: this needs another user")
def test_file_that_may_not_be_read_is_told(tmp_path: Path) -> None:
    """In the system's words."""
    path = written(tmp_path, "workers = 3")
    path.chmod(0)

    [line] = faults_of(lambda: resolved(path))

    assert line.startswith(f"EVENTPIPE_CONFIG: cannot read {path}: permission denied; name a file")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_pipe_and_device_are_refused_at_once(tmp_path: Path) -> None:
    """Nobody waits for a writer, and nothing is read without an end."""
    pipe = tmp_path / "pipe.toml"
    os.mkfifo(pipe)

    for path in (pipe, Path("/dev/zero")):
        assert faults_of(lambda path=path: resolved(path)) == [  # type: ignore[misc]  # mypy infers no default's type
            f"EVENTPIPE_CONFIG: {path} is no file; name a TOML file, or unset EVENTPIPE_CONFIG"
        ]


def test_file_has_a_bound(tmp_path: Path) -> None:
    """A file at the bound is read, one byte more is not."""
    path = written(tmp_path, "workers = 3\n".ljust(MAX_FILE_BYTES, "#"))

    assert resolved(path).workers == 3

    written(tmp_path, "workers = 3\n".ljust(MAX_FILE_BYTES + 1, "#"))
    assert faults_of(lambda: resolved(path)) == [
        f"EVENTPIPE_CONFIG: {path} must have at most 256 KiB, and has more; put the options into a file of their own"
    ]


def test_url_is_no_path_and_is_not_shown() -> None:
    """It may have a password in it."""
    assert faults_of(lambda: resolved("https://user:secret@host.example/events.toml")) == [
        "EVENTPIPE_CONFIG must be the path of a file, not a URL (its value is not shown)"
    ]


def test_faults_of_file_and_environment_come_together(tmp_path: Path) -> None:
    """All that is wrong is told at once, also where another place hides it."""
    path = written(tmp_path, "worker = 3")

    assert faults_of(lambda: resolved(path, EVENTPIPE_WORKERS="many", EVENTPIPE_STRICT="maybe")) == [
        f"unknown option worker in {path}; did you mean 'workers'?",
        "EVENTPIPE_WORKERS must be a whole number, not 'many'",
        "EVENTPIPE_STRICT must be one of 1, true, yes, on, 0, false, no, off, not 'maybe'",
    ]


def test_contradiction_names_both_places(tmp_path: Path) -> None:
    """A bound from the file against one from the environment and one from the code."""
    path = written(tmp_path, "queue_events = 10")

    assert faults_of(lambda: resolved(path, EVENTPIPE_BATCH_EVENTS="11"))[0].startswith(
        f"EVENTPIPE_BATCH_EVENTS must be at most queue_events in {path} (10), not 11"
    )
    assert faults_of(lambda: resolve(None, {"batch_events": 11}, {"EVENTPIPE_CONFIG": str(path)}))[0].startswith(
        f"batch_events must be at most queue_events in {path} (10), not 11"
    )


# What TOML can carry, keys of ours among others.
VALUES: Any = st.recursive(
    st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["initial", "x"]), inner, max_size=2),
    max_leaves=4,
)


def toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(character):08x}" for character in value) + '"'
    return str(value)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from([*ClientOptions.model_fields, "worker", "tool"]), value=VALUES)
def test_any_value_is_taken_or_refused_in_words(name: str, value: object, tmp_path: Path) -> None:
    """No file leads to anything but options that hold its value, or a ``ValueError`` of short lines that name it."""
    path = written(tmp_path, f"{name} = {toml(value)}")
    faults: list[ValueError] = []
    try:
        options = resolved(path)
    except ValueError as fault:
        faults.append(fault)
    else:
        assert name == "retry" or getattr(options, name) == value

    lines = [line for fault in faults for line in str(fault).splitlines()]
    assert [type(fault) for fault in faults] in ([], [ValueError])
    assert all(str(path) in line and len(line) < 300 + len(str(path)) for line in lines)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=60))
def test_any_bytes_are_options_or_refused_in_words(data: bytes, tmp_path: Path) -> None:
    """Whatever is in a file, there is no error but one."""
    path = written(tmp_path, data)
    faults: list[ValueError] = []
    try:
        resolved(path)
    except ValueError as fault:
        faults.append(fault)

    assert [type(fault) for fault in faults] in ([], [ValueError])
    assert all(str(path) in line for fault in faults for line in str(fault).splitlines())


OPENED = """
import sys
opened = []
sys.addaudithook(lambda name, details: opened.append(str(details[0])) if name == "open" else None)
from eventpipe import AsyncClient
from eventpipe.sinks import MemorySink
AsyncClient(MemorySink())
read = [name for name in opened if name.endswith(".toml")]
opened.clear()
AsyncClient(MemorySink())
print(read, opened, [name for name in ("tomllib", "eventpipe.configuration") if name in sys.modules])
"""


@pytest.mark.wallclock
@pytest.mark.parametrize("value", [None, "", " "])
def test_without_the_variable_no_file_is_opened(value: str | None, tmp_path: Path) -> None:
    """Not even one that lies about, and nothing is imported that reads one."""
    written(tmp_path, "[tool.eventpipe]\nworkers = 0", "pyproject.toml")
    environ = {name: text for name, text in os.environ.items() if not name.startswith(("EVENTPIPE_", "COVERAGE_"))}
    environ |= {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    if value is not None:
        environ["EVENTPIPE_CONFIG"] = value

    ran = subprocess.run(
        [sys.executable, "-c", OPENED], capture_output=True, text=True, check=True, cwd=tmp_path, env=environ
    )

    assert ran.stdout == "[] [] []\n"
