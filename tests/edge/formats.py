"""Every wire format there is, made with the secrets of this folder, and how strictly what it writes is read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from google.protobuf.json_format import MessageToJson
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from eventpipe import Codec
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
from tests.edge.leaks import KEY, WEBHOOK_SECRET

FORMATS: dict[str, Callable[[], Codec]] = {
    "json": JsonCodec,
    "ndjson": NdjsonCodec,
    "posthog-v0": lambda: PostHogV0(KEY),
    "posthog-v1": lambda: PostHogV1(KEY),
    "segment": lambda: Segment(KEY),
    "cloudevents": lambda: CloudEvents("/edge"),
    "cloudevents-structured": lambda: CloudEvents("/edge", mode="structured"),
    "cloudevents-binary": lambda: CloudEvents("/edge", mode="binary"),
    "otlp-json": lambda: OtlpLogs(encoding="json"),
    "otlp-protobuf": lambda: OtlpLogs(encoding="protobuf"),
    "feature-flags": FeatureFlags,
    "webhook": lambda: StandardWebhook(WEBHOOK_SECRET),
    "webhook-hub": lambda: HubWebhook(KEY),
}


def strict(body: bytes) -> Any:  # Any: JSON
    """Read JSON as RFC 8259 has it: UTF-8 throughout, no NaN, no infinity, no name twice, no half of a surrogate pair.

    Raises:
        ValueError: It is no such thing.
    """
    content = json.loads(body.decode("utf-8", "strict"), parse_constant=_refused, object_pairs_hook=_once)
    for text in _texts(content):
        text.encode("utf-8", "strict")
    return content


def _refused(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        raise ValueError("a name is there twice")
    return dict(pairs)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, member in value.items():
            yield name
            yield from _texts(member)
    elif isinstance(value, list):
        for member in value:
            yield from _texts(member)


def strict_contents(content_type: str, body: bytes) -> list[Any]:
    """Read a body by its type: one content, or one for each line."""
    if "ndjson" in content_type:
        assert body.endswith(b"\n")
        return [strict(line) for line in body.splitlines()]
    if "protobuf" in content_type:
        request = ExportLogsServiceRequest.FromString(body)  # which also refuses what is no UTF-8
        return [strict(MessageToJson(request).encode())]
    return [strict(body)]
