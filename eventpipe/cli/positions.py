"""Where in a topic, as the command line spells it."""

from __future__ import annotations

import datetime
import re

from eventpipe.cli.failures import UsageError
from eventpipe.log.positions import Position

_AGO = re.compile(r"(\d{1,9})(s|m|h|d)", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_position(option: str, text: str, now: datetime.datetime) -> Position:
    """``"earliest"``, ``"latest"``, an offset, a time, or how long ago.

    Args:
        option: What the user wrote it for, for the error.
        text: What the user wrote; a time without a zone is one of UTC.
        now: The time that ``10m`` is counted back from.

    Raises:
        UsageError: It is none of these.
    """
    word = text.strip()
    if word in ("earliest", "latest"):
        return word  # type: ignore[return-value]  # one of the two
    if word.isascii() and word.isdigit() and len(word) < 20:
        return int(word)
    moment = _moment(word, now)
    if moment is None:
        raise UsageError(
            f"{option}: {text!r} is neither earliest, latest, an offset, a time such as 2026-01-31T09:05:00Z,"
            " nor 10m for ten minutes ago"
        )
    return moment


def parse_moment(option: str, text: str | None, now: datetime.datetime) -> float | None:
    """A time, or how long ago, as seconds since the epoch; ``None``: there is none.

    The arguments are those of ``parse_position()``; ``now`` as a word is that time.

    Raises:
        UsageError: It is neither.
    """
    if text is None:
        return None
    word = text.strip()
    moment = now if word == "now" else _moment(word, now)
    if moment is None:
        raise UsageError(
            f"{option}: {text!r} is neither now, a time such as 2026-01-31T09:05:00Z, nor 10m for ten minutes ago"
        )
    return moment.timestamp()


def _moment(word: str, now: datetime.datetime) -> datetime.datetime | None:
    try:
        if ago := _AGO.fullmatch(word):
            return now - datetime.timedelta(seconds=int(ago[1]) * _SECONDS[ago[2]])
        moment = datetime.datetime.fromisoformat(word)
        moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=datetime.UTC)
        return moment.astimezone(datetime.UTC)  # here, so that one beyond the calendar is refused as well
    except (ValueError, OverflowError):
        return None
