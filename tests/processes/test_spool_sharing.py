"""Programs that share the folder of a spool: whose file is whose, and what becomes of that of one that is gone."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from eventpipe.spool.folder import is_held
from tests.far_end import FarEnd
from tests.processes.nursery import ROOT, Child, Entry, Nursery, nursery
from tests.processes.spooling import files
from tests.stores.places import quick_folder

EVENTS = 100
ADOPTED_WITHIN = 2.0  # seconds

pytestmark = [pytest.mark.wallclock, pytest.mark.timeout(60)]


@pytest.fixture(scope="module")
def children(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    with nursery(tmp_path_factory.mktemp("journals"), "spooling") as forked:
        yield forked


@pytest.fixture
def spool() -> Iterator[Path]:
    """In memory, if there is a place: what ends here are processes and not disks."""
    with TemporaryDirectory(dir=quick_folder()) as folder:
        yield Path(folder, "spool")


def acked(*journals: Child) -> dict[str, int]:
    """The events that are on disk as their producers know: numbers by their ids."""
    return {uuid: int(number) for child in journals for _, number, uuid in child.entries("acked")}


def await_numbers(far: FarEnd, wanted: set[str], within: float = 20.0) -> None:
    """Wait until a far end has had these ids."""
    deadline = time.monotonic() + within
    while not wanted <= set(far.ids):
        assert time.monotonic() < deadline, f"{len(wanted - set(far.ids))} events did not arrive"
        time.sleep(0.005)


@pytest.mark.parametrize("processes", [2, 4])
def test_file_of_a_killed_process_is_taken_over_by_one_of_the_others(
    children: Nursery, spool: Path, processes: int
) -> None:
    """Within two seconds; nothing is lost, and what a living process has is sent by itself alone."""
    with FarEnd() as far:
        mute = children.fork("produce", path=str(spool), far="mute", first=0, last=EVENTS)
        others = [
            children.fork("follow", path=str(spool), url=far.url, first=one * EVENTS, last=(one + 1) * EVENTS)
            for one in range(1, processes)
        ]
        for child in (mute, *others):
            child.await_entry("filled")
        time.sleep(1.5)  # the others look about once a second, and find that the file has its owner
        assert len(files(spool)) == processes
        assert acked(mute).keys().isdisjoint(far.ids)
        killed_at = mute.kill()
        await_numbers(far, set(acked(mute, *others)))
        heirs: list[Entry] = []
        while not heirs:  # whose line comes when it is noticed
            heirs = [entry for child in others for entry in child.entries("recovered")]
        for child in others:
            child.kill()

    assert sorted(far.ids) == sorted(acked(mute, *others))
    assert len(far.ids) == processes * EVENTS
    assert [int(recovered) for _, recovered in heirs] == [EVENTS]
    assert heirs[0].at - killed_at <= ADOPTED_WITHIN


def test_forked_child_writes_to_a_file_of_its_own_and_does_not_keep_its_parents(
    children: Nursery, spool: Path, tmp_path: Path
) -> None:
    """With the parent's client; the parent is killed, the child lives, and the next program has what the parent had."""
    journal = tmp_path / "childs"
    parent = children.fork("fork", path=str(spool), far="mute", first=0, last=EVENTS, childs=str(journal))
    parent.await_entry("filled")
    child = Child(children, int(parent.entries("forked")[0][1]), journal, time.monotonic())
    try:
        child.await_entry("filled")
        assert len(files(spool)) == 2
        parent.kill()
        with FarEnd() as far:
            heir = children.fork("drain", path=str(spool), url=far.url)
            assert heir.wait() == 0
            assert sorted(far.ids) == sorted(acked(parent))
            assert len(far.ids) == 2 * EVENTS
    finally:
        child.signal(signal.SIGKILL)
    # It is nobody's child any more: that it is gone shows in its lock.
    while any(is_held(spool, Path(name).stem) for name in files(spool)):
        time.sleep(0.001)
    with FarEnd() as far:
        heir = children.fork("drain", path=str(spool), url=far.url)
        assert heir.wait() == 0
        assert sorted(far.ids) == sorted(acked(child))
        assert len(far.ids) == EVENTS
    assert files(spool) == []


def test_reloaded_program_has_what_the_one_before_it_left(children: Nursery, spool: Path) -> None:
    """Once that is gone, though it began while that was still there."""
    with FarEnd() as far:
        old = children.fork("produce", path=str(spool), far="mute", first=0, last=EVENTS)
        old.await_entry("filled")
        new = children.fork("follow", path=str(spool), url=far.url, first=EVENTS, last=2 * EVENTS)
        new.await_entry("filled")
        await_numbers(far, set(acked(new)))
        assert acked(old).keys().isdisjoint(far.ids)
        old.kill()
        await_numbers(far, set(acked(old)))
        new.kill()

    assert sorted(far.ids) == sorted(acked(old, new))


def test_locks_say_whose_a_file_is_and_not_numbers_of_processes(spool: Path, tmp_path: Path) -> None:
    """Two programs are process 1 of their containers: neither takes the file of the other while that lives."""
    probe = subprocess.run(["unshare", "-p", "-f", "true"], capture_output=True, text=True, check=False)
    if probe.returncode:
        pytest.skip(f"no namespace of processes can be made here: {probe.stderr.strip()}")

    def contained(role: str, name: str, **arguments: object) -> tuple[subprocess.Popen[str], Child]:
        journal = tmp_path / name
        given = {"path": str(spool), "journal": str(journal), **arguments}
        program = (
            "import asyncio, json, os, sys; from tests.processes import logged, spooling; assert os.getpid() == 1;"
            "asyncio.run(logged.live(getattr(spooling, sys.argv[1]), json.loads(sys.argv[2])))"
        )
        command = ["unshare", "-p", "-f", "--kill-child", sys.executable, "-c", program, role, json.dumps(given)]
        process = subprocess.Popen(command, cwd=ROOT, text=True)
        return process, Child(None, process.pid, journal, time.monotonic())  # type: ignore[arg-type]  # of no nursery

    with FarEnd() as far:
        first, its = contained("produce", "first", far="mute", first=0, last=EVENTS)
        its.await_entry("filled")
        second, others = contained("follow", "second", url=far.url, first=EVENTS, last=2 * EVENTS)
        try:
            others.await_entry("filled")
            await_numbers(far, set(acked(others)))
            time.sleep(1.5)  # it looks about once a second
            assert acked(its).keys().isdisjoint(far.ids)
            first.kill()
            first.wait()
            await_numbers(far, set(acked(its)))
        finally:
            for process in (first, second):
                process.kill()
                process.wait()

    assert sorted(far.ids) == sorted(acked(its, others))
