from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from eventpipe.cli.failures import CommandError
from eventpipe.cli.log_file import opened, told
from eventpipe.cli.main import main
from eventpipe.errors import StoreError


@pytest.mark.asyncio
async def test_a_command_trims_nothing(at_rest: Path) -> None:
    """However long it looks: whoever runs the log knows how long ids are to be known."""
    async with opened(at_rest) as log:
        await log.remove_consumer("orders", "audit")
        await asyncio.sleep(24 * 3600)

        assert (await log.topic("orders")).first == 0
        assert (await log.consumer("orders", "billing")).position == 4


def test_what_goes_wrong_in_a_log_is_told_in_its_words() -> None:
    """Without the name of a class, which is for programmers."""
    with pytest.raises(CommandError, match=r"^no room$"), told():
        raise StoreError("no room")


@pytest.mark.parametrize(
    "name",
    [
        "topics",
        "consumers",
        "tail",
        "append",
        "seek",
        "replay",
        "pause",
        "resume",
        "remove",
        "reshard",
        "dead-letters",
        "verify",
        "export",
        "import",
    ],
)
def test_help_explains_every_word(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The file, the other words and every option have a sentence of their own."""
    assert main([name, "--help"]) == 0

    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "FILE The SQLite file of the log. [required]" in shown
    assert f"Usage: eventpipe {name} " in shown
