"""Modules of whoever types a command: their handlers, filters and events."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def imports_as_python_does() -> Iterator[None]:
    """Modules of the current directory can be imported in this block, as with ``python -m``."""
    here = os.fspath(Path.cwd())
    sys.path.insert(0, here)
    importlib.invalidate_caches()  # a module may be younger than the last look at its folder
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(here)
