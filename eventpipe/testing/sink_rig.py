"""What a test of a sink is given: the sink, its far end, and what the two can do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from eventpipe.contracts import Sink

Refusal = Literal["transient", "permanent", "partial"]


class Wire(Protocol):
    """The far end of a sink under test, and the test's hand on it. It accepts until it is told otherwise."""

    @property
    def received(self) -> Sequence[str]:
        """Ids of the events that the far end accepted, in the order in which it keeps them."""

    def accept(self) -> None:
        """Accept every batch from now on; what hangs may go on or be forgotten."""

    def refuse(self, kind: Refusal, retry_after: float | None = None) -> None:
        """Refuse every batch from now on.

        Args:
            kind: ``"transient"``: it may succeed later. ``"permanent"``: it never will. ``"partial"``: the second
                event of each batch never will, the others are accepted.
            retry_after: Seconds that the far end asks the sink to wait. ``None``: it does not say.
        """

    def hang(self) -> None:
        """Take batches from now on and never answer."""

    async def reached(self) -> None:
        """Wait until a batch has arrived that is not answered."""

    async def left(self) -> None:
        """Wait until no connection is open for a batch that is not answered; raise when that does not come."""


@dataclass
class SinkRig:
    """A sink under test, its far end, and what they can do.

    A scenario that needs more than the rig can do is skipped, and the reason names the flag.

    Attributes:
        sink: New, and closed after the test by whoever made it.
        wire: Its far end.
        refuses: The far end can refuse a batch.
        retry_after: A refusal can name seconds to wait.
        partial: A refusal can name some events of a batch; ``send()`` returns verdicts.
        hangs: The far end can keep a batch without an answer.
        timeout: Seconds after which the sink gives up on an answer by itself; ``None`` leaves that to its caller.
    """

    sink: Sink
    wire: Wire
    refuses: bool = True
    retry_after: bool = True
    partial: bool = False
    hangs: bool = True
    timeout: float | None = None

    def need(self, *flags: str) -> None:
        """Skip the running test unless each of ``flags`` is set."""
        import pytest  # not above: who only describes a far end needs none

        for flag in flags:
            if not getattr(self, flag):
                pytest.skip(f"the rig has {flag}={getattr(self, flag)!r}")
