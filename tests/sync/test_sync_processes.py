"""A client for plain code in processes that fork, end and are interrupted: real ones, with a far end beside them."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.far_end import FarEnd

pytestmark = pytest.mark.wallclock

HEAD = """
import atexit, multiprocessing, os, signal, sys, threading, time, warnings

began = None  # when the child was forked

def start_clock():
    global began
    began = time.monotonic()

os.register_at_fork(after_in_child=start_clock)  # before all that eventpipe does there

warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of a fork where there are threads
from eventpipe import AsyncClient, CloseReport
from eventpipe.sinks import HttpSink
from eventpipe.sync import SyncClient

OPTIONS = dict(max_batch_age=60, close_timeout=5)
client = SyncClient(HttpSink(sys.argv[1], compression=None), **OPTIONS)

def fill():
    for number in range(17):
        client.capture(f"parent {number}")
"""
TOLD = "17 events were pending at exit"


@pytest.fixture
def far_end() -> Iterator[FarEnd]:
    with FarEnd() as far_end:
        yield far_end


def run(far_end: FarEnd, program: str, folder: Path, *, timeout: float = 30) -> subprocess.CompletedProcess[str]:
    """Run a program of its own file, which children made by *spawn* import."""
    file = folder / "program.py"
    file.write_text(HEAD + textwrap.dedent(program))
    return subprocess.run(  # a program of this test
        [sys.executable, "-W", "error", str(file), far_end.url],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


# -- ends -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["", "sys.exit()", "raise SystemExit"], ids=["return", "sys.exit", "SystemExit"])
def test_forgotten_close_is_told_with_the_number(far_end: FarEnd, tmp_path: Path, ending: str) -> None:
    """The program ends at once, and nothing was sent; what was pending is dropped, with its reason."""
    done = run(far_end, f"fill()\n{ending}", tmp_path)

    assert done.returncode == 0
    assert TOLD in done.stderr.splitlines()[0]
    assert "17 events were dropped, reason close_deadline" in done.stderr
    assert far_end.names == []


def test_mute_far_end_does_not_hold_up_the_end(far_end: FarEnd, tmp_path: Path) -> None:
    """With an attempt in flight: the number is told, and the interpreter ends."""
    far_end.is_mute = True
    done = run(far_end, "fill(); client.flush(0.2); began = time.monotonic()", tmp_path, timeout=10)

    assert done.returncode == 0
    assert TOLD in done.stderr.splitlines()[0]


def test_held_up_thread_does_not_hold_up_the_end(far_end: FarEnd, tmp_path: Path) -> None:
    """A callback that never returns."""
    done = run(
        far_end,
        """
        inside = threading.Event()
        def block(outcome):
            inside.set()
            time.sleep(3600)
        client.on_outcome(block, "delivered")
        fill()
        client.flush(0.5)
        assert inside.is_set()
        client.capture("left")
        """,
        tmp_path,
        timeout=10,
    )
    assert done.returncode == 0
    assert "1 event was pending at exit" in done.stderr


def test_end_with_nothing_pending_is_quiet(far_end: FarEnd, tmp_path: Path) -> None:
    """Whoever flushed has nothing to be told, closed or not."""
    done = run(far_end, "fill(); assert client.flush().delivered == 17", tmp_path)

    assert (done.returncode, done.stderr) == (0, "")
    assert len(far_end.names) == 17


@pytest.mark.parametrize("other", ["", "import asyncio; asyncio.run(other.aclose())"], ids=["alone", "beside another"])
def test_close_registered_for_the_exit_sends_what_is_left(far_end: FarEnd, tmp_path: Path, other: str) -> None:
    """It comes before what this package registered, whichever client was first."""
    done = run(
        far_end,
        f"""
        other = AsyncClient(HttpSink(sys.argv[1]))
        {other}
        second = SyncClient(HttpSink(sys.argv[1], compression=None), **OPTIONS)
        atexit.register(client.close)
        atexit.register(second.close)
        fill()
        second.capture("second")
        """,
        tmp_path,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(far_end.names) == len(set(far_end.ids)) == 18


def test_exit_timeout_makes_a_last_attempt(far_end: FarEnd, tmp_path: Path) -> None:
    """As with ``AsyncClient``."""
    done = run(
        far_end,
        """
        client = SyncClient(HttpSink(sys.argv[1], compression=None), exit_timeout=5, **OPTIONS)
        fill()
        """,
        tmp_path,
    )
    assert done.returncode == 0
    assert "17 events were delivered and 0 dropped" in done.stderr
    assert len(far_end.names) == len(set(far_end.ids)) == 17


def test_sigterm_that_raises_system_exit_closes_what_with_opened(far_end: FarEnd, tmp_path: Path) -> None:
    """The one line that a script needs; the block is left, and everything arrives."""
    done = run(
        far_end,
        """
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        with client:
            fill()
            signal.raise_signal(signal.SIGTERM)
        """,
        tmp_path,
    )
    assert (done.returncode, done.stderr) == (143, "")
    assert len(far_end.names) == 17


# -- interrupts -------------------------------------------------------------------------------------------------------

INTERRUPTED = """
def interrupt():
    time.sleep(0.3)
    os.kill(os.getpid(), signal.SIGINT)

def interrupted(call):
    threading.Thread(target=interrupt).start()
    began = time.monotonic()
    try:
        call(30)
    except KeyboardInterrupt:
        assert 0.2 < time.monotonic() - began < 10
        return
    raise AssertionError("it was not interrupted")

fill()
"""


def test_interrupted_flush_leaves_everything_as_it_is(far_end: FarEnd, tmp_path: Path) -> None:
    """Ctrl-C ends the wait and no event; the client goes on."""
    far_end.is_mute = True
    done = run(
        far_end,
        INTERRUPTED
        + """
interrupted(client.flush)
assert client.statistics().pending == 17, client.statistics()
client.capture("later")
assert client.flush(0).pending == 18
report = client.close(0)
assert (report.dropped, report.pending) == (18, 0), report
assert threading.active_count() == 1, threading.enumerate()
""",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def test_interrupted_close_accounts_for_everything(far_end: FarEnd, tmp_path: Path) -> None:
    """Ctrl-C cancels what is in flight; the next close has the report at once, and the thread ends."""
    far_end.is_mute = True
    done = run(
        far_end,
        INTERRUPTED
        + """
client.flush(0.1)
interrupted(client.close)
assert client.capture("late").reason == "closed"
began = time.monotonic()
report = client.close()
assert time.monotonic() - began < 2
assert (report.dropped_by_reason["close_deadline"], report.pending) == (17, 0), report
assert threading.active_count() == 1, threading.enumerate()
""",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "pending at exit" not in done.stderr


# -- children ---------------------------------------------------------------------------------------------------------

CHILD = """
def first():
    signal.alarm(20)
    receipt = client.capture("child 0")
    if began is not None:
        print(f"{time.monotonic() - began:.6f}", flush=True)
    return receipt

def child():
    receipt = first()
    if {refuses}:
        assert (receipt.accepted, receipt.reason) == (False, "closed"), receipt
        assert not client.health().is_open
        return
    client.capture("child 1")
    client.deliver("child 2")
    assert client.statistics().captured == 3, client.statistics()
    assert client.close().delivered == 3

def fork(work):
    if (pid := os.fork()) == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0

def process(method, work):
    process = multiprocessing.get_context(method).Process(target=work)
    process.start()
    process.join()
    assert process.exitcode == 0

if __name__ == "__main__":
    {state}
    for work in {works}:
        {way}
    {end}
"""
WAYS = {
    "os.fork": "fork(work)",
    "multiprocessing fork": "process('fork', work)",
    "multiprocessing spawn": "process('spawn', work)",
    "multiprocessing forkserver": "process('forkserver', work)",
}
STATES = {
    "never used": ("pass", 0),
    "idle": ("fill(); client.flush()", 17),
    "with a full queue": ("fill()", 17),
    "closed": ("fill(); client.close()", 17),
}
# What imports the program anew has nothing of its parent's, whatever that did.
CELLS = [(way, state) for way in WAYS for state in STATES if "fork" in way.split()[-1:] or "." in way] + [
    (way, "with a full queue") for way in WAYS if "spawn" in way or "server" in way
]


@pytest.mark.parametrize(("way", "state"), CELLS)
def test_child_starts_anew(far_end: FarEnd, tmp_path: Path, way: str, state: str) -> None:
    """It sends its own events alone, and its parent the others; its first capture after a fork waits for nobody."""
    begin, parents = STATES[state]
    is_fork = way in ("os.fork", "multiprocessing fork")
    refuses = state == "closed" and is_fork
    # Children that only capture: on a busy machine one of them is not interrupted.
    works = "(child, *[first] * 9)" if is_fork else "(child,)"
    program = CHILD
    for name, value in {
        "state": begin,
        "way": WAYS[way],
        "end": "client.close()",
        "works": works,
        "refuses": str(refuses),
    }.items():
        program = program.replace("{" + name + "}", value)

    done = run(far_end, program, tmp_path)

    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    childs = set() if refuses else {"child 0", "child 1", "child 2"}
    assert sorted(far_end.names) == sorted({f"parent {number}" for number in range(parents)} | childs)
    assert len(set(far_end.ids)) == len(far_end.ids)
    # Milliseconds, but for a busy machine; the capture starts a thread.
    assert min(map(float, done.stdout.split()), default=0.0) < 0.1


def test_forks_in_the_middle_of_captures_hang_nobody(far_end: FarEnd, tmp_path: Path) -> None:
    """Whatever a thread of the parent was doing, with whatever lock: the child captures, sends and closes."""
    done = run(
        far_end,
        CHILD.partition("if __name__")[0].replace("{refuses}", "False")
        + """
is_over = threading.Event()
captured = [0, 0, 0]

def produce(index):
    while not is_over.is_set():
        client.capture("parent", overflow="wait" if index else None)
        captured[index] += 1

producers = [threading.Thread(target=produce, args=(index,)) for index in range(3)]
for producer in producers:
    producer.start()
for _ in range(20):
    fork(child)
is_over.set()
for producer in producers:
    producer.join()
report = client.close()
assert (report.delivered + report.dropped, report.pending) == (sum(captured), 0), (report, captured)
print(report.delivered)
""",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert far_end.names.count("parent") == int(done.stdout.split()[-1])
    assert len(re.findall("child", " ".join(far_end.names))) == 60
    assert len(set(far_end.ids)) == len(far_end.ids)


def test_default_signal_leaves_no_child_behind(far_end: FarEnd, tmp_path: Path) -> None:
    """A process that is killed by SIGTERM ends at once: its thread holds nobody up."""
    done = run(far_end, "fill(); signal.raise_signal(signal.SIGTERM)", tmp_path)

    assert (done.returncode, far_end.names) == (-signal.SIGTERM, [])
