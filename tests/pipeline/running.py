"""A file of a pipeline for processes, and handlers that go wrong."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path

from eventpipe.log.consumer import Consumer
from eventpipe.log.handling import ConsumedEvent


def write_pipeline(
    folder: Path,
    *,
    sink: str = 'kind = "file"\npath = "audit.ndjson"',
    handler: str | None = None,
    stop_timeout: float = 5,
    max_batch_age: float = 0,
) -> Path:
    """Write ``pipeline.toml`` beside ``events.db``: one consumer, ``audit`` of ``orders``."""
    far_end = f"[consumers.sink]\n{sink}" if handler is None else f'handler = "{handler}"'
    file = folder / "pipeline.toml"
    file.write_text(
        f"""
[pipeline]
stop_timeout = {stop_timeout}
[store]
kind = "sqlite"
path = "events.db"
durability = "process"
[[consumers]]
topic = "orders"
name = "audit"
max_batch_age = {max_batch_age}
{far_end}
"""
    )
    return file


async def hang(consumed: ConsumedEvent) -> None:
    """Never take it."""
    await asyncio.sleep(3600)


async def remove_consumer(consumed: ConsumedEvent) -> None:
    """Remove the consumer that is at work, as somebody else might: it cannot go on."""
    consumer = next(found for found in gc.get_objects() if isinstance(found, Consumer))
    await consumer.log.remove_consumer(*consumer.key)
