"""Leases in memory on the loop clock, in a store that a test can slow down and break."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from eventpipe.core.gate import Gate
from eventpipe.errors import EventPipeError, LeaseHeldError, LeaseLostError


@dataclass
class Held:
    token: int = 0
    holder: str = ""
    ends_at: float | None = 0.0  # None: not before it is released
    is_released: bool = True

    def is_held(self) -> bool:
        return not self.is_released and (self.ends_at is None or asyncio.get_running_loop().time() < self.ends_at)


class FakeGrantor:
    """An honest store of leases, until a test says otherwise.

    Attributes:
        calls: What it was asked, by method.
        delay: Seconds that a call takes. Its work is done after them, whether the caller still waits or not.
        error: What calls raise.
        hangs: Calls never answer, nor do their work.
        ignores_cancellation: Calls that hang do so until ``hangs`` is false.
    """

    def __init__(self, *, is_shared: bool = True) -> None:
        self.is_shared = is_shared
        self.calls: list[str] = []
        self.delay: float | None = None
        self.error: Exception | None = None
        self.hangs = False
        self.ignores_cancellation = False
        self._leases: defaultdict[str, Held] = defaultdict(Held)
        self._gates: defaultdict[str, Gate] = defaultdict(Gate)

    def holder_of(self, name: str) -> str | None:
        return self._leases[name].holder if self._leases[name].is_held() else None

    def token_of(self, name: str) -> int:
        return self._leases[name].token

    async def acquire(self, name: str, holder: str, ttl: float | None) -> int:
        def work() -> int:
            held = self._leases[name]
            if held.is_held():
                remaining = None if held.ends_at is None else held.ends_at - asyncio.get_running_loop().time()
                raise LeaseHeldError(name, holder=held.holder, remaining=remaining)
            self._leases[name] = Held(held.token + 1, holder, _end(ttl), is_released=False)
            return held.token + 1

        return await self._do("acquire", work)

    async def renew(self, name: str, token: int, ttl: float | None) -> None:
        def work() -> int:
            held = self._leases[name]
            if held.token != token or held.is_released:
                raise LeaseLostError(f"{name} has another owner", holder=self.holder_of(name))
            held.ends_at = _end(ttl)
            return token

        await self._do("renew", work)

    async def release(self, name: str, token: int) -> None:
        def work() -> int:
            held = self._leases[name]
            if held.token == token and not held.is_released:
                held.is_released = True
                self._gates[name].move()
            return token

        await self._do("release", work)

    def version(self, subject: str) -> int:
        return self._gates[subject].version

    async def wait(self, subject: str, seen: int) -> None:
        await self._gates[subject].wait(seen)

    def close(self) -> None:
        for gate in self._gates.values():
            gate.close()

    async def _do(self, call: str, work: Callable[[], int]) -> int:
        self.calls.append(call)
        if self.error is not None:
            raise self.error
        while self.hangs:
            if not self.ignores_cancellation:
                await asyncio.Event().wait()
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(1000)
        if self.delay is None:
            return work()
        answered: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def answer() -> None:
            try:
                result = work()
            except EventPipeError as error:
                if not answered.done():
                    answered.set_exception(error)
            else:
                if not answered.done():
                    answered.set_result(result)

        asyncio.get_running_loop().call_later(self.delay, answer)
        return await answered


def _end(ttl: float | None) -> float | None:
    return None if ttl is None else asyncio.get_running_loop().time() + ttl
