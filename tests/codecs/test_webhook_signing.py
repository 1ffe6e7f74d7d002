"""Signed webhooks: what is signed, with what, and what the codec inside still decides."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime

import orjson
import pytest
from freezegun import freeze_time
from standardwebhooks import Webhook

from eventpipe.codecs import FeatureFlags, HubWebhook, JsonCodec, PostHogV0, StandardWebhook
from eventpipe.codecs.webhook import WebhookCodec
from eventpipe.codecs.webhook_secrets import hub_signature, signing_keys, standard_signature
from eventpipe.contracts import Codec
from eventpipe.errors import PermanentSinkError, TransientSinkError
from eventpipe.events import Batch
from eventpipe.outcomes import DropReason
from eventpipe.testing.events import STAMP, make_batch, make_event

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OLD = "whsec_" + base64.b64encode(b"o" * 64).decode()


def by_hand(secret: str, id_: str, timestamp: str, body: bytes) -> str:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    return "v1," + base64.b64encode(hmac.digest(key, f"{id_}.{timestamp}.".encode() + body, "sha256")).decode()


def test_the_published_vectors_come_out() -> None:
    """Standard Webhooks: that of its reference libraries. X-Hub-Signature-256: that of GitHub's documentation."""
    [key] = signing_keys("secret", SECRET, "standard")
    [hub] = signing_keys("secret", "It's a Secret to Everybody", "hub")

    assert (
        standard_signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", b'{"test": 2432232314}')
        == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    )
    assert (
        hub_signature(hub, b"Hello, World!")
        == "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    )


def test_an_attempt_has_three_headers_and_the_inner_codecs() -> None:
    """The id, the second of the attempt, and a signature over both and the body."""
    event = make_event("invoice.paid", properties={"sum": 5})
    request = StandardWebhook(SECRET).request(make_batch([event]), 1, STAMP + 0.999)

    assert request.body == WebhookCodec().request(make_batch([event]), 1, STAMP).body
    assert dict(request.headers) == {
        "Content-Type": "application/json",
        "webhook-id": event.uuid,
        "webhook-timestamp": "1767225600",
        "webhook-signature": by_hand(SECRET, event.uuid, "1767225600", request.body),
    }


def test_the_id_is_the_events_own_or_the_batchs() -> None:
    """What a receiver tells apart what it has had by; the batch's where a request has several events."""
    codec = StandardWebhook(SECRET, JsonCodec())
    one, several = make_batch(1), make_batch(2)

    assert codec.request(one, 1, STAMP).headers["webhook-id"] == one.events[0].uuid
    assert codec.request(several, 1, STAMP).headers["webhook-id"] == several.id


def test_each_attempt_is_signed_anew_under_the_same_id() -> None:
    """Receivers refuse what was signed long ago, and know by the id what they have had."""
    batch = make_batch(1)
    codec = StandardWebhook(SECRET)

    first, second = (codec.request(batch, attempt, STAMP + 60 * attempt) for attempt in (1, 2))

    assert first.body == second.body
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert [request.headers["webhook-timestamp"] for request in (first, second)] == ["1767225660", "1767225720"]
    assert first.headers["webhook-signature"] != second.headers["webhook-signature"]


def test_several_secrets_sign_side_by_side() -> None:
    """While a secret is replaced, receivers with the old one and with the new one both believe."""
    batch = make_batch(1)
    request = StandardWebhook([SECRET, OLD]).request(batch, 1, STAMP)

    id_, timestamp = request.headers["webhook-id"], request.headers["webhook-timestamp"]
    assert request.headers["webhook-signature"].split(" ") == [
        by_hand(SECRET, id_, timestamp, request.body),
        by_hand(OLD, id_, timestamp, request.body),
    ]


@pytest.mark.parametrize("secret", [SECRET, OLD], ids=["new", "old"])
@pytest.mark.parametrize(
    "codec", [None, JsonCodec(), FeatureFlags(), PostHogV0("phc_key")], ids=["webhook", "json", "flags", "posthog"]
)
def test_the_reference_library_believes_what_we_sign(secret: str, codec: Codec | None) -> None:
    """``standardwebhooks`` verifies every body, with either of two secrets."""
    batch = make_batch([make_event("näme 😀", properties={"text": 'q"\\\n\u2028', "n": [1, None]})])
    request = StandardWebhook([SECRET, OLD], codec).request(batch, 1, STAMP)

    with freeze_time(datetime.fromtimestamp(STAMP, UTC)):
        payload = Webhook(secret).verify(request.body, dict(request.headers))

    assert payload == orjson.loads(request.body)


def test_the_hub_header_signs_the_body_alone() -> None:
    """``sha256=`` and the hex of it, as GitHub and exporters of feature flags have it."""
    batch = make_batch(2)
    request = HubWebhook("a secret", FeatureFlags()).request(batch, 1, STAMP)

    expected = hmac.new(b"a secret", request.body, hashlib.sha256).hexdigest()
    assert request.headers["X-Hub-Signature-256"] == f"sha256={expected}"
    assert request == HubWebhook("a secret", FeatureFlags()).request(batch, 2, STAMP + 9)


def test_the_hub_header_has_room_for_one_secret() -> None:
    """Two would make it something that receivers cannot read."""
    with pytest.raises(
        ValueError, match=r"^secret must be one secret, not 2: X-Hub-Signature-256 holds one signature$"
    ):
        HubWebhook(["a", "b"])

    assert HubWebhook(["a"]).request(make_batch(), 1, STAMP).headers["X-Hub-Signature-256"]


def test_both_schemes_can_sign_one_request() -> None:
    """While receivers move from one to the other."""
    request = StandardWebhook(SECRET, HubWebhook("old")).request(make_batch(1), 1, STAMP)

    assert request.headers["webhook-signature"] == by_hand(
        SECRET, request.headers["webhook-id"], "1767225600", request.body
    )
    assert request.headers["X-Hub-Signature-256"] == "sha256=" + hmac.new(b"old", request.body, "sha256").hexdigest()


def test_without_a_secret_nothing_is_signed() -> None:
    """The id and the time are worth sending all the same."""
    standard = StandardWebhook(None).request(make_batch(1), 1, STAMP)
    hub = HubWebhook(None).request(make_batch(1), 1, STAMP)

    assert set(standard.headers) == {"Content-Type", "webhook-id", "webhook-timestamp"}
    assert set(hub.headers) == {"Content-Type"}


def test_the_codec_inside_keeps_its_lanes_limits_and_addresses() -> None:
    """What is here signs; it changes nothing else, but that bodies are not compressed."""
    inner = PostHogV0("phc_key")
    codec = StandardWebhook(SECRET, inner)
    old = make_event(lane="historical")
    batch = make_batch([old], lane="historical")

    assert (codec.lifted, codec.max_event_bytes, codec.max_batch_bytes, codec.has_lanes, codec.lane(old)) == (
        inner.lifted,
        inner.max_event_bytes,
        inner.max_batch_bytes,
        True,
        "historical",
    )
    assert codec.base_url("https://app.posthog.com") == "https://us.i.posthog.com"
    assert codec.request(batch, 1, STAMP).url == "/batch/"
    assert codec.request(batch, 1, STAMP).body == inner.request(batch, 1, STAMP).body
    assert codec.compressions == {None: frozenset()}


def test_what_the_codec_inside_asks_of_a_sink_is_asked() -> None:
    """Ids once in a batch, events a batch, limits of lanes; what it does not have stays absent."""

    class Demanding(JsonCodec):
        lane_event_bytes = {"ai": 9}  # noqa: RUF012 - never changed
        max_batch_events = 3
        unique_ids = True

    demanding, plain = StandardWebhook(SECRET, Demanding()), StandardWebhook(SECRET, JsonCodec())

    assert (demanding.lane_event_bytes, demanding.max_batch_events, demanding.unique_ids) == ({"ai": 9}, 3, True)
    assert (plain.lane_event_bytes, plain.max_batch_events, plain.unique_ids) == ({}, None, False)
    assert StandardWebhook(SECRET).max_batch_events == 1
    assert plain.base_url("https://hooks.example/x") == "https://hooks.example/x"
    assert plain.has_lanes is False


def test_answers_are_read_by_the_codec_inside() -> None:
    """Whatever it makes of them; the usual one accepts any 2xx, and takes 410 for an endpoint that is gone."""

    class Reading(JsonCodec):
        def response(self, batch: Batch, status: int, headers: Mapping[str, str], body: bytes, complete: bool) -> None:
            read.append((batch, status, headers, body, complete))

    read: list[tuple[object, ...]] = []
    codec, batch = StandardWebhook(SECRET), make_batch(1)

    assert StandardWebhook(SECRET, Reading()).response(batch, 500, {"a": "b"}, b"c", False) is None
    assert read == [(batch, 500, {"a": "b"}, b"c", False)]
    assert codec.response(batch, 204, {}, b"", True) is None
    gone = codec.response(batch, 410, {}, b"", True)
    assert isinstance(gone, PermanentSinkError)
    assert (gone.scope, gone.reason) == ("sink", DropReason.MISCONFIGURED)
    limited = codec.response(batch, 429, {"retry-after": "7"}, b"", True)
    assert isinstance(limited, TransientSinkError)
    assert limited.retry_after == 7
