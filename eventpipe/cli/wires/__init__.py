"""Wire formats as a collector reads and answers them, one file each; the first that claims a request has it."""

from __future__ import annotations

from collections.abc import Sequence

from eventpipe.cli.wires.base import Asked, Wire
from eventpipe.cli.wires.cloudevents import CloudEventsWire
from eventpipe.cli.wires.otlp import OtlpWire
from eventpipe.cli.wires.plain import PlainWire
from eventpipe.cli.wires.posthog import PostHogWire
from eventpipe.cli.wires.posthog_v1 import PostHogV1Wire
from eventpipe.cli.wires.segment import SegmentWire
from eventpipe.cli.wires.webhook import Signatures


def all_wires(signatures: Signatures) -> Sequence[Wire]:
    """One of each, in the order in which they are asked; the last takes whatever is left."""
    return (PostHogV1Wire(), PostHogWire(), SegmentWire(), OtlpWire(), CloudEventsWire(), PlainWire(signatures))


def wire_of(asked: Asked, wires: Sequence[Wire]) -> Wire:
    """The format of a request."""
    return next(wire for wire in wires if wire.claims(asked))
