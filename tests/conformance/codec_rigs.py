"""Every codec of the package with a reader of its format, and what the format makes of an event."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

import orjson

from eventpipe import Batch, CapturedEvent, OutcomeKind
from eventpipe.codecs import (
    CloudEvents,
    FeatureFlags,
    HubWebhook,
    JsonCodec,
    NdjsonCodec,
    OtlpLogs,
    PostHogV0,
    PostHogV1,
    Segment,
    StandardWebhook,
)
from eventpipe.testing import CodecRig, ReadEvent, Reply
from tests.conformance import codec_readers as readers

KEY = "phc_Zk3yQ0rT7wXb1LmN9sVd"
SECRET = "whsec_C2FtcGxlIHNlY3JldCBvZiAzMiBieXRlcyBpcyBlbm91Z2g="
HUB_SECRET = "Vx8-hub-secret-4711"

OWN: dict[str, object] = {
    "$lib": "eventpipe",
    "$lib_version": version("eventpipe"),
    "$os": platform.system(),
    "$os_version": platform.freedesktop_os_release().get("VERSION_ID", platform.release()),
    "$is_server": True,
    "$geoip_disable": True,
}
PROFILE = "$process_person_profile"


def all_but_key_and_headers(event: CapturedEvent) -> ReadEvent:
    return ReadEvent.of(event).but(key=None, headers={})


def as_posthog_v0(event: CapturedEvent) -> ReadEvent:
    """What a server library adds is there; nobody is named by the event's id, and has no profile."""
    said = all_but_key_and_headers(event)
    nobody = {} if said.distinct_id else {PROFILE: False}
    return said.but(distinct_id=said.distinct_id or said.uuid, properties={**OWN, **nobody, **said.properties})


def as_posthog_v1(event: CapturedEvent) -> ReadEvent:
    """Properties with places of their own are there if they fit; library and version are the server's to add."""
    if event.lane == "ai":
        return as_posthog_v0(event)
    said = all_but_key_and_headers(event)
    properties = {**OWN, **said.properties}
    del properties["$lib"], properties["$lib_version"]
    for name, kind in (*readers.POSTHOG_OPTIONS.values(), *readers.POSTHOG_ROOT.values()):
        if name in properties:
            fitting = coerced(properties.pop(name), kind)
            properties |= {} if fitting is None else {name: fitting}
    if not said.distinct_id:
        properties[PROFILE] = properties.get(PROFILE, False)
    return said.but(distinct_id=said.distinct_id or said.uuid, properties=properties)


def coerced(value: Any, kind: type) -> bool | str | None:  # Any: JSON
    """What of a value a place of the format takes; ``None``: nothing."""
    if kind is bool:
        words = {"true": True, "1": True, "false": False, "0": False}
        if isinstance(value, str):
            return words.get(value.strip().lower())
        return bool(value) if isinstance(value, (int, float)) else None
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def answer_v1(batch: Batch, kinds: Sequence[OutcomeKind]) -> Reply:
    words = {OutcomeKind.DELIVERED: "ok", OutcomeKind.DROPPED: "drop", OutcomeKind.RETRY: "retry"}
    results = {event.uuid: {"result": words[kind]} for event, kind in zip(batch.events, kinds, strict=True)}
    return Reply(200, {"Retry-After": "3"}, orjson.dumps({"results": results}))


def as_segment(event: CapturedEvent) -> ReadEvent:
    said = all_but_key_and_headers(event)
    return said.but(distinct_id=said.distinct_id or None)


RIGS: dict[str, Callable[[], CodecRig]] = {
    "json": lambda: CodecRig(JsonCodec(), readers.read_json),
    "ndjson": lambda: CodecRig(NdjsonCodec(), readers.read_ndjson),
    "posthog": lambda: CodecRig(PostHogV0(KEY), readers.posthog_v0_reader(KEY), as_posthog_v0, secrets=[KEY]),
    "posthog-v1": lambda: CodecRig(
        PostHogV1(KEY), readers.posthog_v1_reader(KEY), as_posthog_v1, answer_v1, secrets=[KEY]
    ),
    "posthog-v1, historical": lambda: CodecRig(
        PostHogV1(KEY, historical=True), readers.posthog_v1_reader(KEY), as_posthog_v1, answer_v1, secrets=[KEY]
    ),
    "segment": lambda: CodecRig(Segment(KEY), readers.segment_reader(KEY), as_segment, secrets=[KEY]),
    "cloudevents": lambda: CodecRig(CloudEvents("/tests"), readers.read_cloudevents),
    "cloudevents-structured": lambda: CodecRig(CloudEvents("/tests", mode="structured"), readers.read_cloudevents),
    "cloudevents-binary": lambda: CodecRig(CloudEvents("/tests", mode="binary"), readers.read_cloudevents),
    "otlp": lambda: CodecRig(OtlpLogs(resource={"service.name": "tests"}), readers.read_otlp),
    "otlp-json": lambda: CodecRig(OtlpLogs(encoding="json", resource={"service.name": "tests"}), readers.read_otlp),
    "feature-flags": lambda: CodecRig(FeatureFlags(), readers.read_feature_flags),
    "webhook": lambda: CodecRig(
        StandardWebhook(SECRET), readers.standard_signed(SECRET, readers.read_webhook), secrets=[SECRET]
    ),
    "webhook, old and new secret": lambda: CodecRig(
        StandardWebhook([SECRET[:-8] + "bG93Cg==", SECRET], JsonCodec()),
        readers.standard_signed(SECRET, readers.read_json),
        secrets=[SECRET],
    ),
    "hub of posthog-v1": lambda: CodecRig(
        HubWebhook(HUB_SECRET, PostHogV1(KEY)),
        readers.hub_signed(HUB_SECRET, readers.posthog_v1_reader(KEY)),
        as_posthog_v1,
        answer_v1,
        secrets=[HUB_SECRET, KEY],
    ),
}
