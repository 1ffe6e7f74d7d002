"""Functions that hooks are made of, and a clock to time them with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Stopwatch:
    """A clock that moves by what the test says."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


def raising(error: BaseException) -> Callable[[object], Any]:
    def hook(argument: object) -> None:
        raise error

    return hook


async def a_coroutine_function(argument: object) -> None:
    pass


class AsyncCall:
    async def __call__(self, argument: object) -> None:
        pass
