from __future__ import annotations

from typing import Any

import pytest

from tests.cli.wires.asking import ask, refusal, said

STAMP = "2026-01-31T09:05:00.123456Z"


def flag(**parts: Any) -> dict[str, Any]:
    whole = {
        "kind": "feature",
        "contextKind": "user",
        "userKey": "u1",
        "creationDate": 1769850300,
        "key": "beta",
        "value": True,
    }
    return {**whole, **parts}


def own(**parts: Any) -> dict[str, Any]:
    stored = {
        "event": "feature",
        "distinct_id": "u1",
        "timestamp": "2026-01-31T09:05:00.000000Z",
        "properties": {"key": "beta", "value": True},
    }
    return {name: value for name, value in {**stored, **parts}.items() if value is not None or name == "distinct_id"}


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        (flag(), own()),
        (flag(uuid="a", timestamp=STAMP), own(uuid="a", timestamp=STAMP)),
        (flag(userKey=None, contextKind="anonymousUser"), own(distinct_id=None)),
        (
            flag(contextKind="anonymousUser"),
            own(properties={"key": "beta", "value": True, "contextKind": "anonymousUser"}),
        ),
        (
            flag(properties={"kind": "inner", "contextKind": "tenant"}, contextKind="tenant"),
            own(properties={"key": "beta", "value": True, "kind": "inner", "contextKind": "tenant"}),
        ),
        (flag(partitionKey="p", headers={"a": "b"}), own(key="p", headers={"a": "b"})),
        (flag(creationDate=1e300), own(timestamp=None)),
        (flag(creationDate=None), own(timestamp=None)),
    ],
    ids=["foreign", "own", "nobody", "anonymous", "clash", "key and headers", "far future", "no date"],
)
def test_every_use_of_a_flag_becomes_an_event(sent: dict[str, Any], stored: dict[str, Any]) -> None:
    """What stands beside the members of an event becomes its properties."""
    taken = ask("/any", {"meta": {"hostname": "h"}, "events": [sent, sent]})

    assert (taken.format, taken.events) == ("feature-flags", [stored, stored])
    assert (taken.answer.status, said(taken.answer)) == (200, {"status": "ok", "accepted": 2})


@pytest.mark.parametrize(
    ("events", "fault"),
    [
        ({}, "events is not an array"),
        (["a"], "event 0 is not an object"),
        ([flag(), flag(kind="")], "event 1 has no kind"),
        ([flag(userKey=[])], "event 0 has a userKey that is no text"),
        ([flag(properties=[])], "event 0 has properties that are not an object"),
    ],
)
def test_a_bad_export_is_refused(events: Any, fault: str) -> None:
    """The whole request is refused, and its sender told which event is to blame."""
    answer = refusal("/", {"meta": {}, "events": events})

    assert (answer.status, said(answer)) == (400, {"error": fault})
