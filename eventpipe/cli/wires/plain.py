"""JSON arrays and NDJSON, at every path."""

from __future__ import annotations

from collections.abc import Iterator

from eventpipe.cli.wires.base import (
    Asked,
    Event,
    Judge,
    RefusedError,
    Taken,
    Wire,
    accepted,
    check_each,
    decode,
    named_fault,
)

JSON = frozenset({"application/json"})
NDJSON = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl"})


class PlainWire(Wire):
    """Takes what no other wire claims: an array of events in our own form, or one object per line."""

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
            raise RefusedError(400, "expected a JSON array of events")
        check_each(value, named_fault)
        return Taken("json", value, accepted(len(value)))


def _read_lines(body: bytes) -> Iterator[Event]:
    for number, line in enumerate(body.split(b"\n"), 1):
        if line.strip():
            event = decode(line, f"line {number}")
            if fault := named_fault(event):
                raise RefusedError(400, f"line {number} {fault}")
            yield event
