from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from multidict import CIMultiDict

from eventpipe.cli.wires import all_wires
from eventpipe.cli.wires.base import Asked, RefusedError
from eventpipe.cli.wires.webhook import Signatures
from eventpipe.codecs.webhook_secrets import hub_signature, signing_keys, standard_signature
from tests.cli.wires.asking import ask, refusal, said

STAMP = "2026-01-31T09:05:00.123456Z"
NOW = 1769850300.0
SECRET = "whsec_" + base64.b64encode(b"s" * 32).decode()
OTHER = "whsec_" + base64.b64encode(b"o" * 32).decode()
BODY = orjson.dumps({"type": "paid", "timestamp": STAMP, "data": {"sum": 5}})
FLAGS: dict[str, Any] = {"meta": {}, "events": []}


def standard(secret: str, body: bytes, now: float = NOW) -> dict[str, str]:
    [key] = signing_keys("secret", secret, "standard")
    stamp = str(int(now))
    signature = standard_signature(key, "msg_1", stamp, body)
    return {"webhook-id": "msg_1", "webhook-timestamp": stamp, "webhook-signature": signature}


def hub(secret: str, body: bytes) -> dict[str, str]:
    [key] = signing_keys("secret", secret, "hub")
    return {"x-hub-signature-256": hub_signature(key, body)}


def check(secrets: list[str], headers: Mapping[str, str], body: bytes = BODY) -> None:
    Signatures(secrets).check(Asked("", "application/json", CIMultiDict(headers)), body, NOW)


@pytest.mark.parametrize(
    ("payload", "headers", "stored"),
    [
        (
            {"type": "paid", "timestamp": STAMP, "data": {"sum": 5}},
            {"webhook-id": "msg_1"},
            {"uuid": "msg_1", "event": "paid", "distinct_id": None, "timestamp": STAMP, "properties": {"sum": 5}},
        ),
        (
            {"type": "paid", "data": [1], "uuid": "a", "distinct_id": 7, "key": "k", "headers": {"a": "b"}},
            {"webhook-id": "msg_1"},
            {
                "uuid": "a",
                "event": "paid",
                "distinct_id": "7",
                "properties": {"data": [1]},
                "key": "k",
                "headers": {"a": "b"},
            },
        ),
        (
            {"type": "paid", "data": {}, "uuid": 7, "distinct_id": True, "key": 7, "headers": {"a": 7}},
            {},
            {"event": "paid", "distinct_id": None, "properties": {}},
        ),
    ],
    ids=["foreign", "own", "of other kinds"],
)
def test_a_payload_becomes_an_event(payload: Any, headers: dict[str, str], stored: dict[str, Any]) -> None:
    """Its type is the name, its data the properties; without a secret nobody asks for a signature."""
    taken = ask("/any", payload, headers)

    assert (taken.format, taken.events) == ("webhook", [stored])
    assert said(taken.answer) == {"status": "ok", "accepted": 1}


@pytest.mark.parametrize("given", ["", "\udcff", "a\tb"])
def test_an_id_that_is_no_text_is_none(given: str) -> None:
    """It could be neither stored nor listed."""
    [event] = ask("/", {"type": "paid", "data": {}}, {"webhook-id": given}).events

    assert event == {"event": "paid", "distinct_id": None, "properties": {}}


def test_a_payload_without_a_type_is_refused() -> None:
    """Its name would be empty."""
    assert said(refusal("/", {"type": "", "data": {}})) == {"error": "the payload's type is empty"}


@pytest.mark.parametrize(
    "headers",
    [standard(SECRET, BODY), standard(OTHER, BODY), hub("text", BODY), hub(SECRET, BODY), {}],
    ids=["standard", "the other secret", "hub", "hub, any secret", "none"],
)
def test_signatures_with_any_of_the_secrets_are_believed(headers: dict[str, str]) -> None:
    """Each secret will do, for the scheme that it can be used for; what has no signature is not asked here."""
    check([SECRET, OTHER, "text"], headers)


@pytest.mark.parametrize(
    ("secrets", "headers", "fault"),
    [
        ([SECRET], standard(OTHER, BODY), "webhook-signature has no signature that fits the body and the secret"),
        ([SECRET], standard(SECRET, BODY + b" "), "webhook-signature has no signature that fits"),
        ([SECRET], standard(SECRET, BODY, NOW - 301), "webhook-timestamp is 301 s old"),
        ([SECRET], {"webhook-id": "msg_1"}, "webhook-timestamp is missing"),
        (["text"], standard(SECRET, BODY), "no secret here begins with whsec_"),
        (["text"], hub("other", BODY), "x-hub-signature-256 has no signature that fits"),
        (["text"], {"X-Hub-Signature-256": "\udcff"}, "x-hub-signature-256 has no signature that fits"),
    ],
)
def test_a_signature_that_does_not_fit_is_refused(secrets: list[str], headers: dict[str, str], fault: str) -> None:
    """Another secret, another body, another time: 401, which says why and no secret."""
    with pytest.raises(RefusedError) as refused:
        check(secrets, headers)

    assert refused.value.status == 401
    assert refused.value.detail.startswith(fault)


@pytest.mark.parametrize("body", [orjson.loads(BODY), FLAGS], ids=["payload", "feature flags"])
def test_an_unsigned_webhook_is_refused_where_there_is_a_secret(body: Any) -> None:
    """Who does not sign does not come in; events in our own form are no webhooks, and need no signature."""
    wires = all_wires(Signatures([SECRET]))

    answer = refusal("/", body, wires=wires)

    assert (answer.status, said(answer)) == (401, {"error": "the webhook is not signed"})
    assert ask("/", body, standard(SECRET, BODY), wires=wires).answer.status == 200
    assert len(ask("/", [{"event": "a"}], wires=wires).events) == 1


def test_without_secrets_no_signature_is_looked_at() -> None:
    """A wrong one is taken as any."""
    check([], standard(OTHER, b""))


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_short", "whsec_" + "!" * 40])
def test_what_cannot_be_a_secret_is_refused_and_not_shown(secret: str) -> None:
    """At construction, so that no request is refused for it."""
    with pytest.raises(ValueError, match=r"\(its value is not shown\)$"):
        Signatures([secret])
