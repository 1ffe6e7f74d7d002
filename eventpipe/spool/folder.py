"""The folder of a spool: who may use it, and which of its files are whose.

Each file has a lock beside it, which its owner holds as long as it lives, and which ends with it however it ends: by
``flock``, so that no file is left that says that somebody lives who does not. A name is never used again.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import secrets
import socket
import stat
import time
import weakref
from pathlib import Path
from typing import Final

from eventpipe.core.log import contained_logger
from eventpipe.errors import SpoolError

_LOCK: Final = ".lock"
_EVENTS: Final = ".db"
# What SQLite and we keep beside a file of events, and goes with it; the lock last.
_BESIDE: Final = (".db", ".db-wal", ".db-shm", ".db-journal", ".db-reserve", ".json", ".json-new")
# Where locks do not reach the other hosts, or are not told of the death of one.
REMOTE: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "fuse.sshfs"})
_MOUNTS: Final = Path("/proc/self/mounts")

_logger = contained_logger(__name__)


class Owned:
    """A file of the spool that is this process's: nobody else opens it until its lock is let go.

    Attributes:
        name: What all files of it begin with.
        path: The file of events.
        status_path: What people and programs read of it, while it is open.
    """

    def __init__(self, folder: Path, name: str, descriptor: int) -> None:
        self.name = name
        self.path = folder / f"{name}{_EVENTS}"
        self.status_path = folder / f"{name}.json"
        self._folder = folder
        self._descriptor: int | None = descriptor
        _owned[id(self)] = self
        self._is_removed = False

    def tell(self, status: bytes) -> None:
        """Replace the status file; from any thread, and once it was let go of nothing is done.

        Raises:
            OSError: It cannot be written; it is as it was.
        """
        if self._descriptor is None:
            return
        new = self.status_path.with_suffix(".json-new")
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(new, flags, 0o600), "wb") as file:
                os.fchmod(file.fileno(), 0o600)  # whatever the umask left of it
                file.write(status)
            new.replace(self.status_path)
        except OSError:
            with contextlib.suppress(OSError):
                new.unlink(missing_ok=True)
            if not self._is_removed:
                raise
        if self._is_removed:  # meanwhile, by another thread: whichever looks last deletes it
            self.status_path.unlink(missing_ok=True)

    def release(self) -> None:
        """Let others have it; again does nothing."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def __del__(self) -> None:
        self.release()  # of a client that nobody closed

    @property
    def is_ours(self) -> bool:
        """Whether it was not let go of yet."""
        return self._descriptor is not None

    def remove(self) -> None:
        """Delete it with all that is beside it, and let go of it."""
        self._is_removed = True
        for suffix in _BESIDE:
            (self._folder / f"{self.name}{suffix}").unlink(missing_ok=True)
        (self._folder / f"{self.name}{_LOCK}").unlink(missing_ok=True)
        self.release()


def check(path: str | os.PathLike[str]) -> Path:
    """The folder, made for this user alone if there is none.

    Raises:
        SpoolError: It cannot be used; the message says why, and what to do. Nothing was changed.
    """
    folder = Path(os.path.abspath(path))  # noqa: PTH100  # resolve() would follow links
    try:
        try:
            missing = [one for one in (folder, *folder.parents) if not one.exists()]
            folder.mkdir(mode=0o700, parents=True)
            folder.chmod(0o700)  # whatever the umask left of it
            for made in missing:  # else a loss of power may take the folder, and all that is synced in it
                sync(made.parent)
        except FileExistsError:
            pass
        status = folder.lstat()
    except OSError as error:
        raise SpoolError(f"the spool {folder} cannot be made: {_why(error)}") from error
    if stat.S_ISLNK(status.st_mode):
        raise SpoolError(f"the spool {folder} is a symbolic link, which is not followed; name the folder itself")
    if not stat.S_ISDIR(status.st_mode):
        raise SpoolError(f"the spool {folder} is no folder; name a folder, or one to be made")
    if status.st_uid != os.geteuid():
        raise SpoolError(
            f"the spool {folder} belongs to user {status.st_uid}, and this process runs as user {os.geteuid()}; give"
            " the process a folder of its own"
        )
    if status.st_mode & 0o077:
        raise SpoolError(
            f"the spool {folder} can be read or written by others (mode {stat.S_IMODE(status.st_mode):o}); make it"
            f" private: chmod 700 {folder}"
        )
    _check_writable(folder)
    kind = kind_of_disk(folder)
    if kind in REMOTE:
        _logger.warning("the spool %s is on a network file system (%s): put it on a local disk", folder, kind)
    return folder


def own_new(folder: Path) -> Owned:
    """A new file, locked.

    Raises:
        SpoolError: It cannot be made.
    """
    while True:
        name = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{secrets.token_hex(4)}"
        try:
            owned = _lock(folder, name, os.O_CREAT | os.O_EXCL)
        except FileExistsError:  # a name of 32 random bits
            continue
        except OSError as error:
            raise SpoolError(f"no file can be made in the spool {folder}: {_why(error)}") from error
        if owned is not None:
            return owned


def orphans(folder: Path) -> list[Owned]:
    """Files whose owners are gone, locked for this process, the oldest first.

    Raises:
        SpoolError: The folder cannot be looked into.
    """
    found = []
    held = {owned.name for owned in _all_owned() if owned.is_ours}
    try:
        there = names(folder)
    except OSError as error:
        raise SpoolError(f"the spool {folder} cannot be looked into: {_why(error)}") from error
    for name in there:
        if name in held:
            continue
        owned = None
        try:
            owned = take(folder, name)  # a file of events whose lock was lost is nobody's
            if owned is None:
                continue
            if owned.path.exists():
                found.append(owned)
            else:
                owned.remove()  # it ended before it had a file of events, or in the middle of its removal
        except OSError as error:
            _logger.warning("%s of the spool %s cannot be looked at: %s", name, folder, _why(error))
            if owned is not None:
                owned.release()
    return found


def names(folder: Path) -> list[str]:
    """Names of all files, whosever they are, the oldest first."""
    suffixes = (_LOCK, _EVENTS)
    return sorted({entry.stem for entry in folder.iterdir() if entry.suffix in suffixes and not entry.is_symlink()})


def take(folder: Path, name: str) -> Owned | None:
    """The file of this name, locked for this process; ``None``: somebody else has it, or has just removed it.

    Raises:
        OSError: Its lock cannot be looked at.
    """
    return _lock(folder, name, os.O_CREAT)


def holder_of(folder: Path, name: str) -> tuple[int, str] | None:
    """The process id and the host that the last owner of a file left in its lock; ``None``: it left none."""
    try:
        told = json.loads((folder / f"{name}{_LOCK}").read_bytes())
        return int(told["pid"]), str(told["host"])
    except (OSError, ValueError, TypeError, KeyError):
        return None


def is_held(folder: Path, name: str) -> bool:
    """Whether some process owns a file; by a look that takes it from nobody."""
    try:
        descriptor = os.open(folder / f"{name}{_LOCK}", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def sync(path: Path) -> None:
    """Have what is in a file, or which files are in a folder, outlive a loss of power.

    Raises:
        OSError: It cannot be opened, or the disk fails.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _lock(folder: Path, name: str, flags: int) -> Owned | None:
    """The file of this name; ``None``: somebody else has it, or has just removed it."""
    path = folder / f"{name}{_LOCK}"
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | flags, 0o600)
    try:
        os.fchmod(descriptor, 0o600)  # whatever the umask left of it
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Between the opening and the lock its owner may have removed it: then the path is another file, or none.
        if not os.path.samestat(os.fstat(descriptor), path.lstat()):
            raise BlockingIOError
        os.ftruncate(descriptor, 0)
        told = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}
        os.write(descriptor, json.dumps(told).encode())  # for people; the lock alone says whose it is
    except (BlockingIOError, FileNotFoundError):
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return Owned(folder, name, descriptor)


def _check_writable(folder: Path) -> None:
    probe = folder / ".probe"  # one name for all, so that a process that is killed here leaves one file at most
    try:
        os.close(os.open(probe, os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
        probe.unlink(missing_ok=True)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return  # a full disk may hold what is to be sent, and make room by that
        raise SpoolError(f"the spool {folder} cannot be written: {_why(error)}") from error


def _why(error: OSError) -> str:
    remedy = {
        errno.EACCES: "give this process the right to read and write it",
        errno.EPERM: "give this process the right to read and write it",
        errno.EROFS: "name a folder on a disk that can be written",
        errno.ENOSPC: "free some room on its disk",
        errno.EDQUOT: "free some room within the quota",
        errno.ENOTDIR: "a part of its path is no folder; name another one",
        errno.EMFILE: "let this process open more files",
        errno.ENFILE: "let this system open more files",
    }.get(error.errno or 0, "look at its disk")
    return f"{error.strerror}; {remedy}"


def kind_of_disk(folder: Path) -> str:
    """The kind of the file system, as Linux tells; ``""`` where it does not."""
    try:
        lines = _MOUNTS.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    best, kind = "", ""
    for line in lines:
        _, place, found, *_ = line.split(" ")
        place = place.encode().decode("unicode_escape")
        if (folder == Path(place) or Path(place) in folder.parents) and len(place) >= len(best):
            best, kind = place, found
    return kind


# A lock is shared with a forked child, and would outlive its owner there.
_owned: weakref.WeakValueDictionary[int, Owned] = weakref.WeakValueDictionary()


def _all_owned() -> list[Owned]:
    # A list of them in one step, as other threads open and close theirs meanwhile.
    return [owned for ref in _owned.valuerefs() if (owned := ref()) is not None]


def _leave_to_parent() -> None:
    for owned in _all_owned():
        owned.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)
