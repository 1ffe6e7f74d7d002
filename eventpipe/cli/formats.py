"""The wire formats that ``eventpipe send`` writes, by the names that the command line has for them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from eventpipe.cli.failures import UsageError
from eventpipe.cli.secrets import KEY_VARIABLE, SECRET_VARIABLE, webhook_secrets
from eventpipe.codecs import (
    CloudEvents,
    FeatureFlags,
    HubWebhook,
    JsonCodec,
    NdjsonCodec,
    OtlpLogs,
    PostHogV0,
    PostHogV1,
    Segment,
    StandardWebhook,
)
from eventpipe.contracts import Codec

CodecName = Literal[
    "json",
    "ndjson",
    "posthog",
    "posthog-v1",
    "segment",
    "cloudevents",
    "cloudevents-structured",
    "cloudevents-binary",
    "otlp",
    "otlp-json",
    "feature-flags",
    "webhook",
]
CompressionName = Literal["gzip", "deflate", "br", "zstd", "none"]
LaneName = Literal["historical", "ai"]

_LANED = frozenset({"posthog", "posthog-v1"})
_KEYED = frozenset({"posthog", "posthog-v1", "segment"})  # the key has a place of its own there


@dataclass(frozen=True, slots=True)
class FormatOptions:
    """A format, and what its codec may need.

    Attributes:
        codec: The format's name.
        api_key: As given; the environment's where it was not.
        secrets: As given; the environment's where they were not.
        source: Who sends, for CloudEvents.
        lane: The lane of all events, for PostHog.
    """

    codec: CodecName = "json"
    api_key: str | None = field(default=None, repr=False)
    secrets: Sequence[str] | None = field(default=None, repr=False)
    source: str | None = None
    lane: LaneName | None = None

    @property
    def key(self) -> str | None:
        """The key to send with; ``None`` when there is none."""
        return self.api_key if self.api_key is not None else os.environ.get(KEY_VARIABLE) or None

    @property
    def bearer(self) -> Mapping[str, str] | None:
        """The header with the key, for far ends whose format has no place for one."""
        return {"Authorization": f"Bearer {self.key}"} if self.key and self.codec not in _KEYED else None

    def make(self) -> Codec:
        """The codec.

        Raises:
            UsageError: Something that it needs is missing, or cannot be right.
        """
        key = self.key
        if key is not None and not all("!" <= character <= "~" for character in key):
            raise UsageError(
                f"--api-key, {KEY_VARIABLE}: must be printable ASCII without spaces (its value is not shown)"
            )
        if self.lane is not None and self.codec not in _LANED:
            raise UsageError(f"--lane {self.lane}: --codec {self.codec} has no lanes, posthog and posthog-v1 have")
        try:
            return _MAKERS[self.codec](self)
        except ValueError as error:
            raise UsageError(f"--codec {self.codec}: {error}") from error
        except ImportError as error:  # of an extra; its message says which
            raise UsageError(f"--codec {self.codec}: {error}") from error

    def needed_key(self, what: str = "the project's key") -> str:
        """The key, which this format cannot do without."""
        if not self.key:
            raise UsageError(f"--codec {self.codec} needs {what}: --api-key, or {KEY_VARIABLE}")
        return self.key

    def needed_secrets(self) -> Sequence[str]:
        """The secrets, which this format cannot do without."""
        if not (secrets := webhook_secrets(self.secrets)):
            raise UsageError(
                f"--codec {self.codec} needs what webhooks are signed with: --secret, or {SECRET_VARIABLE}"
            )
        return secrets

    def needed_source(self) -> str:
        """The source, which this format cannot do without."""
        if not self.source:
            raise UsageError(f"--codec {self.codec} needs who sends: --source, such as /shop/checkout")
        return self.source


def _feature_flags(options: FormatOptions) -> Codec:
    secrets = webhook_secrets(options.secrets)
    return HubWebhook(secrets, FeatureFlags()) if secrets else FeatureFlags()


_MAKERS: Mapping[CodecName, Callable[[FormatOptions], Codec]] = {
    "json": lambda _: JsonCodec(),
    "ndjson": lambda _: NdjsonCodec(),
    "posthog": lambda options: PostHogV0(options.needed_key()),
    "posthog-v1": lambda options: PostHogV1(options.needed_key()),
    "segment": lambda options: Segment(options.needed_key("the source's write key")),
    "cloudevents": lambda options: CloudEvents(options.needed_source()),
    "cloudevents-structured": lambda options: CloudEvents(options.needed_source(), mode="structured"),
    "cloudevents-binary": lambda options: CloudEvents(options.needed_source(), mode="binary"),
    "otlp": lambda _: OtlpLogs(),
    "otlp-json": lambda _: OtlpLogs(encoding="json"),
    "feature-flags": _feature_flags,
    "webhook": lambda options: StandardWebhook(options.needed_secrets()),
}
