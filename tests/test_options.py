"""Every bound has a default and a reason, a wrong value one clear line, and each place its rank."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from random import Random
from typing import Any, Optional, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventpipe.clock import Clock
from eventpipe.environment import variables
from eventpipe.options import (
    ClientOptions,
    ClientOptionsDict,
    RetryPolicy,
    RetryPolicyDict,
    check_durability,
    check_needs_no_spool,
    check_overflow,
    resolve,
)

DEFAULTS = {
    "queue_events": 10_000,
    "queue_bytes": 32 * 1024 * 1024,
    "batch_events": 500,
    "max_batch_age": 1.0,
    "max_batch_bytes": 1024 * 1024,
    "max_event_bytes": None,
    "max_event_age": None,
    "workers": 16,
    "overflow": "drop_newest",
    "overflow_timeout": None,
    "durability": "memory",
    "retry": RetryPolicy(),
    "flush_timeout": 10.0,
    "close_timeout": 15.0,
    "exit_timeout": None,
    "spool_bytes": 512 * 1024 * 1024,
    "spool_age": None,
    "spool_overflow": "drop_newest",
    "spool_replay": "behind",
    "strict": False,
    "enabled": True,
    "json_default": None,
    "clock": None,
    "random": None,
    "new_id": None,
}
RETRY_DEFAULTS = {
    "max_attempts": 10,
    "initial": 0.5,
    "factor": 2.0,
    "max_delay": 30.0,
    "min_delay": 0.1,
    "jitter": 0.5,
    "max_retry_after": 300.0,
}
COUNTS = ("queue_events", "queue_bytes", "batch_events", "max_batch_bytes", "max_event_bytes", "workers")
TIMES = ("max_batch_age", "max_event_age", "overflow_timeout", "flush_timeout", "close_timeout", "exit_timeout")
ZERO_HAS_A_MEANING = ("max_batch_age", "flush_timeout", "close_timeout")

Make = Callable[..., Any]  # either class, told what no type checker would let pass
make: Make = ClientOptions
make_policy: Make = RetryPolicy


def fault_of(call: Callable[[], object]) -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is what the tests compare
        call()
    assert type(caught.value) is ValueError
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return str(caught.value)


def test_defaults_are_the_documented_ones() -> None:
    """An empty options object holds every documented default, and counts nothing as set."""
    options, policy = ClientOptions(), RetryPolicy()

    assert {name: getattr(options, name) for name in ClientOptions.model_fields} == DEFAULTS
    assert {name: getattr(policy, name) for name in RetryPolicy.model_fields} == RETRY_DEFAULTS
    assert options.model_fields_set == set()


@pytest.mark.parametrize("model", [ClientOptions, RetryPolicy])
def test_every_option_says_its_unit_and_reason(model: type[ClientOptions]) -> None:
    """The documentation is made from the fields: each has a unit, and a sentence that ends."""
    for name, field in model.model_fields.items():
        assert isinstance(field.json_schema_extra, dict), name
        assert field.json_schema_extra["unit"], name
        assert field.description is not None, name
        assert field.description.endswith("."), name
        assert len(field.description) > 30, name


@pytest.mark.parametrize(
    ("model", "keywords"), [(ClientOptions, ClientOptionsDict), (RetryPolicy, RetryPolicyDict)], ids=["client", "retry"]
)
def test_keywords_and_fields_are_the_same(model: type[ClientOptions], keywords: type[ClientOptionsDict]) -> None:
    """The keyword arguments are the fields, in order, each of the same type or ``None``."""
    hints, fields = get_type_hints(keywords), get_type_hints(model)

    assert list(hints) == list(model.model_fields)
    assert hints == {name: Optional[fields[name]] for name in model.model_fields}  # noqa: UP045 - built, not written


@pytest.mark.parametrize("name", [*DEFAULTS])
def test_none_is_the_documented_default(name: str) -> None:
    """``None`` for an option is the same as leaving it out."""
    options = make(**{name: None})

    assert options == ClientOptions()
    assert options.model_fields_set == set()


def kept(name: str) -> str:
    """How a message ends: with the default, where that is more than nothing."""
    return "" if DEFAULTS[name] is None else f" (default: {DEFAULTS[name]})"


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("value", [0, -2])
def test_count_below_one_is_refused(name: str, value: int) -> None:
    """A count of zero or less has no meaning."""
    assert fault_of(lambda: make(**{name: value})) == (f"{name} must be at least 1, not {value}{kept(name)}")


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize(("value", "shown"), [(True, "True"), (2.0, "2.0"), ("3", "'3'"), ([], "list")])
def test_count_is_a_whole_number(name: str, value: object, shown: str) -> None:
    """A switch, a float or a text is not taken for a count."""
    assert fault_of(lambda: make(**{name: value})) == (f"{name} must be a whole number, not {shown}{kept(name)}")


@pytest.mark.parametrize("name", TIMES)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_time_is_finite(name: str, value: float) -> None:
    """NaN and infinity are refused; no limit is ``None``."""
    assert fault_of(lambda: make(**{name: value})).startswith(f"{name} must be a finite number, not {value}")


@pytest.mark.parametrize("name", TIMES)
@pytest.mark.parametrize("value", [-0.5, True, "1"])
def test_time_is_a_number_and_not_negative(name: str, value: object) -> None:
    """Seconds never run backwards, and a switch is no number of seconds."""
    assert fault_of(lambda: make(**{name: value})).startswith(f"{name} must be ")


@pytest.mark.parametrize("name", TIMES)
def test_zero_is_taken_where_it_has_a_meaning(name: str) -> None:
    """A batch may leave at once and a flush may not wait; an event that expires at once would never be sent."""
    if name in ZERO_HAS_A_MEANING:
        assert getattr(make(**{name: 0}), name) == 0
    else:
        assert fault_of(lambda: make(**{name: 0})) == f"{name} must be above 0, not 0"


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"strict": 1}, "strict must be True or False, not 1 (default: False)"),
        ({"enabled": "no"}, "enabled must be True or False, not 'no' (default: True)"),
        (
            {"overflow": "block"},
            "overflow must be one of 'drop_newest', 'drop_oldest', 'wait', 'raise' or 'spill', not 'block' "
            "(default: drop_newest)",
        ),
        ({"retry": {"max_attempts": 3}}, "retry must be a RetryPolicy, not dict"),
        ({"clock": 3}, "clock must be a Clock, not 3"),
        ({"random": 3}, "random must be a Random, not 3"),
        ({"json_default": "str"}, "json_default must be callable, not 'str'"),
        ({"new_id": 3}, "new_id must be callable, not 3"),
        ({"workers": -(10**5000)}, "workers must be at least 1, not a number of thousands of digits (default: 16)"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_wrong_value_is_named_with_its_rule(values: dict[str, Any], line: str) -> None:
    """A fault says the option, the rule, what was given instead and the default."""
    assert fault_of(lambda: make(**values)) == line


def test_faults_come_one_per_line() -> None:
    """All that is wrong is told at once, in the order of the options."""
    assert fault_of(lambda: make(workers=0, queue_events=-1, worker=3)).splitlines() == [
        "queue_events must be at least 1, not -1 (default: 10000)",
        "workers must be at least 1, not 0 (default: 16)",
        "unknown option 'worker'; did you mean 'workers'?",
    ]


def test_unknown_option_is_refused_even_when_it_is_none() -> None:
    """A misspelt option is never silently the default."""
    assert fault_of(lambda: make(flush_timout=None)) == "unknown option 'flush_timout'; did you mean 'flush_timeout'?"
    assert fault_of(lambda: make(zzz=1)) == "unknown option 'zzz'"


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("queue_size", "queue_events"),
        ("max_queue_size", "queue_events"),
        ("batch_size", "batch_events"),
        ("flush_at", "batch_events"),
        ("upload_size", "batch_events"),
        ("max_export_batch_size", "batch_events"),
        ("flush_interval", "max_batch_age"),
        ("upload_interval", "max_batch_age"),
        ("linger", "max_batch_age"),
        ("max_retries", "retry"),
        ("max_attempts", "retry"),
        ("shutdown_timeout", "close_timeout"),
    ],
)
def test_words_of_other_libraries_lead_to_the_option_that_means_the_same(word: str, meant: str) -> None:
    """And not to one that is spelt alike: a size of the queue in events is none in bytes."""
    assert fault_of(lambda: make(**{word: 5})) == f"unknown option {word!r}; did you mean {meant!r}?"


def test_attempts_are_an_option_of_the_policy_whatever_they_are_called() -> None:
    """As a client's own they are part of ``retry``."""
    assert fault_of(lambda: make_policy(max_retries=3)) == (
        "unknown option 'max_retries'; did you mean 'max_attempts'?"
    )


@pytest.mark.parametrize(("name", "value"), [("overflow", "spill"), ("durability", "process"), ("durability", "power")])
def test_what_needs_a_spool_may_be_asked_for(name: str, value: str) -> None:
    """By options, which do not know whether there will be one, and by a call; the client knows."""
    check: Callable[[Any], object] = check_overflow if name == "overflow" else check_durability

    assert getattr(make(**{name: value}), name) == check(value) == value
    line = f"{name}={value!r} needs a disk: give the client a folder, such as spool='var/events'"
    assert fault_of(lambda: check_needs_no_spool(make(**{name: value}))) == line


@pytest.mark.parametrize("value", ["", "memory ", "block", 0, False, []], ids=repr)
def test_one_call_may_not_ask_for_anything_else(value: Any) -> None:
    """A call's own overflow and durability are as strict as a client's, empty ones included."""
    assert fault_of(lambda: check_overflow(value)).startswith("overflow must be one of ")
    assert fault_of(lambda: check_durability(value)).startswith("durability must be one of ")


def test_one_call_may_ask_for_what_a_client_may() -> None:
    """A call's own overflow and durability pass the same checks; ``None`` stays ``None``."""
    assert [check_overflow(None), check_overflow("wait"), check_durability(None), check_durability("memory")] == [
        None,
        "wait",
        None,
        "memory",
    ]


@pytest.mark.parametrize("name", ["json_default", "new_id"])
def test_coroutine_function_is_refused(name: str) -> None:
    """Nobody awaits in ``capture_nowait()``, so a function that must be awaited is a mistake."""

    async def later(value: object = None) -> str:
        return str(value)

    assert fault_of(lambda: make(**{name: later})) == (
        f"{name} must be a plain function, not an async def: capture_nowait() calls it too"
    )


@pytest.mark.parametrize(
    ("low", "high"),
    [
        ("batch_events", "queue_events"),
        ("max_batch_bytes", "queue_bytes"),
        ("max_event_bytes", "queue_bytes"),
    ],
)
def test_contradiction_is_refused(low: str, high: str) -> None:
    """What is held in a queue cannot be larger than the queue; both ways out are named."""
    assert fault_of(lambda: make(**{low: 11, high: 10})) == (
        f"{low} must be at most {high} (10), not 11: lower {low} or raise {high}"
    )
    assert fault_of(lambda: make(**{low: 10**9})).startswith(f"{low} must be at most {high} ({DEFAULTS[high]}), not")


def test_lower_bound_takes_the_defaults_below_it_along() -> None:
    """A small queue needs no second option; the lowered default does not count as set."""
    options = ClientOptions(queue_events=10, queue_bytes=1000)

    assert (options.batch_events, options.max_batch_bytes) == (10, 1000)
    assert options.model_fields_set == {"queue_events", "queue_bytes"}


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"max_attempts": 0}, "max_attempts must be at least 1, not 0 (default: 10)"),
        ({"initial": 0}, "initial must be above 0, not 0 (default: 0.5)"),
        ({"factor": 0.5}, "factor must be at least 1, not 0.5 (default: 2.0)"),
        ({"jitter": 1.5}, "jitter must be at most 1, not 1.5 (default: 0.5)"),
        ({"jitter": math.nan}, "jitter must be a finite number, not nan (default: 0.5)"),
        ({"max_delay": 0}, "max_delay must be above 0, not 0 (default: 30.0)"),
        ({"min_delay": -1}, "min_delay must be at least 0, not -1 (default: 0.1)"),
        ({"max_retry_after": -1}, "max_retry_after must be at least 0, not -1 (default: 300.0)"),
        (
            {"initial": 2, "max_delay": 1},
            "initial must be at most max_delay (1.0), not 2.0: lower initial or raise max_delay",
        ),
        (
            {"min_delay": 2, "max_delay": 1},
            "min_delay must be at most max_delay (1.0), not 2.0: lower min_delay or raise max_delay",
        ),
        ({"attempts": 3}, "unknown option 'attempts'; did you mean 'max_attempts'?"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_wrong_policy_is_refused(values: dict[str, Any], line: str) -> None:
    """The same words for the options of a retry policy."""
    assert fault_of(lambda: make_policy(**values)) == line


def test_short_longest_delay_takes_the_other_delays_along() -> None:
    """``max_delay`` alone makes a policy of short delays."""
    policy = RetryPolicy(max_delay=0.05)

    assert (policy.initial, policy.min_delay) == (0.05, 0.05)


def test_options_are_frozen() -> None:
    """Options that a client was made with stay what they were."""
    options = ClientOptions(workers=4)

    with pytest.raises(ValueError, match="frozen"):
        options.workers = 5
    assert options.workers == 4


def test_options_survive_a_pickle() -> None:
    """Options can be sent to another process, with what was set."""
    options = ClientOptions(workers=4, retry=RetryPolicy(initial=1))

    copy = pickle.loads(pickle.dumps(options))  # noqa: S301 - our own bytes

    assert copy == options
    assert copy.model_fields_set == {"workers", "retry"}


def test_places_have_their_rank() -> None:
    """Keyword before object before environment before default."""
    environ = {"EVENTPIPE_WORKERS": "1", "EVENTPIPE_BATCH_EVENTS": "11", "EVENTPIPE_MAX_BATCH_AGE": "0.5"}
    options = ClientOptions(workers=2, batch_events=22)

    resolved = resolve(options, {"workers": 3, "batch_events": None}, environ)

    assert (resolved.workers, resolved.batch_events, resolved.max_batch_age, resolved.queue_events) == (
        3,
        22,
        0.5,
        10_000,
    )


def test_policies_of_several_places_are_joined_option_by_option() -> None:
    """A variable for one option of the policy holds although the code sets another."""
    environ = {"EVENTPIPE_RETRY_MAX_ATTEMPTS": "3", "EVENTPIPE_RETRY_JITTER": "0", "EVENTPIPE_RETRY_FACTOR": "3"}

    resolved = resolve(
        ClientOptions(retry=RetryPolicy(max_attempts=4, jitter=1)), {"retry": RetryPolicy(max_attempts=5)}, environ
    )

    assert resolved.retry == RetryPolicy(max_attempts=5, jitter=1, factor=3)


def test_set_value_holds_although_it_is_the_default() -> None:
    """An object that names the default has set it, and the environment does not change it."""
    assert resolve(ClientOptions(workers=16), {}, {"EVENTPIPE_WORKERS": "4"}).workers == 16
    assert resolve(ClientOptions(), {}, {"EVENTPIPE_WORKERS": "4"}).workers == 4


@pytest.mark.parametrize(
    ("variable", "text", "name", "value"),
    [
        ("EVENTPIPE_QUEUE_EVENTS", " 1_000 ", "queue_events", 1000),
        ("EVENTPIPE_MAX_EVENT_AGE", "3.5", "max_event_age", 3.5),
        ("EVENTPIPE_FLUSH_TIMEOUT", "0", "flush_timeout", 0.0),
        ("EVENTPIPE_OVERFLOW", "wait", "overflow", "wait"),
        ("EVENTPIPE_STRICT", "TRUE", "strict", True),
        ("EVENTPIPE_STRICT", "1", "strict", True),
        ("EVENTPIPE_ENABLED", "off", "enabled", False),
        ("EVENTPIPE_ENABLED", "no", "enabled", False),
        ("EVENTPIPE_WORKERS", "", "workers", 16),
        ("EVENTPIPE_WORKERS", "  ", "workers", 16),
    ],
)
def test_variable_is_read_as_its_option(variable: str, text: str, name: str, value: object) -> None:
    """Numbers, switches and words; an empty variable sets nothing."""
    got = getattr(resolve(None, {}, {variable: text}), name)

    assert (got, type(got)) == (value, type(value))


@pytest.mark.parametrize(
    ("environ", "lines"),
    [
        ({"EVENTPIPE_WORKERS": "-2"}, ["EVENTPIPE_WORKERS must be at least 1, not -2 (default: 16)"]),
        (
            {"EVENTPIPE_WORKERS": "many", "EVENTPIPE_STRICT": "maybe"},
            [
                "EVENTPIPE_WORKERS must be a whole number, not 'many'",
                "EVENTPIPE_STRICT must be one of 1, true, yes, on, 0, false, no, off, not 'maybe'",
            ],
        ),
        ({"EVENTPIPE_MAX_EVENT_AGE": "nan"}, ["EVENTPIPE_MAX_EVENT_AGE must be a finite number, not nan"]),
        ({"EVENTPIPE_RETRY_JITTER": "2"}, ["EVENTPIPE_RETRY_JITTER must be at most 1, not 2.0 (default: 0.5)"]),
        (
            {"EVENTPIPE_QUEUE_EVENTS": "10", "EVENTPIPE_BATCH_EVENTS": "11"},
            [
                "EVENTPIPE_BATCH_EVENTS must be at most EVENTPIPE_QUEUE_EVENTS (10), not 11: "
                "lower EVENTPIPE_BATCH_EVENTS or raise EVENTPIPE_QUEUE_EVENTS"
            ],
        ),
    ],
    ids=["range", "parse", "nan", "policy", "contradiction"],
)
def test_wrong_variable_is_named(environ: dict[str, str], lines: list[str]) -> None:
    """A fault from the environment says which variable to mend."""
    assert fault_of(lambda: resolve(None, {}, environ)).splitlines() == lines


def test_fault_names_the_place_that_won() -> None:
    """A keyword that hides a variable is called by its own name."""
    environ = {"EVENTPIPE_WORKERS": "4", "EVENTPIPE_RETRY_MAX_ATTEMPTS": "4"}

    assert fault_of(lambda: resolve(None, {"workers": 0}, environ)).startswith("workers must be")
    assert fault_of(lambda: resolve(None, {"batch_events": 11}, {"EVENTPIPE_QUEUE_EVENTS": "10"})).startswith(
        "batch_events must be at most EVENTPIPE_QUEUE_EVENTS (10)"
    )
    assert fault_of(lambda: resolve(None, {"retry": 3}, environ)) == "retry must be a RetryPolicy, not 3"
    assert fault_of(lambda: resolve(None, {"retry": RetryPolicy(initial=2)}, {"EVENTPIPE_RETRY_MAX_DELAY": "1"})) == (
        "retry.initial must be at most EVENTPIPE_RETRY_MAX_DELAY (1.0), not 2.0: "
        "lower retry.initial or raise EVENTPIPE_RETRY_MAX_DELAY"
    )
    hidden = {"EVENTPIPE_RETRY_MAX_DELAY": "1", "EVENTPIPE_RETRY_INITIAL": "1"}
    assert fault_of(lambda: resolve(ClientOptions(retry=RetryPolicy(initial=2)), {}, hidden)).startswith(
        "retry.initial must be at most EVENTPIPE_RETRY_MAX_DELAY (1.0)"
    )


def test_options_are_an_options_object() -> None:
    """A dict of options is told to be given as keywords or as an object."""
    options: Any = {"workers": 3}

    assert fault_of(lambda: resolve(options, {}, {})) == "options must be a ClientOptions, not dict"


def test_unknown_keyword_is_refused() -> None:
    """A misspelt keyword is refused with the nearest option, wherever else options come from."""
    assert fault_of(lambda: resolve(ClientOptions(workers=2), {"worker": 3}, {})) == (
        "unknown option 'worker'; did you mean 'workers'?"
    )


def test_copy_that_was_not_checked_is_checked_on_the_way_in() -> None:
    """``model_copy()`` checks nothing; a client does."""
    assert fault_of(lambda: resolve(ClientOptions().model_copy(update={"workers": -2}), {}, {})) == (
        "workers must be at least 1, not -2 (default: 16)"
    )


def test_process_environment_is_read_unless_another_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """``os.environ`` counts at the call, and not when the module was imported."""
    monkeypatch.setenv("EVENTPIPE_WORKERS", "7")

    assert resolve(None, {}).workers == 7
    assert resolve(None, {}, {}).workers == 16


def test_environment_sets_everything_that_text_can_say() -> None:
    """All options have a variable, but for objects and functions; a file that says the same is tested beside this."""
    names = {name for name, _ in variables(ClientOptions).values()}

    assert names == (set(DEFAULTS) - {"retry", "json_default", "clock", "random", "new_id"}) | {
        f"retry.{name}" for name in RETRY_DEFAULTS
    }


def test_objects_are_kept_as_they_are() -> None:
    """A clock, a random source and functions arrive as the very objects that were given."""
    clock, random = Clock(), Random(1)

    resolved = resolve(ClientOptions(clock=clock, json_default=str), {"random": random, "new_id": str}, {})

    assert resolved.clock is clock
    assert resolved.random is random
    assert (resolved.json_default, resolved.new_id) == (str, str)


@given(
    name=st.sampled_from([*DEFAULTS, "worker", "RETRY", "retry.initial"]),
    value=st.one_of(
        st.integers(),
        st.floats(),
        st.text(max_size=5),
        st.booleans(),
        st.binary(max_size=3),
        st.lists(st.none(), max_size=1),
    ),
)
def test_anything_is_taken_or_refused_in_words(name: str, value: object) -> None:
    """No value leads to anything but options that hold it, or a ``ValueError`` of short lines."""
    faults: list[ValueError] = []
    try:
        options = resolve(None, {name: value}, {})
    except ValueError as fault:
        faults.append(fault)
    else:
        assert getattr(options, name) == value

    assert [type(fault) for fault in faults] in ([], [ValueError])
    assert all(len(line) < 250 for fault in faults for line in str(fault).splitlines())


def test_dotted_name_is_no_keyword() -> None:
    """The options of the policy are set through the policy, although messages call them ``retry.initial``."""
    assert fault_of(lambda: resolve(None, {"retry.initial": 3}, {})) == "unknown option 'retry.initial'"
