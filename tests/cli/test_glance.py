from __future__ import annotations

from typing import Any

import pytest

from eventpipe.cli.glance import MAX_GLANCE, glance

TOO_DEEP: Any = []  # Any: JSON, deeper than it can be written
for _ in range(300):
    TOO_DEEP = [TOO_DEEP]


@pytest.mark.parametrize(
    ("event", "line"),
    [
        ({"event": "signed_up", "distinct_id": "u1", "properties": {"plan": "pro"}}, 'signed_up u1 {"plan":"pro"}'),
        ({"event": "signed_up", "distinct_id": "u1", "properties": {}}, "signed_up u1"),
        ({"event": "signed_up", "properties": {"plan": "pro"}}, 'signed_up {"plan":"pro"}'),
        ({"event": "signed_up", "uuid": "a"}, "signed_up"),
        ({"event": "a", "properties": {"deep": TOO_DEEP}}, "a {…}"),
        ({"event": "a\x1b[31m\nb", "distinct_id": "u\u202e1"}, "a?[31m b u?1"),
    ],
    ids=["whole", "no properties", "of nobody", "name alone", "too deep", "obeyed by terminals"],
)
def test_an_event_is_one_line(event: dict[str, Any], line: str) -> None:
    """What it has of name, ``distinct_id`` and properties, and nothing that a terminal obeys."""
    assert glance(event) == line


def test_a_long_one_is_cut() -> None:
    """At 160 characters, the last of which says so; one of exactly that length is whole."""
    assert glance({"event": "n" * MAX_GLANCE}) == "n" * MAX_GLANCE
    assert glance({"event": "n" * (MAX_GLANCE + 1)}) == "n" * (MAX_GLANCE - 1) + "…"
