"""For whoever receives webhooks: whether one is from where it says, as it was sent, and of now."""

from __future__ import annotations

import hmac
import re
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from eventpipe.checked import shown
from eventpipe.codecs.webhook_secrets import check_scheme, hub_signature, signing_keys, standard_signature
from eventpipe.errors import SignatureError

if TYPE_CHECKING:
    from eventpipe.codecs.webhook_secrets import Scheme, Secrets, SigningKey

TOLERANCE = 300.0

# An id without full stops: with one, what was signed could be read as another id, another time or another body.
_ID = re.compile(r"[!-\-/-~]{1,256}")
_TIMESTAMP = re.compile(r"[0-9]{1,12}")
# While a secret changes a sender signs with two or three. What an attacker lists costs a comparison each.
MAX_SIGNATURES = 100
MAX_SIGNATURES_LENGTH = 16 * 1024


@dataclass(frozen=True, slots=True)
class VerifiedWebhook:
    """What a signature proved beside the body.

    Attributes:
        id: The same over all attempts of the sender; a receiver keeps it for a while, to tell what it has had. ``None``
            in the scheme ``"hub"``, which signs none.
        timestamp: When the attempt was signed, seconds since the epoch; ``None`` in the scheme ``"hub"``.
    """

    id: str | None = None
    timestamp: float | None = None


def verify_webhook(
    body: bytes | bytearray | memoryview | str,
    headers: Mapping[str, str],
    secret: Secrets,
    *,
    scheme: Scheme = "standard",
    tolerance: float = TOLERANCE,
    now: float | None = None,
) -> VerifiedWebhook:
    """Believe a webhook, or raise.

    Args:
        body: As it came: parsed and written again, it would not be what was signed. Text counts as UTF-8.
        headers: Of the request; names in any case.
        secret: What the sender signs with, or several, each of which will do.
        scheme: ``"standard"``: Standard Webhooks. ``"hub"``: ``X-Hub-Signature-256``, which signs no time, so that
            whoever listened can send the same again at any time.
        tolerance: Seconds that the time of signing may be away from now, in the past or in the future.
        now: Wall clock, seconds since the epoch. ``None`` means this machine's.

    Raises:
        SignatureError: It is not to be believed; ``reason`` and the message say why, and nothing of a secret or of
            the signature that would have fitted.
        ValueError: A secret or an option is wrong.
        TypeError: ``body`` or ``headers`` is something else.
    """
    check_scheme("scheme", scheme)
    keys = signing_keys("secret", secret, scheme)
    _check_number("tolerance", tolerance)
    if now is not None:
        _check_number("now", now)
    content = _bytes_of(body)
    if scheme == "hub":
        given = _header(headers, "x-hub-signature-256")
        _match("x-hub-signature-256", [given], [hub_signature(key, content) for key in keys])
        return VerifiedWebhook()
    id_, timestamp = _header(headers, "webhook-id"), _header(headers, "webhook-timestamp")
    signatures = _listed(_header(headers, "webhook-signature"))
    if not _ID.fullmatch(id_):
        raise _malformed("webhook-id must be 1 to 256 printable ASCII characters without a full stop")
    if not _TIMESTAMP.fullmatch(timestamp):
        raise _malformed("webhook-timestamp must be whole seconds since 1970, of at most 12 digits")
    _check_age((time.time() if now is None else now) - int(timestamp), tolerance)
    _match("webhook-signature", signatures, _fitting(keys, id_, timestamp, content))
    return VerifiedWebhook(id_, float(timestamp))


def _fitting(keys: Iterable[SigningKey], id_: str, timestamp: str, content: bytes) -> list[str]:
    return [standard_signature(key, id_, timestamp, content) for key in keys]


def _bytes_of(body: object) -> bytes:
    if isinstance(body, str):
        try:
            return body.encode()
        except UnicodeEncodeError:
            raise _malformed("the body must be bytes, or text that UTF-8 can hold") from None
    if not isinstance(body, bytes | bytearray | memoryview):
        raise TypeError(f"body must be bytes or a string, as it came, not {type(body).__name__}")
    return bytes(body)


def _header(headers: Mapping[str, str], wanted: str) -> str:
    """The value of the header ``wanted``, given in lower case.

    Two of them are refused: which one counts would be the attacker's choice.
    """
    try:
        pairs = headers.items()
    except AttributeError:
        raise TypeError(f"headers must be a mapping of names to values, not {type(headers).__name__}") from None
    found = [value for name, value in pairs if _text(name).lower() == wanted]
    if not found:
        raise SignatureError(f"{wanted} is missing", reason="missing")
    if len(found) > 1:
        raise _malformed(f"{wanted} must come once, not {len(found)} times")
    return _text(found[0])


def _text(value: object) -> str:
    """A name or a value as text; servers that keep to the wire have bytes."""
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return value if isinstance(value, str) else ""


def _listed(value: str) -> list[str]:
    """The signatures of a header that we know how to check."""
    if len(value) > MAX_SIGNATURES_LENGTH:
        raise _malformed(f"webhook-signature must have at most {MAX_SIGNATURES_LENGTH} characters, not {len(value)}")
    listed = value.split(" ")
    if len(listed) > MAX_SIGNATURES:
        raise _malformed(f"webhook-signature must list at most {MAX_SIGNATURES} signatures, not {len(listed)}")
    return [signature for signature in listed if signature.startswith("v1,")]


def _check_age(age: float, tolerance: float) -> None:
    if abs(age) > tolerance:
        when = f"{age:.0f} s old" if age > 0 else f"{-age:.0f} s in the future"
        raise SignatureError(f"webhook-timestamp is {when}; {tolerance:g} s are tolerated", reason="stale")


def _match(header: str, given: Iterable[str], fitting: Iterable[str]) -> None:
    """Compare each with each, all of them, so that the time it takes says nothing."""
    expected = [signature.encode() for signature in fitting]
    is_known = False
    for signature in given:
        candidate = signature.encode("utf-8", "surrogatepass")
        for signed in expected:
            is_known |= hmac.compare_digest(candidate, signed)
    if not is_known:
        raise SignatureError(f"{header} has no signature that fits the body and the secret", reason="mismatch")


def _malformed(message: str) -> SignatureError:
    return SignatureError(message, reason="malformed")


def _check_number(option: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= sys.float_info.max:
        raise ValueError(f"{option} must be a finite number of seconds, at least 0, not {shown(value)}")
