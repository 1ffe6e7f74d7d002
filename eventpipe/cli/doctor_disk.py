"""The check of ``eventpipe doctor`` of a file that a ``FileSink`` is to write."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from eventpipe.cli.doctor_report import Finding, Status
from eventpipe.cli.failures import reason_of
from eventpipe.cli.text import readable, size
from eventpipe.sinks.template import PathTemplate

LITTLE = 1024**3  # bytes free: 2 million events of half a KiB
TOO_LITTLE = 16 * 1024**2  # bytes free: a few batches
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def check_file(path: Path) -> list[Finding]:
    """Whether a sink could add to ``path``, which may be a template; nothing is left behind there. May wait."""
    try:
        template = PathTemplate(path)
    except ValueError as error:
        return [Finding("disk", Status.FAILED, str(error), "see FileSink for what a path may be")]
    file = template.render(0.0, 0)
    try:
        return list(_findings(file, is_template=bool(template.fields)))
    except OSError as error:
        name = readable(str(file.parent))
        return [Finding("disk", Status.FAILED, f"{name}: {reason_of(error)}", "make the folder writable for this user")]


def _findings(file: Path, *, is_template: bool) -> Iterator[Finding]:
    folder = file.parent
    shown = readable(str(folder))
    if not folder.is_dir():
        yield Finding("disk", Status.FAILED, f"{shown} is no folder", "make it: a sink makes files, and no folders")
        return
    if not is_template and file.exists():
        yield _existing(file)
    else:
        _try_writing(folder)
        yield Finding("disk", Status.OK, f"{shown} is there, and takes new files")
    yield check_space("disk", folder, "make room, or rotate and remove files")


def check_space(check: str, folder: Path, advice: str) -> Finding:
    """How much room there is, and what to do where it is little.

    Raises:
        OSError: It cannot be told.
    """
    free = shutil.disk_usage(folder).free
    status = Status.FAILED if free < TOO_LITTLE else Status.WARNING if free < LITTLE else Status.OK
    return Finding(
        check, status, f"{size(free)} free in {readable(str(folder))}", "" if status is Status.OK else advice
    )


def _try_writing(folder: Path) -> None:
    """Write and forget a little: permissions alone do not tell of quotas and file systems that are read-only."""
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(bytes(4096))


def _existing(file: Path) -> Finding:
    shown, found = readable(str(file)), file.stat()
    if not stat.S_ISREG(found.st_mode):
        return Finding("disk", Status.FAILED, f"{shown} is no file", "name another one")
    try:
        os.close(os.open(file, os.O_WRONLY | os.O_APPEND | getattr(os, "O_CLOEXEC", 0)))
    except OSError as error:
        return Finding(
            "disk",
            Status.FAILED,
            f"{shown} cannot be written: {reason_of(error)}; {_owner(file)}",
            "run as its owner, or give it to this user",
        )
    told = f"{shown} can be added to; {_owner(file)}"
    if hasattr(os, "geteuid") and found.st_uid != os.geteuid():
        return Finding("disk", Status.WARNING, told, "check that the program that writes it runs as its owner")
    if found.st_mode & _OTHERS:
        mode = stat.S_IMODE(found.st_mode)
        return Finding(
            "disk", Status.WARNING, f"{told}, and others may open it (mode {mode:04o})", f"chmod 600 {shown}"
        )
    return Finding("disk", Status.OK, told)


def _owner(file: Path) -> str:
    name = ""
    with suppress(KeyError, NotImplementedError, OSError):  # an owner without a name; a system without owners
        name = file.owner()
    return f"its owner is {name or file.stat().st_uid}"
