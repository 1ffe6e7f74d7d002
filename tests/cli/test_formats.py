"""Every format that ``eventpipe send`` writes is read by the collector as what was sent."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any, get_args

import orjson
import pytest

from eventpipe.cli.collector import Collector
from eventpipe.cli.faults import Faults
from eventpipe.cli.formats import CodecName, CompressionName
from tests.cli.process import run

pytestmark = [pytest.mark.asyncio, pytest.mark.wallclock]

SECRET = "whsec_" + base64.b64encode(b"s" * 32).decode()
ENVIRONMENT = {"EVENTPIPE_API_KEY": "key", "EVENTPIPE_WEBHOOK_SECRET": SECRET}
STAMP = "2026-01-31T09:05:00.123456Z"

# What a codec adds of its own, as docs/codecs.md says, and what its format has no place for.
POSTHOG_ADDS = {"$lib", "$lib_version", "$os", "$os_version", "$is_server", "$geoip_disable"}
KEYLESS = {"posthog", "posthog-v1", "segment"}


def numbered(number: int, **parts: Any) -> dict[str, Any]:
    whole = {"uuid": f"01890a5d-ac96-774b-bcce-{number:012x}", "distinct_id": "u1", "timestamp": STAMP}
    return {**whole, "event": "paid", "properties": {}, **parts}


PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
VALUES = {"sum": 5, "big": 2**53 + 1, "fraction": 0.1, "yes": True, "none": None, "text": "ä\u2028\U0001f600"}
CLASHES = {"uuid": "x", "key": "y", "kind": "z", "type": 1, "data": 2, "user.id": "w", "headers": [1], "token": "t"}
EVENTS = [
    numbered(1, properties=VALUES),
    numbered(2, properties={"deep": {"a": [1, [2.0, {"b": []}], {}]}, "empty": "", "": "nameless"}),
    numbered(3, properties=CLASHES),
    numbered(4, event='odd "name" \\ é', distinct_id='odd "id" \\ é', timestamp="1999-12-31T23:59:59.999999Z"),
    numbered(5, properties={"$session_id": "s", "$set": {"plan": "pro"}, "$process_person_profile": True}),
    numbered(6, event="$identify", properties={"$set": {"plan": "pro"}, "$anon_distinct_id": "a7"}),
    numbered(7, event="$groupidentify", properties={"$group_type": "company", "$group_key": "acme"}),
    numbered(8, event="$create_alias", properties={"alias": "u2", "distinct_id": "u1"}),
    numbered(9, event="$pageview", properties={"name": "Home", "$current_url": "https://example.com/"}),
    numbered(10, event="$screen", properties={"$screen_name": "Inbox"}),
    numbered(11, key="k1", headers={"tenant": "t1", "traceparent": PARENT}),
]
NOBODY = numbered(12, distinct_id=None)


def expected(codec: str, event: dict[str, Any]) -> dict[str, Any]:
    """What is to be stored of an event, where its format cannot say all of it."""
    if codec in KEYLESS:
        event = {name: value for name, value in event.items() if name not in ("key", "headers")}
    if codec.startswith("posthog") and event["distinct_id"] is None:
        return {**event, "distinct_id": event["uuid"], "properties": {"$process_person_profile": False}}
    if codec.startswith("cloudevents"):
        return {**event, "headers": {**event.get("headers", {}), "ce-source": "/shop"}}
    return event


def stored(codec: str, directory: Path) -> dict[str, dict[str, Any]]:
    """The events by id, without what the codec adds."""
    found = [orjson.loads(line) for line in (directory / "events.ndjson").read_bytes().splitlines()]
    for event in found:
        assert event.pop("received_at").endswith("Z")
        if codec.startswith("posthog"):
            assert event["properties"].keys() >= POSTHOG_ADDS
            event["properties"] = {
                name: value for name, value in event["properties"].items() if name not in POSTHOG_ADDS
            }
    return {event["uuid"]: event for event in found}


def written(path: Path, events: list[dict[str, Any]]) -> str:
    path.write_bytes(b"".join(orjson.dumps(event) + b"\n" for event in events))
    return str(path)


def words_of(codec: str) -> list[str]:
    return ["--codec", codec, *(["--source", "/shop"] if codec.startswith("cloudevents") else [])]


@pytest.mark.parametrize("codec", get_args(CodecName))
async def test_what_is_sent_is_what_is_stored(codec: str, tmp_path: Path) -> None:
    """Every event arrives once, the same in every part that its format can say; stored, it can be sent again."""
    path = written(tmp_path / "in.ndjson", [*EVENTS, NOBODY])
    files = []

    for place in ("first", "second"):
        async with Collector(store=tmp_path / place, remember_ids=True, webhook_secrets=[SECRET]) as collector:
            ended = await run("send", path, "--to", collector.url, *words_of(codec), environment=ENVIRONMENT)
        assert (ended.code, ended.stderr.count("malformed")) == (0, 0)
        name = {"cloudevents": "cloudevents-batch"}.get(codec, codec)
        assert (collector.statistics().formats, collector.duplicates) == ({name: 12}, 0)
        assert collector.statistics().last_error is None
        files.append(stored(codec, tmp_path / place))
        path = str(tmp_path / place / "events.ndjson")

    assert files[0] == {event["uuid"]: expected(codec, event) for event in [*EVENTS, NOBODY]}
    assert files[1] == files[0]


@pytest.mark.parametrize("compression", get_args(CompressionName))
async def test_every_compression_is_read(compression: str, tmp_path: Path) -> None:
    """What compresses bodies makes no difference to what arrives."""
    path = written(tmp_path / "in.ndjson", [numbered(n, properties={"pad": "x" * 100}) for n in range(50)])

    async with Collector(remember_ids=True) as collector:
        ended = await run(
            *("send", path, "--to", collector.url, "--codec", "posthog-v1", "--api-key", "k"),
            *("--compression", compression),
        )

    assert (ended.code, len(collector.ids), collector.duplicates) == (0, 50, 0)


class Scripted(Faults):
    """Drops every tenth event, has every fifth sent again once, and says that every seventh was taken otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self._asked = 0

    def verdict(self) -> str:
        self._asked += 1
        words = {0: "drop", 5: "retry"}
        return words.get(self._asked % 10, "warning" if self._asked % 7 == 0 else "ok")


async def test_verdicts_are_accounted_for(tmp_path: Path) -> None:
    """What the collector drops is among the rejects with its detail; all else arrives once, some at a later attempt."""
    path = written(tmp_path / "in.ndjson", [numbered(n) for n in range(100)])
    rejects = tmp_path / "rejects.ndjson"

    async with Collector(remember_ids=True, faults=Scripted()) as collector:
        ended = await run(
            *("send", path, "--to", collector.url, "--codec", "posthog-v1", "--api-key", "k"),
            *("--rejects", str(rejects), "--json"),
        )

    report = orjson.loads(ended.stdout)
    dropped = [orjson.loads(line) for line in rejects.read_bytes().splitlines()]
    assert (ended.code, report["lines"], report["delivered"] + report["dropped"]) == (1, 100, 100)
    assert report["dropped_by_reason"] == {"rejected": len(dropped)}
    assert {line["detail"] for line in dropped} == {"drop: rejected"}
    assert len(collector.ids) == report["delivered"]
    assert set(collector.ids) | {orjson.loads(line["text"])["uuid"] for line in dropped} == {
        numbered(n)["uuid"] for n in range(100)
    }
    assert (collector.duplicates, report["retries"] > 0) == (0, True)


async def test_what_otlp_rejects_is_counted(tmp_path: Path) -> None:
    """The protocol says how many were rejected, and so do both sides."""
    path = written(tmp_path / "in.ndjson", [numbered(n) for n in range(100)])

    async with Collector(remember_ids=True, faults=Scripted()) as collector:
        ended = await run("send", path, "--to", collector.url, "--codec", "otlp", "--json")

    report = orjson.loads(ended.stdout)
    assert (ended.code, report["delivered"], report["dropped_by_reason"]) == (1, 80, {"rejected": 20})
    assert (collector.events, report["retries"]) == (80, 0)


@pytest.mark.parametrize(("lane", "name"), [("ai", "posthog-ai"), ("historical", "posthog-v1")])
async def test_a_lane_is_that_of_every_event(lane: str, name: str, tmp_path: Path) -> None:
    """Events of language models go to a path of their own, and one of 2 MiB is taken there alone."""
    text = "x" * (2 * 1024 * 1024 if lane == "ai" else 10)
    path = written(tmp_path / "in.ndjson", [numbered(1, properties={"text": text})])

    async with Collector(store=tmp_path) as collector:
        ended = await run(
            *("send", path, "--to", collector.url, "--codec", "posthog-v1", "--api-key", "k", "--lane", lane)
        )

    assert (ended.code, collector.statistics().formats) == (0, {name: 1})
    assert stored("posthog-v1", tmp_path)[numbered(1)["uuid"]]["properties"] == {"text": text}


async def test_webhooks_with_another_secret_are_refused(tmp_path: Path) -> None:
    """The report names the answer; no secret is shown."""
    path = written(tmp_path / "in.ndjson", EVENTS)
    other = "whsec_" + base64.b64encode(b"o" * 32).decode()

    async with Collector(webhook_secrets=[SECRET]) as collector:
        ended = await run("send", path, "--to", collector.url, "--codec", "webhook", "--secret", other)

    assert (ended.code, collector.events) == (1, 0)
    assert "stopped: the far end answered 401 Unauthorized" in ended.stdout
    assert other not in ended.stdout + ended.stderr
