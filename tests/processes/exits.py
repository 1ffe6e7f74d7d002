"""The ends that a process can have, and what becomes of events pending then: one table, tested cell by cell."""

from __future__ import annotations

import textwrap
from typing import Final, Literal

Fate = Literal["delivered", "reported", "lost", "kept"]

EVENTS: Final = 17

# How it ends, in the middle of a coroutine that has captured everything.
WAYS: Final = {
    "return": "return",
    "exception": "raise KeyError('oops')",
    "`sys.exit()`": "sys.exit(3)",
    "SIGTERM": "os.kill(os.getpid(), signal.SIGTERM); await asyncio.sleep(PAUSE)",
    "SIGTERM, handled": "handle(); os.kill(os.getpid(), signal.SIGTERM); await asyncio.sleep(PAUSE)",
    "SIGINT (Ctrl-C)": "os.kill(os.getpid(), signal.SIGINT); await asyncio.sleep(PAUSE)",
    "`os._exit()`": "os._exit(4)",
    "`kill -9`": "os.kill(os.getpid(), signal.SIGKILL)",
}

_HEAD: Final = """
import asyncio, contextlib, os, signal, socket, sys
from eventpipe import AsyncClient
from eventpipe.sinks import HttpSink

def make(**options):
    return AsyncClient(HttpSink(sys.argv[1], compression=None), max_batch_age=60, **options)

def make_spooled():
    return make(spool="events", durability="process")

def handle():
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asyncio.current_task().cancel)

async def work(client):
    for number in range({events}):
        await client.capture(f"e{{number}}")
    {way}
"""
_SERVER: Final = """
import uvicorn
from fastapi import FastAPI

def handle():
    pass  # the server has done so

@contextlib.asynccontextmanager
async def lifespan(app):
    async with make() as client:
        app.state.events = client
        yield

app = FastAPI(lifespan=lifespan)

@app.get("/")
async def handler() -> None:
    await work(app.state.events)

listening = socket.create_server(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
uvicorn.Server(uvicorn.Config(app, log_level="warning")).run([listening])
"""

INSIDE_A_HANDLER: Final = "inside a handler"
NOT_CLOSED: Final = "not closed"
SPOOLED: Final = '`spool`, `durability="process"`'

# Where the events were captured.
FORMS: Final = {
    "closed: `async with`": """
async def main():
    async with make() as client:
        await work(client)

asyncio.run(main())
""",
    NOT_CLOSED: "asyncio.run(work(make()))",
    "not closed, `exit_timeout`": "asyncio.run(work(make(exit_timeout=20)))",
    INSIDE_A_HANDLER: _SERVER,
    SPOOLED: "asyncio.run(work(make_spooled()))",
}
# What runs after it with the same spool, until nothing is left there.
NEXT: Final = (
    textwrap.dedent(_HEAD).format(events=0, way="return")
    + """
async def main():
    async with make_spooled() as client:
        while not client._spool.is_empty:
            await client.flush()
            await asyncio.sleep(0.01)

asyncio.run(main())
"""
)

_ALL_WELL: Final[tuple[Fate, ...]] = ("delivered", "reported", "delivered", "delivered", "kept")
_SILENT: Final[tuple[Fate, ...]] = ("lost", "lost", "lost", "lost", "kept")

# In the order of the forms. A server ends well by any signal that it handles; what a handler does, it survives.
FATES: Final[dict[str, tuple[Fate, ...]]] = {
    "return": _ALL_WELL,
    "exception": _ALL_WELL,
    "`sys.exit()`": _ALL_WELL,
    "SIGTERM": ("lost", "lost", "lost", "delivered", "kept"),
    "SIGTERM, handled": _ALL_WELL,
    "SIGINT (Ctrl-C)": _ALL_WELL,
    "`os._exit()`": _SILENT,
    "`kill -9`": _SILENT,
}


def program(way: str, form: str) -> str:
    """What runs: one argument, the URL of the far end."""
    # A server answers what is under way before it ends; a script waits to be ended.
    pause = "0.01" if form == INSIDE_A_HANDLER else "20"
    return textwrap.dedent(_HEAD).format(events=EVENTS, way=WAYS[way].replace("PAUSE", pause)) + FORMS[form]


def fate(way: str, form: str) -> Fate:
    """What becomes of the events: a cell of the table."""
    return FATES[way][list(FORMS).index(form)]


def table() -> str:
    """The table of the page on processes."""
    lines = [f"| the process ends by | {' | '.join(FORMS)} |", "|---" * (len(FORMS) + 1) + "|"]
    lines += [f"| {way} | {' | '.join(fates)} |" for way, fates in FATES.items()]
    return "\n".join(lines) + "\n"
