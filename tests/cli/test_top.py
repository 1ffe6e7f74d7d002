from __future__ import annotations

import socket
from collections.abc import Sequence
from signal import SIGINT, SIGTERM, Signals

import pytest

from eventpipe import AsyncClient
from eventpipe.cli.top_picture import Process, parse_picture
from eventpipe.health import Health
from eventpipe.integrations.health import HealthEndpoint
from eventpipe.sinks import MemorySink
from eventpipe.statistics import EventCounts, Statistics
from tests.cli.far_process import far_process, response
from tests.cli.pictures import answer, sink
from tests.cli.process import command, run
from tests.cli.terminal import terminal
from tests.integrations.asgi import ask, served

pytestmark = [pytest.mark.asyncio, pytest.mark.wallclock]

NASTY = Health(is_open=True, sinks={"\x1b[2J\x1b]0;x\x07[red]": sink()})


def scripted(*pictures: tuple[int, float, int]) -> Sequence[bytes]:
    """An answer for each pid, uptime and number of delivered events."""
    return [
        response(answer(statistics=Statistics(captured=number, delivered=number), pid=pid, uptime=uptime))
        for pid, uptime, number in pictures
    ]


def nobody() -> str:
    """An address at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("number", [SIGINT, SIGTERM], ids=["Ctrl-C", "SIGTERM"])
async def test_there_is_a_line_for_each_picture_until_a_signal(number: Signals) -> None:
    """The first at once, the next with what changed in between; the exit code is 0."""
    async with (
        far_process(*scripted((7, 10.0, 100), (7, 12.0, 300))) as far,
        command("top", far.url.removeprefix("http://"), "--interval", "100ms") as top,
    ):
        first, second = await top.line(), await top.line()
        top.signal(number)
        ended = await top.end()

    assert first.startswith("ready, 100 captured, 100 delivered, 0 dropped, 0 pending, 0 % full, 0 retries, ")
    assert second.startswith("ready, 300 captured (100/s), 300 delivered (100/s), ")
    assert (ended.code, ended.stderr) == (0, "")
    assert "\x1b" not in ended.stdout


async def test_ctrl_c_while_nobody_answers_is_no_failure() -> None:
    """The user asked to stop, and nothing else happened."""
    async with far_process(None) as far, command("top", far.url) as top:
        await far.asked.wait()
        top.signal(SIGINT)
        ended = await top.end()

    assert (ended.code, ended.stdout, ended.stderr) == (0, "", "")


async def test_time_is_up_after_seconds() -> None:
    """It ends by itself, with exit code 0."""
    async with far_process(*scripted((7, 10.0, 100))) as far:
        ended = await run("top", far.url, "--seconds", "1.5", "--interval", "1m")

    assert (ended.code, ended.stderr, len(ended.stdout.splitlines())) == (0, "", 1)


async def test_restart_has_a_line_of_its_own() -> None:
    """What comes after it is counted anew."""
    async with (
        far_process(*scripted((7, 10.0, 100), (8, 1.0, 5), (8, 2.0, 10))) as far,
        command("top", far.url, "--interval", "100ms") as top,
    ):
        lines = [await top.line() for _ in range(4)]
        top.signal(SIGINT)
        await top.end()

    assert lines[1] == "another process answers, and the counts begin anew: pid 8 in place of 7"
    assert lines[2].startswith("ready, 5 captured, 5 delivered, ")
    assert lines[3].startswith("ready, 10 captured (5.0/s), ")


async def test_process_that_does_not_answer_is_asked_again() -> None:
    """Each time it is told; the first answer after that goes on where the last one was."""
    [before, after] = scripted((7, 10.0, 100), (7, 14.0, 140))
    async with (
        far_process(before, before[:-5], before[:-5], after) as far,
        command("top", far.url, "--interval", "100ms") as top,
    ):
        lines = [await top.line() for _ in range(4)]
        top.signal(SIGINT)
        ended = await top.end()

    assert lines[1] == lines[2] == f"no answer: {far.url} hung up before the end of its answer; trying again"
    assert lines[3].startswith("ready, 140 captured (10/s), ")
    assert ended.code == 0


async def test_patience_ends() -> None:
    """A process that is gone for good ends the command with one line and exit code 1."""
    url = nobody()
    ended = await run("top", url, "--interval", "100ms", "--patience", "300ms")

    problem = f"cannot reach http://{url}: connection refused"
    assert ended.code == 1
    assert ended.stdout.splitlines()[0] == f"no answer: {problem}; trying again"
    assert ended.stderr == f"eventpipe: {problem}; gave up after 0.3 s\n"


@pytest.mark.parametrize("words", [("--patience", "0s"), ("--once",)], ids=["no patience", "once"])
async def test_without_patience_the_first_silence_ends_it(words: Sequence[str]) -> None:
    """One line, and nothing on standard output."""
    url = nobody()
    ended = await run("top", url, *words)

    assert (ended.code, ended.stdout) == (1, "")
    assert ended.stderr == f"eventpipe: cannot reach http://{url}: connection refused\n"


async def test_time_that_was_up_before_the_first_answer_is_a_failure() -> None:
    """Whoever looked for an answer in that time did not get one."""
    async with far_process(None) as far:
        mute = await run("top", far.url, "--seconds", "0.3")
    url = nobody()
    gone = await run("top", url, "--seconds", "0.3", "--interval", "1m")

    assert (mute.code, mute.stderr) == (1, "eventpipe: no answer within 0.3 s\n")
    assert (gone.code, gone.stderr) == (1, f"eventpipe: no answer: cannot reach http://{url}: connection refused\n")


async def test_what_is_no_health_endpoint_ends_it_at_once() -> None:
    """No patience helps there; escape sequences of the far side do not reach the terminal."""
    async with far_process(response(b"", "302 Found", "Location: http://\x1b[2Jevil/")) as far:
        ended = await run("top", far.url)

    assert (ended.code, ended.stdout) == (1, "")
    assert ended.stderr.startswith(f"eventpipe: {far.url} ")
    assert ended.stderr.count("\n") == 1
    assert "\x1b" not in ended.stderr


@pytest.mark.parametrize(
    ("health", "code", "said"), [(None, 0, "ready"), (Health(is_open=False), 1, "not ready: closed")]
)
async def test_once_is_a_probe(health: Health | None, code: int, said: str) -> None:
    """One picture, and an exit code that says whether it is ready."""
    body = answer(health)
    async with far_process(response(body, "200 OK" if code == 0 else "503 Service Unavailable")) as far:
        ended = await run("top", far.url, "--once")

    lines = [line.rstrip() for line in ended.stdout.splitlines()]
    assert (ended.code, ended.stderr) == (code, "")
    assert lines[:2] == [f"{far.url}  pid 7, up 100.0 s, eventpipe 1.2.3", said]
    assert len(far.requests) == 1


async def test_secret_header_comes_from_the_environment() -> None:
    """Where no process list shows it."""
    async with far_process(response(answer())) as far:
        await run("top", far.url, "--once", environment={"EVENTPIPE_TOP_HEADER": "Authorization: Bearer x"})

    assert "Authorization: Bearer x" in far.requests[0].splitlines()


@pytest.mark.parametrize("way", ["Ctrl-C", "SIGTERM", "time is up", "failure"])
async def test_terminal_is_left_as_it_was(way: str) -> None:
    """The picture is drawn in place, nothing of the far side is obeyed, and in the end the cursor is back."""
    words = ["--interval", "500ms", *(["--seconds", "1"] if way == "time is up" else [])]
    last = response(b"{}") if way == "failure" else response(answer(NASTY, uptime=101.0))
    async with far_process(response(answer(NASTY)), last) as far, terminal("top", far.url, *words) as screen:
        await screen.shows("delivery p50/p99")
        if way == "Ctrl-C":
            screen.press(b"\x03")
        elif way == "SIGTERM":
            screen.signal(SIGTERM)
        code = await screen.end()
        is_as_before = screen.is_as_before

    assert code == (1 if way == "failure" else 0)
    assert "?[2J?]0;x?[red]" in screen.shown
    assert "\x1b[2J" not in screen.shown
    assert "\x1b]0" not in screen.shown
    assert "Traceback" not in screen.shown
    assert ("eventpipe: " in screen.shown) is (way == "failure")
    assert is_as_before


async def test_in_the_background_of_a_terminal_it_prints_lines() -> None:
    """As where there is no terminal, so that what the shell shows stays there."""
    async with (
        far_process(*scripted((7, 10.0, 100), (7, 12.0, 300))) as far,
        terminal("top", far.url, "--interval", "100ms", "--seconds", "60", background=True) as screen,
    ):
        await screen.shows("ready, 300 captured")
        screen.signal(SIGTERM)
        await screen.end()

    assert "\x1b" not in screen.shown


async def test_terminal_shows_silence_and_the_way_back() -> None:
    """The last picture stays while nobody answers."""
    before, after = response(answer()), response(answer(uptime=105.0))
    async with (
        far_process(before, before[:-5]) as far,
        terminal("top", far.url, "--interval", "100ms") as screen,
    ):
        await screen.shows("hung up before the end")
        await screen.shows("what follows is")
        far.answers = [after]
        await screen.shows("up 105.0 s")
        screen.press(b"\x03")

        assert await screen.end() == 0


async def test_real_endpoint_says_what_the_client_says() -> None:
    """Nothing is lost on the way from a client to the values that are shown."""
    async with AsyncClient(MemorySink(), MemorySink(name="copy")) as client:
        for _ in range(10):
            await client.capture("paid", distinct_id="u1")
        await client.flush()
        told = parse_picture((await ask(HealthEndpoint(client, event_names=True))).body)
        hidden = parse_picture((await ask(HealthEndpoint(client))).body)
        health, counted = client.health(), client.statistics()

    assert told.health == health
    assert told.statistics.by_event == counted.by_event == {"paid": EventCounts(delivered=20)}
    assert hidden.statistics.by_event == {}
    assert told.statistics.latency == counted.latency
    assert {name: sink.delivered for name, sink in told.statistics.by_sink.items()} == {"MemorySink": 10, "copy": 10}
    assert told.statistics.high_water == counted.high_water
    assert isinstance(told.process, Process)


async def test_real_client_under_a_real_server() -> None:
    """Ready while it is open, and closed afterwards, as a person sees it."""
    client = AsyncClient(MemorySink())
    with served(HealthEndpoint(client, event_names=True)) as url:
        async with client:
            await client.capture("paid", distinct_id="u1")
            await client.flush()
            ready = await run("top", url, "--once", "--by", "event")
        closed = await run("top", url, "--once")

    assert (ready.code, closed.code, ready.stderr, closed.stderr) == (0, 1, "", "")
    assert [ended.stdout.splitlines()[1].strip() for ended in (ready, closed)] == ["ready", "not ready: closed"]
    assert ready.stdout.splitlines()[-1].split() == ["paid", "-", "1", "0", "0"]
    assert closed.stdout.splitlines()[-1].split()[:2] == ["MemorySink", "stopped"]
