"""For whoever receives webhooks under FastAPI or Starlette: a request that is believed, or an error for its sender."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import orjson

from eventpipe.checked import shown
from eventpipe.codecs import verify_webhook
from eventpipe.codecs.webhook_secrets import Scheme, Secrets
from eventpipe.codecs.webhook_verification import TOLERANCE
from eventpipe.errors import SignatureError

try:
    from starlette.exceptions import HTTPException
    from starlette.requests import ClientDisconnect, Request
except ImportError as exc:
    raise ImportError("eventpipe.integrations.webhooks needs starlette: pip install starlette, or fastapi") from exc

__all__ = ["ReceivedWebhook", "verified_webhook"]

MAX_BODY_BYTES: Final = 1024 * 1024
BODY_TIME: Final = 30.0  # seconds for a whole body: one that comes a byte at a time is not waited for


@dataclass(frozen=True, slots=True)
class ReceivedWebhook:
    """A webhook that is from where it says, and as it was sent.

    Attributes:
        id: The same over all attempts of the sender; keep it for a while, to take each once. ``None`` in the scheme
            ``"hub"``, which signs none.
        timestamp: When the attempt was signed, seconds since the epoch; ``None`` in the scheme ``"hub"``.
        body: As it came.
    """

    id: str | None
    timestamp: float | None
    body: bytes

    def json(self) -> Any:  # Any: JSON
        """The body, read.

        Raises:
            HTTPException: 400: it is no JSON.
        """
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError as error:
            raise HTTPException(400, "the body must be JSON") from error


def verified_webhook(
    secret: Secrets,
    *,
    scheme: Scheme = "standard",
    tolerance: float = TOLERANCE,
    max_body_bytes: int = MAX_BODY_BYTES,
) -> Callable[[Request], Awaitable[ReceivedWebhook]]:
    """Make what believes the webhooks of a sender, or refuses them.

    ```python
    @app.post("/hooks")  # FastAPI
    async def take(webhook: Annotated[ReceivedWebhook, Depends(verified_webhook(SECRETS))]) -> None: ...


    webhook = await verified_webhook(SECRETS)(request)  # Starlette
    ```

    It reads the body itself, once: ``webhook.body`` and ``webhook.json()`` have it, and the request has it no more.

    Args:
        secret: What the sender signs with, or several, each of which will do.
        scheme: ``"standard"`` or ``"hub"``, as ``verify_webhook()``.
        tolerance: Seconds that the time of signing may be away from now.
        max_body_bytes: Of one request.

    Returns:
        A function of a request that raises ``HTTPException``: 400 where a header is missing or cannot be read, 401
        where the request is not to be believed, whatever the reason, 408 where its body does not come, 413 where that
        is too large. No answer says anything of a secret.

    Raises:
        ValueError: A secret or an option is wrong; the message shows no secret.
    """
    if type(max_body_bytes) is not int or max_body_bytes < 1:
        raise ValueError(f"max_body_bytes must be a whole number, at least 1, not {shown(max_body_bytes)}")
    secrets = tuple(secret) if isinstance(secret, list) else secret  # a list could change
    _check(secrets, scheme, tolerance)

    async def received(request: Request) -> ReceivedWebhook:
        body = await _body(request, max_body_bytes)
        try:
            verified = verify_webhook(body, request.headers, secrets, scheme=scheme, tolerance=tolerance)
        except SignatureError as error:
            if error.reason in ("missing", "malformed"):
                raise HTTPException(400, str(error)) from error
            # One answer for a time and for a signature that does not fit: who guesses learns nothing.
            raise HTTPException(401, "the signature of this webhook is not to be believed") from error
        return ReceivedWebhook(verified.id, verified.timestamp, body)

    return received


def _check(secrets: Secrets, scheme: Scheme, tolerance: float) -> None:
    """Refuse at once what would be refused at the first request.

    Raises:
        ValueError: A secret or an option is wrong.
    """
    try:
        verify_webhook(b"", {}, secrets, scheme=scheme, tolerance=tolerance, now=0)
    except SignatureError:
        return  # of course


async def _body(request: Request, max_bytes: int) -> bytes:
    length = request.headers.get("content-length", "")
    if length.isdecimal() and (len(length) > 18 or int(length) > max_bytes):
        raise _too_large(max_bytes)
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_TIME):
            async for part in request.stream():
                size += len(part)
                if size > max_bytes:
                    raise _too_large(max_bytes)
                parts.append(part)
    except TimeoutError as error:
        raise HTTPException(408, f"the body must come within {BODY_TIME:g} s") from error
    except ClientDisconnect as error:
        raise HTTPException(400, "the body did not come to its end") from error
    return b"".join(parts)


def _too_large(max_bytes: int) -> HTTPException:
    return HTTPException(413, f"the body must have at most {max_bytes} bytes")
