"""The leases of a store in memory."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from eventpipe.errors import LeaseHeldError, LeaseLostError


@dataclass(slots=True)
class _Lease:
    token: int = 0
    holder: str | None = None
    ends_at: float = -math.inf

    def is_held(self, now: float) -> bool:
        return self.holder is not None and now < self.ends_at


@dataclass(slots=True)
class MemoryLeases:
    """Who holds what, until when, and under which token; takes the time, and never waits."""

    _leases: dict[str, _Lease] = field(default_factory=dict)

    def acquire(self, name: str, holder: str, ttl: float | None, now: float) -> int:
        """Take a lease; its token.

        Raises:
            LeaseHeldError: Somebody has it.
        """
        lease = self._leases.setdefault(name, _Lease())
        if lease.holder is not None and lease.is_held(now):
            remaining = None if lease.ends_at == math.inf else lease.ends_at - now
            raise LeaseHeldError(f"the lease {name!r}", holder=lease.holder, remaining=remaining)
        lease.token += 1
        lease.holder = holder
        lease.ends_at = _end(ttl, now)
        return lease.token

    def renew(self, name: str, token: int, ttl: float | None, now: float) -> None:
        """Make it last from now on.

        Raises:
            LeaseLostError: There is a newer owner, or it was released.
        """
        self.check(name, token, now)
        lease = self._leases[name]
        if lease.holder is None:
            raise LeaseLostError(f"the lease {name!r} was released; acquire it anew")
        lease.ends_at = _end(ttl, now)

    def release(self, name: str, token: int) -> bool:
        """Give it back; whether it was held under ``token``."""
        lease = self._leases.get(name)
        if lease is None or lease.token != token or lease.holder is None:
            return False
        lease.holder = None
        return True

    def revoke(self, name: str) -> None:
        """Take it from whoever has it, or had it last: the token counts no more."""
        lease = self._leases.get(name)
        if lease is not None:
            lease.token += 1
            lease.holder = None

    def close(self) -> None:
        """End those that have no other end."""
        for lease in self._leases.values():
            if lease.ends_at == math.inf:
                lease.holder = None

    def check(self, name: str, token: int, now: float) -> None:
        """See that a token is the newest, whether its lease is held or not.

        Raises:
            LeaseLostError: It is not.
        """
        lease = self._leases.get(name)
        if lease is None or token != lease.token:
            raise LeaseLostError(
                f"the lease {name!r} was lost: token {token} is not the newest; acquire it anew",
                holder=self.state(name, now)[0],
            )

    def state(self, name: str, now: float) -> tuple[str | None, float | None]:
        """Who holds it, and for how many seconds it goes on; ``None``: nobody, and without an end."""
        lease = self._leases.get(name)
        if lease is None or not lease.is_held(now):
            return None, None
        return lease.holder, None if lease.ends_at == math.inf else lease.ends_at - now


def _end(ttl: float | None, now: float) -> float:
    return math.inf if ttl is None else now + ttl
