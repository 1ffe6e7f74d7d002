"""What both drivers for Kafka need: the event as bytes, encoded as the floor does it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
from uuid_utils import uuid7


def encode(event: str, distinct_id: str, properties: dict[str, Any]) -> bytes:  # Any: JSON
    """The event as a message's value."""
    return orjson.dumps(
        {
            "uuid": str(uuid7()),
            "timestamp": datetime.now(UTC),
            "distinct_id": distinct_id,
            "event": event,
            "properties": properties,
        },
        option=orjson.OPT_UTC_Z,
    )
