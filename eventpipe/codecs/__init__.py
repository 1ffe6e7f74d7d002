"""Wire formats, one file each."""

from eventpipe.codecs.base import HttpCodec
from eventpipe.codecs.feature_flags import FeatureFlags
from eventpipe.codecs.json import JsonCodec
from eventpipe.codecs.ndjson import NdjsonCodec
from eventpipe.codecs.posthog import PostHogV0
from eventpipe.codecs.posthog_v1 import PostHogV1
from eventpipe.codecs.segment import Segment
from eventpipe.codecs.webhook_signing import HubWebhook, StandardWebhook
from eventpipe.codecs.webhook_verification import VerifiedWebhook, verify_webhook

__all__ = [
    "FeatureFlags",
    "HttpCodec",
    "HubWebhook",
    "JsonCodec",
    "NdjsonCodec",
    "PostHogV0",
    "PostHogV1",
    "Segment",
    "StandardWebhook",
    "VerifiedWebhook",
    "verify_webhook",
]
