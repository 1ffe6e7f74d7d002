"""What the files in ``golden/`` hold, and how they were made: ``python -m tests.spool.golden_spool FOLDER``.

A file is made once, by the release that first writes its version of the schema, and never again.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from eventpipe.clock import Clock
from eventpipe.events import CapturedEvent
from eventpipe.spool.file import open_file
from eventpipe.spool.folder import check, own_new
from eventpipe.spool.values import Written
from eventpipe.testing.events import STAMP, make_event

GOLDEN = Path(__file__).parent / "golden"
SINKS = ("web", "audit")


class GoldenClock(Clock):
    """A minute after the last event."""

    def time(self) -> float:
        return STAMP + 60


def events() -> list[CapturedEvent]:
    """Those of a file: a plain one, one with everything beside it, and one that is not plain text."""
    return [
        make_event("plain", uuid="00000000-0000-7000-8000-000000000001"),
        make_event(
            "rich",
            uuid="00000000-0000-7000-8000-000000000002",
            lane="historical",
            headers={"h": "é"},
            key="k",
            lifted={"$set": {"a": 1}},
        ),
        make_event("ключ", uuid="00000000-0000-7000-8000-000000000003", properties={"text": "日本"}),
    ]


async def fill(folder: Path) -> Path:
    """Make a file: the first event is owed to both sinks, the others to one of them each."""
    owned = own_new(check(folder))
    file = await open_file(owned, SINKS, GoldenClock())
    web, audit = (file.bits[sink] for sink in SINKS)
    for event, owed in zip(events(), (web | audit, web, audit), strict=True):
        await file.write(Written(file.next_ids(1), [event], owed, STAMP), is_synced=True)
    await file.aclose()
    owned.release()
    return owned.path


if __name__ == "__main__":
    print(asyncio.run(fill(Path(sys.argv[1]))))  # noqa: T201  # where it is
