"""The suite's own set-up: a leak check around every test, and a repaired aioresponses."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import aiohttp
import aioresponses.core
import pytest

pytest_plugins = ["pytester", "tests.scale"]


class _AnsweredResponse(aiohttp.ClientResponse):
    """A response that aioresponses 0.7.9 can make: aiohttp 3.14 asks for a stream writer, which it does not pass."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # Any: handed through as they come
        kwargs.setdefault("stream_writer", SimpleNamespace(output_size=0))
        super().__init__(*args, **kwargs)


aioresponses.core.ClientResponse = _AnsweredResponse  # type: ignore[attr-defined]  # an import of theirs


@pytest.fixture(autouse=True)
def _leaves_nothing(leak_check: None) -> None:
    """Every test leaves no task, thread or open file behind."""
