"""What the contract of leases needs of a store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from eventpipe.core.granting import Grantor


@dataclass
class LeaseRig:
    """A store under test, open and without leases, and how its time passes.

    Attributes:
        store: Closed after the test by whoever made it.
        pass_time: Lets so many seconds pass on the clock that the store reads; ``asyncio.sleep``, or a clock's own way.
        other: Another connection to the same data, of another process for example; ``None``: there can be none.
        ttl: Seconds that leases last in the scenarios; for a store that counts whole seconds, at least 2.
    """

    store: Grantor
    pass_time: Callable[[float], Awaitable[object]]
    other: Grantor | None = None
    ttl: float = 60.0

    @property
    def stores(self) -> tuple[Grantor, Grantor]:
        """The two ends from which rivals ask."""
        return self.store, self.other or self.store
