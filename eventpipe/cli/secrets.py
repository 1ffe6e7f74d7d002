"""Secrets that the environment, or standard input, may hold, where no process list shows them."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Final

from eventpipe.cli.failures import CommandError, UsageError, reason_of
from eventpipe.cli.inputs import STDIN

KEY_VARIABLE = "EVENTPIPE_API_KEY"
SECRET_VARIABLE = "EVENTPIPE_WEBHOOK_SECRET"  # noqa: S105 - its name
HEADER_VARIABLE = "EVENTPIPE_TOP_HEADER"

_MAX_BYTES: Final = 64 * 1024  # of standard input: hundreds of secrets


def webhook_secrets(given: Sequence[str] | None) -> Sequence[str]:
    """The secrets of the command line, or those of the environment, with spaces between."""
    return given or tuple(os.environ.get(SECRET_VARIABLE, "").split())


def read_secrets(option: str, source: str) -> tuple[str, ...]:
    """Secrets from a place that no process list shows, with white space between; at least one.

    Args:
        option: The option's name, for errors.
        source: ``"-"``: standard input. Else the name of a variable of the environment.

    Raises:
        UsageError: There is none, or the name is none; what was written is not shown, as it may be a secret.
        CommandError: Standard input cannot be read.
    """
    found = (_standard_input() if source == STDIN else read_variable(option, source)).split()
    if not found:
        raise UsageError(f"{option}: there is no secret {'on standard input' if source == STDIN else 'in it'}")
    return tuple(found)


def read_variable(option: str, name: str) -> str:
    """The value of a variable of the environment.

    Raises:
        UsageError: There is none of this name; which is not shown, as it may be a secret.
    """
    value = os.environ.get(name)
    if not value:
        raise UsageError(
            f"{option}: must be the name of an environment variable that is set, and no secret itself, which process"
            " lists would show"
        )
    return value


def _standard_input() -> str:
    try:
        if sys.stdin is None:
            raise UsageError("there is no standard input")
        data = b""
        while len(data) <= _MAX_BYTES and (part := os.read(0, _MAX_BYTES + 1)):
            data += part
    except OSError as error:
        raise CommandError(f"cannot read standard input: {reason_of(error)}") from error
    if len(data) > _MAX_BYTES:
        raise UsageError(f"standard input must have at most {_MAX_BYTES // 1024} KiB of secrets, and has more")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise UsageError("standard input is not UTF-8") from error
