"""What tests that kill programs share: where all chance comes from, and where files are that outlive a program."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.stores.places import quick_folder


@pytest.fixture
def chance() -> random.Random:
    """The source of all chance in a test; ``EVENTPIPE_TEST_SEED`` repeats its choices, though not what they meet."""
    seed = int(os.environ.get("EVENTPIPE_TEST_SEED") or random.SystemRandom().randrange(2**32))
    print(f"EVENTPIPE_TEST_SEED={seed}")  # noqa: T201  # to repeat a failure
    return random.Random(seed)


@pytest.fixture
def folder() -> Iterator[Path]:
    """In memory, where there is one: what is killed is a process and not the disk."""
    with TemporaryDirectory(dir=quick_folder()) as name:
        yield Path(name)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """The folder of a real one of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no disk of 1 MiB can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)  # also where a test that failed left a file open
