"""confluent-kafka: ``produce()`` hands the message to librdkafka, whose threads send."""

from __future__ import annotations

from typing import Any

from confluent_kafka import KafkaError, Message, Producer

from benchmarks.peers import ROOMY, TOPIC, arguments
from benchmarks.peers.kafka import encode
from benchmarks.subject import Setup, Subject

# Fuller batches, and a callback for what failed only: a tenth less CPU for each event.
BEST = {
    "queue.buffering.max.messages": ROOMY,
    "linger.ms": 50,
    "delivery.report.only.error": True,
}
NAMES = {"batch_events": "batch.num.messages", "queue_events": "queue.buffering.max.messages"}


class Driver:
    """A producer used as its documentation shows: a callback for each message, and ``poll()`` to have it called."""

    is_async = False

    def __init__(self, producer: Producer) -> None:
        self._producer = producer
        self._dropped = 0

    def capture(self, event: str, *, distinct_id: str, properties: dict[str, Any]) -> None:  # Any: JSON
        self._producer.poll(0)
        try:
            self._producer.produce(TOPIC, encode(event, distinct_id, properties), on_delivery=self._delivered)
        except BufferError:
            self._dropped += 1

    async def drain(self) -> None:
        self._producer.flush()

    async def close(self) -> None:
        self._producer.close()  # flushes

    def dropped(self) -> int:
        return self._dropped

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._dropped += 1


async def open(setup: Setup) -> Subject:
    """A producer; librdkafka connects when it has something to send."""
    return Driver(Producer({"bootstrap.servers": setup.url, **arguments(setup, BEST, NAMES)}))
