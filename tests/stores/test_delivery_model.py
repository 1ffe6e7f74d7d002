"""Stores of deliveries against a dictionary model, in any order of steps."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest

from eventpipe.clock import Clock
from eventpipe.stores import MemoryStore, SqliteStore
from eventpipe.stores.delivery_base import DeliveringStore
from tests.scale import SCALE
from tests.stores.delivery_machine import DeliveryMachine
from tests.stores.places import quick_folder
from tests.stores.store_machine import machine_settings


class MemoryMachine(DeliveryMachine):
    def make(self, clock: Clock) -> DeliveringStore:
        return MemoryStore(clock=clock)


class SqliteMachine(DeliveryMachine):
    shared = False
    can_crash = True

    def make(self, clock: Clock) -> DeliveringStore:
        self.folder = tempfile.TemporaryDirectory(dir=quick_folder())
        self.path = Path(self.folder.name) / "events.db"
        return self._store()

    def crashed(self) -> DeliveringStore:
        before, self.path = self.path, self.path.with_name(f"after {self.path.name}")
        for end in ("", "-wal"):
            if Path(f"{before}{end}").exists():
                shutil.copy(f"{before}{end}", f"{self.path}{end}")
        return self._store()

    def _store(self) -> DeliveringStore:
        return SqliteStore(self.path, shared=self.shared, durability="process", clock=self.clock)

    def teardown(self) -> None:
        super().teardown()
        self.folder.cleanup()


class SharedSqliteMachine(SqliteMachine):
    shared = True


TestMemoryDeliveries = MemoryMachine.TestCase
TestMemoryDeliveries.settings = machine_settings(40)
TestSqliteDeliveries = SqliteMachine.TestCase
TestSqliteDeliveries.settings = machine_settings(12)
TestSharedSqliteDeliveries = SharedSqliteMachine.TestCase
TestSharedSqliteDeliveries.settings = machine_settings(6)
pytestmark = pytest.mark.timeout(120 * SCALE)
