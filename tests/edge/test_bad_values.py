"""Values that JSON cannot carry, among events that can: for every wire format, through a client to a strict reader."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import pytest

from eventpipe import Event
from tests.edge.conftest import Record
from tests.edge.formats import FORMATS, strict_contents
from tests.edge.leaks import PAYLOAD
from tests.edge.pipeline import Pipelines
from tests.edge.raw_server import Peer, RawServer, answer
from tests.edge.rows import Row

ROW = Row.VALUES
pytestmark = [pytest.mark.wallclock, pytest.mark.asyncio]

NEIGHBOURS = 20
HALF, NEXT_HALF = "\ud800", "\ud801"  # halves of pairs
OTHER_HALF = "x\udfff"


def cyclic() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["again"] = value
    return value


def deep() -> list[Any]:
    value: list[Any] = []
    for _ in range(10_000):
        value = [value]
    return value


def with_properties(properties: Mapping[Any, Any]) -> Callable[[], Event]:
    return lambda: Event("bad", distinct_id="u", properties=properties)


BAD: dict[str, Callable[[], Event]] = {
    "NaN": with_properties({"value": math.nan}),
    "infinity": with_properties({"value": math.inf, "other": -math.inf}),
    "NaN within": with_properties({"list": [1.0, math.nan, {"deeper": math.nan}]}),
    "half a surrogate pair in a value": with_properties({"value": HALF}),
    "half a surrogate pair within": with_properties({"list": [{"value": OTHER_HALF}]}),
    "half a surrogate pair in a key": with_properties({HALF: 1, "good": 2}),
    "two keys that mend to the same": with_properties({HALF: 1, NEXT_HALF: 2}),
    "half a surrogate pair in the name": lambda: Event(f"bad{HALF}", distinct_id="u"),
    "half a surrogate pair in the id": lambda: Event("bad", distinct_id=f"u{HALF}"),
    "half a surrogate pair in the key": lambda: Event("bad", distinct_id="u", key=f"k{HALF}"),
    "half a surrogate pair in a header": lambda: Event("bad", distinct_id="u", headers={"a": HALF}),
    "half a surrogate pair in the uuid": lambda: Event("bad", distinct_id="u", uuid=HALF * 36),
    "NaN for an id": lambda: Event("bad", distinct_id=math.nan),  # type: ignore[arg-type]
    "NUL and control characters": with_properties({"a\x00b": "\x00\x1f\x7f\u2028\u2029\ufeff\uffff"}),
    "an integer of 100 digits": with_properties({"value": 10**100, "other": -(10**100)}),
    "a Decimal NaN": with_properties({"value": Decimal("NaN"), "other": Decimal("sNaN")}),
    "bytes": with_properties({"value": b"\xff\x00", b"key": 1}),
    "a cycle": lambda: Event("bad", distinct_id="u", properties=cyclic()),
    "10 000 levels": lambda: Event("bad", distinct_id="u", properties={"value": deep()}),
    "keys that are no strings": with_properties({None: 1, 2: 3, math.nan: 4, (1, 2): 5, True: 6}),
    "an object": with_properties({"value": object(), "type": type}),
}


async def accepts(peer: Peer) -> None:
    """Answer for every event that it finds, as PostHog v1 does."""
    assert peer.request is not None
    found = json.loads(peer.request.body) if peer.request.body.startswith(b'{"created_at"') else {}
    results = {event["uuid"]: {"result": "ok"} for event in found.get("batch", [])}
    await peer.say(answer(200, json.dumps({"results": results}).encode()))


@pytest.mark.parametrize("wire", FORMATS)
async def test_one_bad_value_costs_no_neighbour(wire: str, pipeline: Pipelines, record: Record) -> None:
    """All twenty neighbours arrive, beside each kind of bad value, and a strict reader reads every body."""
    arrived = bodies = bad_arrived = 0
    codec = FORMATS[wire]()
    for case, make in BAD.items():
        async with (
            RawServer(default=accepts) as server,
            pipeline(server.url, codec, batch_events=50, max_batch_age=30.0) as pipe,
        ):
            for number in range(NEIGHBOURS):
                if number == NEIGHBOURS // 2:
                    await pipe.client.capture(make())
                properties = {"marker": PAYLOAD, "place": f"neighbour-{number}-"}
                await pipe.client.capture(Event("good", distinct_id=f"u{number}", properties=properties))
            await pipe.client.flush(20.0)
            delivered = pipe.client.statistics().delivered

            contents = [
                content
                for request in server.requests
                for content in strict_contents(request.headers.get("content-type", ""), request.body)
            ]
            text = json.dumps(contents)
            neighbours = {number for number in range(NEIGHBOURS) if f"neighbour-{number}-" in text}
            assert neighbours == set(range(NEIGHBOURS)), case
            assert delivered >= NEIGHBOURS, case
            arrived += len(neighbours)
            bad_arrived += delivered - NEIGHBOURS
            bodies += len(server.requests)
    record(
        wire,
        kinds=len(BAD),
        neighbours=f"{arrived} of {NEIGHBOURS * len(BAD)}",
        bad_ones_mended=f"{bad_arrived} of {len(BAD)}",
        strict_bodies=bodies,
    )
