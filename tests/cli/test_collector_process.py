from __future__ import annotations

import asyncio
import os
import signal

import psutil
import pytest

from eventpipe.cli import collector_process as module
from eventpipe.cli.collector_process import collector_ids, collector_process, collector_statistics
from eventpipe.cli.failures import CommandError

pytestmark = [pytest.mark.asyncio, pytest.mark.wallclock]


others: set[int] = set()


@pytest.fixture(autouse=True)
def note_others() -> None:
    """Other tests may have a process for the whole session."""
    others.clear()
    others.update(child.pid for child in psutil.Process().children())


def children() -> list[psutil.Process]:
    """Those that the test has made."""
    return [child for child in psutil.Process().children() if child.pid not in others]


async def test_it_runs_apart_and_ends_with_the_block() -> None:
    """A collector in another process and session, asked over HTTP, is gone afterwards."""
    async with collector_process("--seconds", "60") as url:
        [child] = children()
        session = os.getsid(child.pid)
        statistics = await collector_statistics(url)
        ids = await collector_ids(url)

    assert session == child.pid
    assert (statistics["events"], ids) == (0, {})
    assert children() == []


async def test_one_that_does_not_start_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    """A wrong option ends the process, and the command; why, the process says itself."""
    with pytest.raises(CommandError, match=r"^the collector did not start$"):
        async with collector_process("--stall", "nonsense"):
            pass

    assert "--stall: 'nonsense' is not of the form" in capfd.readouterr().err
    assert children() == []


async def test_one_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that never says where it listens is ended at the timeout."""
    monkeypatch.setattr(module, "START_TIMEOUT", 0.3)
    monkeypatch.setattr(module, "_PROGRAM", "import time; time.sleep(60)")

    with pytest.raises(CommandError, match=r"^the collector did not start within 0.3 s$"):
        async with collector_process():
            pass

    assert children() == []


async def test_one_that_does_not_stop_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that ignores SIGTERM is killed after a while."""
    monkeypatch.setattr(module, "STOP_TIMEOUT", 0.3)
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    stubborn += "; print('eventpipe serve: listening on nowhere', flush=True); time.sleep(60)"
    monkeypatch.setattr(module, "_PROGRAM", stubborn)

    async with collector_process() as url:
        assert url == "nowhere"

    assert children() == []


async def test_one_that_died_is_told() -> None:
    """When the collector is gone, asking it is an error in one line."""
    async with collector_process("--seconds", "60") as url:
        [child] = children()
        child.send_signal(signal.SIGKILL)
        async with asyncio.timeout(10):
            while psutil.pid_exists(child.pid):  # noqa: ASYNC110 - asyncio's own thread reaps it
                await asyncio.sleep(0.01)

        with pytest.raises(CommandError, match=r"^the collector does not answer any more: "):
            await collector_ids(url)
