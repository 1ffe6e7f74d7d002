"""Stores against a dictionary model, in any order of steps."""

from __future__ import annotations

import pytest

from eventpipe.clock import Clock
from eventpipe.stores import MemoryStore
from eventpipe.stores.base import Store
from tests.scale import SCALE
from tests.stores.store_machine import StoreMachine, machine_settings


class MemoryMachine(StoreMachine):
    def make(self, clock: Clock, dedupe_window: float) -> Store:
        return MemoryStore(dedupe_window=dedupe_window, clock=clock)


TestMemoryStore = MemoryMachine.TestCase
TestMemoryStore.settings = machine_settings()
pytestmark = pytest.mark.timeout(120 * SCALE)
