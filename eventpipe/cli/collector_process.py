"""A collector in a process of its own, as a far end is."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import orjson

import eventpipe
from eventpipe.cli.collector import IDS_PATH, STATISTICS_PATH
from eventpipe.cli.failures import CommandError

START_TIMEOUT = 20.0  # seconds; a loaded machine takes two
STOP_TIMEOUT = 3.0  # seconds before it is killed
ANSWER_TIMEOUT = 30.0  # seconds for the list of ids
GREETING = "eventpipe serve: listening on "

# This very package, wherever it was imported from, and nothing that happens to lie in the current directory: -P keeps
# that out, and the package's own place comes last, so that it shadows nothing.
_PROGRAM = (
    "import sys; sys.path.append(sys.argv.pop(1)); from eventpipe.cli.main import main; sys.exit(main(sys.argv[1:]))"
)


@asynccontextmanager
async def collector_process(*words: str) -> AsyncIterator[str]:
    """Run ``eventpipe serve`` on a free loopback port with further options; gives its URL.

    It has a session of its own, so that Ctrl-C in the terminal does not end the far end before its client.

    Raises:
        CommandError: It did not start.

    Cancellation:
        The process is ended.
    """
    place = str(Path(eventpipe.__file__).parent.parent)
    serve = ("serve", "--port", "0", "--quiet", "--remember-ids", *words)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-c", _PROGRAM, place, *serve), stdout=asyncio.subprocess.PIPE, start_new_session=True
    )
    try:
        yield await _url(process)
    finally:
        await _stop(process)


async def collector_statistics(url: str) -> dict[str, Any]:  # Any: JSON
    """What the collector at ``url`` counted; see ``CollectorStatistics``.

    Raises:
        CommandError: It does not answer.
    """
    counted: dict[str, Any] = orjson.loads(await _get(url + STATISTICS_PATH))
    return counted


async def collector_ids(url: str) -> dict[str, int]:
    """How often each event id came to the collector at ``url``.

    Raises:
        CommandError: It does not answer.
    """
    lines = (line.rpartition(" ") for line in (await _get(url + IDS_PATH)).decode().splitlines())
    return {uuid: int(times) for uuid, _, times in lines}


async def _get(url: str) -> bytes:
    timeout = aiohttp.ClientTimeout(total=ANSWER_TIMEOUT)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as response:
            return await response.read()
    except (aiohttp.ClientError, TimeoutError) as error:
        raise CommandError(f"the collector does not answer any more: {type(error).__name__}") from error


async def _url(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None  # noqa: S101  # asked for above
    try:
        async with asyncio.timeout(START_TIMEOUT):
            line = (await process.stdout.readline()).decode()
            if not line:
                # Signalled while asyncio has not noticed its end, a process is reaped twice, which asyncio warns of.
                await process.wait()
    except TimeoutError as error:
        raise CommandError(f"the collector did not start within {START_TIMEOUT:g} s") from error
    if not line.startswith(GREETING):
        raise CommandError("the collector did not start")
    return line.removeprefix(GREETING).strip()


async def _stop(process: asyncio.subprocess.Process) -> None:
    for end in (process.terminate, process.kill):
        if process.returncode is None:
            end()
        try:
            async with asyncio.timeout(STOP_TIMEOUT):
                # Reads what is left as well, which closes the pipe.
                await process.communicate()
        except TimeoutError:
            continue
        return
