"""The command line's words: every command with its options, read by cyclopts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import App, CycloptsError, Parameter
from rich.console import Console

from eventpipe import __version__
from eventpipe.cli.config import ConfigOptions, show
from eventpipe.cli.delivery_commands import add_delivery_commands
from eventpipe.cli.demo import DemoOptions, demo
from eventpipe.cli.doctor import DoctorOptions, doctor
from eventpipe.cli.failures import UsageError
from eventpipe.cli.log_commands import add_log_commands
from eventpipe.cli.run import RunOptions, run_pipeline
from eventpipe.cli.schema import SchemaOptions, schema
from eventpipe.cli.send import SendOptions, send
from eventpipe.cli.serve import ServeOptions, serve
from eventpipe.cli.spool_commands import add_spool_commands
from eventpipe.cli.top import TopOptions, top

_FLAT = Parameter(name="*", negative=())  # a field for each option, no --no-… forms

_DASH = Parameter(allow_leading_hyphen=True)  # "-" is standard input
_CONFIG = ConfigOptions()
_SCHEMA = SchemaOptions()
_SERVE = ServeOptions()
_DEMO = DemoOptions()
_DOCTOR = DoctorOptions()
_TOP = TopOptions()
_RUN = RunOptions()

app = App(
    name="eventpipe",
    help="Send events, receive them while developing, see the transport at work, and how a process does; "
    "look into logs, deliveries and spools. `--debug` adds tracebacks.",
    version=__version__,
)
config = App(name="config", help="Look at how clients are configured here.")
app.command(config)
add_log_commands(app)
add_delivery_commands(app)
add_spool_commands(app)


def run(words: Sequence[str]) -> int:
    """Run the command that the words ask for, and return its exit code.

    Raises:
        CommandError: The command failed, or was asked for something that cannot be.
    """
    try:
        code = app(list(words), exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        raise UsageError(f"{str(error).rstrip('.')}; see eventpipe --help") from error
    return code if isinstance(code, int) else 0


@app.command(name="serve")
def _serve(*, options: Annotated[ServeOptions, _FLAT] = _SERVE) -> int:
    """Run a collector for development: takes events, checks them, shows them, and fails when told to.

    It speaks every format that `eventpipe send` writes, and stops with Ctrl-C.
    """
    return serve(options, Console())


@app.command(name="send")
def _send(*files: Annotated[str, _DASH], options: Annotated[SendOptions, _FLAT]) -> int:
    """Send the lines of files, every line accounted for: delivered, or dropped with a reason, or malformed.

    The exit code is 0 only if every line was delivered. Ctrl-C reads no further, sends what was read, and says where
    it stopped.

    Args:
        files: NDJSON, CSV or plain text; - reads standard input.
        options: Where to, and how lines are read.
    """
    return send(files, options, Console(), Console(stderr=True))


@app.command(name="demo")
def _demo(*, options: Annotated[DemoOptions, _FLAT] = _DEMO) -> int:
    """See the transport at work: handlers that capture, a far end that stalls, fails and resets, nothing lost.

    Needs no other machine and no service. In the end what the client counted is held against what the far end saw,
    by event id; the exit code is 0 only if they agree and nothing was lost.
    """
    return demo(options, Console())


@app.command(name="top")
def _top(url: str, *, options: Annotated[TopOptions, _FLAT] = _TOP) -> int:
    """See how a running process does: what it holds, how fast it sends, what it drops, and each of its sinks.

    It asks the health endpoint of that process each second: a live picture on a terminal, plain lines elsewhere.

    Args:
        url: Of the health endpoint, such as localhost:8000/health; http unless it says https.
        options: How often, and what is shown.
    """
    return top(url, options, Console())


@app.command(name="run")
def _run(file: Path, /, *, options: Annotated[RunOptions, _FLAT] = _RUN) -> int:
    """Run a pipeline that a TOML file describes: a log, its consumers, and what they hand events to.

    SIGTERM or Ctrl-C drains and stops it; a second one ends it at once, and what was not handed out stays in the log.
    The exit code is 0 only if nothing was lost and nothing is left; 2 where the file is wrong, and all of it is told.

    Args:
        file: The description, such as pipeline.toml.
        options: How it is run.
    """
    return run_pipeline(file, options, Console(), Console(stderr=True))


@config.command(name="show")
def _show(*, options: Annotated[ConfigOptions, _FLAT] = _CONFIG) -> int:
    """Show each option of a client with its value, its unit and where the value comes from.

    That is the environment, the file that EVENTPIPE_CONFIG names, or the default; what a program sets in code comes
    before all of them. Secrets are not shown. The exit code is 2 where something is wrong, and all of it is told.
    """
    return show(options, os.environ, Console(), Console(stderr=True))


@app.command(name="doctor")
def _doctor(url: str | None = None, /, *, options: Annotated[DoctorOptions, _FLAT] = _DOCTOR) -> int:
    """Check this machine and, given a URL, the way to a far end, and say what to do about what is wrong.

    Nothing is stored anywhere, unless --send-test-event asks for it. The exit code is 1 where a check failed.

    Args:
        url: Of the far end, as --to of eventpipe send.
        options: How it is asked.
    """
    return doctor(url, options, os.environ, Console())


@app.command(name="schema")
def _schema(*targets: str, options: Annotated[SchemaOptions, _FLAT] = _SCHEMA) -> int:
    """Print the typed events of modules as JSON schemas, or check that none changed incompatibly since they were saved.

    A change is compatible when whoever reads events by the saved schema can read every event of the new one.

    Args:
        targets: Modules, of which all events count that they define or import, or module:Class.
        options: Where to, and what is compared.
    """
    return schema(targets, options, Console())
