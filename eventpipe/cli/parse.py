"""Option values: durations, shares of requests, faults, addresses."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from eventpipe.cli.failures import UsageError
from eventpipe.cli.faults import Fail, Outage, Stall, VerdictShare

_UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_WORD = re.compile(r"[a-z][a-z_]{0,39}")
_DURATION = re.compile(r"(\d+(?:\.\d+)?|\.\d+)(ms|s|m|h|)", re.ASCII)
MAX_DURATION = 24 * 3600.0  # a day: longer is a typing error


def parse_duration(option: str, text: str) -> float:
    """Seconds from ``"50ms"``, ``"5s"``, ``"2m"``, ``"1h"``, or a plain number of seconds.

    Args:
        option: The option's name, for the error.
        text: What the user wrote.

    Raises:
        UsageError: It is none of these, or longer than a day.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{option}: {text!r} is not a duration such as 50ms, 5s or 2m")
    duration = float(match[1]) * _UNITS[match[2]]
    if duration > MAX_DURATION:
        raise UsageError(f"{option}: {text} is longer than a day")
    return duration


def parse_share(option: str, text: str) -> float:
    """The share of requests that something happens to: a number from 0 to 1.

    Raises:
        UsageError: It is not.
    """
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not 0.0 <= share <= 1.0:
        raise UsageError(f"{option}: {text!r} is not a share of requests from 0 to 1, such as 0.1")
    return share


def parse_stall(option: str, text: str) -> Stall:
    """``"0.1:5s"``: one request in ten is answered five seconds late.

    Raises:
        UsageError: It is not of this form.
    """
    share, duration = _pair(option, text, "SHARE:DURATION, such as 0.1:5s")
    return Stall(parse_share(option, share), parse_duration(option, duration))


def parse_fail(option: str, text: str) -> Fail:
    """``"503:0.1"``: one request in ten is answered with 503.

    Raises:
        UsageError: It is not of this form, or the status is not an error.
    """
    status, share = _pair(option, text, "STATUS:SHARE, such as 503:0.1")
    return Fail(_parse_status(option, status), parse_share(option, share))


def parse_outage(option: str, text: str) -> Outage:
    """``"3s:2s"``: 503 for two seconds, from three seconds after the first request.

    Raises:
        UsageError: It is not of this form.
    """
    start, duration = _pair(option, text, "START:DURATION, such as 3s:2s")
    return Outage(parse_duration(option, start), parse_duration(option, duration))


def parse_verdicts(option: str, texts: Sequence[str]) -> Sequence[VerdictShare]:
    """``["retry:0.1"]``: one event in ten is to be sent again.

    Raises:
        UsageError: One is not of this form, or they are more than all events together.
    """
    verdicts = []
    for text in texts:
        word, share = _pair(option, text, "VERDICT:SHARE, such as retry:0.1")
        if not _WORD.fullmatch(word):
            raise UsageError(f"{option}: {word!r} is not a verdict such as retry, drop or warning")
        verdicts.append(VerdictShare(word, parse_share(option, share)))
    if sum(verdict.share for verdict in verdicts) > 1.0:
        raise UsageError(f"{option}: the shares together must be at most 1")
    return verdicts


def parse_port(option: str, port: int) -> int:
    """A port to listen on; 0 lets the system choose.

    Raises:
        UsageError: It is outside 0 to 65535.
    """
    if not 0 <= port <= 65535:
        raise UsageError(f"{option}: {port} is not a port from 0 to 65535")
    return port


def parse_seconds(option: str, seconds: float) -> float:
    """A number of seconds above zero, at most a day.

    Raises:
        UsageError: It is not.
    """
    if not 0.0 < seconds <= MAX_DURATION:
        raise UsageError(f"{option}: must be above 0 and at most {MAX_DURATION:.0f}, not {seconds:g}")
    return seconds


def _pair(option: str, text: str, form: str) -> tuple[str, str]:
    first, colon, second = text.partition(":")
    if not (first and colon and second):
        raise UsageError(f"{option}: {text!r} is not of the form {form}")
    return first, second


def _parse_status(option: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and 400 <= int(text[:4]) <= 599):
        raise UsageError(f"{option}: {text!r} is not an error status from 400 to 599")
    return int(text)
