"""Wire formats, one file each."""

from eventpipe.codecs.json import JsonCodec
from eventpipe.codecs.ndjson import NdjsonCodec
from eventpipe.codecs.posthog import PostHogV0

__all__ = ["JsonCodec", "NdjsonCodec", "PostHogV0"]
