"""The command line's words: every command with its options, read by cyclopts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from cyclopts import App, CycloptsError, Parameter
from rich.console import Console

from eventpipe import __version__
from eventpipe.cli.demo import DemoOptions, demo
from eventpipe.cli.failures import UsageError
from eventpipe.cli.send import SendOptions, send
from eventpipe.cli.serve import ServeOptions, serve

_FLAT = Parameter(name="*", negative=())  # a field for each option, no --no-… forms

_DASH = Parameter(allow_leading_hyphen=True)  # "-" is standard input
_SERVE = ServeOptions()
_DEMO = DemoOptions()

app = App(
    name="eventpipe",
    help="Send events, receive them while developing, and see the transport at work. `--debug` adds tracebacks.",
    version=__version__,
)


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
