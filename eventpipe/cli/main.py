"""The entry point: finds out whether the extra is there, runs the command, turns errors into lines and exit codes."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from eventpipe.cli.failures import FAILURE, CommandError, one_line

INTERRUPTED = 130  # what shells report for Ctrl-C
EXTRA = frozenset({"cyclopts", "rich"})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``eventpipe`` and return its exit code: 0, 1 for a failure, 2 for a wrong command line.

    An error is one line on stderr; ``--debug``, anywhere, adds the traceback and the log.

    Args:
        arguments: What follows the program's name. ``None`` means ``sys.argv``.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    if debug:
        logging.basicConfig(level=logging.DEBUG)
    else:
        # The commands report what happened themselves; without a handler Python would print warnings as well.
        logging.getLogger("eventpipe").addHandler(logging.NullHandler())
    try:
        from eventpipe.cli.app import run

        return run(words)
    except CommandError as error:
        code, line = error.exit_code, str(error)
        problem: BaseException = error
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in EXTRA:
            raise
        code, line = FAILURE, "the command line needs: pip install 'eventpipe[cli]'"
        problem = error
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last one to know; shown in one line
        code, line = FAILURE, f"{type(error).__name__}: {error}"
        problem = error
    if debug:
        raise problem
    print(f"eventpipe: {one_line(line)}", file=sys.stderr)  # noqa: T201 - rich may be missing
    return code
