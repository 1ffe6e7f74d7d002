"""Each cell of the table of children, with real processes."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path

import pytest

from eventpipe import AsyncClient
from eventpipe.sinks import MemorySink
from tests.processes.forks import STATES, WAYS
from tests.processes.proofs import prove_fork

pytestmark = pytest.mark.wallclock


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("way", [pytest.param(way, id=way.replace("`", "")) for way in WAYS])
def test_a_child_sends_what_is_its_own(way: str, state: str, tmp_path: Path) -> None:
    """Parent and child each send their own events, each once; 10 ms after a fork the child has captured its first."""
    prove_fork(way, state, tmp_path)


def test_a_client_is_not_handed_to_another_process() -> None:
    """Pickling it says what to do in its place."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(TypeError, match=r"an AsyncClient cannot be pickled; make one in each process"):
            pickle.dumps(AsyncClient(MemorySink()))
