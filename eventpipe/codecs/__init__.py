"""Wire formats, one file each."""

from eventpipe.codecs.feature_flags import FeatureFlags
from eventpipe.codecs.json import JsonCodec
from eventpipe.codecs.ndjson import NdjsonCodec
from eventpipe.codecs.posthog import PostHogV0
from eventpipe.codecs.segment import Segment
from eventpipe.codecs.webhook_signing import HubWebhook, StandardWebhook
from eventpipe.codecs.webhook_verification import VerifiedWebhook, verify_webhook

__all__ = [
    "FeatureFlags",
    "HubWebhook",
    "JsonCodec",
    "NdjsonCodec",
    "PostHogV0",
    "Segment",
    "StandardWebhook",
    "VerifiedWebhook",
    "verify_webhook",
]
