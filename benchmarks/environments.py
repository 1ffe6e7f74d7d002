"""A virtual environment for each peer: made once, of the Python that runs the benchmarks, and found again."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import threading
import venv
from pathlib import Path

from benchmarks.peers import PEERS

# Written last: an environment without it, or with other packages in it, is made anew.
MARKER = "packages.txt"
VERSIONS = """
import importlib.metadata, json, sys
print(json.dumps({name: importlib.metadata.version(name) for name in sys.argv[1:]}))
"""

_making = threading.Lock()


def home() -> Path:
    """Where the environments are kept: ``$EVENTPIPE_BENCH_ENVS``, or the user's cache."""
    kept = os.environ.get("EVENTPIPE_BENCH_ENVS")
    return Path(kept) if kept else Path.home() / ".cache" / "eventpipe-benchmarks"


def python_of(name: str) -> Path:
    """The Python of a peer's environment, which is made first when there is none."""
    place = home() / platform.python_version() / name
    packages = PEERS[name].packages
    python = place / "bin" / "python"
    marker = place / MARKER
    wanted = "\n".join(packages)
    with _making:  # runs beside each other may ask for the same one
        if not marker.exists() or marker.read_text() != wanted:
            shutil.rmtree(place, ignore_errors=True)
            venv.create(place, with_pip=True)
            install = [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
            subprocess.run([*install, *packages], check=True)
            marker.write_text(wanted)
    return python


def versions_of(name: str) -> dict[str, str]:
    """The versions of a peer's packages, as installed; not those of what they depend on."""
    names = [re.split(r"[^\w.-]", package, maxsplit=1)[0] for package in PEERS[name].packages]
    command = [str(python_of(name)), "-c", VERSIONS, *names]
    versions: dict[str, str] = json.loads(subprocess.check_output(command, text=True))
    return versions
