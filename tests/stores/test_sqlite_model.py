"""``SqliteStore`` against a dictionary model, in any order of steps."""

from __future__ import annotations

import shutil
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
    can_crash = True

    def make(self, clock: Clock, dedupe_window: float) -> Store:
        self.folder = tempfile.TemporaryDirectory(dir=quick_folder())
        self.path = Path(self.folder.name) / "log.db"
        self.window = dedupe_window
        return self._store()

    def crashed(self) -> Store:
        before, self.path = self.path, self.path.with_name(f"after {self.path.name}")
        for end in ("", "-wal"):
            if Path(f"{before}{end}").exists():
                shutil.copy(f"{before}{end}", f"{self.path}{end}")
        return self._store()

    def _store(self) -> Store:
        return SqliteStore(
            self.path, shared=self.shared, durability="process", dedupe_window=self.window, clock=self.clock
        )

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
