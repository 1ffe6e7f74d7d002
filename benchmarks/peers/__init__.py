"""The libraries that eventpipe is held against, each behind a driver that runs in an environment of its own.

A driver imports nothing but the standard library, its own library, and ``benchmarks``' modules that need no other. Its
``capture()`` is the library's own call, or one line that puts the same event into the form that the library takes.

``default`` is what the library's documentation begins with, and the far end's address. ``best`` are those of its
options with which it needed the least CPU for an event at a far end that answers at once, of equal ones those that send
most to one that takes 50 ms, and a queue with room for every load. Each driver says what they gave, measured on CPython
3.11 with both ends on one machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from benchmarks.subject import Setup

TOPIC = "events"  # of those that speak Kafka
ROOMY = 200_000  # events; more than any load holds at once


@dataclass(frozen=True, slots=True)
class Peer:
    """What one library needs, and how it is to be read.

    Attributes:
        packages: What pip installs, with the lowest versions that the driver was written for.
        wire: What it speaks with the far end.
        note: What a reader of its figures should know.
    """

    packages: tuple[str, ...]
    wire: str
    note: str


PEERS = {
    "posthog": Peer(("posthog>=7.91",), "PostHog /batch/", "a queue and threads; JSON by the standard library"),
    "posthog_async": Peer(
        ("posthog[async]>=7.91",), "PostHog /batch/", "the same package on asyncio; a thread hop to measure each event"
    ),
    "segment": Peer(("segment-analytics-python>=2.4",), "Segment /v1/batch", "a queue and threads"),
    "opentelemetry": Peer(
        ("opentelemetry-sdk>=1.45", "opentelemetry-exporter-otlp-proto-http>=1.45"),
        "OTLP/HTTP /v1/logs",
        "a log record per event; beyond 2 048 queued the oldest is dropped by default",
    ),
    "sentry": Peer(
        ("sentry-sdk>=2.75",),
        "Sentry envelopes",
        "a structured log per event; beyond 1 000 queued each is dropped, and no option raises that; gzip 9 by default",
    ),
    "amplitude": Peer(
        ("amplitude-analytics>=1.3",), "Amplitude /2/httpapi", "a buffer and up to 16 threads; a connection per request"
    ),
    "aiokafka": Peer(
        ("aiokafka>=0.14", "orjson>=3.11", "uuid-utils>=1.0"),
        "Kafka",
        "a protocol of its own against a mock broker; the driver encodes the event as the floor does",
    ),
    "confluent_kafka": Peer(
        ("confluent-kafka>=2.16", "orjson>=3.11", "uuid-utils>=1.0"),
        "Kafka",
        "a client in C, a protocol of its own against a mock broker; the driver encodes the event as the floor does",
    ),
}


def origin(url: str) -> str:
    """The scheme and address of the far end, to which a library appends its own path."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def arguments(setup: Setup, best: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:  # Any: as each takes
    """What a library's constructor is given beyond the far end's address.

    Args:
        setup: The settings, and options by our names.
        best: The library's best settings, by its names.
        names: Its names of those options that it has.
    """
    chosen = dict(best) if setup.settings == "best" else {}
    return chosen | {names[option]: value for option, value in setup.options.items() if option in names}
