"""``eventpipe.testing`` hands out its names, and pulls in pytest for the contracts alone."""

from __future__ import annotations

import subprocess
import sys

import pytest

import eventpipe.testing


@pytest.mark.parametrize("name", eventpipe.testing.__all__)
def test_every_name_can_be_had(name: str) -> None:
    """A name in ``__all__`` is there, and is listed."""
    assert getattr(eventpipe.testing, name) is not None
    assert name in dir(eventpipe.testing)


def test_an_unknown_name_is_an_error() -> None:
    """A name that is not exported is refused as by any module."""
    with pytest.raises(AttributeError, match=r"module 'eventpipe.testing' has no attribute 'nothing'"):
        eventpipe.testing.nothing  # noqa: B018  # reading it is what is tested


def test_the_fakes_need_no_pytest() -> None:
    """A program without pytest can use everything but the contracts."""
    code = (
        "import sys, eventpipe.testing as t\n"
        "for name in t.__all__:\n"
        "    if not name.endswith('Contract'): getattr(t, name)\n"
        "assert 'pytest' not in sys.modules\n"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
