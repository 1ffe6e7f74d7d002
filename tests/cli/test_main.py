from __future__ import annotations

import os
import subprocess
import sys
from types import ModuleType

import pytest

from eventpipe import __version__
from eventpipe.cli.main import main
from tests.cli.process import run


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """``--version`` prints the package's version."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"{__version__}\n"


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Without words, and with ``--help``, the commands are listed."""
    assert main([]) == 0
    bare = capsys.readouterr().out
    assert main(["--help"]) == 0

    assert capsys.readouterr().out == bare
    assert all(name in bare for name in ("serve", "send", "demo", "top", "schema", "config", "doctor"))


@pytest.mark.parametrize(
    ("words", "about"),
    [
        (["bogus"], "bogus"),
        (["serve", "--bogus", "1"], "--bogus"),
        (["serve", "--port", "http"], "--port"),
        (["serve", "extra"], "extra"),
        (["send", "file.ndjson"], "--to"),
        (["send", "file.ndjson", "--to", "http://localhost", "--format", "xml"], "--format"),
    ],
    ids=["command", "option", "number", "word", "nothing required", "choice"],
)
def test_wrong_words_are_one_line_and_exit_code_2(
    words: list[str], about: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the parser refuses is a usage error like any other; its words for it differ between its versions."""
    assert main(words) == 2

    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("eventpipe: ")
    assert about in shown.err
    assert shown.err.endswith("; see eventpipe --help\n")
    assert shown.err.count("\n") == 1


@pytest.mark.parametrize("missing", ["cyclopts", "rich"])
def test_missing_extra_is_named(
    missing: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the packages of the extra, the command says which extra to install."""
    for name in [
        name for name in sys.modules if name.startswith(("eventpipe.cli.", missing)) and name != main.__module__
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)

    assert main(["--version"]) == 1
    assert capsys.readouterr().err == "eventpipe: the command line needs: pip install 'eventpipe[cli]'\n"


def fake_app(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(_words: list[str]) -> int:
        raise error

    module = ModuleType("eventpipe.cli.app")
    module.run = fail  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "eventpipe.cli.app", module)


def test_unforeseen_error_is_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """An error nobody foresaw ends in one line and exit code 1, without a traceback."""
    fake_app(monkeypatch, ZeroDivisionError("by\nzero"))

    assert main([]) == 1
    assert capsys.readouterr().err == "eventpipe: ZeroDivisionError: by zero\n"


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """With ``--debug``, wherever it stands, the error itself comes out."""
    fake_app(monkeypatch, ZeroDivisionError("by zero"))

    with pytest.raises(ZeroDivisionError):
        main(["serve", "--debug"])


def test_ctrl_c_has_its_exit_code(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupted where no command handles it: the exit code that shells know, and no words."""
    fake_app(monkeypatch, KeyboardInterrupt())

    assert main([]) == 130
    assert capsys.readouterr() == ("", "")


@pytest.mark.wallclock
def test_output_that_nobody_reads_ends_it_quietly() -> None:
    """In front of a ``head`` that has seen enough it ends with exit code 1, and without a traceback."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "eventpipe", "serve", "--port", "0", "--seconds", "20"],
            stdout=writing,
            stderr=subprocess.PIPE,
            check=False,
        )
    finally:
        os.close(writing)

    assert (ended.returncode, ended.stderr) == (1, b"")


@pytest.mark.asyncio
@pytest.mark.wallclock
async def test_module_runs_as_the_command() -> None:
    """``python -m eventpipe`` is the command."""
    ended = await run("--version")

    assert (ended.code, ended.stdout, ended.stderr) == (0, f"{__version__}\n", "")
