"""The check of ``eventpipe doctor`` of a folder in which a client is to keep events."""

from __future__ import annotations

import os
from pathlib import Path

from eventpipe.cli.doctor_disk import check_space
from eventpipe.cli.doctor_report import Finding, Status
from eventpipe.cli.failures import reason_of
from eventpipe.cli.text import readable
from eventpipe.errors import SpoolError

_CHECK = "spool"


def check_spool(path: Path) -> list[Finding]:
    """Whether a client could use a folder, or make it; nothing is left behind there. May wait."""
    try:
        from eventpipe.spool import folder  # not above: it needs what Windows does not have
    except ModuleNotFoundError:
        return [Finding(_CHECK, Status.FAILED, "Windows has no locks of this kind", "run clients without a spool")]
    name = readable(str(path))
    try:
        if not os.path.lexists(path):  # a link to nothing is something
            return _to_be_made(path, name)
        place = folder.check(path)
        kind = folder.kind_of_disk(place)
        if kind in folder.REMOTE:
            found = Finding(_CHECK, Status.WARNING, f"{name} is on a network file system ({kind})", "use a local disk")
        else:
            found = Finding(_CHECK, Status.OK, f"{name} is private, and takes new files")
        return [found, check_space(_CHECK, place, "make room, or let what is there be sent")]
    except SpoolError as error:
        return [Finding(_CHECK, Status.FAILED, str(error), "a client refuses it when it starts")]
    except (OSError, ValueError) as error:  # ValueError: a NUL in it
        why = reason_of(error) if isinstance(error, OSError) else str(error)
        return [Finding(_CHECK, Status.FAILED, f"{name}: {why}", "name another folder")]


def _to_be_made(path: Path, name: str) -> list[Finding]:
    above = next(parent for parent in path.absolute().parents if parent.exists())
    if not (above.is_dir() and os.access(above, os.W_OK | os.X_OK)):
        shown = readable(str(above))
        advice = "give this user the right to make folders there"
        return [Finding(_CHECK, Status.FAILED, f"{name} cannot be made in {shown}", advice)]
    made = Finding(_CHECK, Status.OK, f"{name} is not there yet; a client makes it")
    return [made, check_space(_CHECK, above, "make room")]
