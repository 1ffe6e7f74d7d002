"""How a command ends badly: one clear line, and an exit code that says whose fault it was."""

from __future__ import annotations

import os
import socket

FAILURE = 1
USAGE = 2


class CommandError(Exception):
    """The command could not do its work; its text is the line that the user reads."""

    exit_code = FAILURE


class UsageError(CommandError):
    """The command line asks for something that cannot be."""

    exit_code = USAGE


def reason_of(error: OSError) -> str:
    """Why the system refused, in its own words and without the names that the error was about."""
    if isinstance(error, socket.gaierror):
        return "no such host"
    return os.strerror(error.errno).lower() if error.errno else str(error)


def one_line(text: object) -> str:
    """The text of an error on one line, at most 500 characters, without what a terminal would obey."""
    line = " ".join(str(text).split())
    line = "".join(character if character.isprintable() else "?" for character in line)
    return line if len(line) <= 500 else line[:499] + "…"
