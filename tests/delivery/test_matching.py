"""Which endpoints an event goes to, by rules."""

from __future__ import annotations

import math
from typing import Any

import pytest

from eventpipe.delivery.matching import MAX_PATTERN, MAX_PATTERNS, check_rule, endpoints_for
from eventpipe.stores.delivery_values import Rule
from eventpipe.testing.events import make_event


def goes(where: dict[str, Any], properties: dict[str, Any]) -> bool:
    event = make_event("paid", properties=properties)
    return endpoints_for(event, [Rule("r", ("*",), ("acme",), where)]) == ("acme",)


def test_the_endpoints_of_all_rules_that_fit_each_once() -> None:
    """In the order of the rules; one pattern of several is enough."""
    rules = [
        Rule("a", ("refund.*", "invoice.*"), ("two", "one")),
        Rule("b", ("invoice.paid",), ("one", "three")),
        Rule("c", ("invoice",), ("four",)),
    ]

    assert endpoints_for(make_event("invoice.paid"), rules) == ("two", "one", "three")
    assert endpoints_for(make_event("other"), rules) == ()


@pytest.mark.parametrize(
    ("where", "properties", "fits"),
    [
        ({}, {}, True),
        ({"plan": "pro"}, {"plan": "pro"}, True),
        ({"plan": "pro"}, {"plan": "free"}, False),
        ({"plan": "pro"}, {}, False),
        ({"plan": ["pro", "team"]}, {"plan": "team"}, True),
        ({"plan": []}, {"plan": "team"}, False),
        ({"customer.country": "SE"}, {"customer": {"country": "SE"}}, True),
        ({"customer.country": "SE"}, {"customer": "SE"}, False),
        ({"a": 1, "b": 2}, {"a": 1, "b": 2}, True),
        ({"a": 1, "b": 2}, {"a": 1, "b": 3}, False),
        ({"a": None}, {"a": None}, True),
        ({"a": None}, {}, False),
        ({"a": 1}, {"a": True}, False),
        ({"a": False}, {"a": 0}, False),
        ({"a": 5}, {"a": 5.0}, True),
        ({"a": "5"}, {"a": 5}, False),
        ({"a": [[1, 2]]}, {"a": [1, 2]}, True),
    ],
)
def test_properties_must_be_as_the_rule_says(where: dict[str, Any], properties: dict[str, Any], fits: bool) -> None:
    """Each path, by its value or by one of a list; numbers are equal as in JSON, and true is none."""
    assert goes(where, properties) is fits


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (Rule("", ("*",), ("a",)), "the name of a rule must not be empty"),
        (Rule("r", (), ("a",)), "events of rule 'r' must be a list of 1 to 100, not tuple"),
        (Rule("r", ("*",), ()), "endpoints of rule 'r' must be a list of 1 to 100, not tuple"),
        (Rule("r", "paid", ("a",)), "events of rule 'r' must be a list of 1 to 100, not 'paid'"),  # type: ignore[arg-type]
        (Rule("r", ("*",) * (MAX_PATTERNS + 1), ("a",)), "events of rule 'r' must be a list of 1 to 100, not tuple"),
        (Rule("r", ("x" * (MAX_PATTERN + 1),), ("a",)), "events of rule 'r' must be names of 1 to 200 characters"),
        (Rule("r", ("",), ("a",)), "events of rule 'r' must be names of 1 to 200 characters"),
        (Rule("r", ("*",), ("a b",)), "the name of an endpoint must have no white space"),
        (Rule("r", ("*",), ("a",), {"": 1}), "where of rule 'r' must be paths of properties, each with its value"),
        (Rule("r", ("paid\udce9",), ("a",)), "events of rule 'r' must be names of 1 to 200 characters"),
        (Rule("r", ("*",), ("a",), {"a": float("nan")}), "where of rule 'r' must have values that JSON can carry"),
        (Rule("r", ("*",), ("a",), {"a": [1, {"b": math.inf}]}), "where of rule 'r' must have values that JSON can"),
        (Rule("r", ("*",), ("a",), {"a": object()}), "where of rule 'r' must have values that JSON can carry"),
    ],
)
def test_a_rule_that_means_nothing_is_refused(rule: Rule, message: str) -> None:
    """The message names the rule, what is wrong in it, and what would be right."""
    with pytest.raises(ValueError, match=r"^(events|endpoints|where|the name) of ") as caught:
        check_rule(rule)

    assert str(caught.value).startswith(message)


def test_what_is_no_rule_is_refused() -> None:
    """The message shows one."""
    with pytest.raises(TypeError, match=r"^rule must be a Rule, such as Rule\('all', .*, not 'acme'$"):
        check_rule("acme")


def test_a_rule_that_was_checked_changes_no_more() -> None:
    """What it was made of may."""
    events, where = ["*"], {"plan": "pro"}
    checked = check_rule(Rule("r", events, ["acme"], where))  # type: ignore[arg-type]  # as people write them
    events.clear()
    where.clear()

    assert checked == Rule("r", ("*",), ("acme",), {"plan": "pro"})
