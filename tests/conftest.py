"""The suite's own set-up: virtual time, a leak check around every test, and a repaired aioresponses."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import aiohttp
import aioresponses.core
import pytest

from eventpipe.testing.loop import VirtualTimeLoop

pytest_plugins = ["pytester"]


class _AnsweredResponse(aiohttp.ClientResponse):
    """A response that aioresponses 0.7.9 can make: aiohttp 3.14 asks for a stream writer, which it does not pass."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # Any: handed through as they come
        kwargs.setdefault("stream_writer", SimpleNamespace(output_size=0))
        super().__init__(*args, **kwargs)


aioresponses.core.ClientResponse = _AnsweredResponse  # type: ignore[attr-defined]  # an import of theirs


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Virtual time, unless a test is about real sockets and real time."""
    if item.get_closest_marker("wallclock") is not None:
        return {"wallclock": asyncio.new_event_loop}
    return {"virtual": VirtualTimeLoop}
