"""Secrets of webhooks, checked and kept where nothing shows them, and what is signed with them."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

Scheme = Literal["standard", "hub"]
Secrets = str | Sequence[str]

PREFIX = "whsec_"
# Names of the headers that a scheme writes, in lower case.
PROOFS: Mapping[Scheme, frozenset[str]] = {
    "standard": frozenset({"webhook-id", "webhook-timestamp", "webhook-signature"}),
    "hub": frozenset({"x-hub-signature-256"}),
}
MIN_KEY_BYTES, MAX_KEY_BYTES = 24, 64  # Source: Standard Webhooks 1.0, signature scheme


class SigningKey:
    """Signs, and keeps its secret where nothing of Python can read it: it is in no ``repr``, and in no pickle."""

    __slots__ = ("_hmac",)

    def __init__(self, key: bytes) -> None:
        self._hmac = hmac.new(key, digestmod="sha256")

    def digest(self, *parts: bytes) -> bytes:
        """HMAC-SHA256 of ``parts``, one after another."""
        signing = self._hmac.copy()
        for part in parts:
            signing.update(part)
        return signing.digest()


def standard_signature(key: SigningKey, id: str, timestamp: str, body: bytes) -> str:  # noqa: A002 - the header's name
    """What Standard Webhooks says that an attempt is signed with."""
    return "v1," + base64.b64encode(key.digest(f"{id}.{timestamp}.".encode(), body)).decode()


def hub_signature(key: SigningKey, body: bytes) -> str:
    """What X-Hub-Signature-256 holds."""
    return "sha256=" + key.digest(body).hex()


def check_scheme(option: str, value: object) -> None:
    """Refuse anything but the names of the schemes.

    Raises:
        ValueError: Names the option, the value and the rule.
    """
    if value not in get_args(Scheme):
        known = ", ".join(map(repr, get_args(Scheme)))
        raise ValueError(f"{option} must be one of {known}, not {value!r}")


def signing_keys(option: str, secrets: object, scheme: Scheme) -> tuple[SigningKey, ...]:
    """Turn secrets into what signs.

    Args:
        option: Its name, for messages.
        secrets: A secret or several. ``"standard"``: each is ``whsec_`` and the base64 of 24 to 64 bytes.
            ``"hub"``: each is any text.
        scheme: What they are for.

    Raises:
        ValueError: Names the option and the rule; no message shows a secret.
    """
    if isinstance(secrets, str):
        return (_signing_key(option, secrets, scheme),)
    if not isinstance(secrets, Sequence) or isinstance(secrets, bytes | bytearray | memoryview) or not secrets:
        raise ValueError(f"{option} must be a string, or a list of at least one, not {_kind(secrets)}")
    return tuple(_signing_key(f"{option}[{number}]", secret, scheme) for number, secret in enumerate(secrets))


def _kind(value: object) -> str:
    return "an empty one" if isinstance(value, list | tuple) else type(value).__name__


def _signing_key(option: str, secret: object, scheme: Scheme) -> SigningKey:
    if not isinstance(secret, str):
        raise ValueError(f"{option} must be a string, not {type(secret).__name__}")
    key = _decoded(secret.strip()) if scheme == "standard" else _encoded(secret)
    if key is None:
        rule = "whsec_ and the base64 of 24 to 64 bytes" if scheme == "standard" else "text, and not blank"
        raise ValueError(f"{option} must be {rule} (its value is not shown)")
    return SigningKey(key)


def _decoded(secret: str) -> bytes | None:
    encoded = secret.removeprefix(PREFIX)  # with its padding or without
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
    return key if secret.startswith(PREFIX) and MIN_KEY_BYTES <= len(key) <= MAX_KEY_BYTES else None


def _encoded(secret: str) -> bytes | None:
    try:
        return secret.encode() if secret.strip() else None
    except UnicodeEncodeError:
        return None
