"""Each cell of the table of ends, with a real process."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.processes.exits import FATES, FORMS, WAYS
from tests.processes.proofs import prove_exit

pytestmark = pytest.mark.wallclock


def test_every_end_has_its_row() -> None:
    """And every row a cell for each form."""
    assert list(FATES) == list(WAYS)
    assert {len(fates) for fates in FATES.values()} == {len(FORMS)}


@pytest.mark.parametrize("form", [pytest.param(form, id=form.replace("`", "")) for form in FORMS])
@pytest.mark.parametrize("way", [pytest.param(way, id=way.replace("`", "")) for way in WAYS])
def test_what_is_pending_at_the_end_of_a_process(way: str, form: str, tmp_path: Path) -> None:
    """Delivered: each once, and no line. Reported: the number is in the log. Lost: neither. Kept: the next sends it."""
    prove_exit(way, form, tmp_path)
