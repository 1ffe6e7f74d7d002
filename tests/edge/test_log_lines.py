"""Ten thousand failures, and what is logged of them."""

from __future__ import annotations

import asyncio
import logging
import re
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator

import pytest

from eventpipe import OutcomeKind, RetryPolicy
from tests.edge.conftest import Record
from tests.edge.jumping_loop import JumpingLoop
from tests.edge.pipeline import Pipelines
from tests.edge.raw_server import OK, Peer, RawServer, answer
from tests.edge.rows import Row

ROW = Row.LINES
# Seconds for what takes four on a machine that has nothing else to do.
pytestmark = [pytest.mark.wallclock, pytest.mark.timeout(180)]

FAILURES = 10_000
AT_ONCE = 250  # events captured, and settled, in each second
WINDOW = 10.0 - 0.1  # what a line takes, from the moment that it is for to the one at which it is heard
ONCE_MORE = RetryPolicy(max_attempts=2, initial=0.001, max_delay=0.001, min_delay=0, jitter=0)
REASON = re.compile(r"reason (\w+)")
NUMBER = re.compile(r"(\d+) (?:attempts?|events?) (?:failed|was dropped|were dropped)")


class Lines(logging.Handler):
    """Keeps the lines of this package, by class of error, each with its moment on the loop clock."""

    def __init__(self) -> None:
        super().__init__(1)
        self.by_class: dict[str, list[tuple[float, str]]] = defaultdict(list)

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        found = REASON.search(text)
        self.by_class[found[1] if found else text].append((asyncio.get_running_loop().time(), text))

    @property
    def total(self) -> int:
        return sum(map(len, self.by_class.values()))

    def most_in(self, seconds: float) -> int:
        """The most lines of one class within so many seconds."""
        most = 0
        for lines in self.by_class.values():
            moments = [moment for moment, _ in lines]
            most = max(most, *(bisect_left(moments, moment + seconds) - n for n, moment in enumerate(moments)))
        return most


@pytest.fixture
def lines() -> Iterator[Lines]:
    lines = Lines()
    logger = logging.getLogger("eventpipe")
    logger.addHandler(lines)
    yield lines
    logger.removeHandler(lines)


async def fails_in_turn(peer: Peer) -> None:
    """One answer of five is a success; the others are failures of four classes."""
    assert peer.request is not None
    turn = int(peer.request.json[0]["event"].removeprefix("e")) % 5
    if turn == 1:
        peer.reset()
    else:
        await peer.say({0: OK, 2: answer(500), 3: answer(503), 4: answer(400)}[turn])


def test_ten_thousand_failures_are_a_line_now_and_then(pipeline: Pipelines, record: Record, lines: Lines) -> None:
    """One line per class of error in ten seconds, however failures and successes take turns; the rest are a number."""
    loop = JumpingLoop()

    async def main() -> tuple[Counter[str], float]:
        failed: Counter[str] = Counter()
        async with RawServer(default=fails_in_turn) as server:
            sink = pipeline.sink(server.url)
            async with pipeline.client(sink, workers=8, retry=ONCE_MORE, debug=False) as pipe:
                began = loop.time()
                while len(pipe.told) < FAILURES:
                    await pipe.capture(AT_ONCE)
                    await pipe.client.flush(60.0)
                    loop.jump(1.0)
                took = loop.time() - began
                before_close = lines.most_in(WINDOW)
                assert before_close == 1
            for outcome in pipe.told:
                if outcome.kind is OutcomeKind.RETRY:
                    failed[str(outcome.reason)] += 1
                else:
                    failed[str(outcome.reason)] += len(outcome.captured)
            return failed, took

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        failed, took = runner.run(main())

    told = {
        reason: sum(int(number) for _, text in found for number in NUMBER.findall(text))
        for reason, found in lines.by_class.items()
    }
    assert told == dict(failed)
    record(
        "five classes in turn",
        failures=sum(failed.values()),
        seconds=took,
        lines=lines.total,
        most_of_a_class_in_10_s=1,
        classes=len(failed),
    )
