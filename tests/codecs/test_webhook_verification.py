"""Webhooks that are received: believed when they are what was sent, refused with one error otherwise."""

from __future__ import annotations

import base64
import hmac
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy
from standardwebhooks import Webhook

from eventpipe.codecs import HubWebhook, StandardWebhook, VerifiedWebhook, verify_webhook
from eventpipe.codecs.webhook_secrets import Scheme
from eventpipe.errors import EventPipeError, SignatureError
from eventpipe.testing.events import STAMP, make_batch

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OLD = "whsec_" + base64.b64encode(b"o" * 24).decode()
HUB = "It's a Secret to Everybody"
BODY = b'{"test": 2432232314}'
ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
NOW = int(STAMP)


def signature(secret: str = SECRET, id_: str = ID, timestamp: object = NOW, body: bytes = BODY) -> str:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    return "v1," + base64.b64encode(hmac.digest(key, f"{id_}.{timestamp}.".encode() + body, "sha256")).decode()


def signed(**changed: str) -> dict[str, str]:
    """The headers of a good webhook, but for what is changed."""
    headers = {"webhook-id": ID, "webhook-timestamp": str(NOW), "webhook-signature": signature()}
    return headers | {name.replace("_", "-"): value for name, value in changed.items()}


def refused(
    headers: Mapping[str, Any], body: bytes | str = BODY, *, secret: str | list[str] = SECRET, **options: Any
) -> SignatureError:
    with pytest.raises(SignatureError) as caught:
        verify_webhook(body, headers, secret, **{"now": NOW, **options})
    return caught.value


# What is believed


def test_a_webhook_is_believed_with_its_id_and_its_time() -> None:
    """The id tells a receiver what it has had; the published vector is believed at its time."""
    assert verify_webhook(BODY, signed(), SECRET, now=STAMP) == VerifiedWebhook(ID, STAMP)
    headers = {
        "webhook-id": ID,
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    assert verify_webhook(BODY, headers, SECRET, now=1_614_265_330).timestamp == 1_614_265_330


@pytest.mark.parametrize(
    "body",
    [BODY, bytearray(BODY), memoryview(BODY), BODY.decode()],
    ids=["bytes", "bytearray", "memoryview", "text"],
)
@pytest.mark.parametrize(
    "shape",
    [
        dict,
        lambda headers: {name.title(): value for name, value in headers.items()},
        lambda headers: {name.upper(): value for name, value in headers.items()},
        lambda headers: {name.encode(): value.encode() for name, value in headers.items()},
        lambda headers: CIMultiDictProxy(CIMultiDict(headers)),
    ],
    ids=["dict", "title", "upper", "bytes", "aiohttp"],
)
def test_any_mapping_of_headers_and_any_kind_of_body_will_do(
    body: Any, shape: Callable[[Mapping[str, str]], Any]
) -> None:
    """Names in any case, and what the common servers hand to their handlers."""
    assert verify_webhook(body, shape({**signed(), "Accept": "*/*"}), SECRET, now=NOW).id == ID


def test_text_counts_as_utf_8() -> None:
    """A body that a server has decoded already is what was signed all the same."""
    body = "näme 😀"
    headers = signed(webhook_signature=signature(body=body.encode()))

    assert verify_webhook(body, headers, SECRET, now=NOW).id == ID


@pytest.mark.parametrize(
    ("listed", "secrets"),
    [
        ([SECRET], [OLD, SECRET]),
        ([OLD, SECRET], SECRET),
        ([SECRET, OLD], [SECRET]),
        ([OLD], [SECRET, OLD]),
    ],
    ids=["receiver has both", "sender has both", "sender begins", "receiver begins"],
)
def test_every_secret_is_tried_with_every_signature(listed: list[str], secrets: str | list[str]) -> None:
    """Sender and receiver change a secret at different times, in either order."""
    headers = signed(webhook_signature=" ".join(signature(secret) for secret in listed))

    assert verify_webhook(BODY, headers, secrets, now=NOW).id == ID


@pytest.mark.parametrize(
    "others",
    ["v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw==", "v2,x", "v1", "v1;x", ",", "", "  ", "v1,", "é", "V1,x"],
    ids=repr,
)
def test_signatures_of_other_kinds_are_passed_over(others: str) -> None:
    """Unknown versions, and what is none, beside one that fits and by themselves."""
    assert verify_webhook(BODY, signed(webhook_signature=f"{others} {signature()}"), SECRET, now=NOW).id == ID
    assert verify_webhook(BODY, signed(webhook_signature=f"{signature()} {others}"), SECRET, now=NOW).id == ID
    assert refused(signed(webhook_signature=others)).reason == "mismatch"


def test_the_hub_scheme_believes_the_body() -> None:
    """GitHub's published vector; no id and no time are signed."""
    fitting = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"

    verified = verify_webhook(b"Hello, World!", {"X-Hub-Signature-256": fitting}, ["old", HUB], scheme="hub")

    assert verified == VerifiedWebhook(None, None)


@pytest.mark.parametrize("scheme", ["standard", "hub"])
def test_what_our_codecs_sign_is_believed(scheme: Scheme) -> None:
    """From an attempt to the handler that takes it."""
    batch = make_batch(1)
    codec = StandardWebhook(SECRET) if scheme == "standard" else HubWebhook(SECRET)
    request = codec.request(batch, 1, STAMP)

    verified = verify_webhook(request.body, request.headers, SECRET, scheme=scheme, now=STAMP + 2)

    assert verified.id == (batch.events[0].uuid if scheme == "standard" else None)


@given(id_=st.text("abcXYZ019_-", min_size=1, max_size=40), body=st.text(st.characters(codec="utf-8")))
def test_what_the_reference_library_signs_is_believed(id_: str, body: str) -> None:
    """``standardwebhooks`` signs any text, and we verify it."""
    listed = Webhook(SECRET).sign(id_, datetime.fromtimestamp(STAMP, UTC), body)
    headers = {"webhook-id": id_, "webhook-timestamp": str(NOW), "webhook-signature": listed}

    assert verify_webhook(body, headers, SECRET, now=STAMP) == VerifiedWebhook(id_, STAMP)


def test_now_is_this_machines_unless_given() -> None:
    """What was signed a moment ago is believed."""
    now = int(time.time())
    headers = signed(webhook_timestamp=str(now), webhook_signature=signature(timestamp=now))

    assert verify_webhook(BODY, headers, SECRET).timestamp == now
    with pytest.raises(SignatureError, match="s old; 300 s are tolerated"):
        verify_webhook(BODY, signed(), SECRET)


# What is refused


@pytest.mark.parametrize(
    ("now", "message"),
    [
        (NOW + 300, None),
        (NOW - 300, None),
        (NOW + 300.001, "webhook-timestamp is 300 s old; 300 s are tolerated"),
        (NOW - 300.001, "webhook-timestamp is 300 s in the future; 300 s are tolerated"),
        (NOW + 301, "webhook-timestamp is 301 s old; 300 s are tolerated"),
        (NOW - 3600, "webhook-timestamp is 3600 s in the future; 300 s are tolerated"),
    ],
    ids=str,
)
def test_the_time_of_signing_may_be_300_s_away_and_not_more(now: float, message: str | None) -> None:
    """To the edge, in both directions."""
    if message is None:
        assert verify_webhook(BODY, signed(), SECRET, now=now).timestamp == NOW
    else:
        error = refused(signed(), now=now)
        assert (error.reason, str(error)) == ("stale", message)


def test_the_tolerance_can_be_set() -> None:
    """To zero, and to years, for what was kept."""
    assert verify_webhook(BODY, signed(), SECRET, now=NOW, tolerance=0).id == ID
    assert refused(signed(), now=NOW + 1, tolerance=0.5).reason == "stale"
    assert verify_webhook(BODY, signed(), SECRET, now=NOW + 10**8, tolerance=10**9).id == ID


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_header_that_is_not_there_is_missing(name: str) -> None:
    """Each of the three is needed, and the error names it."""
    headers = signed()
    del headers[name]

    error = refused(headers)

    assert (error.reason, str(error)) == ("missing", f"{name} is missing")
    assert str(refused({}, secret=HUB, scheme="hub")) == "x-hub-signature-256 is missing"


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_header_that_comes_twice_is_refused(name: str) -> None:
    """Which one counts would be the choice of whoever put the second there."""
    headers = CIMultiDict(signed())
    headers.add(name.title(), headers[name])

    error = refused(headers)

    assert (error.reason, str(error)) == ("malformed", f"{name} must come once, not 2 times")


ID_RULE = "webhook-id must be 1 to 256 printable ASCII characters without a full stop"
TIMESTAMP_RULE = "webhook-timestamp must be whole seconds since 1970, of at most 12 digits"


@pytest.mark.parametrize(
    ("id_", "timestamp", "rule"),
    [
        ("", NOW, ID_RULE),
        ("a.b", NOW, ID_RULE),
        ("a b", NOW, ID_RULE),
        ("é", NOW, ID_RULE),
        ("a\n", NOW, ID_RULE),
        ("a" * 257, NOW, ID_RULE),
        (ID, "", TIMESTAMP_RULE),
        (ID, f"{NOW}.0", TIMESTAMP_RULE),
        (ID, f"-{NOW}", TIMESTAMP_RULE),
        (ID, f"+{NOW}", TIMESTAMP_RULE),
        (ID, f" {NOW}", TIMESTAMP_RULE),
        (ID, "1e9", TIMESTAMP_RULE),
        (ID, "nan", TIMESTAMP_RULE),
        (ID, "٣" * 10, TIMESTAMP_RULE),
        (ID, "1_767_225_600", TIMESTAMP_RULE),
        (ID, "9" * 10_000, TIMESTAMP_RULE),
    ],
)
def test_a_header_that_is_malformed_is_refused_even_if_it_was_signed(id_: str, timestamp: object, rule: str) -> None:
    """An id with a full stop could be read as part of the time, and the time as part of the body."""
    headers = {
        "webhook-id": id_,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature(id_=id_, timestamp=timestamp),
    }

    error = refused(headers)

    assert (error.reason, str(error)) == ("malformed", rule)


def test_a_body_cannot_lend_its_first_words_to_the_id_and_the_time() -> None:
    """The same signed bytes, cut at other full stops, are another webhook, and refused."""
    body = b"1767225600.{}"
    genuine = signed(webhook_id="a", webhook_signature=signature(id_="a", body=body))
    assert verify_webhook(body, genuine, SECRET, now=NOW).id == "a"

    assert refused(genuine | {"webhook-id": f"a.{NOW}"}, b"{}").reason == "malformed"


def test_another_secret_body_id_or_time_does_not_fit() -> None:
    """Each of them is signed."""
    changed: list[dict[str, Any]] = [
        {"secret": OLD},
        {"body": BODY + b" "},
        {"body": b""},
        {"headers": signed(webhook_id="other")},
        {"headers": signed(webhook_timestamp=str(NOW + 1))},
        {"headers": signed(webhook_signature=signature().rstrip("="))},
        {"headers": signed(webhook_signature=signature().removeprefix("v1,"))},
    ]
    for change in changed:
        error = refused(**{"headers": signed(), **change})
        assert error.reason == "mismatch"
        assert str(error) == "webhook-signature has no signature that fits the body and the secret"


def flipped(data: bytes, at: int, bit: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]


@given(at=st.integers(0), bit=st.integers(0, 7), scheme=st.sampled_from(["standard", "hub"]), part=st.integers(0))
def test_any_bit_that_is_flipped_is_noticed(at: int, bit: int, scheme: Scheme, part: int) -> None:
    """In the body or in any header that proves it."""
    codec = StandardWebhook(SECRET) if scheme == "standard" else HubWebhook(SECRET)
    request = codec.request(make_batch(1), 1, STAMP)
    headers = {name: value.encode() for name, value in request.headers.items() if name != "Content-Type"}
    names = [None, *headers]
    name = names[part % len(names)]
    body = request.body
    if name is None:
        body = flipped(body, at % len(body), bit)
    else:
        headers[name] = flipped(headers[name], at % len(headers[name]), bit)

    refused(headers, body, scheme=scheme)


VALUES = st.one_of(
    st.text(max_size=40),
    st.binary(max_size=40),
    st.none(),
    st.integers(),
    st.sampled_from(["v1," * 50, "v1,é", "v1,\ud800", str(NOW), "9" * 12, "a", "sha256=", "sha256=\ud800"]),
)
NAMES = st.one_of(
    st.sampled_from(["webhook-id", "Webhook-Timestamp", "WEBHOOK-SIGNATURE", "x-hub-signature-256", b"webhook-id"]),
    st.text(max_size=5),
    st.none(),
)


@given(
    headers=st.dictionaries(NAMES, VALUES, max_size=6),
    good=st.sets(st.sampled_from(sorted(signed()))),
    body=st.binary(max_size=40) | st.text(max_size=40),
    scheme=st.sampled_from(["standard", "hub"]),
)
def test_nothing_but_the_one_error_is_raised(
    headers: dict[str, Any], good: set[str], body: bytes | str, scheme: Scheme
) -> None:
    """Whatever a request has for headers and for a body."""
    mixed = {**headers, **{name: signed()[name] for name in good}}

    assert refused(mixed, body, scheme=scheme).reason in ("missing", "malformed", "mismatch", "stale")


def test_text_that_utf_8_cannot_hold_is_refused() -> None:
    """It cannot be what was received."""
    assert refused(signed(), "\ud800").reason == "malformed"


def test_the_work_for_a_hostile_header_is_bounded() -> None:
    """Signatures beyond a hundred, or beyond 16 KiB, are not looked at; a hundred are, and the last one counts."""
    wrong = "v1," + "A" * 43 + "="
    filled = " ".join([wrong] * 99 + [signature()])

    assert verify_webhook(BODY, signed(webhook_signature=filled), SECRET, now=NOW).id == ID
    longest = f"{signature()} v1,".ljust(16_384, "A")
    assert verify_webhook(BODY, signed(webhook_signature=longest), SECRET, now=NOW).id == ID
    many = refused(signed(webhook_signature=" ".join(["v1,"] * 100 + [signature()])))
    long = refused(signed(webhook_signature="v1," + "A" * 16_382))

    assert str(many) == "webhook-signature must list at most 100 signatures, not 101"
    assert str(long) == "webhook-signature must have at most 16384 characters, not 16385"
    assert (many.reason, long.reason) == ("malformed", "malformed")


@pytest.mark.parametrize("given", ["sha1=x", "sha256=", "sha256=" + "0" * 64, "", "é", "sha256=\ud800", "0" * 10**6])
def test_a_hub_signature_that_does_not_fit_is_refused(given: str) -> None:
    """Of another kind, cut short, of another body, not ASCII, or a megabyte long."""
    error = refused({"x-hub-signature-256": given}, secret=HUB, scheme="hub")

    assert error.reason == "mismatch"


def test_every_comparison_is_in_constant_time_and_none_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long it takes says neither how much of a signature was right nor which secret fitted."""
    compared: list[tuple[bytes, bytes]] = []
    compare = hmac.compare_digest

    def counted(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return compare(one, other)

    monkeypatch.setattr(hmac, "compare_digest", counted)
    listed = [signature(), signature(OLD), "v1,x"]

    verify_webhook(BODY, signed(webhook_signature=" ".join(listed)), [SECRET, OLD], now=NOW)

    assert compared == [(one.encode(), signature(secret).encode()) for one in listed for secret in (SECRET, OLD)]


def test_the_error_is_one_of_ours_and_a_value_error() -> None:
    """A handler catches it by either; its message can be answered."""
    error = refused({})

    assert isinstance(error, EventPipeError)
    assert isinstance(error, ValueError)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"scheme": "github"}, ValueError, "scheme must be one of 'standard', 'hub', not 'github'"),
        ({"tolerance": -1}, ValueError, "tolerance must be a finite number of seconds, at least 0, not -1"),
        ({"tolerance": float("inf")}, ValueError, "tolerance must be a finite number of seconds, at least 0, not inf"),
        ({"tolerance": None}, ValueError, "tolerance must be a finite number of seconds, at least 0, not NoneType"),
        (
            {"tolerance": 10**400},
            ValueError,
            f"tolerance must be a finite number of seconds, at least 0, not 1{'0' * 56}...",
        ),
        ({"now": float("nan")}, ValueError, "now must be a finite number of seconds, at least 0, not nan"),
        ({"now": True}, ValueError, "now must be a finite number of seconds, at least 0, not True"),
        (
            {"secret": "x"},
            ValueError,
            "secret must be whsec_ and the base64 of 24 to 64 bytes (its value is not shown)",
        ),
        ({"body": {}}, TypeError, "body must be bytes or a string, as it came, not dict"),
        ({"headers": []}, TypeError, "headers must be a mapping of names to values, not list"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_wrong_argument_is_no_fault_of_the_sender(
    options: dict[str, Any], kind: type[Exception], message: str
) -> None:
    """It is another error than the one that handlers catch, and names the option, the value and the rule."""
    with pytest.raises(kind) as caught:
        verify_webhook(**{"body": BODY, "headers": signed(), "secret": SECRET, **options})

    assert str(caught.value) == message
    assert not isinstance(caught.value, SignatureError)
