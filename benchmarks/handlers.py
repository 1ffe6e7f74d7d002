"""``python -m benchmarks handlers``: how much later a web handler answers because it captures.

A FastAPI service under uvicorn is asked a hundred times a second, in turns of a handler that captures an event and one
that does not, while the far end is well, does not answer, or is not there.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from benchmarks.process import PROMPT, ROOT, Behaviour, SinkProcess
from benchmarks.results import FILE, Measurement, Results, Spread, environment

PER_SECOND = 100
RUNS = 5
SECONDS = 10.0  # of one handler in one run

_REQUEST = "POST /{handler}?user=u{number} HTTP/1.1\r\nHost: service\r\nContent-Length: 0\r\n\r\n"


def main(arguments: Sequence[str] = ()) -> int:
    """Measure each far end and keep what was found."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks handlers", description=(__doc__ or "").split("\n\n")[1])
    parser.add_argument("--quick", action="store_true", help="half a second of each, once: shows that it works")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keeps what is found (default: results.json)")
    given = parser.parse_args(arguments)
    runs, seconds = (1, 0.5) if given.quick else (RUNS, SECONDS)
    file: Path | None = given.json or (None if given.quick else FILE)
    results = Results.read(file) if file else Results()
    for name in FAR_ENDS:
        found = measure(name, runs, seconds)
        figures = ", ".join(f"{key} {spread.median:.3f}" for key, spread in found.figures.items())
        print(
            f"handlers, far end {name}: {figures}; captured {found.captured}, delivered {found.delivered}", flush=True
        )
        results.add(found)
    if file:
        results.environment |= environment()
        results.write(file)
    return 0


def measure(far_end: str, runs: int, seconds: float) -> Measurement:
    """Ask the service in paired runs, which of the two handlers first by turns."""
    pairs = []
    with FAR_ENDS[far_end]() as url, service(url) as (port, report):
        asyncio.run(ask(port, "captured", min(seconds, 1.0)))  # warm
        for run in range(runs):
            order = ("plain", "captured") if run % 2 else ("captured", "plain")
            pairs.append({handler: asyncio.run(ask(port, handler, seconds)) for handler in order})
        counts = report()
    p99 = {handler: [percentile(pair[handler], 0.99) for pair in pairs] for handler in ("plain", "captured")}
    p50 = {handler: [percentile(pair[handler], 0.5) for pair in pairs] for handler in ("plain", "captured")}
    figures = {
        "plain_p50_ms": Spread.of(p50["plain"]),
        "captured_p50_ms": Spread.of(p50["captured"]),
        "plain_p99_ms": Spread.of(p99["plain"]),
        "captured_p99_ms": Spread.of(p99["captured"]),
        "added_p99_ms": Spread.of(late - soon for late, soon in zip(p99["captured"], p99["plain"], strict=True)),
    }
    parameters = {"far_end": far_end, "per_second": PER_SECOND}
    return Measurement(
        "handlers", "eventpipe", "default", parameters, figures, {}, counts["captured"], counts["delivered"], 0,
        counts["dropped"],
    )  # fmt: skip


def percentile(latencies: Sequence[float], share: float) -> float:
    """Milliseconds below which this share of the requests was answered."""
    return statistics.quantiles(latencies, n=1_000, method="inclusive")[round(share * 1_000) - 1] * 1_000


async def ask(port: int, handler: str, seconds: float) -> list[float]:
    """Ask a hundred times a second, whether the last answer is there or not; seconds to each answer, from its turn."""
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    began = time.perf_counter() + 0.01
    latencies: list[float] = []

    async def one(number: int) -> None:
        turn = began + number / PER_SECOND
        await asyncio.sleep(turn - time.perf_counter())
        reader, writer = idle.pop() if idle else await asyncio.open_connection("127.0.0.1", port)
        writer.write(_REQUEST.format(handler=handler, number=number).encode())
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        await reader.readexactly(int(head.lower().partition(b"content-length:")[2].split()[0]))
        latencies.append(time.perf_counter() - turn)
        idle.append((reader, writer))

    await asyncio.gather(*map(one, range(round(seconds * PER_SECOND))))
    for _, writer in idle:
        writer.close()
        await writer.wait_closed()
    return latencies


@contextmanager
def service(url: str) -> Iterator[tuple[int, Any]]:  # Any: a function that ends it and returns its counts
    """The service in a process of its own; its port, and a function that ends it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.web", url],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # lines about the far end
        text=True,
    )
    commands, answers = cast("IO[str]", process.stdin), cast("IO[str]", process.stdout)

    def report() -> dict[str, int]:
        commands.write("end\n")
        commands.flush()
        counts: dict[str, int] = json.loads(answers.readline())
        return counts

    try:
        yield int(answers.readline()), report
    finally:
        process.kill()
        process.wait()
        commands.close()
        answers.close()


@contextmanager
def _behaving(behaviour: Behaviour) -> Iterator[str]:
    with SinkProcess(cpu=0) as sink:
        sink.reset(behaviour)
        yield sink.url


@contextmanager
def _nobody() -> Iterator[str]:
    with socket.socket() as bound:  # not listening: every connection is refused
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/batch"


FAR_ENDS = {
    "well": lambda: _behaving(PROMPT),
    "stalled": lambda: _behaving(Behaviour(is_mute=True)),
    "dead": _nobody,
}
