"""Frozen sets of options whose faults read ``workers must be at least 1, not -2 (default: 16)``, one per line."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final, TypeGuard

from pydantic import BaseModel, ConfigDict, Field, ValidationError

_RULES: Final = {
    "greater_than_equal": "at least {ge:g}",
    "greater_than": "above {gt:g}",
    "less_than_equal": "at most {le:g}",
    "finite_number": "a finite number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "True or False",
    "callable_type": "callable",
    "literal_error": "one of {expected}",
    "is_instance_of": "a {class}",
    "model_type": "a {class_name}",
}


# What options are called elsewhere: by libraries of PostHog and Segment, processors of OpenTelemetry, clients of Kafka.
_ELSEWHERE: Final = {
    "queue_size": ("queue_events",),
    "max_queue_size": ("queue_events",),
    "batch_size": ("batch_events",),
    "flush_at": ("batch_events",),
    "upload_size": ("batch_events",),
    "max_export_batch_size": ("batch_events",),
    "flush_interval": ("max_batch_age",),
    "upload_interval": ("max_batch_age",),
    "linger": ("max_batch_age",),
    "max_retries": ("max_attempts", "retry"),
    "max_attempts": ("retry",),
    "shutdown_timeout": ("close_timeout",),
}


def option(default: object, unit: str, description: str, **rules: float) -> Any:  # Any: the type of the field
    """Declare a field.

    Args:
        default: Its documented default.
        unit: What it counts, for the documentation.
        description: Its meaning and the reason for its default.
        **rules: ``ge``, ``gt`` and ``le``, as pydantic means them.
    """
    extra: dict[str, Any] = {"description": description, "json_schema_extra": {"unit": unit}, **rules}
    if callable(default):
        return Field(default_factory=default, **extra)
    return Field(default, **extra)


class Checked(BaseModel):
    """A frozen set of options; ``None`` for one of them is the same as leaving it out."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        arbitrary_types_allowed=True,
        defer_build=True,  # until the first object is made: importing the package does not pay for it
    )

    _ordered: ClassVar[tuple[tuple[str, str], ...]] = ()
    """Pairs of options of which the first may not be above the second."""

    def fill(self, values: Mapping[str, Any], names: Mapping[str, str]) -> None:
        """Take the values of a new object; called once, by whoever makes it.

        Args:
            values: Options by name.
            names: What to call an option in messages, where that is not its name.

        Raises:
            ValueError: One line per fault.
        """
        fields = type(self).model_fields
        given = {name: value for name, value in values.items() if value is not None or name not in fields}
        try:
            BaseModel.__init__(self, **given)
        except ValidationError as error:
            lines = [_describe(type(self), dict(fault), names) for fault in error.errors(include_url=False)]
        else:
            lines = [*self._lower_defaults(names), *self._contradictions(names)]
        if lines:
            raise ValueError("\n".join(lines)) from None

    def _lower_defaults(self, names: Mapping[str, str]) -> Iterator[str]:
        """Lower a default to a bound that was set below it; where both were set, that is a fault."""
        for low, high in self._ordered:
            value, bound = getattr(self, low), getattr(self, high)
            if value is None or value <= bound:
                continue
            if low not in self.model_fields_set:
                self.__dict__[low] = bound  # past the freeze, and without counting it as set by the caller
                continue
            low, high = names.get(low, low), names.get(high, high)
            yield f"{low} must be at most {high} ({shown(bound)}), not {shown(value)}: lower {low} or raise {high}"

    def _contradictions(self, names: Mapping[str, str]) -> Iterator[str]:
        """Yield one line for each further thing that is wrong with valid values."""
        del names
        yield from ()


def nearest(word: str, known: Sequence[str]) -> str | None:
    """Which known word is meant: one that says the same elsewhere, or is spelt nearly so."""
    import difflib  # for a message only: importing the package does without

    same = [name for name in _ELSEWHERE.get(word, ()) if name in known]
    return next(iter(same or difflib.get_close_matches(word, known, n=1)), None)


def suggestion(word: str, known: Sequence[str]) -> str:
    """``; did you mean 'workers'?``, or nothing where no known word is meant."""
    near = nearest(word, known)
    return f"; did you mean {near!r}?" if near else ""


def is_number(value: object) -> TypeGuard[float]:
    """Whether it is a finite number that a float can be; True and False are none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an int of more than 308 digits
        return False


def shown(value: object) -> str:
    """A value as a message may show it: short, and objects by the name of their type alone."""
    if type(value) in (str, int, float, bool):
        try:
            text = repr(value)
        except ValueError:  # an int of more digits than Python turns into text
            return "a number of thousands of digits"
        return text if len(text) <= 60 else text[:57] + "..."
    return type(value).__name__


def _describe(model: type[Checked], fault: dict[str, Any], names: Mapping[str, str]) -> str:
    option_name = str(fault["loc"][0])
    name = names.get(option_name, option_name)
    if fault["type"] == "extra_forbidden":
        return f"unknown option {shown(option_name)}{suggestion(option_name, list(model.model_fields))}"
    template = _RULES.get(fault["type"])
    rule = template.format(**fault.get("ctx", {})) if template else f"valid ({fault['msg']})"
    default = model.model_fields[option_name].default
    kept = f" (default: {default})" if isinstance(default, (bool, int, float, str)) else ""
    return f"{name} must be {rule}, not {shown(fault['input'])}{kept}"
