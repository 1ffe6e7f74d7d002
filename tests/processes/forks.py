"""The ways to make a child process, and what it does with its parent's client: one table, tested cell by cell."""

from __future__ import annotations

import textwrap
from typing import Final

EVENTS: Final = 17  # of the parent, pending when the child is made
CHILDS: Final = 3

# Children that are made only to see how soon they capture: on a busy machine one of them is not interrupted.
MEASURED: Final = 9

_HEAD: Final = """
import asyncio, multiprocessing, os, signal, sys, time

began = None  # when the child was forked

def start_clock():
    global began
    began = time.monotonic()

os.register_at_fork(after_in_child=start_clock)  # before all that eventpipe does there

from eventpipe import AsyncClient
from eventpipe.sinks import HttpSink

client = AsyncClient(HttpSink(sys.argv[1], compression=None), max_batch_age=60, queue_events={events})

def first():
    signal.alarm(20)
    receipt = client.capture_nowait("child 0")
    if began is not None:
        print(f"{{time.monotonic() - began:.6f}}", flush=True)
    return receipt

def child():
    receipt = first()

    async def live():
        async with client:
            await client.capture("child 1")
            await client.capture("child 2")
            assert client.statistics().captured == {childs}

    if {refuses}:
        assert (receipt.accepted, receipt.reason) == (False, "closed"), receipt
        assert not client.health().is_open
    else:
        asyncio.run(live())

def make_all():
    for work in (child, *[first] * {measured}):
        make(work)

async def fill():
    for number in range({events}):
        await client.capture(f"parent {{number}}")

async def idle():
    await fill()
    await client.flush()

async def end():
    await client.aclose()
"""

_FORK: Final = """
def make(work):
    if (pid := os.fork()) == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
"""
_PROCESS: Final = """
def make(work):
    process = multiprocessing.get_context("{method}").Process(target=work)
    process.start()
    process.join()
    assert process.exitcode == 0
"""

# The parent's client before the child is made; the second of two runs ends it.
STATES: Final = {
    "never used": "async def begin(): pass\n",
    "idle": "begin = idle\n",
    "with a full queue": "begin = fill\n",
    "closed": """
async def begin():
    await fill()
    await client.aclose()
""",
}

# What makes the child, whether inside a coroutine, and whether the child has the memory of its parent.
WAYS: Final = {
    "`os.fork()` between two loops": (_FORK, False, True),
    "`os.fork()` inside a coroutine": (_FORK, True, True),
    "multiprocessing, fork": (_PROCESS.format(method="fork"), True, True),
    "multiprocessing, spawn": (_PROCESS.format(method="spawn"), True, False),
    "multiprocessing, forkserver": (_PROCESS.format(method="forkserver"), True, False),
}

_INSIDE: Final = """
if __name__ == "__main__":
    async def main():
        await begin()
        make_all()
        await end()

    asyncio.run(main())
"""
_BETWEEN: Final = """
if __name__ == "__main__":
    asyncio.run(begin())
    make_all()
    asyncio.run(end())
"""


def program(way: str, state: str) -> str:
    """What runs: one argument, the URL of the far end.

    Each forked child prints after how many seconds on the wall it had captured its first event.
    """
    make, is_inside, has_memory = WAYS[way]
    head = textwrap.dedent(_HEAD).format(
        events=EVENTS, childs=CHILDS, refuses=not works(way, state), measured=MEASURED if has_memory else 0
    )
    return head + STATES[state] + make + (_INSIDE if is_inside else _BETWEEN)


def works(way: str, state: str) -> bool:
    """Whether the child captures and sends; else its captures are refused as ``closed``."""
    _, _, has_memory = WAYS[way]
    return state != "closed" or not has_memory


def arriving(way: str, state: str) -> list[str]:
    """Names of the events that arrive, sorted: each once."""
    parents = 0 if state == "never used" else EVENTS
    childs = CHILDS if works(way, state) else 0
    return sorted(
        [*(f"parent {number}" for number in range(parents)), *(f"child {number}" for number in range(childs))]
    )


def table() -> str:
    """The table of the page on processes."""
    lines = [f"| the child is made by | {' | '.join(STATES)} |", "|---" * (len(STATES) + 1) + "|"]
    for way in WAYS:
        cells = ["works" if works(way, state) else "refuses, as `closed`" for state in STATES]
        lines.append(f"| {way} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
