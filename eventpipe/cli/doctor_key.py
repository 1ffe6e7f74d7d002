"""Whether a far end takes a key, asked by what its format has for it and stores no event; pure but for the codec."""

from __future__ import annotations

from base64 import b64encode

import orjson

from eventpipe.cli.doctor_probe import Answer, Question
from eventpipe.cli.doctor_report import Finding, Status
from eventpipe.cli.formats import FormatOptions
from eventpipe.sinks.urls import join_url

NAME = "eventpipe_doctor"  # of whoever asks, and of the test event

_POSTHOG = frozenset({"posthog", "posthog-v1"})
_EMPTY_TAKEN = frozenset({"otlp", "otlp-json", "cloudevents"})
_REFUSED = frozenset({401, 403})
_NOT_THERE = frozenset({404, 405})
_PASSING = frozenset({429, *range(500, 600)})
_SEND_ONE = f"--send-test-event sends one event named {NAME}, which shows it"


def key_question(url: str, wire: FormatOptions) -> Question:
    """The request that tells whether the key is taken.

    - PostHog: for the project's feature flags, with ``disable_flags``, so that the key is looked up and none is
      evaluated or billed. Its capture addresses take any key and look later.
    - Segment, OTLP, batches of CloudEvents: a batch of no events, which the formats allow.
    - All others: HEAD with the key. An empty request might be an event to them.

    Args:
        url: The sink's address.
        wire: The format, and what it needs; checked.
    """
    json = {"Content-Type": "application/json"}
    key = wire.key or ""
    bearer = dict(wire.bearer or {})
    if wire.codec in _POSTHOG:
        body = orjson.dumps({"api_key": key, "distinct_id": NAME, "disable_flags": True})
        return Question("POST", join_url(url, "/flags/?v=2"), json, body)
    if wire.codec == "segment":
        user = b64encode(f"{key}:".encode()).decode()
        return Question("POST", join_url(url, "/v1/batch"), {**json, "Authorization": f"Basic {user}"}, b'{"batch":[]}')
    if wire.codec == "otlp":
        return Question("POST", join_url(url, "/v1/logs"), {**bearer, "Content-Type": "application/x-protobuf"}, b"")
    if wire.codec == "otlp-json":
        return Question("POST", join_url(url, "/v1/logs"), {**bearer, **json}, b"{}")
    if wire.codec == "cloudevents":
        kind = {"Content-Type": "application/cloudevents-batch+json; charset=UTF-8"}
        return Question("POST", url, {**bearer, **kind}, b"[]")
    return Question("HEAD", url, bearer)


def judge_key(answer: Answer, wire: FormatOptions) -> Finding:
    """What the answer to that request means."""
    status, has_key = answer.status, wire.key is not None
    told = f"it answers {status}"
    if status in _REFUSED:
        advice = "check --api-key or EVENTPIPE_API_KEY, and that the key is of this far end and region"
        return Finding("key", Status.FAILED, f"{told}: {'the key is refused' if has_key else 'it wants a key'}", advice)
    if status in _PASSING:
        return Finding("key", Status.UNKNOWN, f"{told}, which says nothing of the key", "ask again later")
    if wire.codec in _POSTHOG:
        return _judge_posthog(status, told)
    if wire.codec in _EMPTY_TAKEN:
        return _judge_empty(status, told, wire)
    if wire.codec == "segment":
        return Finding("key", Status.UNKNOWN, f"{told} to a batch of no events, as Segment does to any key", _SEND_ONE)
    what = "whether it takes the key" if has_key else "whether it takes events"
    return Finding("key", Status.UNKNOWN, f"{what} cannot be asked without an event in this format", _SEND_ONE)


def _judge_posthog(status: int, told: str) -> Finding:
    if 200 <= status < 300:
        return Finding("key", Status.OK, "the key is taken: it is a project's there")
    if status in _NOT_THERE:
        return Finding("key", Status.UNKNOWN, f"{told}: there is no /flags, which would look it up", _SEND_ONE)
    return Finding("key", Status.WARNING, f"{told} where /flags answers 200", "check that this is a PostHog host")


def _judge_empty(status: int, told: str, wire: FormatOptions) -> Finding:
    has_key = wire.key is not None
    if 200 <= status < 300:
        taken = "the key is taken" if has_key else "it takes requests without a key"
        return Finding("key", Status.OK, f"{taken}: {told} to a batch of no events")
    if status in _NOT_THERE:
        return Finding("key", Status.FAILED, f"{told}: nobody takes this format there", "check the path of the URL")
    found = f"{told} to a batch of no events, which the format allows"
    return Finding("key", Status.WARNING, found, _SEND_ONE)
