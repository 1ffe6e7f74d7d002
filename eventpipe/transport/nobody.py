"""The sink of a dispatcher that must send nothing any more."""

from __future__ import annotations

from eventpipe.events import Batch


class Nobody:
    """Takes whatever comes and passes nothing on.

    A forked child has a copy of its parent's event loop with all tasks in it. Where it goes on running that copy, the
    parent's dispatchers run there as well, and so would a close that had begun: this is what they find for a sink.
    """

    async def send(self, batch: Batch) -> None:
        """Do nothing."""

    async def aclose(self) -> None:
        """Do nothing."""
