"""Which endpoints an event goes to, by rules."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from eventpipe.checked import shown
from eventpipe.events import CapturedEvent
from eventpipe.stores.delivery_values import Rule
from eventpipe.stores.names import check_name, fits, is_unicode

MAX_PATTERNS = 100  # of one rule
MAX_PATTERN = 200  # characters


def check_rule(rule: object) -> Rule:
    """A rule that means something.

    Raises:
        ValueError: It has no name, pattern or endpoint, or one that cannot be.
        TypeError: It is no rule.
    """
    if not isinstance(rule, Rule):
        raise TypeError(f"rule must be a Rule, such as Rule('all', ('*',), ('acme',)), not {shown(rule)}")
    check_name("rule", rule.name)
    for option in ("events", "endpoints"):
        values: object = getattr(rule, option)
        if not isinstance(values, list | tuple) or not 0 < len(values) <= MAX_PATTERNS:
            raise ValueError(
                f"{option} of rule {rule.name!r} must be a list of 1 to {MAX_PATTERNS}, not {shown(values)}"
            )
    patterns: tuple[object, ...] = tuple(rule.events)
    for pattern in patterns:
        if not isinstance(pattern, str) or not 0 < len(pattern) <= MAX_PATTERN or not is_unicode(pattern):
            raise ValueError(
                f"events of rule {rule.name!r} must be names of 1 to {MAX_PATTERN} characters, with * for any of them,"
                f" not {shown(pattern)}"
            )
    for endpoint in rule.endpoints:
        check_name("endpoint", endpoint)
    where: object = rule.where
    if not isinstance(where, Mapping) or not all(isinstance(path, str) and path for path in where):
        raise ValueError(f"where of rule {rule.name!r} must be paths of properties, each with its value")
    try:
        orjson.dumps(dict(where))
        json.dumps(dict(where), allow_nan=False, default=str)  # what is no number, the former takes for null
    except (TypeError, ValueError) as error:
        raise ValueError(f"where of rule {rule.name!r} must have values that JSON can carry: {error}") from error
    return Rule(rule.name, tuple(rule.events), tuple(rule.endpoints), dict(rule.where))


def endpoints_for(event: CapturedEvent, rules: Iterable[Rule]) -> tuple[str, ...]:
    """The endpoints of all rules that an event fits, each once, in the order of the rules."""
    fitting: dict[str, None] = {}
    properties: dict[str, Any] | None = None  # Any: JSON
    for rule in rules:
        if not any(fits(pattern, event.name) for pattern in rule.events):
            continue
        if rule.where and properties is None:
            properties = event.properties
        if all(_has(properties or {}, path, wanted) for path, wanted in rule.where.items()):
            fitting.update(dict.fromkeys(rule.endpoints))
    return tuple(fitting)


def _has(properties: Mapping[str, Any], path: str, wanted: object) -> bool:
    """Whether the property at a path has a value, or one of a list of them; one that is not there has none."""
    value: Any = properties
    for name in path.split("."):
        if not isinstance(value, Mapping) or name not in value:
            return False
        value = value[name]
    allowed = wanted if isinstance(wanted, list | tuple) else [wanted]
    # As in JSON, where 5 and 5.0 are one number, and true is no 1.
    return any(isinstance(value, bool) is isinstance(one, bool) and value == one for one in allowed)
