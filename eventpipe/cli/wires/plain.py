"""JSON arrays and NDJSON at every path, and the objects that webhooks are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from eventpipe.cli.wires.base import (
    Asked,
    Event,
    Judge,
    RefusedError,
    Taken,
    Wire,
    accepted,
    check_each,
    check_values,
    decode,
    named_fault,
)
from eventpipe.cli.wires.feature_flags import is_export, read_export
from eventpipe.cli.wires.webhook import Signatures, is_payload, read_payload

JSON = frozenset({"application/json"})
NDJSON = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl"})


class PlainWire(Wire):
    """Takes what no other wire claims: events in our own form as an array or one per line, and webhooks.

    Args:
        signatures: Refuses webhooks that should be signed and are not.
    """

    def __init__(self, signatures: Signatures) -> None:
        self._signatures = signatures

    def claims(self, asked: Asked) -> bool:
        """Every request is."""
        del asked
        return True

    def read(self, asked: Asked, body: bytes, judge: Judge) -> Taken:
        """Read the events of a request; each needs a name and nothing else."""
        del judge
        if asked.content_type in NDJSON:
            events = list(_read_lines(body))
            return Taken("ndjson", events, accepted(len(events)))
        if asked.content_type not in JSON:
            raise RefusedError(
                415, f"content type {asked.content_type[:80]!r} is not supported; send application/json or NDJSON"
            )
        value = decode(body, "the body")
        if not isinstance(value, list):
            return self._read_object(asked, value)
        check_each(value, named_fault)
        return Taken("json", value, accepted(len(value)))

    def _read_object(self, asked: Asked, value: Any) -> Taken:  # Any: JSON
        is_flags = is_export(value)
        if not is_flags and not is_payload(value):
            raise RefusedError(400, "expected a JSON array of events")
        self._signatures.demand(asked)
        events = read_export(value) if is_flags else [read_payload(asked, value)]
        return Taken("feature-flags" if is_flags else "webhook", events, accepted(len(events)))


def _read_lines(body: bytes) -> Iterator[Event]:
    check_values(body, "the body")
    for number, line in enumerate(body.split(b"\n"), 1):
        if line.strip():
            event = decode(line, f"line {number}")
            if fault := named_fault(event):
                raise RefusedError(400, f"line {number} {fault}")
            yield event
