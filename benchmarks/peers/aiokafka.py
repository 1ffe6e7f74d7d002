"""aiokafka: ``await send()`` appends to the partition's batch, and waits while that is full; a task sends."""

from __future__ import annotations

from typing import Any

from aiokafka import AIOKafkaProducer

from benchmarks.peers import TOPIC, arguments
from benchmarks.peers.kafka import encode
from benchmarks.subject import Setup, Subject

# A partition has one batch on its way, by default of 16 KiB, which are 38 of these events. Larger ones send thirteen
# times as much in a second to the slow far end, with a tenth less CPU for each event. A linger gains nothing.
BEST = {"max_batch_size": 262_144}


class Driver:
    """A producer as a subject; nobody asks for the future of a message, as the broker counts what it has."""

    is_async = True

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self._producer = producer

    async def capture(self, event: str, *, distinct_id: str, properties: dict[str, Any]) -> None:  # Any: JSON
        await self._producer.send(TOPIC, encode(event, distinct_id, properties))

    async def drain(self) -> None:
        await self._producer.flush()

    async def close(self) -> None:
        await self._producer.stop()


async def open(setup: Setup) -> Subject:
    """A producer, connected."""
    producer = AIOKafkaProducer(bootstrap_servers=setup.url, **arguments(setup, BEST, {}))
    await producer.start()
    return Driver(producer)
