"""What another codec writes, with headers that prove who sent it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from eventpipe.codecs.base import HttpCodec, check_codec
from eventpipe.codecs.webhook import WebhookCodec
from eventpipe.codecs.webhook_secrets import hub_signature, signing_keys, standard_signature
from eventpipe.contracts import Request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eventpipe.codecs.webhook_secrets import Secrets
    from eventpipe.contracts import Codec
    from eventpipe.errors import SinkError
    from eventpipe.events import Batch, CapturedEvent
    from eventpipe.outcomes import Verdict


class SignedCodec(HttpCodec):
    """A codec around another one, which writes the body and reads the answer; what is here adds headers.

    Bodies are not compressed: receivers check the bytes that they are given, and many are given decompressed ones.

    Attributes:
        lane_event_bytes: As the other codec has it, and so ``max_batch_events`` and ``unique_ids``.
        compressions: None, for any lane.
    """

    def __init__(self, codec: Codec | None) -> None:
        codec = WebhookCodec() if codec is None else codec
        check_codec("codec", codec)
        super().__init__(max_event_bytes=codec.max_event_bytes, max_batch_bytes=codec.max_batch_bytes)
        self._codec = codec
        self.lifted = codec.lifted
        self.has_lanes = getattr(codec, "has_lanes", True)
        self.lane_event_bytes: Mapping[str, int] = getattr(codec, "lane_event_bytes", {})
        self.max_batch_events: int | None = getattr(codec, "max_batch_events", None)
        self.unique_ids: bool = getattr(codec, "unique_ids", False)
        self.compressions: Mapping[str | None, frozenset[str]] = {None: frozenset()}

    def lane(self, event: CapturedEvent) -> str | None:
        """Name the event's lane, as the other codec does."""
        return self._codec.lane(event)

    def base_url(self, url: str) -> str:
        """The address that requests are joined to: what the other codec makes of the user's, if anything."""
        base_url = getattr(self._codec, "base_url", None)
        return str(base_url(url)) if base_url else url

    def request(self, batch: Batch, attempt: int, now: float) -> Request:
        """Write one attempt and sign it; all attempts have the same body."""
        request = self._codec.request(batch, attempt, now)
        return Request(request.url, {**request.headers, **self._proof(batch, now, request.body)}, request.body)

    def response(
        self, batch: Batch, status: int, headers: Mapping[str, str], body: bytes, complete: bool
    ) -> Sequence[Verdict] | SinkError | None:
        """Read the answer as the other codec does."""
        return self._codec.response(batch, status, headers, body, complete)

    def _proof(self, batch: Batch, now: float, body: bytes) -> Mapping[str, str]:
        """The headers of one attempt that prove its body."""
        raise AssertionError("implemented by the schemes")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._codec!r})"


class StandardWebhook(SignedCodec):
    """Signs as Standard Webhooks says, with ``webhook-id``, ``webhook-timestamp`` and ``webhook-signature``.

    The id is the same over all attempts, so that a receiver can tell what it has had: the event's own where a request
    has one event, else the batch's. The time is that of the attempt. The signature covers both and the body.

    Args:
        secret: ``whsec_`` and the base64 of 24 to 64 bytes; several while one takes the place of another, and each
            signs. ``None``: the id and the time are sent, unsigned.
        codec: Writes the body. ``None`` means one event a request, as ``{"type", "timestamp", "data", …}``.

    Raises:
        ValueError: A secret cannot be one, and the message does not show it; or ``codec`` is none.
    """

    def __init__(self, secret: Secrets | None, codec: Codec | None = None) -> None:
        super().__init__(codec)
        self._keys = () if secret is None else signing_keys("secret", secret, "standard")

    def _proof(self, batch: Batch, now: float, body: bytes) -> Mapping[str, str]:
        id_ = batch.events[0].uuid if len(batch.events) == 1 else batch.id
        timestamp = str(math.floor(now))
        headers = {"webhook-id": id_, "webhook-timestamp": timestamp}
        if self._keys:
            signatures = (standard_signature(key, id_, timestamp, body) for key in self._keys)
            headers["webhook-signature"] = " ".join(signatures)
        return headers


class HubWebhook(SignedCodec):
    """Signs the body alone, in ``X-Hub-Signature-256``, as GitHub does and exporters of feature flags.

    Args:
        secret: Any text. ``None``: nothing is signed.
        codec: Writes the body. ``None`` means one event a request, as ``{"type", "timestamp", "data", …}``.

    Raises:
        ValueError: The secret is blank, or there are several: the header has room for one signature; or ``codec`` is
            none.
    """

    def __init__(self, secret: Secrets | None, codec: Codec | None = None) -> None:
        super().__init__(codec)
        keys = () if secret is None else signing_keys("secret", secret, "hub")
        if len(keys) > 1:
            raise ValueError(f"secret must be one secret, not {len(keys)}: X-Hub-Signature-256 holds one signature")
        self._key = keys[0] if keys else None

    def _proof(self, batch: Batch, now: float, body: bytes) -> Mapping[str, str]:
        del batch, now
        return {"X-Hub-Signature-256": hub_signature(self._key, body)} if self._key else {}
