"""The far end of the subjects that speak Kafka: the mock cluster of librdkafka, in a process of its own that counts.

It obeys as ``sink`` does. What a partition's log ever got is the difference of its end offsets: that count is exact,
and needs no reading. While ids are being verified a consumer reads along. The mock keeps the last 5 MiB of a partition,
and a fast producer outruns the reader: events that were cut before they were read count as different ones.

Of the ways to behave a mock cluster has latency alone, and that from its beginning.

The module is run by the Python of the environment that has confluent-kafka; where only the handle on it is needed, that
is not installed, and is imported by who uses it.
"""

from __future__ import annotations

import argparse
import json
import queue
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from typing import IO, TYPE_CHECKING, Any, cast

from benchmarks.environments import python_of
from benchmarks.peers import TOPIC
from benchmarks.process import PROMPT, ROOT, Behaviour, Counts, SinkProcess, pin
from benchmarks.wires import OWN

if TYPE_CHECKING:
    from confluent_kafka import TopicPartition

READ_EVENTS = 1_000  # that the consumer takes at once
READ_SECONDS = 0.01  # that it waits for them, and a command for it
FETCH_MS = 10  # that a request of it waits at the broker
OFFSET_SECONDS = 10.0
CATCH_UP_SECONDS = 5.0  # for what the log holds; it takes a tenth of that


class Log:
    """A mock cluster of one broker, and what its log holds."""

    def __init__(self, latency: float) -> None:
        from confluent_kafka import Consumer, Producer, TopicPartition

        quiet = {"log_level": 2}  # else a line when a client leaves, or the reader is outrun
        self._cluster = Producer({"test.mock.num.brokers": 1, "test.mock.broker.rtt": round(latency * 1000), **quiet})
        broker = next(iter(self._cluster.list_topics().brokers.values()))
        self.servers = f"{broker.host}:{broker.port}"
        self._consumer = Consumer(
            {
                "bootstrap.servers": self.servers,
                "group.id": "far end",
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": FETCH_MS,
                **quiet,
            }
        )
        partitions = self._cluster.list_topics(TOPIC).topics[TOPIC].partitions  # makes it, with the mock's four
        self._partitions = [TopicPartition(TOPIC, number) for number in partitions]
        self.reset(PROMPT)

    def reset(self, behaviour: Behaviour) -> None:
        """Begin a new count where the log ends now."""
        self.verify = behaviour.verify
        self._counts = Counts()
        self._read = 0
        self._ids: set[bytes] = set()
        self._times: list[tuple[float, int]] = []
        self._cpu = time.process_time()
        self._begins = self._ends()
        self._consumer.unassign()
        if self.verify:
            for partition, begin in zip(self._partitions, self._begins, strict=True):
                partition.offset = begin
            self._consumer.assign(self._partitions)

    def read(self) -> None:
        """Take ids from what the log has got."""
        before = len(self._ids)
        for message in self._consumer.consume(READ_EVENTS, READ_SECONDS):
            if message.error() is not None:
                raise SystemExit(f"the broker's log cannot be read: {message.error()}")
            self._read += 1
            self._ids.update(OWN.ids(b"[" + (message.value() or b"")))
        if len(self._ids) > before:
            self._times.append((time.monotonic(), len(self._ids) - before))

    def counts(self) -> Counts:
        """The counts so far, of ids too when they are being verified."""
        counts = self._counts
        ends = self._ends()
        counts.read = counts.events = sum(ends) - sum(self._begins)
        if self.verify:
            self._read_until(ends)
            counts.unique = counts.events - (self._read - len(self._ids))
        counts.cpu = time.process_time() - self._cpu
        return counts

    def times(self) -> dict[str, list[tuple[float, int]]]:
        """When new events were read from the log, if they are being verified."""
        return {"reads": self._times, "accepts": self._times}

    def _read_until(self, ends: list[int]) -> None:
        deadline = time.monotonic() + CATCH_UP_SECONDS
        while any(
            end > max(at.offset, begin)  # before its first event a partition has no offset, which is negative
            for at, begin, end in zip(self._consumer.position(self._partitions), self._begins, ends, strict=True)
        ):
            if time.monotonic() > deadline:
                raise SystemExit("the broker's log cannot be read in time")
            self.read()

    def _ends(self) -> list[int]:
        """The offset after the last event of each partition."""
        return [self._end(partition) for partition in self._partitions]

    def _end(self, partition: TopicPartition) -> int:
        offsets = self._consumer.get_watermark_offsets(partition, timeout=OFFSET_SECONDS, cached=False)
        end: int = offsets[1]
        return end


class BrokerProcess(SinkProcess):
    """The broker seen from the process that started it; a context manager that ends it."""

    def __init__(self, cpu: int | None = None, *, latency: float = 0.0) -> None:
        self._behaviours = (Behaviour(latency=latency), Behaviour(latency=latency, verify=True))
        arguments = ["--latency", str(latency), *([] if cpu is None else ["--cpu", str(cpu)])]
        self._process = subprocess.Popen(
            [str(python_of("confluent_kafka")), "-m", "benchmarks.broker", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        self._commands = cast("IO[str]", self._process.stdin)
        self._answers = cast("IO[str]", self._process.stdout)
        self.url = json.loads(self._answers.readline())["servers"]

    def reset(self, behaviour: Behaviour = PROMPT) -> Counts:
        """Begin a new count; of the ways to behave a broker has those it was started with."""
        if behaviour not in self._behaviours:
            raise ValueError(f"a mock broker started with {self._behaviours[0]} cannot become {behaviour}")
        return super().reset(behaviour)


def obey(log: Log, commands: queue.SimpleQueue[dict[str, Any] | None]) -> None:  # Any: JSON
    """Answer commands until there are no more, and read between them."""
    while True:
        try:
            command = commands.get(block=not log.verify)
        except queue.Empty:
            log.read()
            continue
        if command is None:
            return
        answer = json.dumps(log.times() if command.get("times") else asdict(log.counts()))
        if "reset" in command:
            log.reset(Behaviour(**command["reset"]))
        print(answer, flush=True)


def listen(commands: queue.SimpleQueue[dict[str, Any] | None]) -> None:  # Any: JSON
    for line in sys.stdin:
        commands.put(json.loads(line))
    commands.put(None)


def main() -> None:
    parser = argparse.ArgumentParser(description="Be a Kafka cluster, and count what it gets.")
    parser.add_argument("--cpu", type=int, default=None, help="the core to stay on")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds between a request and its answer")
    options = parser.parse_args()
    pin(options.cpu)
    log = Log(options.latency)
    print(json.dumps({"servers": log.servers}), flush=True)
    commands: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()  # Any: JSON
    threading.Thread(target=listen, args=(commands,), daemon=True).start()
    obey(log, commands)


if __name__ == "__main__":
    main()
