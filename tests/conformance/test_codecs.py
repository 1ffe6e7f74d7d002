"""Every codec of the package keeps the contract, as readers see it that know nothing of the codecs."""

from __future__ import annotations

import json
import platform
from datetime import datetime
from importlib.metadata import version
from typing import Any

import pytest

from eventpipe import CapturedEvent, Request
from eventpipe.codecs import JsonCodec, NdjsonCodec, PostHogV0
from eventpipe.testing import CodecContract, CodecRig, ReadEvent


def strict(text: bytes) -> Any:  # Any: JSON
    """JSON as RFC 8259 has it: UTF-8, no NaN, no member twice."""

    def members(pairs: list[tuple[str, object]]) -> dict[str, object]:
        assert len(pairs) == len(dict(pairs)), "a member occurs twice"
        return dict(pairs)

    def refused(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text.decode("utf-8"), object_pairs_hook=members, parse_constant=refused)


def moment(text: str) -> datetime:
    assert text.endswith("Z")
    return datetime.fromisoformat(text)


def of_envelope(said: dict[str, Any]) -> ReadEvent:  # Any: JSON
    """An event in our own words."""
    assert set(said) <= {"uuid", "timestamp", "distinct_id", "event", "properties", "key", "headers"}
    return ReadEvent(**{**said, "timestamp": moment(said["timestamp"])})


class TestJsonCodec(CodecContract):
    @pytest.fixture
    def rig(self) -> CodecRig:
        return CodecRig(JsonCodec(), read_json)


def read_json(request: Request) -> list[ReadEvent]:
    assert request.headers["Content-Type"] == "application/json"
    return [of_envelope(said) for said in strict(request.body)]


class TestNdjsonCodec(CodecContract):
    @pytest.fixture
    def rig(self) -> CodecRig:
        return CodecRig(NdjsonCodec(), read_ndjson)


def read_ndjson(request: Request) -> list[ReadEvent]:
    assert request.headers["Content-Type"] == "application/x-ndjson"
    *lines, rest = request.body.split(b"\n")
    assert rest == b""
    return [of_envelope(strict(line)) for line in lines]


POSTHOG_KEY = "phc_Zk3yQ0rT7wXb1LmN9sVd"


class TestPostHogV0(CodecContract):
    @pytest.fixture
    def rig(self) -> CodecRig:
        return CodecRig(PostHogV0(POSTHOG_KEY), read_posthog, expect_posthog, secrets=[POSTHOG_KEY])


def read_posthog(request: Request) -> list[ReadEvent]:
    body = strict(request.body)
    assert request.url in ("/batch/", "/i/v0/ai/batch/")
    assert body["api_key"] == POSTHOG_KEY
    assert set(body) == {"api_key", "historical_migration", "sent_at", "batch"}
    assert all(isinstance(said["distinct_id"], str) and said["distinct_id"] for said in body["batch"])
    return [of_envelope(said) for said in body["batch"]]


def expect_posthog(event: CapturedEvent) -> ReadEvent:
    """Who nobody is told of is named by the event's id, and has no profile; key and headers stay here."""
    said = ReadEvent.of(event).but(key=None, headers={})
    own: dict[str, object] = {
        "$lib": "eventpipe",
        "$lib_version": version("eventpipe"),
        "$os": platform.system(),
        "$os_version": platform.freedesktop_os_release()["VERSION_ID"],
        "$is_server": True,
        "$geoip_disable": True,
    }
    if not said.distinct_id:
        own["$process_person_profile"] = False
    return said.but(distinct_id=said.distinct_id or said.uuid, properties={**own, **said.properties})
