"""Wire formats, one file each."""

from eventpipe.codecs.base import HttpCodec
from eventpipe.codecs.cloudevents import CloudEvents
from eventpipe.codecs.cloudevents_read import read_cloudevents
from eventpipe.codecs.feature_flags import FeatureFlags
from eventpipe.codecs.json import JsonCodec
from eventpipe.codecs.ndjson import NdjsonCodec
from eventpipe.codecs.otlp import OtlpLogs
from eventpipe.codecs.posthog import PostHogV0
from eventpipe.codecs.posthog_v1 import PostHogV1
from eventpipe.codecs.segment import Segment
from eventpipe.codecs.webhook_signing import HubWebhook, StandardWebhook
from eventpipe.codecs.webhook_verification import VerifiedWebhook, verify_webhook

__all__ = [
    "CloudEvents",
    "FeatureFlags",
    "HttpCodec",
    "HubWebhook",
    "JsonCodec",
    "NdjsonCodec",
    "OtlpLogs",
    "PostHogV0",
    "PostHogV1",
    "Segment",
    "StandardWebhook",
    "VerifiedWebhook",
    "read_cloudevents",
    "verify_webhook",
]
