"""The real ``posthog`` package delivers to the collector, so that the collector can stand in for PostHog."""

from __future__ import annotations

import asyncio
import gc
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from posthog import AsyncPosthog, Posthog
from posthog.request import reset_sessions

from eventpipe.cli.collector import Collector
from eventpipe.cli.faults import Fail, Faults, Outage
from eventpipe.clock import Clock
from eventpipe.testing.leaks import Baseline

pytestmark = [pytest.mark.asyncio, pytest.mark.wallclock]

NUMBER = 250  # more than two of its batches of 100

WIRES: dict[str, dict[str, Any]] = {
    "v0": {},
    "v0, gzip": {"gzip": True},
    "v1": {"capture_mode": "v1"},
    "v1, gzip": {"capture_mode": "v1", "capture_compression": "gzip"},
    "v1, deflate": {"capture_mode": "v1", "capture_compression": "deflate"},
    "v1, zstd": {"capture_mode": "v1", "capture_compression": "zstd"},
}


def stored(directory: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in (directory / "events.ndjson").read_bytes().splitlines()]


@pytest.fixture(autouse=True)
def _closed_sessions() -> Iterator[None]:
    """The connections of its threads are the package's own, and would stay open."""
    yield
    reset_sessions()
    gc.collect()  # an error that it reported holds a connection in its frames


@pytest.fixture
def failures() -> Iterator[list[object]]:
    """What the client says it could not deliver: nothing."""
    reported: list[object] = []
    yield reported
    assert reported == []


@pytest.mark.parametrize("settings", WIRES.values(), ids=WIRES)
async def test_sync_client_delivers_every_event(
    tmp_path: Path, failures: list[object], settings: dict[str, Any]
) -> None:
    """What ``Posthog.capture()`` was given arrives once, by id, with its properties."""

    def send(host: str) -> set[str | None]:
        client = Posthog("phc_test", host=host, **settings, on_error=lambda *error: failures.append(error))
        ids = {
            client.capture(f"event {n % 3}", distinct_id=f"u{n}", properties={"n": n}, uuid=str(uuid.uuid4()))
            for n in range(NUMBER)
        }
        client.shutdown()
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
    assert collector.statistics().formats == {
        settings.get("capture_mode", "posthog").replace("v1", "posthog-v1"): NUMBER
    }


@pytest.mark.parametrize("settings", WIRES.values(), ids=WIRES)
async def test_async_client_delivers_every_event(
    tmp_path: Path, failures: list[object], settings: dict[str, Any]
) -> None:
    """What ``AsyncPosthog.capture()`` was given arrives once, by id, with its properties."""
    async with Collector(store=tmp_path, remember_ids=True) as collector:
        client = AsyncPosthog(
            "phc_test", host=collector.url, **settings, on_error=lambda *error: failures.append(error)
        )
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


@pytest.mark.parametrize("mode", ["v0", "v1"])
async def test_ai_events_have_a_path_of_their_own(tmp_path: Path, failures: list[object], mode: str) -> None:
    """What ``capture_ai()`` was given arrives there, a megabyte as well, whatever version the others speak."""
    text = "x" * 1024 * 1024

    def send(host: str) -> str | None:
        client = Posthog("phc_test", host=host, capture_mode=mode, on_error=lambda *error: failures.append(error))
        sent: str | None = client.capture_ai("$ai_generation", distinct_id="u1", properties={"text": text})
        client.shutdown()
        return sent

    async with Collector(store=tmp_path, remember_ids=True) as collector:
        sent = await asyncio.to_thread(send, collector.url)

    [event] = stored(tmp_path)
    assert dict(collector.ids) == {sent: 1}
    assert (event["event"], event["distinct_id"], event["properties"]["text"] == text) == ("$ai_generation", "u1", True)
    assert collector.statistics().formats == {"posthog-ai": 1}


async def test_both_versions_are_stored_alike(tmp_path: Path, failures: list[object]) -> None:
    """What v1 lifts out of the properties is among them again, so that a stored event does not tell its version."""
    properties = {
        "n": 1,
        "$session_id": "s",
        "$window_id": "w",
        "$process_person_profile": False,
        "$set": {"plan": "pro"},
        "$groups": {"company": "acme"},
    }
    async with Collector(store=tmp_path) as collector:
        for mode in ("v0", "v1"):
            client = AsyncPosthog(
                "phc_test", host=collector.url, capture_mode=mode, on_error=lambda *error: failures.append(error)
            )
            client.capture("paid", distinct_id="u1", properties=properties, uuid=str(uuid.UUID(int=1)))
            await client.shutdown()

    first, second = stored(tmp_path)
    assert {name: second["properties"][name] for name in properties} == properties
    assert (first["uuid"], first["properties"]) == (second["uuid"], second["properties"])
    assert second["properties"]["$lib"] == "posthog-python"


class Scripted(Faults):
    """Says what it was told to, and then ``ok``."""

    def __init__(self, *words: str) -> None:
        super().__init__()
        self._words = list(words)

    def verdict(self) -> str:
        return self._words.pop(0) if self._words else "ok"


Failed = tuple[int, str, list[tuple[str, str]]]


async def captured(collector: Collector, number: int, errors: list[Failed]) -> list[str | None]:
    def on_error(error: Any, _batch: object) -> None:
        errors.append((error.status, error.message, error.drops))

    before = Baseline.take()
    client = AsyncPosthog("phc_test", host=collector.url, capture_mode="v1", on_error=on_error)
    ids = [client.capture("paid", distinct_id="u1", uuid=str(uuid.UUID(int=n + 1))) for n in range(number)]
    await client.shutdown()
    async with asyncio.timeout(10):
        while before.files_left():  # the package's asynchronous client uses its common sessions too, which stay open
            reset_sessions()
            gc.collect()
            await asyncio.sleep(0.001)
    return ids


async def test_client_sends_again_what_it_is_told_to() -> None:
    """Of three events the one with the verdict ``retry`` comes a second time, under the same request id."""
    errors: list[Failed] = []
    async with Collector(remember_ids=True, faults=Scripted("ok", "retry", "warning")) as collector:
        ids = await captured(collector, 3, errors)

    assert errors == []
    assert dict(collector.ids) == dict.fromkeys(ids, 1)
    assert collector.statistics().requests == 2


async def test_client_reports_what_is_dropped() -> None:
    """The one event with the verdict ``drop`` is reported with its detail; the others arrived."""
    errors: list[Failed] = []
    async with Collector(remember_ids=True, faults=Scripted("ok", "drop", "warning")) as collector:
        ids = await captured(collector, 3, errors)

    assert errors == [(200, "1 event(s) dropped by the server", [(ids[1], "rejected")])]
    assert dict(collector.ids) == {ids[0]: 1, ids[2]: 1}


async def test_client_is_told_why_a_request_is_refused() -> None:
    """The sentence of a refusal is in the error that the client reports."""
    errors: list[Failed] = []
    async with Collector(faults=Faults(fail=Fail(400, 1.0))) as collector:
        await captured(collector, 1, errors)

    assert errors == [(400, "failed on purpose", [])]
