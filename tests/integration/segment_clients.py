"""What the clients of Segment and of RudderStack have in common, their API being the same."""

from __future__ import annotations

import atexit
import datetime
import uuid
from pathlib import Path
from typing import Any

import orjson

NUMBER = 250  # more than two of their batches of 100
NOON = datetime.datetime(2026, 1, 1, 12, 0, 0, 123000, tzinfo=datetime.UTC)
WAIT = 0.02  # seconds that their threads wait for more events, and that a shutdown takes therefore

Expected = dict[str, tuple[str, str | None, dict[str, Any]]]


def new_id() -> str:
    return str(uuid.uuid4())


def send_tracks(client: Any) -> set[str]:  # Any: of either package
    """Send many of them, and return their ids."""
    ids = {new_id() for _ in range(NUMBER)}
    for number, message_id in enumerate(sorted(ids)):
        client.track(f"u{number}", f"event {number % 3}", {"n": number}, message_id=message_id)
    return ids


def send_one_of_each(client: Any, identified: dict[str, Any]) -> Expected:  # Any: of either package
    """Make each call, and return by id what should be read: event, whom it is about, and properties.

    Args:
        client: The client.
        identified: The properties that its ``identify()`` makes of the traits ``{"plan": "pro"}``.
    """
    common: dict[str, Any] = {
        "context": {"ip": "::1"},
        "integrations": {"All": False, "Mixpanel": True},
        "timestamp": NOON,
    }
    beside = {"$integrations": {"All": False, "Mixpanel": True}}
    expected: Expected = {}

    def called(event: str, distinct_id: str | None, properties: dict[str, Any]) -> dict[str, Any]:
        expected[message_id := new_id()] = (event, distinct_id, {**properties, **beside})
        return {**common, "context": dict(common["context"]), "message_id": message_id}

    client.track("u1", "signed up", {"plan": "pro"}, **called("signed up", "u1", {"plan": "pro"}))
    client.track(
        7, "paid", {"sum": 5.5}, anonymous_id="a7", **called("paid", "7", {"sum": 5.5, "$anon_distinct_id": "a7"})
    )
    client.track(None, "seen", anonymous_id="a7", **called("seen", None, {"$anon_distinct_id": "a7"}))
    client.identify("u1", {"plan": "pro"}, **called("$identify", "u1", identified))
    client.page(
        "u1",
        "docs",
        "Pricing",
        {"url": "https://x.example/p"},
        **called("$pageview", "u1", {"name": "Pricing", "category": "docs", "url": "https://x.example/p"}),
    )
    client.screen("u1", None, "Inbox", **called("$screen", "u1", {"$screen_name": "Inbox"}))
    client.group(
        "u1", "acme", {"seats": 5}, **called("$groupidentify", "u1", {"$group_key": "acme", "$group_set": {"seats": 5}})
    )
    client.alias("a7", "u1", **called("$create_alias", "a7", {"alias": "u1"}))
    return expected


def end(client: Any, session: Any) -> None:  # Any: of either package
    """Send what is left, and leave neither thread nor connection nor anything for the end of the process."""
    client.shutdown()
    atexit.unregister(client.join)
    session.close()  # the package's own, and the same for all of its clients


def stored(directory: Path) -> dict[str, dict[str, Any]]:
    """The events that a collector took, by id."""
    events = [orjson.loads(line) for line in (directory / "events.ndjson").read_bytes().splitlines()]
    return {event["uuid"]: event for event in events}


def read(event: dict[str, Any]) -> tuple[str, str | None, dict[str, Any]]:
    """What was read of one, without what its client says of itself."""
    properties = {name: value for name, value in event["properties"].items() if name != "$context"}
    return event["event"], event["distinct_id"], properties
