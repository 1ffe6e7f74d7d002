from __future__ import annotations

import asyncio
import io
import os
import pty
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from rich.console import Console

from eventpipe.cli import display
from eventpipe.cli.display import say, shown, table
from eventpipe.cli.signals import Stop, stop_signals

pytestmark = pytest.mark.asyncio


def console(*, terminal: bool) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, force_terminal=terminal, width=60, color_system=None), out


async def test_a_line_each_second_and_one_at_the_end() -> None:
    """Without a terminal there is a plain line each second; one that has nothing to say is left out."""
    screen, out = console(terminal=False)
    lines = iter(["first", None, "third", "last"])

    async with shown(screen, lambda: "never shown", lambda: next(lines)):
        await asyncio.sleep(3.5)

    assert out.getvalue() == "first\nthird\nlast\n"


async def test_a_terminal_gets_frames() -> None:
    """A terminal shows each frame in the place of the one before, four times a second, and the last one stays."""
    screen, out = console(terminal=True)
    frames = iter(range(100))

    async with shown(screen, lambda: f"frame {next(frames)}", lambda: "never shown"):
        await asyncio.sleep(1.1)

    shown_frames = [part for part in out.getvalue().split() if part.isdigit()]
    assert shown_frames[0] == "0"
    assert shown_frames[-1] == "5"
    assert "\x1b[?25h" in out.getvalue()  # the cursor is back


@contextmanager
def terminal_in_front_of(group: int) -> Iterator[tuple[Console, int]]:
    """A terminal of a shell, which gives it to a group of processes; its master side."""
    master, slave = pty.openpty()
    with pytest.MonkeyPatch.context() as patch, os.fdopen(slave, "w") as screen:
        patch.setattr(os, "tcgetpgrp", lambda descriptor: group if descriptor == screen.fileno() else 0)
        yield Console(file=screen, width=60, color_system=None), master
    os.close(master)


async def test_in_the_background_a_terminal_gets_lines() -> None:
    """What the command in front of it writes, or a person types, is never erased."""
    with terminal_in_front_of(os.getpgrp() + 1) as (screen, master):
        async with shown(screen, lambda: "never shown", lambda: "line"):
            await asyncio.sleep(0.5)
        written = os.read(master, 1000)

    assert written == b"line\r\n"


async def test_sent_to_the_background_it_draws_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """And goes on drawing once it is in front again."""
    out = io.StringIO()
    screen = Console(file=out, force_terminal=True, width=60, color_system=None)
    frames = iter(range(100))
    in_front = True
    monkeypatch.setattr(display, "is_picture", lambda _: in_front)

    async with shown(screen, lambda: f"frame {next(frames)}", lambda: "never shown"):
        await asyncio.sleep(0.6)
        in_front = False
        before = out.getvalue()
        await asyncio.sleep(5)
        assert out.getvalue() == before
        in_front = True
        await asyncio.sleep(0.3)
        assert out.getvalue() != before


async def test_a_view_that_fails_ends_the_block() -> None:
    """An error in what is shown reaches whoever shows it, and leaves no task."""
    screen, _ = console(terminal=False)

    def broken() -> str:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        async with shown(screen, lambda: "", broken):
            await asyncio.sleep(2)


async def test_the_error_of_the_block_goes_first() -> None:
    """What went wrong in the work is not hidden by what went wrong in showing it."""
    screen, _ = console(terminal=False)

    def broken() -> str:
        raise ZeroDivisionError

    async def work() -> None:
        await asyncio.sleep(2)
        raise KeyError

    with pytest.raises(KeyError):
        async with shown(screen, lambda: "", broken):
            await work()


async def test_text_of_others_stays_text() -> None:
    """Markup, colours and control codes in what was received are shown as they are, or masked."""
    screen, out = console(terminal=False)

    screen.print(table([("[red]name[/red]", "\x1b[31mvalue")], title="[bold]by name"))
    say(screen, "[bold]plain [/nope] " + "x" * 100)

    assert "[bold]by name" in out.getvalue()
    assert "[red]name[/red]" in out.getvalue()
    assert "?[31mvalue" in out.getvalue()
    assert "[bold]plain [/nope] " + "x" * 100 + "\n" in out.getvalue()


@pytest.mark.wallclock
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_signals_ask_to_stop(number: signal.Signals) -> None:
    """The first signal and the second can be waited for, and the handlers of before come back."""
    before = signal.getsignal(number)
    async with asyncio.timeout(10):
        with stop_signals() as stop:
            os.kill(os.getpid(), number)
            await stop.wait()
            once = stop.is_asked
            os.kill(os.getpid(), number)
            await stop.wait(2)

    assert once
    assert signal.getsignal(number) is before


async def test_asking_more_often_is_no_error() -> None:
    """A third Ctrl-C changes nothing."""
    stop = Stop()
    for _ in range(3):
        stop.ask()

    await stop.wait(2)
    assert stop.is_asked
