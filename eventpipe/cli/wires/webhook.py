"""Webhooks: whether one is from where it says, and the payload of Standard Webhooks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from eventpipe.cli.wires.base import Asked, Event, RefusedError, headers_or_none, own_form, text_or_none
from eventpipe.codecs import verify_webhook
from eventpipe.codecs.webhook_secrets import PREFIX, signing_keys
from eventpipe.errors import SignatureError

_HUB = "X-Hub-Signature-256"
_STANDARD = ("webhook-signature", "webhook-id")


class Signatures:
    """Checks the signatures of requests that have one, whatever their format.

    Args:
        secrets: Those of Standard Webhooks begin with ``whsec_``; each will do for ``X-Hub-Signature-256``. None:
            nothing is checked.

    Raises:
        ValueError: One cannot be a secret; the message does not show it.
    """

    def __init__(self, secrets: Sequence[str] = ()) -> None:
        self._secrets = list(secrets)
        self._standard = [secret for secret in secrets if secret.startswith(PREFIX)]
        if self._secrets:
            signing_keys("secret", self._secrets, "hub")
        if self._standard:
            signing_keys("secret", self._standard, "standard")

    def check(self, asked: Asked, body: bytes, now: float) -> None:
        """Believe a request that has a signature, or refuse it.

        Raises:
            RefusedError: 401, it is signed otherwise than with one of the secrets, or not now.
        """
        if not self._secrets or not is_signed(asked):
            return
        try:
            if _HUB in asked.headers:
                verify_webhook(body, asked.headers, self._secrets, scheme="hub")
            elif self._standard:
                verify_webhook(body, asked.headers, self._standard, now=now)
            else:
                raise RefusedError(401, f"no secret here begins with {PREFIX}, as one of Standard Webhooks does")
        except SignatureError as error:
            raise RefusedError(401, str(error), "invalid_signature") from error

    def demand(self, asked: Asked) -> None:
        """Refuse a webhook without a signature where there are secrets.

        Raises:
            RefusedError: 401.
        """
        if self._secrets and not is_signed(asked):
            raise RefusedError(401, "the webhook is not signed", "invalid_signature")


def is_signed(asked: Asked) -> bool:
    """Whether a request claims to be signed."""
    return any(name in asked.headers for name in (_HUB, *_STANDARD))


def is_payload(value: Any) -> bool:  # Any: JSON
    """Whether a body is the payload of Standard Webhooks."""
    return isinstance(value, dict) and isinstance(value.get("type"), str) and "data" in value and "event" not in value


def read_payload(asked: Asked, payload: Event) -> Event:
    """An event in our own form; its id is the payload's, or that of the headers.

    Raises:
        RefusedError: 400, its type is empty.
    """
    if not payload["type"]:
        raise RefusedError(400, "the payload's type is empty")
    data = payload["data"]
    who = payload.get("distinct_id")
    return own_form(
        payload["type"],
        str(who) if isinstance(who, str | int) and not isinstance(who, bool) else None,
        data if isinstance(data, dict) else {"data": data},
        uuid=text_or_none(payload.get("uuid")) or _id_of(asked),
        timestamp=text_or_none(payload.get("timestamp")),
        key=text_or_none(payload.get("key")),
        headers=headers_or_none(payload.get("headers")),
    )


def _id_of(asked: Asked) -> str | None:
    """The id of the headers, if it is text: bytes that are not would come as what no file can hold."""
    named = asked.headers.get("webhook-id", "")
    return named if named and named.isprintable() else None
