from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

import pytest

from eventpipe.cli.imports import imports_as_python_does


def test_modules_beside_the_caller_can_be_imported_within_the_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not after it; the path is as it was."""
    (tmp_path / "beside_the_caller.py").write_text("name = 'found'\n")
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)

    with imports_as_python_does():
        found = importlib.import_module("beside_the_caller")
    monkeypatch.delitem(sys.modules, "beside_the_caller")

    assert (found.name, sys.path) == ("found", before)
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("beside_the_caller")


def test_a_module_is_found_that_was_written_since_its_folder_was_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within the granularity of the time that a file system gives the folder, as a generated one may be."""
    monkeypatch.chdir(tmp_path)
    with imports_as_python_does(), pytest.raises(ModuleNotFoundError):
        importlib.import_module("written_since")
    seen = tmp_path.stat()
    (tmp_path / "written_since.py").touch()
    os.utime(tmp_path, ns=(seen.st_atime_ns, seen.st_mtime_ns))

    with imports_as_python_does():
        importlib.import_module("written_since")
    monkeypatch.delitem(sys.modules, "written_since")


def test_a_module_that_takes_its_folder_off_the_path_disturbs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The block ends as it does otherwise."""
    monkeypatch.chdir(tmp_path)

    with imports_as_python_does():
        sys.path.remove(str(tmp_path))

    assert str(tmp_path) not in sys.path
