"""What a failed expectation says: enough to mend the test, or the code, without a debugger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eventpipe.testing.captured import RefusedEvent, SeenEvent
    from eventpipe.testing.expected import Expected

_MAX_LINES = 25  # events that are listed; a test that captures more is about their number
_MAX_WIDTH = 300  # characters of one event's line


def explain(
    expected: Expected,
    times: int | None,
    found: int,
    events: Sequence[SeenEvent],
    refused: Sequence[RefusedEvent],
    unheard: Mapping[str, int],
) -> str:
    """Say what was expected, what there was in its place, and what it may have been meant to be.

    Args:
        expected: What the test was about.
        times: How many it expected. ``None``: any number but none.
        found: How many there were.
        events: All that was captured.
        refused: All that was not taken in.
        unheard: Captures of nobody, by the reason.
    """
    lines = [_headline(expected, times, found)]
    if times is None or found < times:
        lines += _closest(expected, events, refused)
    if events:
        lines += [f"captured ({len(events)}):", *_listed(events)]
    else:
        lines.append("nothing was captured")
    if refused:
        lines += [f"refused ({len(refused)}):", *_listed(refused)]
    lines += [f"captured by nobody, {_often(number)}: {why}" for why, number in unheard.items()]
    return "\n  ".join(lines)


def _headline(expected: Expected, times: int | None, found: int) -> str:
    if times is None:
        return f"no {expected} was captured"
    came = f"captured {_often(found)}" if found else "never captured"
    return f"{expected} was {came}, expected {_often(times)}"


def _often(times: int) -> str:
    return {0: "never", 1: "once"}.get(times, f"{times} times")


def _closest(expected: Expected, events: Sequence[SeenEvent], refused: Sequence[RefusedEvent]) -> list[str]:
    """In what the event of this name that is nearest differs, or which name may have been meant."""
    if any(event.event == expected.name for event in refused):
        return ["it was captured and refused, see below"]
    differing = [
        (differences, number)
        for number, event in enumerate(events, 1)
        if event.event == expected.name and (differences := expected.differences(event))
    ]
    if differing:
        differences, number = min(differing, key=lambda pair: len(pair[0]))
        return [f"the closest, number {number}, differs in", *(f"  {_cut(line)}" for line in differences)]
    names = get_close_matches(expected.name, sorted({event.event for event in [*events, *refused]} - {expected.name}))
    return [f"did you mean {' or '.join(map(repr, names))}?"] if names else []


def _listed(events: Sequence[SeenEvent]) -> list[str]:
    lines = [f"  {number}. {_cut(str(event))}" for number, event in enumerate(events, 1)]
    if len(lines) > _MAX_LINES:
        return [*lines[:_MAX_LINES], f"  and {len(lines) - _MAX_LINES} more"]
    return lines


def _cut(line: str) -> str:
    return line if len(line) <= _MAX_WIDTH else f"{line[:_MAX_WIDTH]}…"
