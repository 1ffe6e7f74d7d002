"""The real ``posthog`` package delivers to the collector, so that the collector can stand in for PostHog."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from posthog import AsyncPosthog, Posthog
from posthog.request import reset_sessions

from eventpipe.cli.collector import Collector
from eventpipe.cli.faults import Faults, Outage
from eventpipe.clock import Clock

pytestmark = [pytest.mark.asyncio, pytest.mark.wallclock]

NUMBER = 250  # more than two of its batches of 100


def stored(directory: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in (directory / "events.ndjson").read_bytes().splitlines()]


@pytest.fixture
def failures() -> Iterator[list[object]]:
    """What the client says it could not deliver: nothing."""
    reported: list[object] = []
    yield reported
    assert reported == []


@pytest.mark.parametrize("gzip", [False, True], ids=["plain", "gzip"])
async def test_sync_client_delivers_every_event(tmp_path: Path, failures: list[object], gzip: bool) -> None:
    """What ``Posthog.capture()`` was given arrives once, by id, with its properties."""

    def send(host: str) -> set[str | None]:
        client = Posthog("phc_test", host=host, gzip=gzip, on_error=lambda *error: failures.append(error))
        ids = {
            client.capture(f"event {n % 3}", distinct_id=f"u{n}", properties={"n": n}, uuid=str(uuid.uuid4()))
            for n in range(NUMBER)
        }
        client.shutdown()
        reset_sessions()  # they are the package's own, and would stay open
        return ids

    async with Collector(store=tmp_path, remember_ids=True) as collector:
        ids = await asyncio.to_thread(send, collector.url)

    events = stored(tmp_path)
    assert len(ids) == NUMBER
    assert dict(collector.ids) == dict.fromkeys(ids, 1)
    assert collector.statistics().names == {"event 0": 84, "event 1": 83, "event 2": 83}
    assert {(event["distinct_id"], event["properties"]["n"]) for event in events} == {
        (f"u{n}", n) for n in range(NUMBER)
    }
    assert collector.statistics().refused == 0


@pytest.mark.parametrize("gzip", [False, True], ids=["plain", "gzip"])
async def test_async_client_delivers_every_event(tmp_path: Path, failures: list[object], gzip: bool) -> None:
    """What ``AsyncPosthog.capture()`` was given arrives once, by id, with its properties."""
    async with Collector(store=tmp_path, remember_ids=True) as collector:
        client = AsyncPosthog("phc_test", host=collector.url, gzip=gzip, on_error=lambda *error: failures.append(error))
        ids = {
            client.capture(f"event {n % 3}", distinct_id=f"u{n}", properties={"n": n}, uuid=str(uuid.uuid4()))
            for n in range(NUMBER)
        }
        await client.shutdown()

    events = stored(tmp_path)
    assert len(ids) == NUMBER
    assert dict(collector.ids) == dict.fromkeys(ids, 1)
    assert {(event["distinct_id"], event["properties"]["n"]) for event in events} == {
        (f"u{n}", n) for n in range(NUMBER)
    }
    assert collector.statistics().refused == 0


async def test_set_alias_and_flags_are_answered(failures: list[object]) -> None:
    """What its clients send beside plain events is taken too, and asking for flags is no error."""

    def send(host: str) -> Any:
        client = Posthog("phc_test", host=host, on_error=lambda *error: failures.append(error))
        client.set(distinct_id="u1", properties={"plan": "pro"})
        client.alias("anonymous", "u1")
        client.group_identify("company", "acme", {"size": 3})
        flag = client.evaluate_flags("u1").get_flag("beta")
        client.shutdown()
        reset_sessions()  # they are the package's own, and would stay open
        return flag

    async with Collector() as collector:
        flag = await asyncio.to_thread(send, collector.url)

    names = set(collector.statistics().names)
    assert flag is None
    assert {"$set", "$create_alias", "$groupidentify"} <= names
    assert collector.statistics().refused == 0


class OneRequestLater(Clock):
    """A clock that moves by one second per reading."""

    def __init__(self) -> None:
        self._moment = 0.0

    def monotonic(self) -> float:
        self._moment += 1.0
        return self._moment


async def test_client_tries_again_after_a_failure(failures: list[object]) -> None:
    """A 503 on purpose is what its clients take for one: they send the batch again, and it arrives once."""
    faults = Faults(outage=Outage(0.0, 1.0))
    async with Collector(remember_ids=True, faults=faults, clock=OneRequestLater()) as collector:
        client = AsyncPosthog("phc_test", host=collector.url, on_error=lambda *error: failures.append(error))
        sent = client.capture("signed_up", distinct_id="u1", uuid=str(uuid.uuid4()))
        await client.shutdown()

    assert dict(collector.ids) == {sent: 1}
    assert collector.statistics().failed == 1
