"""Programs that deliver, their far end, and the file that they share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.processes.delivery_places import Place
from tests.processes.nursery import Nursery, nursery
from tests.processes.webhooks import FarEnd, far_end
from tests.stores.places import quick_folder


@pytest.fixture(scope="module")
def children(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    """Forks programs that deliver; modules about other programs have their own."""
    with nursery(tmp_path_factory.mktemp("journals"), "delivering") as forked:
        yield forked


@pytest.fixture
def far() -> Iterator[FarEnd]:
    """Answers at once."""
    with far_end() as running:
        yield running


@pytest.fixture
def place(far: FarEnd) -> Iterator[Place]:
    """A file with an endpoint; in memory, if there is a place: it is not about disks."""
    with TemporaryDirectory(dir=quick_folder()) as folder:
        yield Place(Path(folder, "events.db"), far.url)
