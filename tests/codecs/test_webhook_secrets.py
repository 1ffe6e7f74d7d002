"""Secrets of webhooks: which can be one, and where they never show."""

from __future__ import annotations

import base64
import copy
import pickle
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from eventpipe.codecs import HubWebhook, StandardWebhook, verify_webhook
from eventpipe.codecs.webhook_secrets import Scheme, SigningKey, signing_keys
from eventpipe.testing.events import STAMP, make_batch


def standard_secret(size: int, fill: bytes = b"k") -> str:
    return "whsec_" + base64.b64encode(fill * size).decode()


GOOD = standard_secret(24)
STANDARD_RULE = "must be whsec_ and the base64 of 24 to 64 bytes (its value is not shown)"
HUB_RULE = "must be text, and not blank (its value is not shown)"


@pytest.mark.parametrize("size", [24, 25, 26, 63, 64])
def test_a_secret_has_24_to_64_bytes(size: int) -> None:
    """With its padding or without, and with the space and the line break that files and environments put around it."""
    secret = standard_secret(size)
    by_hand = SigningKey(b"k" * size).digest(b"signed")

    for written in (secret, secret.rstrip("="), f" {secret}\n"):
        [key] = signing_keys("secret", written, "standard")
        assert key.digest(b"sig", b"ned") == by_hand


@pytest.mark.parametrize(
    ("secret", "scheme", "message"),
    [
        (standard_secret(23), "standard", f"secret {STANDARD_RULE}"),
        (standard_secret(65), "standard", f"secret {STANDARD_RULE}"),
        (GOOD.removeprefix("whsec_"), "standard", f"secret {STANDARD_RULE}"),
        (GOOD.upper(), "standard", f"secret {STANDARD_RULE}"),
        ("whsec_", "standard", f"secret {STANDARD_RULE}"),
        ("", "standard", f"secret {STANDARD_RULE}"),
        ("whsec_SECRET-" + "k" * 40, "standard", f"secret {STANDARD_RULE}"),
        ("whsec_SECRET " + "k" * 40, "standard", f"secret {STANDARD_RULE}"),
        ("whsec_SECRETé" + "k" * 40, "standard", f"secret {STANDARD_RULE}"),
        ("whsec_SECRET\ud800" + "k" * 40, "standard", f"secret {STANDARD_RULE}"),
        (GOOD + "=" + GOOD, "standard", f"secret {STANDARD_RULE}"),
        (GOOD.replace("_", "_-"), "standard", f"secret {STANDARD_RULE}"),
        (GOOD[:12] + "\n" + GOOD[12:], "standard", f"secret {STANDARD_RULE}"),
        ([GOOD, "whsec_SECRET"], "standard", f"secret[1] {STANDARD_RULE}"),
        ([GOOD, b"SECRET"], "standard", "secret[1] must be a string, not bytes"),
        ("", "hub", f"secret {HUB_RULE}"),
        (" \n", "hub", f"secret {HUB_RULE}"),
        ("SECRET\ud800", "hub", f"secret {HUB_RULE}"),
        (b"SECRET", "standard", "secret must be a string, or a list of at least one, not bytes"),
        (7, "hub", "secret must be a string, or a list of at least one, not int"),
        ({GOOD}, "standard", "secret must be a string, or a list of at least one, not set"),
        ([], "standard", "secret must be a string, or a list of at least one, not an empty one"),
    ],
    ids=str,
)
def test_what_cannot_be_a_secret_is_refused_without_being_shown(secret: object, scheme: Scheme, message: str) -> None:
    """The message names the option, which of several, and the rule."""
    with pytest.raises(ValueError, match=r"^secret") as caught:
        signing_keys("secret", secret, scheme)

    assert str(caught.value) == message
    assert "SECRET" not in "".join(traceback.format_exception(caught.value))


def test_the_secret_of_a_hub_is_any_text() -> None:
    """As it is: space and letters of any script belong to it."""
    for secret in ("s", " a b ", "ключ", "whsec_"):
        [key] = signing_keys("secret", secret, "hub")
        assert key.digest(b"x") == SigningKey(secret.encode()).digest(b"x")


SECRET = standard_secret(8, b"SECRET")


@pytest.mark.parametrize("make", [StandardWebhook, HubWebhook])
def test_a_secret_is_shown_nowhere(make: Callable[[str], Any]) -> None:
    """Not by the codec, what it is made of, its requests or its errors."""
    codec = make(SECRET)
    request = codec.request(make_batch(), 1, STAMP)
    error = codec.response(make_batch(), 500, {"x": SECRET}, SECRET.encode(), True)

    shown = f"{codec!r} {codec} {request!r} {dict(request.headers)} {error!r} {vars(codec)}"

    assert repr(codec) == f"{make.__name__}(WebhookCodec())"
    for part in (SECRET, SECRET.removeprefix("whsec_"), "SECRET", SECRET[:14]):
        assert part not in shown


@pytest.mark.parametrize("make", [StandardWebhook, HubWebhook])
@pytest.mark.parametrize("written", [pickle.dumps, copy.deepcopy], ids=["pickle", "deepcopy"])
def test_a_secret_is_in_no_pickle(make: Callable[[str], Any], written: Callable[[object], object]) -> None:
    """A codec with a secret is refused by whatever would write the secret down."""
    for holder in (make(SECRET), signing_keys("secret", SECRET, "standard")):
        with pytest.raises(TypeError, match=r"not pickled|cannot pickle") as caught:
            written(holder)
        assert "SECRET" not in str(caught.value)


def test_a_signature_that_does_not_fit_says_nothing_of_the_one_that_would() -> None:
    """What is raised can be answered to the sender as it is."""
    request = StandardWebhook(SECRET, HubWebhook(SECRET)).request(make_batch(), 1, STAMP)
    schemes: list[Scheme] = ["standard", "hub"]
    for scheme in schemes:
        with pytest.raises(ValueError, match="no signature that fits") as caught:
            verify_webhook(request.body + b" ", request.headers, SECRET, scheme=scheme, now=STAMP)

        shown = "".join(traceback.format_exception(caught.value))
        for hidden in (request.headers["webhook-signature"], request.headers["X-Hub-Signature-256"], SECRET[:14]):
            assert hidden not in shown
