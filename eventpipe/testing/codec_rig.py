"""What a test of a codec is given: the codec, a reader of what it writes, and what its far end can answer."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from eventpipe.events import CapturedEvent
from eventpipe.outcomes import OutcomeKind

if TYPE_CHECKING:
    import datetime

    from eventpipe.contracts import Codec, Request
    from eventpipe.events import Batch
    from eventpipe.testing.exchange import Reply


@dataclass(frozen=True)
class ReadEvent:
    """One event as a reader finds it in a request.

    Attributes:
        uuid: The event's id.
        event: Its name.
        timestamp: When it happened, with a time zone.
        distinct_id: Whom it is about.
        properties: What is known of it, lifted properties among the others.
        key: The key that the caller gave.
        headers: Values that travel beside the properties.
    """

    uuid: str
    event: str
    timestamp: datetime.datetime
    distinct_id: str | None = None
    properties: Mapping[str, Any] = field(default_factory=dict)  # Any: JSON
    key: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, event: CapturedEvent) -> ReadEvent:
        """All that there is to say of a captured event."""
        key = event.extra.key if event.extra else None  # the caller's own: event.key has a stand-in for it
        return cls(
            event.uuid, event.event, event.timestamp, event.distinct_id, event.properties, key, dict(event.headers)
        )

    def but(self, **changes: Any) -> ReadEvent:  # Any: of the types above
        """The same event with other values for some of its attributes."""
        return dataclasses.replace(self, **changes)


@dataclass
class CodecRig:
    """A codec under test, a reader of what it writes, and what its far end can answer.

    A scenario that needs more than the rig has is skipped, and the reason names what is missing.

    Attributes:
        codec: Used for one test.
        read: Parses a request as strictly as the far end, and gives its events in their order. It knows nothing of the
            codec: best is a library of the far end's own.
        expect: What the format makes of an event; it differs where the format leaves something out or adds to it.
        answer: Writes the answer that gives each event of a batch what is asked for it; ``None``: the far end accepts
            or refuses a batch as a whole.
        kinds: What such an answer can say of an event.
        secrets: Keys that the codec was given, of 8 characters at least, and other text that must show nowhere.
    """

    codec: Codec
    read: Callable[[Request], Sequence[ReadEvent]]
    expect: Callable[[CapturedEvent], ReadEvent] = ReadEvent.of
    answer: Callable[[Batch, Sequence[OutcomeKind]], Reply] | None = None
    kinds: Sequence[OutcomeKind] = (OutcomeKind.DELIVERED, OutcomeKind.DROPPED, OutcomeKind.RETRY)
    secrets: Sequence[str] = field(default=(), repr=False)

    def need(self, *names: str) -> None:
        """Skip the running test unless the rig has each of ``names``."""
        import pytest  # not above: who only describes a format needs none

        for name in names:
            if not getattr(self, name):
                pytest.skip(f"the rig has {name}={getattr(self, name)!r}")
