"""``SqliteStore`` against a dictionary model, in any order of steps."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from eventpipe.clock import Clock
from eventpipe.stores import SqliteStore
from eventpipe.stores.base import Store
from tests.scale import SCALE
from tests.stores.places import quick_folder
from tests.stores.store_machine import StoreMachine, machine_settings


class SqliteMachine(StoreMachine):
    shared = False

    def make(self, clock: Clock, dedupe_window: float) -> Store:
        self.folder = tempfile.TemporaryDirectory(dir=quick_folder())
        path = Path(self.folder.name) / "log.db"
        return SqliteStore(path, shared=self.shared, durability="process", dedupe_window=dedupe_window, clock=clock)

    def teardown(self) -> None:
        super().teardown()
        self.folder.cleanup()


class SharedSqliteMachine(SqliteMachine):
    shared = True


TestSqliteStore = SqliteMachine.TestCase
TestSqliteStore.settings = machine_settings(30)
TestSharedSqliteStore = SharedSqliteMachine.TestCase
TestSharedSqliteStore.settings = machine_settings(10)
pytestmark = pytest.mark.timeout(120 * SCALE)
