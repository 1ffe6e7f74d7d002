"""How much a topic keeps, and what happens when it is full."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, TypedDict, Unpack, cast

from eventpipe.checked import Checked, option

# What an engine's whole numbers hold.
_MOST: Final = 2**62

OnFull = Literal["reject", "drop_oldest", "wait"]


class RetentionDict(TypedDict, total=False):
    """The keyword arguments of ``Retention``, which says what each means."""

    max_events: int | None
    max_bytes: int | None
    max_age: float | None
    on_full: OnFull | None


class Retention(Checked):
    """What a topic keeps beyond what its consumers have settled; frozen.

    Events that every consumer has settled are trimmed without being asked for. These bounds are for what is left:
    events that some consumer has not settled, and topics that nobody consumes.

    Raises:
        ValueError: A value has no meaning, or ``on_full`` has no bound that could be reached; one line per fault.
    """

    max_events: int | None = option(None, "events", "Events that a topic holds. None: any number.", ge=1, le=_MOST)
    max_bytes: int | None = option(
        None, "bytes", "Encoded bytes that the events of a topic hold. None: any number.", ge=1024, le=_MOST
    )
    max_age: float | None = option(
        None, "seconds", "Events older than this are dropped, settled or not. None: none is.", gt=0
    )
    on_full: OnFull = option(
        "reject",
        "",
        "What an append meets that exceeds max_events or max_bytes: an error, the drop of the oldest events, which each"
        " consumer that had not settled them sees as a gap, or a wait until there is room.",
    )

    def __init__(self, **values: Unpack[RetentionDict]) -> None:
        self.fill(cast("dict[str, Any]", values), {})

    def _contradictions(self, names: Mapping[str, str]) -> Iterator[str]:
        del names
        if "on_full" in self.model_fields_set and self.max_events is self.max_bytes is None:
            yield "on_full needs max_events or max_bytes: without a bound a topic is never full"


UNBOUNDED = Retention()
